//! The single doors: what only one place may do, and what only a few may name.

use crate::{Finding, floors::within, paths, paths::Named};

/// Who may do what only one place should: text of code, where it may stand, why.
const CALLS: &[(&str, &[&str], &str)] = &[
    (
        ".propose(&mut self.node",
        &["scheduler/src/consensus/replica"],
        "only `replica` adds to the log",
    ),
    (
        ".apply(",
        &[
            "scheduler/src/consensus/replica",
            // Foresight: a fork of the state that nobody else sees, and that is forgotten after.
            "scheduler/src/state/fork",
            // What the simulated replica is given for its machine passes the call on.
            "simulations/src/machine",
            // A fork of the past, in which recorded plans are made again and which nobody else sees.
            "scheduler/src/api/replaying/walk",
            // The planner's benchmark has a cluster without a log.
            "bench/src/planner/cluster",
        ],
        "only `replica` applies a command; propose one",
    ),
];

/// Who may name a concrete adapter of another's making: crate, where, why.
const ADAPTERS: &[(&str, &[&str], &str)] = &[
    ("rocksdb::", &["scheduler/src/consensus", "bench/src"], "rows and log are behind `consensus`"),
    (
        "raft::",
        // Which entries of a kept log are commands.
        &["scheduler/src/consensus", "scheduler/src/api/replaying/walk"],
        "raft-rs is behind `consensus`",
    ),
    ("nvml_wrapper::", &["agent/src/driver/gpu"], "GPUs are behind their port"),
    ("object_store::", &["cli/src/s3"], "S3 is behind `s3`"),
    ("aws_sdk_kms::", &["custody/src"], "key stores are behind `Signer`"),
    ("cryptoki::", &["custody/src"], "key stores are behind `Signer`"),
    ("custody::open(", &["cli/src/bin"], "only `main` says which key store signs"),
    ("LocalSigner", &["registry/src/sign", "custody/src", "bench/src"], "keys are behind `Signer`"),
    ("LocalKeys", &["registry/src/sign", "custody/src", "cli/src/dev"], "keys are behind `Signer`"),
];

/// Rooms that only some may name: the room, who, why.
const ROOMS: &[(&str, &[&str], &str)] = &[
    (
        "proto/src/v1",
        &[
            "proto/src",
            "scheduler/src/api",
            "scheduler/src/consensus/snapshot",
            "scheduler/src/consensus/transport",
            "agent/src/link",
            "agent/src/store/chunk_servers",
            "cli/src/client",
            "cli/src/command",
            // The names that a shell completes, and what the guided tour asks.
            "cli/src/complete",
            "cli/src/dev/ready",
            "cli/src/dev/tour/steps",
            "bench/src",
        ],
        "wire types stay at the edge",
    ),
    (
        "proto/src",
        &[
            "proto/src",
            "scheduler/src/api",
            "scheduler/src/consensus/snapshot",
            "scheduler/src/consensus/transport",
            "agent/src/link",
            "agent/src/store/servers",
            "agent/src/store/chunk_servers",
            // Frames of the socket between agent and supervisor, and of the file beside it.
            "agent/src/shell/ward",
            "agent/src/driver/gpu/cut",
            "agent/src/driver/state",
            "cli/src/client",
            "cli/src/command",
            // What `Source` a capture sends.
            "cli/src/capture",
            "cli/src/complete",
            "cli/src/dev/ready",
            "cli/src/dev/tour/steps",
            "bench/src",
        ],
        "wire forms stay at the edge",
    ),
];

/// Rooms that are lent the parts of a view, read-only, and so name their types.
const LENT: &[&str] = &[
    "scheduler/src/state",
    "scheduler/src/planner",
    "scheduler/src/foresee",
    "scheduler/src/leader",
];

/// What of the state others see, and who: `view`, and the words in which it is spoken to.
const SHOWN: &[(&str, &[&str])] = &[
    ("view", &[]),
    ("command", &[]),
    ("Cluster", &[]),
    ("Applied", &[]),
    // Foresight is begun for whoever asks a server.
    ("fork", &["scheduler/src/api/foreseeing"]),
    // Which checkpoints are to stay on a server's disk.
    ("keeping", &["scheduler/src/api/sweeping"]),
    // Why a recorded plan preempted, to be compared with the same plan made again.
    ("preemption", &["simulations/src/record"]),
    // Which jobs, results and promotions an entry changed, to be held to the laws at once.
    ("touched", &["simulations/src/law/each_entry"]),
    ("Touched", &["simulations/src/law/each_entry"]),
    ("row", &["simulations/src/law/each_entry"]),
];

