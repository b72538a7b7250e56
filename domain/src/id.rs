//! The one registry of ids; each prints the way it is typed.

use borsh::{BorshDeserialize, BorshSerialize};
use std::{fmt, str::FromStr};

/// A text that is not an id of the wanted kind.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {kind}; write it like `{example}`")]
pub struct IdError {
    /// What was given.
    pub text: String,
    /// What was wanted.
    pub kind: &'static str,
    /// One that would do.
    pub example: &'static str,
}

/// What prints and is stored the way it is typed.
macro_rules! text_serde {
    ($name:ident) => {
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(input)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use text_serde;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($inner:ty) = $prefix:literal, $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
                 BorshSerialize, BorshDeserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix($prefix)
                    .and_then(|number| number.parse().ok())
                    .map(Self)
                    .ok_or_else(|| IdError {
                        text: text.to_owned(),
                        kind: $kind,
                        example: concat!($prefix, "7"),
                    })
            }
        }
        text_serde!($name);
    )*};
}

ids! {
    /// A sealed result in the registry.
    ArtifactId(u64) = "a", "an artifact id";
    /// The number of one placement of a gang, from 1.
    AttemptNo(u32) = "#", "an attempt number";
    /// A check of a machine's bits. Never reused.
    CheckId(u64) = "c", "a check id";
    /// A time for which a model drifts. Never reused.
    EpisodeId(u64) = "e", "an episode id";
    /// A user's request to run work. Never reused, even after the job is forgotten.
    JobId(u64) = "j", "a job id";
    /// A machine with an agent.
    NodeId(u32) = "n", "a node id";
    /// A version of a model on its way to a stage. Never reused.
    PromotionId(u64) = "p", "a promotion id";
    /// A server of the replicated log. Never reused, even after it has left.
    ReplicaId(u64) = "r", "a server id";
}

/// One unit of work that is placed: a whole job, or one element of an array.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct ElementId {
    /// The job.
    pub job: JobId,
    /// The element's number in the array, if the job is one.
    pub index: Option<u32>,
}

impl From<JobId> for ElementId {
    fn from(job: JobId) -> Self {
        Self { job, index: None }
    }
}

impl fmt::Display for ElementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            None => write!(f, "{}", self.job),
            Some(index) => write!(f, "{}[{index}]", self.job),
        }
    }
}

impl FromStr for ElementId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let fault = || IdError {
            text: text.to_owned(),
            kind: "a job or an array element",
            example: "j7[3]",
        };
        match text.split_once('[') {
            None => Ok(Self { job: text.parse().map_err(|_| fault())?, index: None }),
            Some((job, rest)) => {
                let index =
                    rest.strip_suffix(']').and_then(|n| n.parse().ok()).ok_or_else(fault)?;
                Ok(Self { job: job.parse().map_err(|_| fault())?, index: Some(index) })
            }
        }
    }
}

/// The right of one attempt to use named GPUs, numbered by the log entry that granted it.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct LeaseId {
    /// The log index of the grant.
    pub index: u64,
    /// The place among the grants of that entry.
    pub ordinal: u32,
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "l{}.{}", self.index, self.ordinal)
    }
}

impl FromStr for LeaseId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.strip_prefix('l')
            .and_then(|rest| rest.split_once('.'))
            .and_then(|(index, ordinal)| {
                Some(Self { index: index.parse().ok()?, ordinal: ordinal.parse().ok()? })
            })
            .ok_or_else(|| IdError { text: text.to_owned(), kind: "a lease id", example: "l42.0" })
    }
}

/// A client's name for one mutating request, so that a retry has no second effect.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct RequestKey(pub [u8; 16]);

impl fmt::Display for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for RequestKey {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| IdError {
            text: text.to_owned(),
            kind: "a request key",
            example: "00112233445566778899aabbccddeeff",
        })?;
        Ok(Self(bytes))
    }
}

text_serde!(ElementId);
text_serde!(LeaseId);
text_serde!(RequestKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_the_way_they_are_typed() {
        for text in ["j7", "j10[17]"] {
            assert_eq!(text.parse::<ElementId>().unwrap().to_string(), text);
        }
        assert_eq!("l42.3".parse::<LeaseId>().unwrap().to_string(), "l42.3");
        assert_eq!("n3".parse(), Ok(NodeId(3)));
        assert_eq!(
            "x".parse::<JobId>().unwrap_err().to_string(),
            "`x` is not a job id; write it like `j7`"
        );
        assert!("j1[".parse::<ElementId>().is_err());
    }
}
