//! How users name jobs and artifacts.

use domain::{ArtifactId, ElementId, JobId};
use std::{fmt, str::FromStr};

/// One word that names jobs, or an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// `j7`, `j7[3]`.
    Element(ElementId),
    /// `j10-j20`, both included.
    Range(JobId, JobId),
    /// `last`: the newest job of whoever asks.
    Last,
    /// `name=train`: every job of that name.
    Name(String),
    /// `a3`.
    Artifact(ArtifactId),
}

/// A word that names nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// It has none of the forms.
    #[error("`{0}` names nothing; write `j7`, `j7[3]`, `j10-j20`, `last`, `name=TEXT` or `a3`")]
    Form(String),
    /// It ends before it begins.
    #[error("`{0}` ends before it begins; write the smaller job first")]
    Backwards(String),
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let fault = || SelectorError::Form(text.to_owned());
        if text == "last" {
            return Ok(Self::Last);
        }
        if let Some(name) = text.strip_prefix("name=") {
            return if name.is_empty() { Err(fault()) } else { Ok(Self::Name(name.into())) };
        }
        if let Ok(id) = text.parse::<ArtifactId>() {
            return Ok(Self::Artifact(id));
        }
        if let Some((first, last)) = text.split_once('-') {
            let first: JobId = first.parse().map_err(|_| fault())?;
            let last: JobId = last.parse().map_err(|_| fault())?;
            let backwards = first > last;
            return if backwards {
                Err(SelectorError::Backwards(text.into()))
            } else {
                Ok(Self::Range(first, last))
            };
        }
        text.parse().map(Self::Element).map_err(|_| fault())
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Element(id) => write!(f, "{id}"),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
            Self::Last => f.write_str("last"),
            Self::Name(name) => write!(f, "name={name}"),
            Self::Artifact(id) => write!(f, "{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_print_the_way_they_are_typed() {
        for text in ["j7", "j7[3]", "j10-j20", "last", "name=train x", "a3"] {
            assert_eq!(text.parse::<Selector>().unwrap().to_string(), text);
        }
        for text in ["", "7", "name=", "j", "j1-", "b3", "j1-n2"] {
            assert_eq!(text.parse::<Selector>(), Err(SelectorError::Form(text.into())));
        }
        assert!(matches!("j9-j2".parse::<Selector>(), Err(SelectorError::Backwards(_))));
    }
}
