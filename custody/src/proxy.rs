//! The platform's signing proxy, in each of the ways that its callers speak to it.
//!
//! Source: platform contract, 3.4. What it signs is ECDSA P-256 with SHA-256 over the payload, or
//! over the hash where only that is sent; anything else does not verify and is not used.

use crate::{OpenError, Proxy, Secret, TIMEOUT, pem};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::{
    port::{SignError, SignFault, Signer},
    signing::Custody,
};
use registry::seal::keys;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{path::Path, sync::Arc};
use tokio::runtime::Handle;

/// Longest answer that is read.
const ANSWER_MAX: usize = 64 << 10;

/// How a signing proxy is spoken to, always at `POST /sign`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `{payload_b64, key_id}` → `{signature_b64, signer_id}`.
    Payload,
    /// `{signerId, payload, manifestId}` → `{signature | sig, signer_id | signerId}`.
    Kernel,
    /// `{hash}` → `{signature, signer_kid}`.
    Hash,
}

impl Dialect {
    fn question(self, key: &str, message: &[u8]) -> Value {
        let digest = hex::encode(Sha256::digest(message));
        match self {
            Self::Payload => json!({ "key_id": key, "payload_b64": STANDARD.encode(message) }),
            Self::Kernel => json!({
                "manifestId": digest,
                "payload": String::from_utf8_lossy(message),
                "signerId": key,
            }),
            Self::Hash => json!({ "hash": digest }),
        }
    }

    /// The signature and who made it.
    fn answer(self, body: &Value) -> Result<(Vec<u8>, String), String> {
        let text = |names: &[&str]| {
            let found = names.iter().find_map(|name| body.get(*name)?.as_str());
            found.map(str::to_owned).ok_or_else(|| format!("its answer has no `{}`", names[0]))
        };
        let (signature, signer) = match self {
            Self::Payload => (text(&["signature_b64"])?, text(&["signer_id"])?),
            Self::Kernel => (text(&["signature", "sig"])?, text(&["signer_id", "signerId"])?),
            Self::Hash => (text(&["signature"])?, text(&["signer_kid"])?),
        };
        let bytes = STANDARD.decode(signature).map_err(|_| "its signature is not base64")?;
        Ok((bytes, signer))
    }
}

struct ProxyKey {
    id: String,
    public: String,
    url: String,
    dialect: Dialect,
    token: Option<Secret>,
    client: reqwest::Client,
    runtime: Handle,
}

fn file(what: &'static str, path: &Path) -> Result<String, OpenError> {
    std::fs::read_to_string(path).map_err(|why| OpenError::File {
        what,
        path: path.to_owned(),
        why: why.to_string(),
    })
}

/// Reads the keys' public halves, and sets the client up.
pub(crate) fn open(config: &Proxy) -> Result<Vec<Arc<dyn Signer>>, OpenError> {
    check(&config.url)?;
    let client = client(config)?;
    let token = config.token_file.as_deref().map(|path| Secret::read("token file", path));
    let token = token.transpose()?;
    let url = format!("{}/sign", config.url.trim_end_matches('/'));
    let key = |(id, path): &(String, std::path::PathBuf)| {
        let text = file("public key", path)?;
        let public = keys::model_pem(&text).ok_or_else(|| OpenError::File {
            what: "public key",
            path: path.clone(),
            why: "it is no ECDSA P-256 public key in PEM".into(),
        })?;
        Ok(Arc::new(ProxyKey {
            id: id.clone(),
            public,
            url: url.clone(),
            dialect: config.dialect,
            token: token.clone(),
            client: client.clone(),
            runtime: Handle::current(),
        }) as Arc<dyn Signer>)
    };
    config.keys.iter().map(key).collect()
}

