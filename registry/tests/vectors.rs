//! The platform's vectors: canonical JSON, the chain's hashes, and its signatures.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use domain::Digest;
use ed25519_dalek::{Signature, VerifyingKey, pkcs8::DecodePublicKey};
use registry::{gate::sampled, ledger::event_hash, seal::canonical};
use serde_json::Value;

fn vectors() -> Value {
    let path = std::env::var("CARGO_MANIFEST_DIR").unwrap() + "/tests/data/vectors.json";
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

#[test]
fn canonical_forms_hashes_and_signatures_are_those_of_the_platform() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let vectors = vectors();
    let pem = vectors["keys"]["ed25519"]["public_pem"].as_str().unwrap();
    let key = VerifyingKey::from_public_key_pem(pem).unwrap();
    for event in vectors["chain"].as_array().unwrap() {
        let name = text(event, "name");
        let wanted = text(event, "canonical");
        match canonical::parse(text(event, "input_json")) {
            Ok(value) => assert_eq!(canonical::to_string(&value).unwrap(), wanted, "{name}"),
            // The platform rounds 2^53 + 1; we refuse it, so that nothing is signed that a
            // reader might see otherwise.
            Err(fault) => assert!(name == "numbers", "{name}: {fault}"),
        }
        let prev = event["prev_hash"].as_str().map(|hash| hash.parse::<Digest>().unwrap());
        let hash = event_hash(wanted, prev);
        assert_eq!(hash.to_string(), text(event, "hash"), "{name}");
        let signature = STANDARD.decode(text(event, "ed25519_signature_b64")).unwrap();
        let signature = Signature::from_slice(&signature).unwrap();
        key.verify_strict(&hash.0, &signature).unwrap();
    }
}

#[test]
fn canary_policies_apply_to_the_requests_that_the_platform_picks() {
    let vectors = vectors();
    for case in vectors["canary_sampling"]["cases"].as_array().unwrap() {
        let id = text(case, "requestId");
        let percent = case["percent"].as_f64().unwrap() as u32;
        assert!(!sampled(id, percent), "{id}: the bound lies above {percent} %");
        assert!(sampled(id, percent + 1), "{id}");
        assert_eq!(sampled(id, 30), case["applied_at_30"].as_bool().unwrap(), "{id}");
        assert!(sampled(id, 100) && !sampled(id, 0), "{id}");
    }
}
