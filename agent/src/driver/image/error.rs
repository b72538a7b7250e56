//! Why an image cannot be had.

use domain::{image::ImageRef, job::EndCause};
use std::path::PathBuf;

/// Longest part of podman's own words that is passed on.
const WORDS_MAX: usize = 400;

/// An image that cannot be had on this node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// The registry does not have it.
    #[error(
        "image `{image}` is not in its registry, or not for this node to read ({words}); check the \
         digest with `skopeo inspect docker://{image}`, and log in with `podman login`"
    )]
    Unknown {
        /// The image.
        image: ImageRef,
        /// What podman said.
        words: String,
    },
    /// It is in no registry, and nobody loaded it.
    #[error(
        "image `{image}` was not loaded into this node; `podman load` it there, or put its archive \
         into the agent's `archives` as {}.tar",
        image.digest()
    )]
    NotHere {
        /// The image.
        image: ImageRef,
    },
    /// No registry answers.
    #[error(
        "the registry of image `{image}` does not answer ({words}); check the node's network and \
         proxy, or load the image by hand"
    )]
    NoRegistry {
        /// The image.
        image: ImageRef,
        /// What podman said.
        words: String,
    },
    /// The disk has no room for it.
    #[error("no room for image `{image}` ({words}); `podman image prune` makes some")]
    NoRoom {
        /// The image.
        image: ImageRef,
        /// What podman said.
        words: String,
    },
    /// What came is not what was asked for.
    #[error(
        "what came as image `{image}` has another digest; fetch it anew from where it was made"
    )]
    Other {
        /// The image.
        image: ImageRef,
    },
    /// It did not come in time.
    #[error("image `{image}` did not come within {seconds} s; load it by hand with `podman pull`")]
    Late {
        /// The image.
        image: ImageRef,
        /// The time it had.
        seconds: u64,
    },
    /// Podman says it is mounted, and nothing is there.
    #[error(
        "image `{image}` is not mounted at `{}`; see `podman image mount`, and whether the agent's \
         unit has mounts of its own",
        root.display()
    )]
    Mount {
        /// The image.
        image: ImageRef,
        /// Where it should be.
        root: PathBuf,
    },
    /// Anything else that podman says.
    #[error("podman cannot {what} image `{image}`: {words}")]
    Podman {
        /// What was asked.
        what: &'static str,
        /// The image.
        image: ImageRef,
        /// What podman said.
        words: String,
    },
}

impl ImageError {
    /// The meaning of what podman said on its standard error.
    pub(super) fn told(what: &'static str, image: &ImageRef, stderr: &str) -> Self {
        let image = image.clone();
        let words = words(stderr);
        let low = stderr.to_lowercase();
        let says = |all: &[&str]| all.iter().any(|one| low.contains(one));
        if says(&["no space left", "disk quota exceeded"]) {
            return Self::NoRoom { image, words };
        }
        if says(&["manifest unknown", "name unknown", "not found", "unauthorized", "denied"]) {
            return Self::Unknown { image, words };
        }
        let network = [
            "no such host",
            "connection refused",
            "i/o timeout",
            "network is unreachable",
            "tls handshake",
            "server misbehaving",
            "no route to host",
            "connection reset",
            "http response to https client",
            "unexpected eof",
            "x509",
            "503",
            "502",
            "500 internal",
        ];
        if says(&network) {
            return Self::NoRegistry { image, words };
        }
        Self::Podman { what, image, words }
    }
}

/// The last line that says something, without ends of lines.
fn words(stderr: &str) -> String {
    let line = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no word");
    let line = line.trim().trim_start_matches("Error: ");
    line.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect()
}

impl From<ImageError> for EndCause {
    fn from(fault: ImageError) -> Self {
        let detail = fault.to_string();
        match fault {
            ImageError::NoRoom { .. } => Self::DiskFull { detail },
            ImageError::Unknown { .. }
            | ImageError::NotHere { .. }
            | ImageError::NoRegistry { .. }
            | ImageError::Other { .. }
            | ImageError::Late { .. }
            | ImageError::Mount { .. }
            | ImageError::Podman { .. } => Self::Prepare { detail },
        }
    }
}