/// What is signed, and the token, go over TLS or stay on this machine.
fn check(url: &str) -> Result<(), OpenError> {
    let wrong = |why: &str| OpenError::Client(format!("url = `{url}`: {why}"));
    let parsed = reqwest::Url::parse(url).map_err(|fault| wrong(&fault.to_string()))?;
    let local = matches!(parsed.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    match parsed.scheme() {
        "https" => Ok(()),
        "http" if local => Ok(()),
        _ => Err(wrong("write https://host:port; plain http is for this machine alone")),
    }
}

fn client(config: &Proxy) -> Result<reqwest::Client, OpenError> {
    let fault = |fault: reqwest::Error| OpenError::Client(format!("client: {fault}"));
    let mut builder = reqwest::Client::builder()
        .use_rustls_tls()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none());
    let authorities = file("ca", &config.ca)?;
    for one in reqwest::Certificate::from_pem_bundle(authorities.as_bytes()).map_err(fault)? {
        builder = builder.add_root_certificate(one);
    }
    let (cert, key) = &config.identity;
    let pair = [file("certificate", cert)?, file("key", key)?].concat();
    let identity = reqwest::Identity::from_pem(pair.as_bytes()).map_err(fault)?;
    builder.identity(identity).build().map_err(fault)
}

impl ProxyKey {
    async fn ask(&self, message: &[u8]) -> Result<Vec<u8>, SignFault> {
        let body = self.dialect.question(&self.id, message).to_string();
        let mut request = self.client.post(&self.url).header("content-type", "application/json");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let lost = |fault: reqwest::Error| match fault.is_timeout() {
            true => SignFault::TimedOut(TIMEOUT.as_millis() as u64),
            false => SignFault::Unreachable(fault.without_url().to_string()),
        };
        let mut answer = request.body(body).send().await.map_err(lost)?;
        let status = answer.status();
        let mut bytes = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(lost)? {
            bytes.extend_from_slice(&part);
            if bytes.len() > ANSWER_MAX {
                return Err(SignFault::Wrong(format!("it answers with over {ANSWER_MAX} bytes")));
            }
        }
        let said = || String::from_utf8_lossy(&bytes).chars().take(200).collect::<String>();
        match status.as_u16() {
            200 | 201 => {}
            429 => return Err(SignFault::Throttled(said())),
            500.. => return Err(SignFault::Unreachable(format!("{status}: {}", said()))),
            _ => return Err(SignFault::Refused(format!("{status}: {}", said()))),
        }
        let value = serde_json::from_slice(&bytes)
            .map_err(|fault| SignFault::Wrong(format!("its answer is no JSON: {fault}")))?;
        let (signature, signer) = self.dialect.answer(&value).map_err(SignFault::Wrong)?;
        // The dialect of hashes names no key in the question, so the proxy's own id is taken.
        if self.dialect != Dialect::Hash && signer != self.id {
            let why = format!("key `{signer}` signed in the place of `{}`", self.id);
            return Err(SignFault::Wrong(why));
        }
        Ok(signature)
    }
}

impl Signer for ProxyKey {
    fn name(&self) -> String {
        format!("proxy:{}", self.id)
    }

    fn custody(&self) -> Custody {
        Custody::Proxy
    }

