//! Where in which bucket: `s3://bucket/prefix`.

use std::{fmt, str::FromStr};

/// A bucket, and a prefix of all names in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The bucket.
    pub bucket: String,
    /// What all names begin with, without a slash at its end; empty for none.
    pub prefix: String,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("`{text}` names no bucket; write it like `s3://bucket/prefix`");
        let (bucket, prefix) = match text.strip_prefix("s3://").ok_or_else(fault)? {
            rest if rest.contains('/') => rest.split_once('/').ok_or_else(fault)?,
            bucket => (bucket, ""),
        };
        let plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        let named = (3..=63).contains(&bucket.len()) && bucket.bytes().all(plain);
        let prefix = prefix.trim_end_matches('/');
        let inside =
            prefix.is_empty() || prefix.split('/').all(|it| !matches!(it, "" | "." | ".."));
        match named && inside {
            true => Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() }),
            false => Err(fault()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "s3://{}{slash}{}", self.bucket, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_bucket_and_a_prefix_and_nothing_else() {
        let shown = |text: &str| text.parse::<Place>().map(|it| it.to_string());
        assert_eq!(shown("s3://backups/assay/").as_deref(), Ok("s3://backups/assay"));
        assert_eq!(shown("s3://backups").as_deref(), Ok("s3://backups"));
        for text in ["backups", "s3://", "s3://No", "s3://a/b", "s3://abc/../d", "s3://abc//d"] {
            assert!(shown(text).is_err(), "{text}");
        }
    }
}
