//! The node's own word on a result: signed with the key of the node's certificate, so that neither
//! the signing proxy nor a node alone can forge a result.
//!
//! It stands in the provenance as a byproduct, and is a DSSE envelope of its own.

use super::{canonical, dsse, dsse::Envelope, trust::pem_blocks};
use crate::ledger::parse_rfc3339;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::Digest;
use p256::{
    ecdsa::{Signature, SigningKey, VerifyingKey, signature::Signer as _, signature::Verifier},
    pkcs8::{DecodePrivateKey, DecodePublicKey},
};
use serde_json::{Value, json};
use x509_parser::{
    pem::{Pem, parse_x509_pem},
    prelude::X509Certificate,
};

/// The predicate: a document in the repository.
pub const PREDICATE: &str = "https://assay.dev/node/v1";
/// The byproduct's name.
const NAME: &str = "node-statement";
const BYPRODUCTS: &str = "/predicate/runDetails/byproducts";
/// Certificates of a chain at most.
const CHAIN_MAX: usize = 4;

/// A node's key with its certificate.
pub struct NodeKey {
    key: SigningKey,
    chain: String,
}

impl NodeKey {
    /// A key and a certificate with its chain, both in PEM.
    ///
    /// # Errors
    /// When the key is not ECDSA P-256, or not that of the certificate.
    pub fn of_pem(key: &str, chain: &str) -> Result<Self, String> {
        let key = SigningKey::from_pkcs8_pem(key).map_err(|fault| {
            format!("the node's key is not ECDSA P-256 in PKCS#8 PEM: {fault}; issue such a one")
        })?;
        let pems = parse(&pem_blocks(chain))?;
        let leaf = certificate(pems.first().ok_or("the node has no certificate")?)?;
        if public(&leaf)? != *key.verifying_key() {
            return Err("the node's key is not that of its certificate".into());
        }
        Ok(Self { key, chain: chain.to_owned() })
    }
}

/// What the node signs: what was made, of what and where. The proxy adds nothing that it covers.
fn statement(provenance: &Value) -> Result<Vec<u8>, String> {
    let at = |pointer: &str| provenance.pointer(pointer).ok_or(format!("it has no {pointer}"));
    let definition = canonical::to_string(at("/predicate/buildDefinition")?);
    let definition = definition.map_err(|fault| fault.to_string())?;
    let node = "/predicate/buildDefinition/internalParameters/nodes/0/name";
    let own = |entry: &&Value| {
        let name = entry.get("name").and_then(Value::as_str).unwrap_or_default();
        name != NAME && name != "log"
    };
    let byproducts = at(BYPRODUCTS)?.as_array().ok_or("its byproducts are no list")?;
    let log = byproducts.iter().find(|entry| entry["name"] == "log").ok_or("it names no log")?;
    let rest: Vec<&Value> = byproducts.iter().filter(own).collect();
    let text = canonical::to_string(&json!({
        "_type": "https://in-toto.io/Statement/v1",
        "predicate": {
            "buildDefinition": { "sha256": Digest::of(definition.as_bytes()).to_string() },
            "byproducts": rest,
            "log": log,
            "metadata": at("/predicate/runDetails/metadata")?,
            "node": at(node)?,
        },
        "predicateType": PREDICATE,
        "subject": at("/subject")?,
    }));
    text.map(String::into_bytes).map_err(|fault| fault.to_string())
}

/// A provenance statement with the node's own word in it.
///
/// # Errors
/// When it is no provenance statement.
pub fn add(payload: &[u8], key: &NodeKey) -> Result<Vec<u8>, String> {
    let text = std::str::from_utf8(payload).map_err(|fault| fault.to_string())?;
    let mut value = canonical::parse(text).map_err(|fault| fault.to_string())?;
    let said = statement(&value)?;
    let signature: Signature = key.key.sign(&dsse::pae(&said));
    let envelope = dsse::envelope(&said, signature.to_der().as_bytes());
    let byproducts = value.pointer_mut(BYPRODUCTS).and_then(Value::as_array_mut);
    byproducts.ok_or("it has no byproducts")?.push(json!({
        "annotations": { "certificate": key.chain },
        "content": STANDARD.encode(envelope),
        "mediaType": "application/vnd.dsse+json",
        "name": NAME,
    }));
    let text = canonical::to_string(&value).map_err(|fault| fault.to_string())?;
    Ok(text.into_bytes())
}

