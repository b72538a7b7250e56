//! Secrets: read from a file or the environment, and never shown.

use crate::OpenError;
use std::{fmt, path::Path};

/// A secret that no log line and no message can hold.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl Secret {
    /// The first line of a file.
    pub(crate) fn read(what: &'static str, path: &Path) -> Result<Self, OpenError> {
        let fault = |why: String| OpenError::File { what, path: path.to_owned(), why };
        let text = std::fs::read_to_string(path).map_err(|why| fault(why.to_string()))?;
        match text.lines().next().map(str::trim) {
            Some(line) if !line.is_empty() => Ok(Self(line.to_owned())),
            _ => Err(fault("it is empty".into())),
        }
    }

    /// A variable of the environment.
    pub(crate) fn of_environment(name: &str) -> Option<Self> {
        std::env::var(name).ok().filter(|value| !value.is_empty()).map(Self)
    }

    /// What it is, for the one call that needs it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pin");
        std::fs::write(&path, "1234\n").unwrap();
        let secret = Secret::read("PIN", &path).unwrap();
        assert_eq!((secret.expose(), format!("{secret:?}").as_str()), ("1234", "(secret)"));
        std::fs::write(&path, "\n").unwrap();
        assert!(Secret::read("PIN", &path).is_err());
    }
}
