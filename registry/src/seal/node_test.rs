//! Who can say what about a result, and what gives a forger away.

use super::*;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn node(&self, name: &str) -> NodeKey {
        let key = KeyPair::generate().unwrap();
        let chain = params(name).signed_by(&key, &self.issuer).unwrap().pem();
        NodeKey::of_pem(&key.serialize_pem(), &chain).unwrap()
    }

    fn trusted(&self) -> [String; 1] {
        [self.pem.clone()]
    }
}

fn provenance(node: &str, root: &str) -> Vec<u8> {
    let value = json!({
        "subject": [{ "digest": { "sha256": root }, "name": "m" }],
        "predicate": {
            "buildDefinition": { "internalParameters": { "nodes": [{ "name": node }] } },
            "runDetails": {
                "byproducts": [{ "name": "checkpoint:step-1" }, { "name": "log" }],
                "metadata": { "finishedOn": "2026-11-28T12:00:00.000000Z" },
            },
        },
    });
    canonical::to_string(&value).unwrap().into_bytes()
}

fn signed(payload: &[u8], key: &NodeKey) -> Value {
    serde_json::from_slice(&add(payload, key).unwrap()).unwrap()
}

#[test]
fn a_nodes_word_holds_under_its_authority_and_the_logs_of_others_may_follow() {
    let authority = Authority::new("ca");
    let mut told = signed(&provenance("n1", "aa"), &authority.node("node:n1"));
    let detail = check(&told, &authority.trusted()).unwrap();
    assert_eq!(detail, "signed by node:n1, vouched for by the cluster's authority");
    assert!(check(&told, &[]).unwrap().contains("no authority was given"));
    // The proxy adds the logs of a gang's other nodes.
    let byproducts = told.pointer_mut(BYPRODUCTS).and_then(Value::as_array_mut).unwrap();
    byproducts.push(json!({ "name": "log", "annotations": { "ranks": [2] } }));
    assert!(check(&told, &authority.trusted()).is_ok());
}

#[test]
fn the_proxy_alone_cannot_change_what_a_node_said() {
    let authority = Authority::new("ca");
    let good = signed(&provenance("n1", "aa"), &authority.node("node:n1"));
    for (pointer, value) in [
        ("/subject/0/digest/sha256", json!("bb")),
        ("/predicate/buildDefinition/internalParameters/nodes/0/name", json!("n2")),
        ("/predicate/runDetails/byproducts/0/name", json!("checkpoint:step-2")),
        ("/predicate/runDetails/byproducts/1/annotations", json!({ "ranks": [1] })),
        ("/predicate/runDetails/metadata/finishedOn", json!("2026-11-28T13:00:00.000000Z")),
    ] {
        let mut forged = good.clone();
        let (parent, last) = pointer.rsplit_once('/').unwrap();
        forged.pointer_mut(parent).unwrap()[last] = value;
        assert!(check(&forged, &authority.trusted()).is_err(), "{pointer}");
    }
    let bare: Value = serde_json::from_slice(&provenance("n1", "aa")).unwrap();
    assert!(check(&bare, &authority.trusted()).unwrap_err().contains("exactly one statement"));
}

#[test]
fn a_node_speaks_for_itself_alone_and_only_with_its_authority() {
    let (authority, other) = (Authority::new("ca"), Authority::new("other"));
    let told = signed(&provenance("n1", "aa"), &authority.node("node:n2"));
    assert!(check(&told, &authority.trusted()).unwrap_err().contains("the result of node:n1"));
    let told = signed(&provenance("n1", "aa"), &authority.node("user:n1"));
    assert!(check(&told, &authority.trusted()).is_err());
    let told = signed(&provenance("n1", "aa"), &other.node("node:n1"));
    assert!(check(&told, &authority.trusted()).unwrap_err().contains("no trusted authority"));
    let key = KeyPair::generate().unwrap();
    let cert = params("node:n1").self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    assert!(NodeKey::of_pem(&key.serialize_pem(), &cert).is_err(), "a key of another certificate");
}
