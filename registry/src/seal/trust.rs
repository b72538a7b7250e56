//! Whom a verifier trusts: bare public keys, or the cluster's keys with the times of their word.

use super::{bundle, keys};
use domain::{
    Millis,
    signing::{KeyPurpose, KeysView, SigningKey},
};
use std::collections::BTreeMap;

/// Keys that are trusted, and for when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Model keys' PEM texts by their id.
    models: BTreeMap<String, String>,
    /// All that is known of keys, where it is.
    known: Option<KeysView>,
    /// Certificates of authorities that vouch for nodes.
    authorities: Vec<String>,
}

/// The blocks of a text in PEM, each with LF and a trailing newline.
#[must_use]
pub fn pem_blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block = String::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("-----BEGIN") {
            block.clear();
        }
        block.push_str(line);
        block.push('\n');
        if line.starts_with("-----END") {
            blocks.push(std::mem::take(&mut block));
        }
    }
    blocks
}

impl Trust {
    /// Reads a file of keys: what `assay key list --json` prints, or public keys in PEM, with
    /// certificates of authorities among them.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim_start().starts_with('{') {
            let known = serde_json::from_str(text)
                .map_err(|fault| format!("no document of keys: {fault}"))?;
            return Ok(Self::of(known));
        }
        let (authorities, publics): (Vec<_>, Vec<_>) =
            pem_blocks(text).into_iter().partition(|pem| pem.contains("BEGIN CERTIFICATE"));
        if publics.is_empty() {
            return Err("it holds no public key in PEM and is no document of keys".into());
        }
        let models = publics.into_iter().map(|pem| (bundle::hint(&pem), pem)).collect();
        Ok(Self { models, known: None, authorities })
    }

    /// The keys of a cluster.
    #[must_use]
    pub fn of(known: KeysView) -> Self {
        let models = known.keys.iter().filter(|key| key.purpose == KeyPurpose::Model);
        let models = models.map(|key| (key.kid.clone(), key.public_pem.clone())).collect();
        let authorities = pem_blocks(&known.authority);
        Self { models, known: Some(known), authorities }
    }

    /// The PEM text of a model key.
    ///
    /// # Errors
    /// When it is not trusted.
    pub fn model(&self, kid: &str) -> Result<&str, String> {
        self.models.get(kid).map(String::as_str).ok_or_else(|| {
            let trusted: Vec<_> = self.models.keys().map(String::as_str).collect();
            let trusted = trusted.join(" ");
            format!("signed with key {kid}, which is none of the trusted ones: {trusted}")
        })
    }

    /// Whether times of keys are known.
    #[must_use]
    pub fn is_timed(&self) -> bool {
        self.known.is_some()
    }

    /// Authorities that vouch for nodes: certificates in PEM.
    #[must_use]
    pub fn authorities(&self) -> &[String] {
        &self.authorities
    }

    /// Whether what a key signed at this time counts; without a time, whether it counted to the
    /// end of what is known.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, kid: &str, at: Option<Millis>) -> Result<String, String> {
        let Some(known) = &self.known else { return Ok("times of keys are not known".into()) };
        let key = known.of(kid).ok_or_else(|| format!("key {kid} is not in the file of keys"))?;
        match at {
            Some(at) => match key.check(at) {
                Ok(()) => Ok(format!("the key counted at {}", time(at))),
                Err(fault) => Err(format!("at {} the key did not count: {fault}", time(at))),
            },
            None => match key.check(known.now) {
                Ok(()) => Ok("the key counts; when it signed is not proven".into()),
                Err(fault) => Err(format!(
                    "when it signed is not proven, and the key counts no more: {fault}"
                )),
            },
        }
    }

    /// The public half of an event key that a trusted model key vouches for, also one that is newer
    /// than the file of keys.
    ///
    /// # Errors
    /// When none vouches for it, or one that was revoked.
    pub fn vouched(&self, delegation: &str) -> Result<(String, [u8; 32]), String> {
        let by = keys::delegated_by(delegation).ok_or("the delegation names no model key")?;
        let pem = self.models.get(&by).ok_or_else(|| {
            format!(
                "the log's key is vouched for by key {by}, which is none of the trusted ones; \
                 give the cluster's keys: assay key export FILE"
            )
        })?;
        let known = self.known.as_ref().and_then(|known| known.of(&by));
        if known.is_some_and(|model| model.revoked.is_some()) {
            let (kid, _) = keys::open_delegation(delegation, pem)?;
            let listed = self.known.as_ref().is_some_and(|known| known.of(&kid).is_some());
            // What is in the table was vouched for before its model key was revoked.
            if !listed {
                return Err(format!(
                    "the log's key {kid} is vouched for by {by}, which is revoked"
                ));
            }
        }
        keys::open_delegation(delegation, pem)
    }

    /// The public half of an event key, by the delegation that comes with a proof.
    ///
    /// # Errors
    /// When no trusted key vouches for it.
    pub fn event(&self, delegation: &str) -> Result<(String, [u8; 32]), String> {
        let (kid, public) = self.vouched(delegation)?;
        // A stolen model key can vouch for anything: with a table of keys, that one decides.
        let listed = |key: &SigningKey| key.purpose == KeyPurpose::Event && key.revoked.is_none();
        match &self.known {
            Some(known) if !known.of(&kid).is_some_and(listed) => {
                Err(format!("the log's key {kid} is not in the file of keys, or was revoked"))
            }
            _ => Ok((kid, public)),
        }
    }
}

fn time(at: Millis) -> String {
    crate::ledger::rfc3339(at.0.saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_keys_is_pem_or_a_document_and_nothing_else() {
        let pem = "-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n";
        let cert = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
        let trust = Trust::parse(&format!("{pem}{cert}")).unwrap();
        assert_eq!(trust.model(&bundle::hint(pem)), Ok(pem));
        assert_eq!((trust.authorities(), trust.is_timed()), (&[cert.to_owned()][..], false));
        assert!(trust.model("other").unwrap_err().contains("none of the trusted ones"));
        let document = r#"{"schema":"keys/v1","active":null,"keys":[],"now":5}"#;
        assert!(Trust::parse(document).unwrap().is_timed());
        assert!(Trust::parse("hello").is_err() && Trust::parse("{}").is_err());
        assert!(Trust::parse(cert).is_err());
    }
}
