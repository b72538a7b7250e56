//! Further nodes of a test's cluster.

use super::cluster::Cluster;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose};
use std::fs;

/// Describes one more node like `node-a`: the cluster's authority signs its certificate.
pub fn add(cluster: &Cluster, name: &str) {
    let read = |file: &str| fs::read_to_string(cluster.path(file)).unwrap();
    let authority = KeyPair::from_pem(&read("tls/ca.key")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("tls/ca.pem"), authority).unwrap();
    let own = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("node:{name}"));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let cert = params.signed_by(&own, &issuer).unwrap();
    fs::write(cluster.path(&format!("tls/{name}.pem")), cert.pem()).unwrap();
    fs::write(cluster.path(&format!("tls/{name}.key")), own.serialize_pem()).unwrap();
    for file in ["config/node-a.toml", "config/node-a.gpus.json"] {
        // Unique names of GPUs hold the node's.
        let text = read(file).replace("node-a", name);
        fs::write(cluster.path(&file.replace("node-a", name)), text).unwrap();
    }
}