/// Checks one file's code and the paths in it.
pub fn check(file: &str, code: &[&str], named: &[Named]) -> Vec<Finding> {
    let place = paths::place_of(file);
    let mut findings = Vec::new();
    let mut find = |line: usize, what: String| {
        findings.push(Finding { place: format!("{file}:{}", line + 1), what });
    };
    for (text, places, why) in CALLS.iter().chain(ADAPTERS) {
        for (at, line) in code.iter().enumerate() {
            if has_word(line, text) && !may(place, places) {
                find(at, format!("`{text}` does not belong here: {why}"));
            }
        }
    }
    for Named { line, place: used } in named {
        let door = ROOMS.iter().find(|(room, ..)| within(used, room));
        if let Some((room, places, why)) = door
            && !may(place, places)
        {
            find(*line, format!("`{room}` does not belong here: {why}"));
        }
        let inside = used.strip_prefix("scheduler/src/state/").and_then(|it| it.split('/').next());
        if let Some(inside) = inside
            && !may(place, LENT)
            && !is_shown(inside, place)
        {
            find(*line, format!("`state::{inside}` is not shown to others; ask `view`"));
        }
    }
    findings
}

fn is_shown(part: &str, place: &str) -> bool {
    let shown = SHOWN.iter().find(|(name, _)| *name == part);
    shown.is_some_and(|(_, who)| who.is_empty() || may(place, who))
}

fn may(place: &str, places: &[&str]) -> bool {
    places.iter().any(|room| within(place, room))
}

/// Whether `word` stands in a line without being the end of a longer one.
pub fn has_word(line: &str, word: &str) -> bool {
    let joined = |before: char| before.is_alphanumeric() || before == '_';
    let starts = word.starts_with(joined);
    line.match_indices(word).any(|(at, _)| !starts || !line[..at].ends_with(joined))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(file: &str, code: &str) -> String {
        let crates = ["proto".to_owned(), "scheduler".to_owned()];
        let lines: Vec<_> = code.lines().collect();
        let found = check(file, &lines, &paths::named(file, code, &crates));
        found.into_iter().map(|it| it.what + "\n").collect()
    }

    #[test]
    fn only_the_replica_applies_and_proposes() {
        let call = "fn a() { cluster.apply(rows, at, entry); }\n";
        assert!(whats("scheduler/src/api/a.rs", call).contains("only `replica` applies"));
        assert!(whats("cli/src/a.rs", call).contains("only `replica` applies"));
        assert_eq!(whats("scheduler/src/consensus/replica/apply.rs", call), "");
        let propose = "fn a() { log.propose(&mut self.node, b); }\n";
        assert!(whats("scheduler/src/consensus/shell.rs", propose).contains("adds to the log"));
    }

    #[test]
    fn only_the_view_shows_state() {
        let row = "use crate::state::row::JobRow;\n";
        assert!(whats("scheduler/src/api/a.rs", row).contains("ask `view`"));
        assert!(
            whats("cli/src/a.rs", "use scheduler::state::{view, row};\n").contains("`state::row`")
        );
        assert_eq!(whats("scheduler/src/state/job.rs", row), "");
        assert_eq!(whats("scheduler/src/planner/a.rs", row), "");
        let fork = "use crate::state::fork::Fork;\n";
        assert_eq!(whats("scheduler/src/api/foreseeing.rs", fork), "");
        assert!(whats("scheduler/src/api/query.rs", fork).contains("`state::fork`"));
        assert_eq!(whats("scheduler/src/api/a.rs", "use crate::state::view::View;\n"), "");
    }

    #[test]
    fn only_main_says_which_adapter_it_is() {
        let open = "fn a() { custody::open(&signer); }\n";
        assert!(whats("scheduler/src/api/a.rs", open).contains("only `main`"));
        assert_eq!(whats("cli/src/bin/assay-server.rs", open), "");
        assert!(
            whats("scheduler/src/api/a.rs", "use rocksdb::DB;\n").contains("behind `consensus`")
        );
        assert!(whats("agent/src/shell/a.rs", "use nvml_wrapper::Nvml;\n").contains("port"));
        assert!(whats("cli/src/command/a.rs", "fn a(key: LocalSigner) {}\n").contains("`Signer`"));
    }

    #[test]
    fn wire_types_stand_in_the_files_that_are_named() {
        let wire = "use proto::{v1::Job, MESSAGE_MAX};\n";
        for file in ["agent/src/shell/a.rs", "cli/src/render/a.rs", "scheduler/src/consensus/a.rs"]
        {
            assert!(whats(file, wire).contains("wire types stay at the edge"), "{file}");
        }
        let link = "scheduler/src/consensus/transport/link.rs";
        for file in ["agent/src/link/mod.rs", "scheduler/src/api/a.rs", link] {
            assert_eq!(whats(file, wire), "", "{file}");
        }
        // Frames may stand where messages may not.
        assert_eq!(whats("agent/src/shell/ward.rs", "use proto::frame;\n"), "");
        assert!(whats("agent/src/shell/ward.rs", wire).contains("`proto/src/v1`"));
    }
}
