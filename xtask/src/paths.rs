//! The paths that a file names, from the root of the crate in which they lie.

/// A path that stands in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// The line, from 0.
    pub line: usize,
    /// As a place in the repository: `scheduler/src/state/view`.
    pub place: String,
}

/// A word or a sign of code, with its line.
type Token<'a> = (usize, &'a str);

/// The place of a file, as paths name it: without `.rs`, `mod` and `lib`.
pub fn place_of(file: &str) -> &str {
    let place = file.strip_suffix(".rs").unwrap_or(file);
    ["/mod", "/lib", "/main"].iter().find_map(|end| place.strip_suffix(end)).unwrap_or(place)
}

/// All paths in a file's code that begin with `crate`, `self`, `super` or one of our crates.
pub fn named(file: &str, code: &str, crates: &[String]) -> Vec<Named> {
    let tokens = tokens(code);
    let own: Vec<&str> = place_of(file).split('/').filter(|part| *part != "src").collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if !is_word(tokens[at].1) || tokens.get(at + 1).map(|token| token.1) != Some("::") {
            at += 1;
            continue;
        }
        let mut trees = Vec::new();
        at = tree(&tokens, at, &[], &mut trees).max(at + 1);
        for (line, path) in trees {
            found.extend(resolve(&own, &path, crates).map(|place| Named { line, place }));
        }
    }
    found
}

fn is_word(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    for (line, text) in code.lines().enumerate() {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let in_word = |each: char| each.is_alphanumeric() || each == '_';
            let length = match first {
                first if in_word(first) => rest.find(|each| !in_word(each)).unwrap_or(rest.len()),
                ':' if rest.starts_with("::") => 2,
                first => first.len_utf8(),
            };
            found.push((line, &rest[..length]));
            rest = rest[length..].trim_start();
        }
    }
    found
}

/// Reads one path with all that branches off it. Returns where it ends.
fn tree<'a>(
    tokens: &[Token<'a>],
    mut at: usize,
    before: &[&'a str],
    found: &mut Vec<(usize, Vec<&'a str>)>,
) -> usize {
    let mut path = before.to_vec();
    let sign = |at: usize| tokens.get(at).map_or("", |token| token.1);
    let line = tokens.get(at).map_or(0, |token| token.0);
    while is_word(sign(at)) {
        path.push(sign(at));
        at += 1;
        if sign(at) != "::" {
            break;
        }
        at += 1;
        if sign(at) == "{" {
            at += 1;
            while !matches!(sign(at), "}" | "") {
                at = tree(tokens, at, &path, found);
                // `as name`, `*`, a comma.
                while !matches!(sign(at), "," | "}" | "") {
                    at += 1;
                }
                at += usize::from(sign(at) == ",");
            }
            return at + 1;
        }
    }
    found.push((line, path));
    at
}

/// The place that a path leads to, if it is one of ours.
fn resolve(own: &[&str], path: &[&str], crates: &[String]) -> Option<String> {
    let (first, rest) = path.split_first()?;
    let ups = path.iter().take_while(|part| **part == "super").count();
    let mut full: Vec<&str> = match *first {
        "crate" => vec![own.first()?],
        "self" => own.to_vec(),
        "super" => own.get(..own.len().checked_sub(ups)?)?.to_vec(),
        name if crates.iter().any(|each| each == name) => vec![name],
        _ => return None,
    };
    full.extend(rest.iter().filter(|part| !matches!(**part, "super" | "self")));
    let (crate_name, inside) = full.split_first()?;
    Some(format!("{crate_name}/src/{}", inside.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_name_a_place_is_read() {
        let crates = ["registry".to_owned(), "domain".to_owned()];
        let code = "use crate::{api::{self, rest as r}, state::*};\nuse super::super::b::C;\n\
                    use std::{domain::x};\nfn f(a: registry::seal::walk::Tree) { self::g() }\n";
        let found = named("scheduler/src/state/view/mod.rs", code, &crates);
        let places: Vec<_> = found.iter().map(|it| (it.line, it.place.as_str())).collect();
        let wanted = [
            (0, "scheduler/src/api"),
            (0, "scheduler/src/api/rest"),
            (0, "scheduler/src/state"),
            (1, "scheduler/src/b/C"),
            (3, "registry/src/seal/walk/Tree"),
            (3, "scheduler/src/state/view/g"),
        ];
        assert_eq!(places, wanted);
    }
}
