//! What a framework says of itself from within the process, beside what it must say.
//!
//! The program writes one JSON object to the file that `ASSAY_IN_FORCE` names. It is the job's
//! own word: it is read with care, and it shows a job that meant well, not one that lies.

use super::dirs::LeaseDirs;
use domain::{framework::Framework, job::EndCause};
use rustix::fs::{Mode, OFlags};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// Longest report.
const REPORT_MAX: u64 = 64 << 10;

/// What a rank's framework answered: by name, as text.
pub type Answers = BTreeMap<String, String>;

/// Checks the answers of all of `ranks`.
///
/// # Errors
/// The first that is missing or differs.
pub fn check(
    framework: Option<Framework>,
    dirs: &LeaseDirs,
    ranks: &[u32],
) -> Result<(), EndCause> {
    ranks.iter().try_for_each(|rank| checked(framework, dirs, *rank).map(drop))
}

/// A rank's answers, which are what they must be. None where there is nothing to ask.
///
/// # Errors
/// The first that is missing or differs.
pub fn checked(
    framework: Option<Framework>,
    dirs: &LeaseDirs,
    rank: u32,
) -> Result<Option<Answers>, EndCause> {
    let Some(framework) = framework else { return Ok(None) };
    let drift = |name: &str, asked: String, found: String| EndCause::Drift {
        rank,
        name: name.to_owned(),
        asked,
        found,
    };
    let answers = match read(&dirs.answers(rank)) {
        Ok(answers) => answers,
        Err(why) if framework.answers().is_empty() && why.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(why) => {
            let asked = format!("a report of {} at $ASSAY_IN_FORCE", framework.word());
            return Err(drift("ASSAY_IN_FORCE", asked, why.to_string()));
        }
    };
    for must in framework.answers() {
        let found = answers.get(must.name).map_or("not in the report", String::as_str);
        if found != must.value {
            return Err(drift(must.name, must.value.into(), found.into()));
        }
    }
    Ok(Some(answers))
}

/// Reads a report: a plain file of one name, in a folder that the job may write to.
fn read(path: &Path) -> io::Result<Answers> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let meta = file.metadata()?;
    if !meta.is_file() || meta.nlink() != 1 || meta.len() > REPORT_MAX {
        return Err(io::Error::other("no plain file of at most 64 KiB"));
    }
    let mut text = String::new();
    file.take(REPORT_MAX).read_to_string(&mut text)?;
    let Ok(Value::Object(fields)) = serde_json::from_str(&text) else {
        return Err(io::Error::other("no JSON object"));
    };
    let word = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(fields.into_iter().map(|(name, value)| (name, word(value))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const RIGHT: &str = r#"{"blas_core": "Haswell", "threads": 1, "numpy": "2.4.6"}"#;

    fn asked(report: Option<&str>, framework: Framework) -> Result<Option<Answers>, String> {
        let root = tempfile::tempdir().unwrap();
        let dirs = LeaseDirs { root: root.path().join("l1.0") };
        dirs.create().unwrap();
        if let Some(text) = report {
            fs::write(dirs.answers(0), text).unwrap();
        }
        checked(Some(framework), &dirs, 0).map_err(|cause| cause.to_string())
    }

    #[test]
    fn an_answer_that_differs_is_named_with_both_values() {
        let all = asked(Some(RIGHT), Framework::ScikitLearn).unwrap().unwrap();
        assert_eq!(all["numpy"], "2.4.6", "what was not asked is kept for the record");
        let why = asked(Some(&RIGHT.replace('1', "8")), Framework::ScikitLearn).unwrap_err();
        assert!(why.contains("`threads` is `8` in rank 0, asked was `1`"), "{why}");
        let why = asked(Some("{}"), Framework::ScikitLearn).unwrap_err();
        assert!(why.contains("`blas_core` is `not in the report`"), "{why}");
    }

    #[test]
    fn a_framework_that_does_not_answer_is_no_success_where_it_was_asked() {
        let why = asked(None, Framework::Jax).unwrap_err();
        assert!(why.contains("a report of jax at $ASSAY_IN_FORCE"), "{why}");
        assert_eq!(asked(None, Framework::Cuda), Ok(None));
        assert!(asked(Some("[1]"), Framework::Cuda).is_err());
    }

    #[test]
    fn a_report_that_leads_elsewhere_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        let dirs = LeaseDirs { root: root.path().join("l1.0") };
        dirs.create().unwrap();
        let other = root.path().join("other");
        fs::write(&other, RIGHT).unwrap();
        std::os::unix::fs::symlink(&other, dirs.answers(0)).unwrap();
        assert!(checked(Some(Framework::ScikitLearn), &dirs, 0).is_err());
        fs::remove_file(dirs.answers(0)).unwrap();
        fs::hard_link(&other, dirs.answers(0)).unwrap();
        assert!(checked(Some(Framework::ScikitLearn), &dirs, 0).is_err());
    }
}
