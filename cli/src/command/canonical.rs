//! `assay debug canonical`: the form of a JSON document over which digests are made.

use crate::{
    exit::Exit,
    fault::{Fault, Kind},
    output::Output,
};
use domain::Digest;
use registry::seal::canonical::{self, DOCUMENT_MAX, JsonFault, JsonReason};
use serde::Serialize;
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// A document's canonical form.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Canonical {
    /// RFC 8785.
    canonical: String,
    /// Of its bytes.
    sha256: Digest,
    /// How many they are.
    size: u64,
}

/// `assay debug canonical`.
///
/// # Errors
/// When the document cannot be read, or has no canonical form.
pub fn run(output: &Output, file: &Path) -> Result<Exit, Fault> {
    let found = of(&read(file)?).map_err(|fault| refused(file, &fault))?;
    let text = format!("{}\nsha256 {}\n", found.canonical, found.sha256);
    output.show("canonical", &found, |_| text)?;
    Ok(Exit::Ok)
}

/// Reads one byte more than a document may have, so that a larger one is seen to be.
fn read(file: &Path) -> Result<Vec<u8>, Fault> {
    let source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(file).map_err(|fault| Fault::file(file, &fault))?)
    };
    let mut bytes = Vec::new();
    let limited = source.take(DOCUMENT_MAX as u64 + 1).read_to_end(&mut bytes);
    limited.map_err(|fault| Fault::file(file, &fault))?;
    Ok(bytes)
}

fn of(bytes: &[u8]) -> Result<Canonical, JsonFault> {
    let value = canonical::parse_bytes(bytes)?;
    let canonical = canonical::to_string(&value).expect("what was parsed has a canonical form");
    let sha256 = Digest::of(canonical.as_bytes());
    Ok(Canonical { size: canonical.len() as u64, sha256, canonical })
}

fn refused(file: &Path, fault: &JsonFault) -> Fault {
    let kind = match fault.reason {
        JsonReason::Syntax { .. } | JsonReason::NotUtf8 => Kind::Usage,
        JsonReason::TooLarge { .. }
        | JsonReason::TooDeep
        | JsonReason::Integer { .. }
        | JsonReason::NotFinite { .. }
        | JsonReason::LoneSurrogate { .. }
        | JsonReason::DuplicateKey { .. } => Kind::Refused,
    };
    let place = format!("{}:{}:{}", file.display(), fault.line, fault.column);
    Fault::new(kind, fault.reason.word(), format!("{place}: {}", fault.reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::stable;
    use expect_test::expect;

    #[test]
    fn a_document_has_one_form_and_one_digest() {
        let found = of(b"{ \"b\" : 1.0, \"a\" : [1e2, -0, \"\\u00e9\"] }").unwrap();
        insta::assert_json_snapshot!("canonical.json", stable::document("canonical", &found));
    }

    #[test]
    fn a_refusal_names_place_reason_and_remedy() {
        let fault = of(b"{\"n\":\n 9007199254740993}").unwrap_err();
        let fault = refused(Path::new("a.json"), &fault);
        assert_eq!((fault.code, fault.reason.as_str()), (Kind::Refused, "integer_beyond_2_53"));
        expect![[
            "a.json:2:2: integer 9007199254740993 is beyond 2^53 - 1, some readers round it; \
             send it as a string"
        ]]
        .assert_eq(&fault.detail);
        let fault = refused(Path::new("-"), &of(b"[1,").unwrap_err());
        assert_eq!(fault.code, Kind::Usage);
    }
}
