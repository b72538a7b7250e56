//! Shapes that several bodies share, with the platform's names.

use super::{fault::Fault, input::Scalar};
use domain::{Decimal, model::check_family};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A data set as a body names it.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DatasetRef)]
pub struct NamedDataset {
    /// `reviews`, or `reviews@3`.
    #[serde(rename = "datasetId")]
    #[schema(pattern = "^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}(@[1-9][0-9]{0,14})?$")]
    pub dataset: String,
    /// SHA-256 of the stored tree, in hex.
    #[serde(default)]
    #[schema(pattern = "^(sha256:)?[0-9a-f]{64}$")]
    pub checksum: Option<String>,
    /// Its version, where the id does not say.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 999_999_999_999_999_u64)]
    pub version: Option<u64>,
}

impl NamedDataset {
    /// The word that the registry takes: `reviews@3`, or `reviews` for the newest.
    ///
    /// # Errors
    /// When id and version name two versions.
    pub fn word(&self) -> Result<String, Fault> {
        match (self.dataset.split_once('@'), self.version) {
            (Some((_, named)), Some(version)) if named != version.to_string() => {
                let why = format!("`{}` is not version {version}", self.dataset);
                Err(Fault::unfit(why, "name the version once"))
            }
            (None, Some(version)) => Ok(format!("{}@{version}", self.dataset)),
            _ => Ok(self.dataset.clone()),
        }
    }

    /// Refuses a checksum that is not the recorded one.
    ///
    /// # Errors
    /// When one is given and differs.
    pub fn check(&self, tree: &domain::Digest) -> Result<(), Fault> {
        same("checksum", self.checksum.as_deref().map(bare), &tree.to_string())
    }
}

/// Refuses a number that is outside of what the document allows.
///
/// # Errors
/// When one is given and is outside.
pub fn range(field: &str, given: Option<u64>, least: u64, most: u64) -> Result<(), Fault> {
    match given {
        Some(number) if !(least..=most).contains(&number) => {
            let why = format!("`{field}` is {number}");
            Err(Fault::malformed("invalid_body", why, &format!("give {least} to {most}")))
        }
        _ => Ok(()),
    }
}

/// Refuses a text or a list that is longer than the document allows.
///
/// # Errors
/// When it is empty where it may not be, or too long.
pub fn length(field: &str, given: usize, least: usize, most: usize) -> Result<(), Fault> {
    if (least..=most).contains(&given) {
        return Ok(());
    }
    let why = format!("`{field}` has the length {given}");
    Err(Fault::malformed("invalid_body", why, &format!("give {least} to {most}")))
}

/// Refuses a name that nothing may have.
///
/// # Errors
/// When it breaks a rule of names.
pub fn name(field: &str, given: &str) -> Result<(), Fault> {
    check_family(given)
        .map_err(|fault| Fault::malformed("invalid_body", format!("{field}: {fault}"), "rename it"))
}

/// A digest without the word for its kind.
#[must_use]
pub fn bare(text: &str) -> &str {
    text.strip_prefix("sha256:").unwrap_or(text)
}

/// Refuses a claim that differs from the record.
///
/// # Errors
/// When it is given and differs.
pub fn same(field: &str, claimed: Option<&str>, recorded: &str) -> Result<(), Fault> {
    match claimed {
        Some(claimed) if claimed != recorded => {
            let why = format!("`{field}` is `{claimed}`, recorded is `{recorded}`");
            Err(Fault::mismatch(why, "the record is what ran: leave the field out, or correct it"))
        }
        _ => Ok(()),
    }
}

/// Metrics as decimal texts.
///
/// # Errors
/// When one is no decimal number.
pub fn decimals(metrics: BTreeMap<String, Scalar>) -> Result<BTreeMap<String, String>, Fault> {
    let decimal = |(name, value): (String, Scalar)| {
        let text = value.to_string();
        match Decimal::of_number(&text) {
            Ok(number) => Ok((name, number.to_string())),
            Err(fault) => {
                let why = format!("metric `{name}`: {fault}");
                Err(Fault::unfit(why, "give a decimal number, or its text"))
            }
        }
    };
    metrics.into_iter().map(decimal).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(dataset: &str, version: Option<u64>) -> NamedDataset {
        NamedDataset { dataset: dataset.into(), checksum: None, version }
    }

    #[test]
    fn a_data_set_is_named_by_one_version_at_most() {
        assert_eq!(named("reviews", None).word().ok().unwrap(), "reviews");
        assert_eq!(named("reviews", Some(3)).word().ok().unwrap(), "reviews@3");
        assert_eq!(named("reviews@3", Some(3)).word().ok().unwrap(), "reviews@3");
        assert!(named("reviews@3", Some(4)).word().is_err());
    }

    #[test]
    fn what_the_document_bounds_is_bounded() {
        assert!(range("tasks", Some(0), 1, 4).is_err() && range("tasks", Some(5), 1, 4).is_err());
        assert!(range("tasks", None, 1, 4).is_ok() && range("tasks", Some(4), 1, 4).is_ok());
        assert!(length("command", 0, 1, 2).is_err() && length("command", 2, 1, 2).is_ok());
        assert!(name("family", "A B").is_err() && name("family", "digits").is_ok());
    }

    #[test]
    fn a_claim_that_differs_from_the_record_is_refused() {
        assert!(same("codeRef", None, "x").is_ok() && same("codeRef", Some("x"), "x").is_ok());
        assert!(same("codeRef", Some("y"), "x").is_err());
    }
}
