//! Rules for one source file: size, first line, words, and what its floor may not use.

use crate::{
    Finding,
    doors::has_word,
    lexer::{code, test_lines},
};

/// Lines of a file at most.
const FILE_MAX: usize = 500;
/// Lines of a function at most.
const FUNCTION_MAX: usize = 60;

/// Why a word is banned from floors 0 to 2.
const CLOCK: &str = "time arrives inside commands, stamped by the proposer";
const CHANCE: &str = "random numbers are inputs";
const THREAD: &str = "machines are stepped, they do not run";
const LOCK: &str = "one owner steps a machine; nothing is shared, so nothing is locked";
const FILE: &str = "files belong to adapters";
const FLOAT: &str = "floats round as the machine likes; use integers or fixed point";
const WAIT: &str = "machines do not wait";
const VOICE: &str = "the shell speaks, of the effects that it obeys";

/// What floors 0 to 2 may not name, and why.
const BANNED: &[(&str, &str)] = &[
    ("SystemTime", CLOCK),
    ("Instant", CLOCK),
    ("clock_gettime", CLOCK),
    ("HashMap", "its order differs by process; use BTreeMap"),
    ("HashSet", "its order differs by process; use BTreeSet"),
    ("DefaultHasher", "its sums differ by release; use a digest"),
    ("std::thread", THREAD),
    ("thread::spawn", THREAD),
    ("thread_local!", THREAD),
    ("rayon", THREAD),
    ("tokio", THREAD),
    ("Mutex", LOCK),
    ("RwLock", LOCK),
    ("Condvar", LOCK),
    ("OnceLock", LOCK),
    ("LazyLock", LOCK),
    ("Atomic", LOCK),
    ("mpsc", LOCK),
    ("static mut", LOCK),
    ("std::fs", FILE),
    ("fs::", FILE),
    ("File::", FILE),
    ("OpenOptions", FILE),
    ("walkdir", FILE),
    ("rustix", FILE),
    ("std::env", "settings are inputs"),
    ("std::process", "processes belong to adapters"),
    ("TcpStream", "the network belongs to adapters"),
    ("UnixStream", "the network belongs to adapters"),
    ("async fn", WAIT),
    ("async move", WAIT),
    (".await", WAIT),
    ("getrandom", CHANCE),
    ("rand::", CHANCE),
    ("fastrand", CHANCE),
    ("thread_rng", CHANCE),
    ("RandomState", CHANCE),
    ("OsRng", CHANCE),
    ("SysRng", CHANCE),
    ("SystemRandom", CHANCE),
    ("libm", FLOAT),
    ("tracing::", VOICE),
    ("log::info", VOICE),
    ("println!", VOICE),
    ("eprintln!", VOICE),
    ("dbg!", VOICE),
];

/// Where a ban does not hold: reason of the ban, rooms, why not there.
///
/// Ruling 11 also lets planner scores be floats. None is: the first one needs a line here.
const ALLOWED: &[(&str, &[&str], &str)] = &[
    (
        FLOAT,
        &["registry/src/drift/"],
        "statistics of duties, with `libm` and a fixed order; they leave as fixed point",
    ),
    (
        FLOAT,
        &["registry/src/seal/canonical/"],
        "RFC 8785 defines numbers as doubles: they are read and written, never reckoned with",
    ),
    (
        THREAD,
        &["registry/src/seal/audit/payloads.rs", "registry/src/seal/audit/signatures.rs"],
        "checks a slice on all cores and takes the first fault in order: the same on any number",
    ),
];

/// Checks one file. `pure`: whether it stands on floors 0 to 2.
pub fn check(name: &str, text: &str, pure: bool) -> Vec<Finding> {
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
    let code = code(text);
    let tests = test_lines(name, &code);
    let open = ["TO".to_owned() + "DO", "FIX".to_owned() + "ME"];
    for (at, line) in text.lines().enumerate() {
        if open.iter().any(|word| line.contains(word.as_str())) {
            find(at + 1, "leaves something open; do it, or file an issue".into());
        }
    }
    for (at, line) in code.lines().enumerate().filter(|(at, _)| pure && !tests[*at]) {
        let mut ban = |word: &str, why: &str| {
            let free = |(what, rooms, _): &(&str, &[&str], &str)| {
                *what == why && rooms.iter().any(|room| name.starts_with(room))
            };
            if !ALLOWED.iter().any(free) {
                find(at + 1, format!("`{word}` on a pure floor: {why}"));
            }
        };
        for &(word, why) in BANNED.iter().filter(|(word, _)| has_word(line, word)) {
            ban(word, why);
        }
        if let Some(float) = float(line) {
            ban(float, FLOAT);
        }
    }
    for (line, length) in long_functions(text, &tests) {
        find(line, format!("function of {length} lines, {FUNCTION_MAX} are the most; split it"));
    }
    findings
}

