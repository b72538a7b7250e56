//! The version that the cluster runs at: a row that is raised and never lowered.

use super::{
    command::{Command, Refusal, Reply},
    key,
    record::Kind,
    sched::Sched,
    step::Step,
};
use borsh::{BorshDeserialize, BorshSerialize};
use domain::{
    ReplicaId,
    port::RowRead,
    scratch,
    version::{ClusterVersion, Understood},
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// All members understand a newer version.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RaiseVersion {
    /// The version that the cluster is to run at.
    pub to: ClusterVersion,
    /// What each member has said that it understands.
    pub members: BTreeMap<ReplicaId, Understood>,
}

impl Command {
    /// The version since which it is understood. What is added to the alphabet, or to what its
    /// letters hold (reports of agents, checks, windows, drift), gets the next version: servers of
    /// the release before cannot read it.
    #[must_use]
    pub fn since(&self) -> ClusterVersion {
        match self {
            Self::RaiseVersion(raise) => raise.to,
            Self::DrainNodes(_) => super::drain::TERMS,
            Self::Hardware { .. } => super::hardware::TOLD,
            Self::ApplyFurther(_) => super::config::FURTHER,
            Self::Foretell { .. } => super::forecast::FORETELLS,
            Self::RegisterShared { .. } => super::node::SHARES,
            Self::SubmitFurther(_) => super::submission::FURTHER,
            Self::Registry(command) => command.since(),
            Self::Submit { .. }
            | Self::SubmitPart { .. }
            | Self::SubmitLast { .. }
            | Self::SubmitTied { .. }
            | Self::Cancel { .. }
            | Self::Register { .. }
            | Self::Drain { .. }
            | Self::NodeLost { .. }
            | Self::ConfirmDead { .. }
            | Self::Place { .. }
            | Self::Report { .. }
            | Self::CompleteSeal { .. }
            | Self::AbandonSeal { .. }
            | Self::SignEvents { .. }
            | Self::RecordCopies { .. }
            | Self::Health { .. }
            | Self::AcceptGpu { .. }
            | Self::ApplyConfig { .. }
            | Self::Wake { .. }
            | Self::Hold { .. }
            | Self::SetPriority { .. }
            | Self::GateTraining
            | Self::DecideTraining { .. }
            | Self::Preempt { .. }
            | Self::Check(_)
            | Self::Drift(_)
            | Self::Reserve(_) => ClusterVersion::FIRST,
        }
    }
}

/// The version that these rows were written at.
pub fn stored(rows: &impl RowRead) -> ClusterVersion {
    let key = key::cluster_version();
    rows.get(&key).map(|bytes| scratch::decode(&key, &bytes)).unwrap_or_default()
}

impl Sched {
    /// Refuses what is newer than the cluster. The replica that leads has refused it before it
    /// came into the log, so this is said of what another leader's mistake let in.
    pub(super) fn too_new(&self, command: &Command) -> Option<Reply> {
        let raises = matches!(command, Command::RaiseVersion(_));
        let (needs, runs) = (command.since(), self.version);
        let why = format!("this needs version {needs}, the cluster runs at {runs}");
        (!raises && needs > runs).then_some(Reply::Refused(Refusal::NotYet { why }))
    }

    /// Raises the version, if all who are named understand it.
    pub(super) fn raise_version<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        raise: &RaiseVersion,
    ) -> Reply {
        let (from, to) = (self.version, raise.to);
        if to <= from {
            return Reply::Refused(Refusal::WrongState {
                what: "the cluster".into(),
                state: format!("at version {from}"),
                remedy: "a version is never lowered".into(),
            });
        }
        let lacks = raise.members.iter().find(|(_, understood)| !understood.has(to));
        if let Some((id, Understood { oldest, newest })) = lacks {
            let why = format!("{id} understands versions {oldest} to {newest}, not {to}");
            return Reply::Refused(Refusal::Spec(why));
        }
        if raise.members.is_empty() {
            return Reply::Refused(Refusal::Spec(format!("nobody is said to understand {to}")));
        }
        self.version = to;
        step.rows.put(key::cluster_version(), &to);
        let newest = |(id, it): (&ReplicaId, &Understood)| (id.to_string(), it.newest.0.into());
        let members: Map<String, Value> = raise.members.iter().map(newest).collect();
        let event = json!({ "from": from.0, "to": to.0, "members": members });
        step.events.add(Kind::VersionRaised, actor, &event);
        step.done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::script::Script;
    use domain::Digest;
    use registry::ledger::RegistryCommand;

    fn raise(to: u8, newest: &[u8]) -> Command {
        let understood = |newest: &u8| Understood {
            oldest: ClusterVersion::FIRST,
            newest: ClusterVersion(*newest),
        };
        let members = (1..).map(ReplicaId).zip(newest.iter().map(understood)).collect();
        Command::RaiseVersion(RaiseVersion { to: ClusterVersion(to), members })
    }

    #[test]
    fn a_version_is_raised_only_with_the_word_of_all_and_never_lowered() {
        let mut script = Script::new();
        for (to, newest, at, refusal) in [
            (2, vec![], 1, Some("nobody is said to understand 2")),
            (2, vec![2, 1, 2], 1, Some("r2 understands versions 1 to 1, not 2")),
            (3, vec![3, 4], 3, None),
            (3, vec![3, 4], 3, Some("at version 3; a version is never lowered")),
            (2, vec![3, 4], 3, Some("at version 3; a version is never lowered")),
        ] {
            let reply = script.send(None, raise(to, &newest));
            let said = match reply {
                Reply::Refused(refusal) => refusal.to_string(),
                _ => String::new(),
            };
            assert!(said.contains(refusal.unwrap_or_default()), "{said}");
            assert_eq!(said.is_empty(), refusal.is_none(), "{said}");
            assert_eq!(script.cluster.version(), ClusterVersion(at));
            assert_eq!(stored(&script.rows), ClusterVersion(at), "the row says the same");
        }
    }

    #[test]
    fn a_raise_is_an_event_that_names_what_each_member_said() {
        let mut script = Script::new();
        script.send(None, raise(2, &[2, 3]));
        let page = script.cluster.view().audit(&script.rows, 1, 10);
        let event = page.events.last().expect("one event");
        let expected = r#""members":[{"from":1,"members":{"r1":2,"r2":3},"to":2}]"#;
        assert!(event.payload.contains(expected), "{}", event.payload);
        assert!(event.payload.contains("cluster.version_raised"), "{}", event.payload);
    }

    #[test]
    fn what_is_newer_than_the_cluster_changes_nothing_and_is_no_answer_for_good() {
        let mut script = Script::new();
        let sign_off = || {
            Command::Registry(RegistryCommand::SignOff {
                document: "acceptance.md".into(),
                sha256: Digest::of(b"x"),
                reason: "seen".into(),
                signature: vec![0; 64],
            })
        };
        let before = script.rows.keys().cloned().collect::<Vec<_>>();
        let early = script.send(Some(9), sign_off());
        assert!(matches!(early, Reply::Refused(Refusal::NotYet { .. })), "{early:?}");
        let new = script.rows.keys().filter(|key| !before.contains(key) && **key != key::meta());
        assert_eq!(new.count(), 0, "no event, no reply that would be given again");
        script.send(None, raise(2, &[2]));
        let late = script.send(Some(9), sign_off());
        let Reply::Refused(Refusal::Registry(why)) = late else { panic!("{late:?}") };
        assert!(why.to_string().contains("approver"), "the ledger has looked at it: {why}");
    }
}