/// The node's envelope and its certificate with the chain, as files.
///
/// # Errors
/// When the provenance has none, or has it in another form.
pub fn extract(provenance: &Value) -> Result<(Vec<u8>, String), String> {
    let byproducts = provenance.pointer(BYPRODUCTS).and_then(Value::as_array);
    let mut own = byproducts.into_iter().flatten().filter(|entry| entry["name"] == NAME);
    let (Some(entry), None) = (own.next(), own.next()) else {
        return Err("the provenance does not hold exactly one statement of a node".into());
    };
    let content = entry["content"].as_str().and_then(|text| STANDARD.decode(text).ok());
    let chain = entry.pointer("/annotations/certificate").and_then(Value::as_str);
    match (content, chain) {
        (Some(content), Some(chain)) => Ok((content, chain.to_owned())),
        _ => Err("the node's statement has no content or no certificate".into()),
    }
}

/// Checks the node's word: that it tells of this provenance, is signed with the key of a
/// certificate that names the node, and that an authority vouches for it. Without an authority the
/// detail says so.
///
/// # Errors
/// What does not hold.
pub fn check(provenance: &Value, authorities: &[String]) -> Result<String, String> {
    let (content, chain) = extract(provenance)?;
    let envelope: Envelope = serde_json::from_slice(&content).map_err(|fault| fault.to_string())?;
    let (payload, signature) = envelope.open().map_err(|fault| fault.to_string())?;
    if payload != statement(provenance)? {
        return Err("the node's statement tells of another result than the provenance".into());
    }
    let pems = parse(&pem_blocks(&chain))?;
    let leaf = certificate(pems.first().ok_or("the node's statement has no certificate")?)?;
    let signature = Signature::from_der(&signature).map_err(|fault| fault.to_string())?;
    public(&leaf)?
        .verify(&dsse::pae(&payload), &signature)
        .map_err(|_| "the key of the node's certificate did not sign its statement".to_owned())?;
    let node = named(provenance)?;
    let name = leaf.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    if name != Some(&format!("node:{node}")) {
        let name = name.unwrap_or("nobody");
        return Err(format!("the certificate is of {name}, the result of node:{node}"));
    }
    if authorities.is_empty() {
        return Ok(format!("signed by node:{node}; no authority was given to vouch for it"));
    }
    let finished = "/predicate/runDetails/metadata/finishedOn";
    let finished = provenance.pointer(finished).and_then(Value::as_str).and_then(parse_rfc3339);
    vouched(&pems, authorities, finished.ok_or("it does not say when it ended")? / 1_000_000)?;
    Ok(format!("signed by node:{node}, vouched for by the cluster's authority"))
}

/// The name of the node that led.
///
/// # Errors
/// When there is none.
pub fn named(provenance: &Value) -> Result<&str, String> {
    let node = "/predicate/buildDefinition/internalParameters/nodes/0/name";
    provenance.pointer(node).and_then(Value::as_str).ok_or("it names no node".into())
}

fn parse(blocks: &[String]) -> Result<Vec<Pem>, String> {
    let read = |text: &String| {
        parse_x509_pem(text.as_bytes())
            .map(|(_, pem)| pem)
            .map_err(|fault| format!("no certificate in PEM: {fault}"))
    };
    blocks.iter().take(CHAIN_MAX).map(read).collect()
}

fn certificate(pem: &Pem) -> Result<X509Certificate<'_>, String> {
    pem.parse_x509().map_err(|fault| format!("no certificate: {fault}"))
}

fn public(certificate: &X509Certificate<'_>) -> Result<VerifyingKey, String> {
    VerifyingKey::from_public_key_der(certificate.public_key().raw)
        .map_err(|fault| format!("the certificate's key is not ECDSA P-256: {fault}"))
}

/// Walks from the first certificate to an authority. `at` is in seconds since the Unix epoch.
fn vouched(chain: &[Pem], authorities: &[String], at: u64) -> Result<(), String> {
    let roots = parse(authorities)?;
    let mut below: Option<X509Certificate<'_>> = None;
    for pem in chain {
        let this = certificate(pem)?;
        if let Some(below) = &below
            && (!this.is_ca() || below.verify_signature(Some(this.public_key())).is_err())
        {
            return Err("the node's certificate is not of the chain that comes with it".into());
        }
        let (from, to) = (this.validity().not_before, this.validity().not_after);
        let at = i64::try_from(at).unwrap_or(i64::MAX);
        if at < from.timestamp() || at > to.timestamp() {
            return Err("the node's certificate was not valid when the result was made".into());
        }
        let vouches = |root: &Pem| {
            certificate(root).is_ok_and(|root| {
                this.issuer() == root.subject()
                    && this.verify_signature(Some(root.public_key())).is_ok()
            })
        };
        if roots.iter().any(vouches) {
            return Ok(());
        }
        below = Some(this);
    }
    Err("no trusted authority vouches for the node's certificate".into())
}

#[cfg(test)]
#[path = "node_test.rs"]
mod tests;
