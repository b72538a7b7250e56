//! DSSE: the envelope around a signed statement.
//!
//! Source: <https://github.com/secure-systems-lab/dsse>, protocol version 1.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

/// The payload type of in-toto statements.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// The bytes that are signed: the pre-authentication encoding of a payload.
#[must_use]
pub fn pae(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// An envelope as JSON has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// Base64.
    pub payload: String,
    /// [`PAYLOAD_TYPE`].
    pub payload_type: String,
    /// Exactly one.
    pub signatures: Vec<Signature>,
}

/// One signature of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Base64 of the DER form.
    pub sig: String,
    /// Left empty: the key is named beside the envelope.
    #[serde(default)]
    pub keyid: String,
}

/// An envelope that cannot be opened.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not the JSON of an envelope.
    #[error("not a DSSE envelope: {0}")]
    Form(String),
    /// A payload of another type.
    #[error("payload type is `{0}`, expected `{PAYLOAD_TYPE}`")]
    Type(String),
    /// None or several signatures.
    #[error("{0} signatures, expected exactly one")]
    Signatures(usize),
}

impl Envelope {
    /// Wraps a payload and its signature.
    #[must_use]
    pub fn new(payload: &[u8], sig_der: &[u8]) -> Self {
        Self {
            payload: STANDARD.encode(payload),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: vec![Signature { sig: STANDARD.encode(sig_der), keyid: String::new() }],
        }
    }

    /// The payload and the signature.
    ///
    /// # Errors
    /// When the envelope is malformed.
    pub fn open(&self) -> Result<(Vec<u8>, Vec<u8>), EnvelopeError> {
        if self.payload_type != PAYLOAD_TYPE {
            return Err(EnvelopeError::Type(self.payload_type.clone()));
        }
        let [signature] = self.signatures.as_slice() else {
            return Err(EnvelopeError::Signatures(self.signatures.len()));
        };
        let decode = |text: &str| {
            STANDARD.decode(text).map_err(|fault| EnvelopeError::Form(fault.to_string()))
        };
        Ok((decode(&self.payload)?, decode(&signature.sig)?))
    }
}

/// An envelope as a file.
#[must_use]
pub fn envelope(payload: &[u8], sig_der: &[u8]) -> Vec<u8> {
    serde_json::to_vec(&Envelope::new(payload, sig_der)).expect("an envelope of strings is JSON")
}
