//! Certificates for the peers, so that they pay for encryption as we do.

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// An authority with one certificate for every member and client, all on loopback.
pub struct Tls {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// The certificate of members and clients.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Tls {
    /// Makes both in `dir`, with P-256 keys as our own cluster has.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn create(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "benchmark authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca = params.self_signed(&key)?;
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(["localhost".into(), "127.0.0.1".into()])?;
        params.distinguished_name.push(DnType::CommonName, "member");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let cert = params.signed_by(&key, &issuer)?;
        let tls = Self::at(dir);
        fs::write(&tls.ca, ca.pem())?;
        fs::write(&tls.cert, cert.pem())?;
        fs::write(&tls.key, key.serialize_pem())?;
        Ok(tls)
    }

    /// Those that were made in `dir`.
    pub fn at(dir: &Path) -> Self {
        Self { ca: dir.join("ca.pem"), cert: dir.join("cert.pem"), key: dir.join("key.pem") }
    }

    /// How a client talks to a member.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn client(&self) -> Result<ClientTlsConfig> {
        proto::cipher::prefer_sha256();
        Ok(ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(fs::read(&self.ca)?))
            .identity(Identity::from_pem(fs::read(&self.cert)?, fs::read(&self.key)?)))
    }
}
