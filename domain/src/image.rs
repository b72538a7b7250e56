//! The name of a container image: by digest, so that it is the same bytes tomorrow.

use crate::digest::Digest;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Longest name without its digest. Source: the distribution specification, names of 255 bytes.
const NAME_MAX: usize = 255;
/// What stands before a digest.
const SHA256: &str = "sha256:";

/// An image by repository and digest: `docker.io/library/python@sha256:...`.
#[derive(
    Clone,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    name: String,
    digest: Digest,
}

/// A text that names no image that stays the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// It names no digest: a tag, or nothing, which may be other bytes tomorrow.
    #[error(
        "`{0}` has no digest, and a tag may name other bytes tomorrow; `podman pull {0}` and \
         `podman image inspect --format '{{{{index .RepoDigests 0}}}}' {0}` tell what to write"
    )]
    Tag(String),
    /// A digest of another kind, or a broken one.
    #[error("`{0}` is no digest; write `@sha256:` and 64 hexadecimal digits")]
    Digest(String),
    /// The registry is left out, so that each node may look elsewhere.
    #[error(
        "`{0}` names no registry; write `docker.io/library/{0}`, or `localhost/{0}` for one that \
         was loaded into the nodes"
    )]
    Registry(String),
    /// A name that no registry takes.
    #[error("`{0}` is no name of an image; use lower case letters, digits, `.`, `_`, `-` and `/`")]
    Name(String),
}

impl ImageRef {
    /// Registry and repository.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of its manifest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether it is in no registry: what was loaded into a node.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.name.starts_with("localhost/")
    }
}

impl FromStr for ImageRef {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let text = text.strip_prefix("docker://").unwrap_or(text);
        let Some((name, digest)) = text.split_once('@') else {
            return Err(ImageError::Tag(text.to_owned()));
        };
        let hex = digest.strip_prefix(SHA256).and_then(|hex| hex.parse::<Digest>().ok());
        let digest = hex.ok_or_else(|| ImageError::Digest(digest.to_owned()))?;
        let (registry, path) =
            name.split_once('/').ok_or_else(|| ImageError::Registry(name.to_owned()))?;
        if !registry.contains(['.', ':']) && registry != "localhost" {
            return Err(ImageError::Registry(name.to_owned()));
        }
        // A tag beside the digest says nothing more: the digest decides.
        let path = path.rsplit_once(':').map_or(path, |(path, _)| path);
        let word = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-/".contains(&c);
        let host = |c: u8| c.is_ascii_alphanumeric() || b".:-".contains(&c);
        let good = !path.is_empty()
            && path.bytes().all(word)
            && path.split('/').all(|part| !part.is_empty() && !part.starts_with(['.', '-']))
            && !registry.starts_with('-')
            && registry.bytes().all(host)
            && name.len() <= NAME_MAX;
        match good {
            true => Ok(Self { name: format!("{registry}/{path}"), digest }),
            false => Err(ImageError::Name(name.to_owned())),
        }
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{SHA256}{}", self.name, self.digest)
    }
}

impl TryFrom<String> for ImageRef {
    type Error = ImageError;

    fn try_from(text: String) -> Result<Self, ImageError> {
        text.parse()
    }
}

impl From<ImageRef> for String {
    fn from(image: ImageRef) -> Self {
        image.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_named_by_registry_and_digest_alone() {
        let digest = Digest::of(b"manifest");
        let good = format!("docker.io/library/python@sha256:{digest}");
        let image: ImageRef = good.parse().unwrap();
        assert_eq!((image.to_string(), image.digest()), (good.clone(), digest));
        let tagged = format!("docker.io/library/python:3.12@sha256:{digest}");
        assert_eq!(tagged.parse::<ImageRef>().unwrap(), image);
        let local = format!("localhost/x@sha256:{digest}").parse::<ImageRef>().unwrap();
        assert!(local.is_local() && !image.is_local());
        let port = format!("registry:5000/a/b@sha256:{digest}");
        assert_eq!(port.parse::<ImageRef>().unwrap().name(), "registry:5000/a/b");
    }

    #[test]
    fn what_may_be_other_bytes_tomorrow_is_refused_with_what_to_do() {
        let digest = Digest::of(b"manifest");
        let table = [
            (
                "docker.io/library/python:3.12".to_owned(),
                "podman pull docker.io/library/python:3.12",
            ),
            ("python".to_owned(), "podman image inspect"),
            (format!("python@sha256:{digest}"), "write `docker.io/library/python`"),
            (format!("library/python@sha256:{digest}"), "names no registry"),
            ("docker.io/python@sha256:12".to_owned(), "64 hexadecimal digits"),
            (format!("docker.io/python@md5:{digest}"), "64 hexadecimal digits"),
            (format!("docker.io/Python@sha256:{digest}"), "use lower case"),
            (format!("docker.io/--help@sha256:{digest}"), "use lower case"),
            (format!("docker.io/a//b@sha256:{digest}"), "use lower case"),
        ];
        for (text, expected) in table {
            let told = text.parse::<ImageRef>().unwrap_err().to_string();
            assert!(told.contains(expected), "{text}: {told}");
        }
    }
}
