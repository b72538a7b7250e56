//! What a scan found.

use serde::Serialize;
use std::collections::BTreeMap;

/// The detector's name, as it is recorded.
pub const DETECTOR: &str = "assay-pii";
/// Its version: raised whenever it would find something else in the same bytes.
pub const VERSION: u32 = 2;
/// Findings that are listed; all are counted.
const LISTED_MAX: usize = 1_000;

/// A kind of personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An address of e-mail.
    Email,
    /// An international bank account number whose check digits hold (ISO 13616).
    Iban,
    /// An IPv4 or IPv6 address.
    IpAddress,
    /// A payment card's number whose check digit holds (ISO/IEC 7812).
    PaymentCard,
    /// A telephone number, international or North American.
    Phone,
    /// A social security number of the United States.
    UsSsn,
}

impl Kind {
    /// Its one word, as documents have it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Iban => "iban",
            Self::IpAddress => "ip_address",
            Self::PaymentCard => "payment_card",
            Self::Phone => "phone",
            Self::UsSsn => "us_ssn",
        }
    }
}

/// Where something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Of its first byte, from 0.
    pub offset: u64,
    /// In bytes.
    pub length: u64,
    /// What it is.
    pub kind: Kind,
}

/// What a scan found, and with what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The detector.
    pub detector: &'static str,
    /// Its version.
    pub detector_version: u32,
    /// Bytes that were scanned.
    pub scanned_bytes: u64,
    /// How many of each kind.
    pub counts: BTreeMap<Kind, u64>,
    /// The first thousand, by place.
    pub findings: Vec<Finding>,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            detector: DETECTOR,
            detector_version: VERSION,
            scanned_bytes: 0,
            counts: BTreeMap::new(),
            findings: Vec::new(),
        }
    }
}

impl Report {
    /// Number of findings.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    pub(super) fn add(&mut self, finding: Finding) {
        *self.counts.entry(finding.kind).or_default() += 1;
        if self.findings.len() < LISTED_MAX {
            self.findings.push(finding);
        }
    }
}
