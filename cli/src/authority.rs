//! A certificate authority: of a development cluster, or one whose key is at hand.

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

/// Who a certificate is for.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// `server:1`, `node:node-a`, `user:ada`.
    pub name: &'a str,
    /// Hosts and addresses at which it is reached.
    pub hosts: &'a [&'a str],
}

/// An authority that can sign.
pub struct Authority {
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
    /// Makes a new authority and writes its certificate and key into `dir`.
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
        let own = pair(dir, "ca");
        write(&own.cert, &cert.pem(), 0o644)?;
        write(&own.key, &key.serialize_pem(), 0o600)?;
        Ok(Self { issuer: Issuer::new(params, key) })
    }

    /// Opens an authority whose key is at hand.
    ///
    /// # Errors
    /// When certificate or key cannot be read.
    pub fn open(own: &Pair) -> Result<Self, Fault> {
        let read = |path: &Path| fs::read_to_string(path).map_err(|why| Fault::file(path, &why));
        let key = KeyPair::from_pem(&read(&own.key)?)
            .map_err(|why| Fault::file(&own.key, &why).hint("give the authority's key as PEM"))?;
        let issuer = Issuer::from_ca_cert_pem(&read(&own.cert)?, key)
            .map_err(|why| Fault::file(&own.cert, &why))?;
        Ok(Self { issuer })
    }

    /// Writes the certificate and key of an identity into `dir` as `file`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn issue(&self, dir: &Path, file: &str, who: Subject<'_>) -> Result<Pair, Fault> {
        let key = KeyPair::generate().map_err(|fault| failed(&fault))?;
        let mut params = params(who)?;
        params.use_authority_key_identifier_extension = true;
        let cert = params.signed_by(&key, &self.issuer).map_err(|fault| failed(&fault))?;
        let pair = pair(dir, file);
        write(&pair.cert, &cert.pem(), 0o644)?;
        write(&pair.key, &key.serialize_pem(), 0o600)?;
        Ok(pair)
    }
}

/// Writes a key, and a request for its certificate that another authority is to sign. Returns
/// where the certificate is to stand, and where the request does.
///
/// # Errors
/// When the folder cannot be written.
pub fn request(dir: &Path, file: &str, who: Subject<'_>) -> Result<(Pair, PathBuf), Fault> {
    let key = KeyPair::generate().map_err(|fault| failed(&fault))?;
    let request = params(who)?.serialize_request(&key).map_err(|fault| failed(&fault))?;
    let text = request.pem().map_err(|fault| failed(&fault))?;
    let pair = pair(dir, file);
    let path = dir.join(format!("{file}.csr"));
    write(&path, &text, 0o644)?;
    write(&pair.key, &key.serialize_pem(), 0o600)?;
    Ok((pair, path))
}

fn params(who: Subject<'_>) -> Result<CertificateParams, Fault> {
    let hosts: Vec<_> = who.hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).map_err(|fault| failed(&fault))?;
    params.distinguished_name.push(DnType::CommonName, who.name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Servers are clients of each other.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
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

    const WHO: Subject<'_> = Subject { name: "server:1", hosts: &["localhost", "127.0.0.1"] };

    #[test]
    fn keys_are_readable_by_their_owner_alone_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(dir.path()).unwrap();
        let made = authority.issue(dir.path(), "server-1", WHO).unwrap();
        for key in [&made.key, &pair(dir.path(), "ca").key] {
            let mode = fs::metadata(key).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", key.display());
        }
        assert!(fs::read_to_string(&made.cert).unwrap().starts_with("-----BEGIN CERTIFICATE"));
        assert!(authority.issue(dir.path(), "server-1", WHO).is_err());
    }

    #[test]
    fn an_authority_that_is_opened_again_signs_and_a_request_waits_for_one() {
        let dir = tempfile::tempdir().unwrap();
        Authority::create(dir.path()).unwrap();
        let own = pair(dir.path(), "ca");
        let authority = Authority::open(&own).unwrap();
        authority.issue(dir.path(), "server-2", WHO).unwrap();
        let swapped = Pair { cert: own.key.clone(), key: own.cert.clone() };
        assert!(Authority::open(&swapped).is_err());

        let (made, request) = request(dir.path(), "server-3", WHO).unwrap();
        assert!(fs::read_to_string(request).unwrap().contains("BEGIN CERTIFICATE REQUEST"));
        assert!(made.key.is_file() && !made.cert.exists());
    }
}
