//! Rules for one source file: size, first line, words, and what its floor may not use.

use crate::Finding;

/// Lines of a file at most.
const FILE_MAX: usize = 500;
/// Lines of a function at most.
const FUNCTION_MAX: usize = 60;

/// Folders of floors 0 to 2.
const PURE: &[&str] = &[
    "domain/src/",
    "registry/src/ledger/",
    "registry/src/drift/",
    "scheduler/src/state/",
    "scheduler/src/planner/",
    "scheduler/src/foresee/",
    "scheduler/src/leader/",
    "agent/src/machine/",
];

/// What floors 0 to 2 may not name, and why.
const BANNED: &[(&str, &str)] = &[
    ("SystemTime", "time arrives inside commands, stamped by the proposer"),
    ("Instant::now", "time is an input"),
    ("HashMap", "its order differs by process; use BTreeMap"),
    ("HashSet", "its order differs by process; use BTreeSet"),
    ("std::thread", "machines are stepped, they do not run"),
    ("std::fs", "files belong to adapters"),
    ("async fn", "machines do not wait"),
    ("getrandom", "random numbers are inputs"),
    ("tracing::", "the shell logs the effects that it obeys"),
    ("println!", "the shell speaks"),
];

/// Who may do what only one place should: text, files in which it may stand, why.
const DOORS: &[(&str, &[&str], &str)] = &[
    (".propose(&mut self.node", &["scheduler/src/consensus/"], "only the replica adds to the log"),
    (
        "proto::v1",
        &[
            "proto/",
            "scheduler/src/api/",
            "scheduler/src/consensus/",
            "agent/src/",
            "cli/src/",
            "bench/",
        ],
        "wire types stay at the edge",
    ),
];

/// Checks one file.
pub fn check(name: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |line: usize, what: String| {
        findings.push(Finding { place: format!("{name}:{line}"), what });
    };
    if !text.starts_with("//!") {
        find(1, "does not begin with a sentence on what it is; add a `//!` line".into());
    }
    let count = text.lines().count();
    if count > FILE_MAX {
        find(count, format!("has {count} lines, {FILE_MAX} are the most; split it"));
    }
    let own = name.starts_with("xtask/");
    let tests = tests_start(name, text);
    for (at, line) in text.lines().enumerate() {
        let is_test = at >= tests;
        let words = ["TO".to_owned() + "DO", "FIX".to_owned() + "ME"];
        if words.iter().any(|word| line.contains(word.as_str())) {
            find(at + 1, "leaves something open; do it, or file an issue".into());
        }
        if own || is_test || line.trim_start().starts_with("//") {
            continue;
        }
        for (word, why) in banned(name) {
            if line.contains(word) {
                find(at + 1, format!("`{word}` on a pure floor: {why}"));
            }
        }
        for (text, places, why) in DOORS {
            if line.contains(text) && !places.iter().any(|place| name.starts_with(place)) {
                find(at + 1, format!("`{text}` does not belong here: {why}"));
            }
        }
    }
    for (line, length) in long_functions(text, tests) {
        find(line, format!("function of {length} lines, {FUNCTION_MAX} are the most; split it"));
    }
    findings
}

fn banned(name: &str) -> &'static [(&'static str, &'static str)] {
    if PURE.iter().any(|folder| name.starts_with(folder)) { BANNED } else { &[] }
}

/// The line from which on a file is tests.
fn tests_start(name: &str, text: &str) -> usize {
    let stem = name.rsplit('/').next().unwrap_or(name);
    let test_file = name.contains("/tests/")
        || stem.ends_with("_test.rs")
        || matches!(stem, "laws.rs" | "stories.rs" | "script.rs" | "testing.rs");
    if test_file {
        return 0;
    }
    text.lines().position(|line| line.starts_with("#[cfg(test)]")).unwrap_or(usize::MAX)
}

/// Functions that are too long, in formatted code: from `fn` to the brace at its own depth.
fn long_functions(text: &str, tests: usize) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut long = Vec::new();
    for (at, line) in lines.iter().enumerate().take_while(|(at, _)| *at < tests) {
        let code = line.trim_start();
        let starts = code.starts_with("fn ")
            || code.starts_with("pub") && code.contains("fn ")
            || code.starts_with("async fn ");
        if !starts || code.ends_with(';') {
            continue;
        }
        let depth = line.len() - code.len();
        let close = format!("{}}}", " ".repeat(depth));
        let end = lines[at..].iter().position(|line| *line == close);
        if let Some(length) = end.map(|end| end + 1)
            && length > FUNCTION_MAX
        {
            long.push((at + 1, length));
        }
    }
    long
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(name: &str, text: &str) -> String {
        let all: Vec<_> = check(name, text).into_iter().map(|found| found.what).collect();
        all.join("\n")
    }

    #[test]
    fn each_rule_finds_what_breaks_it() {
        let good = "//! A file.\nfn short() {\n}\n";
        assert_eq!(whats("domain/src/a.rs", good), "");
        assert!(whats("a.rs", "fn a() {}\n").contains("sentence"));
        let long = format!("//! A.\n{}", "\n".repeat(600));
        assert!(whats("a.rs", &long).contains("601"), "{}", whats("a.rs", &long));
        let function = format!("//! A.\nfn a() {{\n{}}}\n", "    b();\n".repeat(70));
        assert!(whats("a.rs", &function).contains("function of 72 lines"));
        let clock = "//! A.\nfn a() { SystemTime::now(); }\n";
        assert!(whats("scheduler/src/state/a.rs", clock).contains("SystemTime"));
        assert_eq!(whats("scheduler/src/api/a.rs", clock), "");
        let wire = "//! A.\nuse proto::v1::Job;\n";
        assert!(whats("scheduler/src/state/a.rs", wire).contains("edge"));
        assert!(whats("a.rs", &format!("//! A.\n// {}DO\n", "TO")).contains("open"));
    }
}
