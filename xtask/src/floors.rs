//! The floors of modules, as `docs/ARCHITECTURE.md` has them: no room names one above its own.

use crate::{Finding, paths, paths::Named};
use std::collections::{BTreeMap, BTreeSet};

/// The last floor of pure machines.
const PURE_MAX: u8 = 2;

/// Names from above that a room may use, and why: who, from where, what, reason.
const EXCEPTIONS: &[(&str, &str, &[&str], &str)] = &[(
    "simulations/src",
    "scheduler/src/consensus",
    &[
        "BootError",
        "BootState",
        "Input",
        "Machine",
        "MemberChange",
        "Membership",
        "Output",
        "Planted",
        "Received",
        "Replica",
        "ReplicaConfig",
        "Role",
        "SnapshotMark",
        "StopReason",
        "WriteOp",
        "disk",
    ],
    "the replica is a plain step function; the simulator performs what it asks for",
)];

/// Which room stands on which floor.
#[derive(Debug, Default)]
pub struct Floors(BTreeMap<String, u8>);

impl Floors {
    /// Reads the block of the document: a floor, then its rooms.
    pub fn parse(text: &str) -> Self {
        let block = text.split("```floors").nth(1).and_then(|rest| rest.split("```").next());
        let mut rooms = BTreeMap::new();
        for (floor, names) in block.unwrap_or_default().lines().filter_map(|it| it.split_once(':'))
        {
            let Ok(floor) = floor.trim().parse() else { continue };
            rooms.extend(names.split_whitespace().map(|name| (name.to_owned(), floor)));
        }
        Self(rooms)
    }

    /// The floor of a place: that of the smallest room around it.
    pub fn of(&self, place: &str) -> Option<u8> {
        let rooms = self.0.iter().filter(|(room, _)| within(place, room));
        rooms.max_by_key(|(room, _)| room.len()).map(|(_, floor)| *floor)
    }

    /// Whether a file may hold nothing but what is the same on every run.
    pub fn is_pure(&self, file: &str) -> bool {
        self.of(paths::place_of(file)).is_some_and(|floor| floor <= PURE_MAX)
    }

    /// Rooms of the table that hold no file.
    pub fn empty(&self, files: &BTreeSet<String>) -> Vec<Finding> {
        let gone = |room: &&String| !files.iter().any(|it| within(paths::place_of(it), room));
        let finding = |room: &String| Finding {
            place: "docs/ARCHITECTURE.md".into(),
            what: format!("the floors name `{room}`, which holds no file; take it out"),
        };
        self.0.keys().filter(gone).map(finding).collect()
    }

    /// Checks what one file names outside of its tests.
    pub fn check(&self, file: &str, named: &[Named]) -> Vec<Finding> {
        let place = paths::place_of(file);
        let Some(own) = self.of(place) else { return self.homeless(file, place) };
        let mut findings = Vec::new();
        for Named { line, place: used } in named {
            let Some(floor) = self.of(used).filter(|floor| *floor > own) else { continue };
            let excepted = |(who, from, what, _): &(&str, &str, &[&str], &str)| {
                let inside = used.strip_prefix(from).and_then(|rest| rest.strip_prefix('/'));
                let named = |inside: &str| what.iter().any(|room| within(inside, room));
                within(place, who) && inside.is_some_and(named)
            };
            if !EXCEPTIONS.iter().any(excepted) {
                findings.push(Finding {
                    place: format!("{file}:{}", line + 1),
                    what: format!("floor {own} names `{used}` of floor {floor}; look down only"),
                });
            }
        }
        findings
    }

    /// A file on no floor, of a crate that has floors.
    fn homeless(&self, file: &str, place: &str) -> Vec<Finding> {
        let Some((root, _)) = file.split_once("/src/") else { return Vec::new() };
        let root = format!("{root}/src");
        let floored = self.0.keys().any(|room| within(room, &root));
        // The crate's own root only lists its rooms.
        if !floored || place == root {
            return Vec::new();
        }
        let what = "stands on no floor; name its room in docs/ARCHITECTURE.md".to_owned();
        vec![Finding { place: format!("{file}:1"), what }]
    }
}

/// Whether a place is a room or lies in it.
pub fn within(place: &str, room: &str) -> bool {
    place.strip_prefix(room).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "```floors\n0: domain/src\n1: scheduler/src/state\n\
                         2: scheduler/src/planner\n4: scheduler/src/consensus\n\
                         4: scheduler/src/api\n```";

    fn whats(file: &str, code: &str) -> String {
        let crates = ["domain".to_owned(), "scheduler".to_owned()];
        let found = Floors::parse(TABLE).check(file, &paths::named(file, code, &crates));
        found.into_iter().map(|it| format!("{}: {}\n", it.place, it.what)).collect()
    }

    #[test]
    fn a_room_that_looks_up_is_found() {
        let up = whats("scheduler/src/state/job.rs", "\nuse crate::{api::rest, planner};\n");
        assert!(up.contains("job.rs:2: floor 1 names `scheduler/src/api/rest` of floor 4"), "{up}");
        assert!(up.contains("`scheduler/src/planner` of floor 2"), "{up}");
        let inline = whats("scheduler/src/planner/mod.rs", "fn a() { crate::consensus::b(); }\n");
        assert!(inline.contains("of floor 4"), "{inline}");
        let other = whats("domain/src/a.rs", "fn a(b: scheduler::state::View) {}\n");
        assert!(other.contains("floor 0 names `scheduler/src/state/View`"), "{other}");
    }

    #[test]
    fn a_room_may_look_down_and_around() {
        assert_eq!(whats("scheduler/src/api/a.rs", "use crate::{consensus::B, state::C};\n"), "");
        assert_eq!(whats("scheduler/src/state/a.rs", "use super::b;\nuse domain::C;\n"), "");
    }

    #[test]
    fn the_simulator_has_the_replica_and_no_more_of_its_room() {
        let table = "```floors\n3: simulations/src\n4: scheduler/src/consensus\n```";
        let crates = ["scheduler".to_owned()];
        let found = |code: &str| {
            let named = paths::named("simulations/src/a.rs", code, &crates);
            Floors::parse(table).check("simulations/src/a.rs", &named).len()
        };
        assert_eq!(found("use scheduler::consensus::{Replica, disk::Disk};\n"), 0);
        assert_eq!(found("use scheduler::consensus::{RocksRows, store::Store};\n"), 2);
    }

    #[test]
    fn a_file_on_no_floor_and_a_floor_without_a_file_are_found() {
        assert!(whats("scheduler/src/new/a.rs", "").contains("on no floor"));
        assert_eq!(whats("scheduler/src/lib.rs", ""), "");
        assert_eq!(whats("bench/src/a.rs", ""), "");
        let files = BTreeSet::from(["domain/src/a.rs".to_owned()]);
        assert_eq!(Floors::parse(TABLE).empty(&files).len(), 4);
    }

    #[test]
    fn the_pure_rooms_of_the_house_are_pure() {
        let floors = Floors::parse(include_str!("../../docs/ARCHITECTURE.md"));
        for room in [
            "domain/src/a.rs",
            "registry/src/ledger/a.rs",
            "registry/src/seal/tlog/a.rs",
            "registry/src/drift/a.rs",
            "registry/src/pii/a.rs",
            "registry/src/gate/rules.rs",
            "scheduler/src/state/a.rs",
            "scheduler/src/planner/a.rs",
            "scheduler/src/leader/a.rs",
            "agent/src/machine/a.rs",
        ] {
            assert!(floors.is_pure(room), "{room}");
        }
        assert!(!floors.is_pure("scheduler/src/api/a.rs"));
    }
}
