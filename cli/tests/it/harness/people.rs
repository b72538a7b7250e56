//! Further users of a test's cluster, each with a certificate and an approver's key of their own.

use super::{User, cluster::Cluster};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose};
use std::{fs, path::PathBuf};

/// A user of the cluster with an approver's key.
pub struct Person {
    pub user: User,
    /// The private key's file; the public half stands beside it.
    pub key: PathBuf,
}

impl Person {
    /// The private key's file, as an argument.
    pub fn key(&self) -> String {
        self.key.display().to_string()
    }

    /// The public key's file, as an argument.
    pub fn public_key(&self) -> String {
        format!("{}.pub", self.key.display())
    }
}

/// Makes a user: the cluster's authority signs the certificate.
pub fn person(cluster: &Cluster, name: &str) -> Person {
    let read = |file: &str| fs::read_to_string(cluster.path(file)).unwrap();
    let authority = KeyPair::from_pem(&read("tls/ca.key")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("tls/ca.pem"), authority).unwrap();
    let own = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("user:{name}"));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let cert = params.signed_by(&own, &issuer).unwrap();
    let folder = cluster.path(&format!("people/{name}"));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("cert.pem"), cert.pem()).unwrap();
    fs::write(folder.join("cert.key"), own.serialize_pem()).unwrap();
    let profile = read("profile.toml");
    let servers = profile.lines().find(|line| line.starts_with("servers")).unwrap();
    let ca = cluster.path("tls/ca.pem");
    let text =
        format!("{servers}\nca = \"{}\"\ncert = \"cert.pem\"\nkey = \"cert.key\"\n", ca.display());
    fs::write(folder.join("profile.toml"), text).unwrap();
    let user = User { profile: folder.clone() };
    let key = folder.join("approver.pem");
    user.ok(&["approver", "new-key", &key.display().to_string()]);
    Person { user, key }
}