    fn public_pem(&self) -> Result<String, SignError> {
        Ok(self.public.clone())
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signed = self.runtime.block_on(self.ask(message));
        let signed = signed.map_err(|why| SignError { key: self.name(), why })?;
        let signed = pem::der(&self.name(), &signed)?;
        if !keys::signed_by(&self.public, message, &signed) {
            return Err(pem::wrong(&self.name(), "its signature does not verify"));
        }
        Ok(signed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dialect_asks_and_is_answered_as_the_contract_says() {
        let question = Dialect::Payload.question("k", b"m");
        assert_eq!(question, json!({ "key_id": "k", "payload_b64": "bQ==" }));
        assert_eq!(Dialect::Kernel.question("k", b"m")["payload"], "m");
        let hash = Dialect::Hash.question("k", b"m");
        assert_eq!(hash["hash"].as_str().map(str::len), Some(64));
        let good = json!({ "signature_b64": "AQ==", "signer_id": "k" });
        assert_eq!(Dialect::Payload.answer(&good), Ok((vec![1], "k".into())));
        let good = json!({ "sig": "AQ==", "signerId": "k" });
        assert_eq!(Dialect::Kernel.answer(&good), Ok((vec![1], "k".into())));
        let bare = json!({ "signature_b64": "AQ==" });
        assert_eq!(Dialect::Payload.answer(&bare), Err("its answer has no `signer_id`".into()));
    }

    #[test]
    fn only_this_machine_is_spoken_to_without_tls() {
        assert!(check("https://proxy:8443").is_ok() && check("http://127.0.0.1:8000").is_ok());
        assert!(check("http://proxy:8000").is_err() && check("proxy:8000").is_err());
    }

    /// Answers one call with what `answer` makes of the question; then another, and so on.
    fn serve(answer: impl Fn(&Value) -> (u16, String) + Send + 'static) -> String {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, mut bytes, mut part) = (stream.unwrap(), Vec::new(), [0; 4_096]);
                let question = loop {
                    let size = stream.read(&mut part).unwrap();
                    bytes.extend_from_slice(&part[..size]);
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
                    if let Some(body) = body.and_then(|body| serde_json::from_str(&body).ok()) {
                        break body;
                    }
                    assert!(size > 0, "no question: {text}");
                };
                let (status, body) = answer(&question);
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}", body.len());
                let text = format!("{head}\r\nconnection: close\r\n\r\n{body}");
                stream.write_all(text.as_bytes()).unwrap();
            }
        });
        address
    }

    fn key(dialect: Dialect, address: &str, public: String) -> ProxyKey {
        ProxyKey {
            id: "k".into(),
            public,
            url: format!("http://{address}/sign"),
            dialect,
            token: None,
            client: reqwest::Client::new(),
            runtime: Handle::current(),
        }
    }

    async fn sign(key: ProxyKey) -> Result<Vec<u8>, SignError> {
        tokio::task::spawn_blocking(move || key.sign(b"message")).await.unwrap()
    }

    #[tokio::test]
    async fn a_signature_of_each_dialect_is_taken_if_it_verifies_and_each_fault_has_a_name() {
        use p256::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner};
        use p256::pkcs8::{EncodePublicKey, LineEnding};
        let secret = SigningKey::from_slice(&[7; 32]).unwrap();
        let public = secret.verifying_key().to_public_key_pem(LineEnding::LF).unwrap();
        let signed = move |message: &[u8], id: &'static str| {
            let signature: Signature = secret.sign_prehash(&Sha256::digest(message)).unwrap();
            let raw = STANDARD.encode(signature.to_bytes());
            json!({
                "signature_b64": raw, "signature": raw, "sig": raw,
                "signer_id": id, "signerId": id, "signer_kid": "their-own",
            })
            .to_string()
        };
        for dialect in [Dialect::Payload, Dialect::Kernel, Dialect::Hash] {
            let signed = signed.clone();
            let at = serve(move |_| (200, signed(b"message", "k")));
            sign(key(dialect, &at, public.clone())).await.unwrap();
        }
        let of = |status: u16, body: String| serve(move |_| (status, body.clone()));
        let told = async |address: String| {
            sign(key(Dialect::Payload, &address, public.clone())).await.unwrap_err()
        };
        let other = told(of(200, signed(b"another", "k"))).await;
        assert!(matches!(&other.why, SignFault::Wrong(why) if why.contains("does not verify")));
        let stranger = told(of(200, signed(b"message", "x"))).await;
        assert!(matches!(&stranger.why, SignFault::Wrong(why) if why.contains("in the place of")));
        assert!(told(of(503, "busy".into())).await.is_passing());
        assert!(matches!(told(of(429, "slow down".into())).await.why, SignFault::Throttled(_)));
        assert!(matches!(told(of(403, "no".into())).await.why, SignFault::Refused(_)));
        assert!(matches!(told(of(200, "hello".into())).await.why, SignFault::Wrong(_)));
        assert!(told("127.0.0.1:1".into()).await.is_passing());
    }
}
