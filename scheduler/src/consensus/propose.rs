//! The only door into the log.

use crate::state::command::{Entry, Request};
use borsh::BorshSerialize;
use domain::{Millis, ReplicaId, limit};
use raft::{RawNode, Storage, eraftpb::ConfChangeV2};
use std::collections::{BTreeMap, VecDeque};

/// Requests on their way into the log and through it.
///
/// Each entry carries a number that no other entry has, of any replica, term or boot; whoever
/// waits for an entry waits for its number, never for a position in the log, because another
/// leader may have filled that position.
pub(super) struct Proposals {
    nonce: u64,
    counter: u64,
    gathered: VecDeque<(u64, Request)>,
    flying: BTreeMap<Vec<u8>, Vec<u64>>,
    /// Requests in `flying`.
    under_way: usize,
    change: Option<(Vec<u8>, u64)>,
}

/// One entry to be proposed.
struct Cut {
    data: Vec<u8>,
    tokens: Vec<u64>,
}

/// What became of a gathered request that is not in the log.
pub(super) enum Refused {
    /// The uncommitted log is full, or the leadership is being given away.
    Dropped(u64),
    /// It can never fit.
    TooLarge(u64, u64),
}

impl Proposals {
    pub(super) fn new(nonce: u64) -> Self {
        Self {
            nonce,
            counter: 0,
            gathered: VecDeque::new(),
            flying: BTreeMap::new(),
            under_way: 0,
            change: None,
        }
    }

    pub(super) fn gather(&mut self, token: u64, request: Request) {
        self.gathered.push_back((token, request));
    }

    pub(super) fn gathered(&self) -> usize {
        self.gathered.len()
    }

    /// Requests in entries that are proposed and not applied yet.
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// Puts all that was gathered into the log, in as few entries as the limit allows.
    pub(super) fn propose<S: Storage>(
        &mut self,
        node: &mut RawNode<S>,
        me: ReplicaId,
        now: Millis,
    ) -> Vec<Refused> {
        let mut refused = Vec::new();
        while !self.gathered.is_empty() {
            let cut = self.cut(me, now, &mut refused);
            if cut.tokens.is_empty() {
                continue;
            }
            let number = self.number();
            if node.propose(number.clone(), cut.data).is_ok() {
                self.under_way += cut.tokens.len();
                self.flying.insert(number, cut.tokens);
            } else {
                refused.extend(cut.tokens.into_iter().map(Refused::Dropped));
            }
        }
        refused
    }

    /// The next entry, in the encoding of [`Entry::encode`] but without copying requests.
    fn cut(&mut self, me: ReplicaId, now: Millis, refused: &mut Vec<Refused>) -> Cut {
        let max = limit::PROPOSAL_MAX.0 as usize;
        let mut data = Entry { now, proposer: me, members: Vec::new() }.encode();
        let count_at = data.len() - size_of::<u32>();
        let mut tokens = Vec::new();
        while let Some((token, request)) = self.gathered.front() {
            let before = data.len();
            let needs = request.command.since();
            request.serialize(&mut data).expect("writing to memory cannot fail");
            if data.len() > max {
                let size = (data.len() - before) as u64;
                data.truncate(before);
                if tokens.is_empty() {
                    refused.push(Refused::TooLarge(*token, size));
                    self.gathered.pop_front();
                }
                break;
            }
            data[0] = needs.0.max(data[0]);
            tokens.push(*token);
            self.gathered.pop_front();
        }
        let count = u32::try_from(tokens.len()).expect("an entry has fewer requests than bytes");
        data[count_at..count_at + size_of::<u32>()].copy_from_slice(&count.to_le_bytes());
        Cut { data, tokens }
    }

    /// Puts a change of members into the log, and says whether it is there.
    pub(super) fn propose_change<S: Storage>(
        &mut self,
        node: &mut RawNode<S>,
        token: Option<u64>,
        change: &ConfChangeV2,
    ) -> bool {
        let number = self.number();
        let proposed = node.propose_conf_change(number.clone(), change.clone()).is_ok();
        // raft-rs lets a change that may not be proposed now vanish into an empty entry.
        let kept = node.raft.pending_conf_index == node.raft.raft_log.last_index();
        if let (true, Some(token)) = (proposed && kept, token) {
            self.change = Some((number, token));
        }
        proposed && kept
    }

    /// Whether somebody waits for a change of members.
    pub(super) fn changes(&self) -> bool {
        self.change.is_some()
    }

    /// Who waits for the entry with this number, in the order of its requests.
    pub(super) fn landed(&mut self, number: &[u8]) -> Option<Vec<u64>> {
        let tokens = self.flying.remove(number)?;
        self.under_way -= tokens.len();
        Some(tokens)
    }

    /// Who waits for the change of members with this number.
    pub(super) fn changed(&mut self, number: &[u8]) -> Option<u64> {
        self.change.take_if(|(waiting, _)| waiting == number).map(|(_, token)| token)
    }

    /// Takes all that waits: requests that are not in the log, requests that may be, and a change
    /// of members that may be.
    pub(super) fn abandon(&mut self) -> (Vec<u64>, Vec<u64>, Option<u64>) {
        let outside = self.gathered.drain(..).map(|(token, _)| token).collect();
        let inside = std::mem::take(&mut self.flying).into_values().flatten().collect();
        self.under_way = 0;
        (outside, inside, self.change.take().map(|(_, token)| token))
    }

    fn number(&mut self) -> Vec<u8> {
        self.counter += 1;
        let mut number = Vec::with_capacity(16);
        number.extend(self.nonce.to_be_bytes());
        number.extend(self.counter.to_be_bytes());
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::command::Command;
    use domain::{ElementId, JobId};

    fn request(actor: &str) -> Request {
        let element = ElementId::from(JobId(1));
        Request { key: None, actor: actor.into(), command: Command::Cancel { element } }
    }

    #[test]
    fn a_cut_is_the_canonical_encoding_of_its_entry() {
        let mut proposals = Proposals::new(1);
        let members = vec![request("a"), request("b")];
        for (token, request) in members.iter().enumerate() {
            proposals.gather(token as u64, request.clone());
        }
        let cut = proposals.cut(ReplicaId(2), Millis(3), &mut Vec::new());
        let entry = Entry { now: Millis(3), proposer: ReplicaId(2), members };
        assert_eq!(cut.data, entry.encode());
        assert_eq!(cut.tokens, [0, 1]);
    }

    #[test]
    fn what_does_not_fit_goes_into_the_next_entry_and_what_never_fits_is_refused() {
        let mut proposals = Proposals::new(1);
        let half = "x".repeat(limit::PROPOSAL_MAX.0 as usize / 2);
        for (token, actor) in [&half, &half, &half.repeat(3), &half].into_iter().enumerate() {
            proposals.gather(token as u64, request(actor));
        }
        let mut refused = Vec::new();
        let cuts: Vec<_> = std::iter::from_fn(|| {
            (proposals.gathered() > 0)
                .then(|| proposals.cut(ReplicaId(1), Millis(0), &mut refused).tokens)
        })
        .collect();
        assert_eq!(cuts, [vec![0], vec![1], vec![], vec![3]]);
        assert!(
            matches!(refused[..], [Refused::TooLarge(2, size)] if size > limit::PROPOSAL_MAX.0)
        );
    }
}
