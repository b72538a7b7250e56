//! The development cluster's own certificate authority.

use crate::fault::Fault;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// The certificate and the key of one identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub cert: PathBuf,
    /// Its key, readable by its owner alone.
    pub key: PathBuf,
}

/// An authority whose key is forgotten once it is dropped.
pub struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// Where the authority's certificate stands in a folder.
#[must_use]
pub fn ca_file(dir: &Path) -> PathBuf {
    dir.join("ca.pem")
}

/// Where an identity's certificate and key stand in a folder.
#[must_use]
pub fn pair(dir: &Path, name: &str) -> Pair {
    Pair { cert: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) }
}

fn failed(fault: &rcgen::Error) -> Fault {
    Fault::internal("certificate", format!("a certificate could not be made: {fault}"))
}

impl Authority {
    /// Makes a new authority and writes its certificate into `dir`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn create(dir: &Path) -> Result<Self, Fault> {
        fs::create_dir_all(dir).map_err(|fault| Fault::file(dir, &fault))?;
        let key = KeyPair::generate().map_err(|fault| failed(&fault))?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "assay development authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let cert = params.self_signed(&key).map_err(|fault| failed(&fault))?;
        write(&ca_file(dir), &cert.pem(), 0o644)?;
        Ok(Self { dir: dir.to_owned(), issuer: Issuer::new(params, key) })
    }

    /// Makes the certificate and key of an identity: `server:1`, `node:node-a`, `user:ada`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn issue(&self, file: &str, common_name: &str, hosts: &[&str]) -> Result<Pair, Fault> {
        let key = KeyPair::generate().map_err(|fault| failed(&fault))?;
        let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).map_err(|fault| failed(&fault))?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Servers are clients of each other.
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let cert = params.signed_by(&key, &self.issuer).map_err(|fault| failed(&fault))?;
        let pair = pair(&self.dir, file);
        write(&pair.cert, &cert.pem(), 0o644)?;
        write(&pair.key, &key.serialize_pem(), 0o600)?;
        Ok(pair)
    }
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), Fault> {
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|fault| Fault::file(path, &fault))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keys_are_readable_by_their_owner_alone_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(dir.path()).unwrap();
        let pair = authority.issue("server-1", "server:1", &["localhost", "127.0.0.1"]).unwrap();
        let mode = fs::metadata(&pair.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(fs::read_to_string(&pair.cert).unwrap().starts_with("-----BEGIN CERTIFICATE"));
        assert!(authority.issue("server-1", "server:1", &[]).is_err());
        assert!(!dir.path().join("ca.key").exists(), "the authority's key is not kept");
    }
}