/// A float's type or a float itself in a line of code.
fn float(line: &str) -> Option<&str> {
    if let Some(kind) = ["f32", "f64"].into_iter().find(|kind| line.contains(kind)) {
        return Some(kind);
    }
    let digit = |at: usize| line.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    line.match_indices('.').map(|(at, _)| at).find_map(|at| {
        let whole = line[..at].bytes().rev().take_while(|it| it.is_ascii_digit() || *it == b'_');
        let from = at - whole.count();
        // `pair.0.1` and `x1.0` are fields; `1..2` is a range.
        let field = line[..from].ends_with(|it: char| it == '.' || it.is_alphanumeric());
        (digit(from) && digit(at + 1) && !field).then(|| &line[from..at + 2])
    })
}

/// Functions that are too long, in formatted code: from `fn` to the brace at its own depth.
fn long_functions(text: &str, tests: &[bool]) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut long = Vec::new();
    for (at, line) in lines.iter().enumerate().filter(|(at, _)| !tests[*at]) {
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

    fn whats(pure: bool, text: &str) -> String {
        let all = check("domain/src/a.rs", text, pure).into_iter().map(|it| it.what);
        all.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn each_rule_finds_what_breaks_it() {
        let good = "//! A file.\nfn short() {\n}\n";
        assert_eq!(whats(true, good), "");
        assert!(whats(false, "fn a() {}\n").contains("sentence"));
        let long = format!("//! A.\n{}", "\n".repeat(600));
        assert!(whats(false, &long).contains("601"), "{}", whats(false, &long));
        let function = format!("//! A.\nfn a() {{\n{}}}\n", "    b();\n".repeat(70));
        assert!(whats(false, &function).contains("function of 72 lines"));
        assert!(whats(false, &format!("//! A.\n// {}DO\n", "TO")).contains("open"));
    }

    #[test]
    fn each_ban_finds_its_word_on_a_pure_floor_and_only_there() {
        for (word, why) in BANNED {
            let text = format!("//! A.\nfn a() {{ {word}; }}\n");
            assert!(whats(true, &text).contains(why), "{word}");
            assert_eq!(whats(false, &text), "", "{word}");
        }
        let words = "//! A.\nfn a() { operand::b(); let c = \"std::fs 0.5\"; } // Instant\n";
        assert_eq!(whats(true, words), "");
    }

    #[test]
    fn a_float_is_found_in_each_of_its_forms() {
        for text in ["a: f64", "a as f32", "b.as_secs_f64()", "1_f32", "let a = 0.5;", "(1.0, 2)"] {
            let found = whats(true, &format!("//! A.\nfn a() {{ {text} }}\n"));
            assert!(found.contains(FLOAT), "{text}");
        }
        for text in ["pair.0.1", "0..5", "x1.0", "1.max(2)", "a[1].0"] {
            assert_eq!(whats(true, &format!("//! A.\nfn a() {{ {text} }}\n")), "", "{text}");
        }
    }

    #[test]
    fn a_ban_is_lifted_by_room_and_for_its_own_reason_alone() {
        let text = "//! A.\nfn a(b: f64, c: Mutex) {}\n";
        let found = check("registry/src/drift/a.rs", text, true);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].what.contains("Mutex"));
    }

    #[test]
    fn a_test_module_in_the_middle_hides_nothing_after_it() {
        let text = "//! A.\n#[cfg(test)]\nmod b_test;\nuse std::sync::Mutex;\n";
        assert!(whats(true, text).contains("Mutex"));
        let text = "//! A.\n#[cfg(test)]\nmod tests {\n    use std::sync::Mutex;\n}\n";
        assert_eq!(whats(true, text), "");
    }
}
