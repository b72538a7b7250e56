//! `one_leader`: no term has two leaders (Raft: election safety).

use super::Broken;
use domain::ReplicaId;
use std::collections::BTreeMap;

/// Who led in which term.
#[derive(Default)]
pub struct OneLeader {
    terms: BTreeMap<u64, ReplicaId>,
}

impl OneLeader {
    /// A server leads in a term.
    pub fn leads(&mut self, id: ReplicaId, term: u64) -> Result<(), Broken> {
        let first = *self.terms.entry(term).or_insert(id);
        if first == id {
            return Ok(());
        }
        Err(Broken::new(format!("one_leader: {first} and {id} lead in term {term}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leaders_of_one_term_break_it() {
        let mut law = OneLeader::default();
        assert!(law.leads(ReplicaId(1), 3).is_ok());
        assert!(law.leads(ReplicaId(1), 3).is_ok());
        assert!(law.leads(ReplicaId(2), 4).is_ok());
        assert!(law.leads(ReplicaId(2), 3).is_err());
    }
}
