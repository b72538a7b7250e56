//! The code of a file: comments, texts and tests taken out, lines left where they are.

/// The file without what only people read: comments, and what stands within quotes, as blanks.
pub fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = out.ends_with(|last: char| last.is_alphanumeric() || last == '_');
        match hidden(rest, word) {
            0 => {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
            length => {
                let blank = |each: char| if each == '\n' { '\n' } else { ' ' };
                out.extend(rest[..length].chars().map(blank));
                rest = &rest[length..];
            }
        }
    }
    out
}

/// Bytes at the start of `rest` that are no code. `word`: a name ends right before.
fn hidden(rest: &str, word: bool) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return comment(rest);
    }
    let begin = ["br", "cr", "r"].into_iter().find(|begin| !word && rest.starts_with(begin));
    if let Some(raw) = begin.and_then(|begin| raw(rest, begin.len())) {
        return raw;
    }
    match rest.as_bytes() {
        [b'"', ..] => quoted(rest),
        [b'\'', b'\\', ..] => rest[2..].find('\'').map_or(0, |end| {
            // The escaped character may itself be a quote.
            if end == 0 { rest[3..].find('\'').map_or(0, |end| end + 4) } else { end + 3 }
        }),
        [b'\'', ..] => {
            let third = rest.char_indices().nth(2);
            third.filter(|(_, last)| *last == '\'').map_or(0, |(at, _)| at + 1)
        }
        _ => 0,
    }
}

/// A comment that may hold others.
fn comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

/// A raw text, past its prefix of `begin` bytes.
fn raw(rest: &str, begin: usize) -> Option<usize> {
    let hashes = rest[begin..].bytes().take_while(|byte| *byte == b'#').count();
    let body = begin + hashes + 1;
    if rest.as_bytes().get(body - 1) != Some(&b'"') {
        return None;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    Some(rest[body..].find(&end).map_or(rest.len(), |at| body + at + end.len()))
}

fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !escaped => return at + 1,
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    rest.len()
}

/// Which lines of `code` are tests: the items that are built for tests alone.
pub fn test_lines(name: &str, code: &str) -> Vec<bool> {
    let lines: Vec<&str> = code.lines().collect();
    let mut tests = vec![is_test_file(name); lines.len()];
    for (at, line) in lines.iter().enumerate() {
        if line.trim() != "#[cfg(test)]" {
            continue;
        }
        let depth = line.len() - line.trim_start().len();
        let close = format!("{}}}", " ".repeat(depth));
        let closes = |line: &str| {
            line.strip_prefix(&close).is_some_and(|rest| matches!(rest.trim(), "" | ";" | ","))
        };
        // Within braces a line may end like an item: the first that is no attribute decides.
        let first = lines[at + 1..].iter().position(|line| !line.trim_start().starts_with("#["));
        let first = at + 1 + first.unwrap_or(0);
        let braces = lines.get(first).is_some_and(|line| line.trim_end().ends_with('{'));
        let end =
            lines.get(first..).unwrap_or_default().iter().position(|line| {
                closes(line) || !braces && line.trim_end().ends_with([';', ',', '}'])
            });
        let end = end.map_or(lines.len(), |end| first + end + 1);
        tests[at..end].fill(true);
    }
    tests
}

fn is_test_file(name: &str) -> bool {
    let stem = name.rsplit('/').next().unwrap_or(name);
    name.contains("/tests/")
        || stem.ends_with("_test.rs")
        || stem.ends_with("laws.rs")
        || matches!(stem, "stories.rs" | "check_stories.rs" | "script.rs" | "testing.rs")
        || stem == "tests.rs"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_people_read_is_no_code() {
        let text = "a(\"f64 \\\" f64\", 'x', '\\'', r#\"f64 \" f64\"#, b\"f64\"); // f64\n\
                    /* f64 /* f64 */\nf64 */ fn b<'a>(c: &'a str) {}\n";
        let code = code(text);
        assert!(!code.contains("f64"), "{code}");
        assert!(code.contains("fn b<'a>(c: &'a str) {}"), "{code}");
        assert_eq!(code.lines().count(), text.lines().count());
        assert!(super::code("for r in r\"x\" { hour\"x\" }").contains("for r in"));
    }

    #[test]
    fn what_follows_a_test_is_code_again() {
        let text = "#[cfg(test)]\nmod a_test;\nfn code() {}\n#[cfg(test)]\nmod tests {\n    \
                    use a::b;\n}\nfn more() {}\n";
        let tests = test_lines("domain/src/a.rs", text);
        assert_eq!(tests, [true, true, false, true, true, true, true, false]);
        assert_eq!(test_lines("domain/src/a_test.rs", "fn a() {}\n"), [true]);
    }
}
