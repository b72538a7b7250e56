//! AWS KMS: ECDSA P-256 over a digest, so that a message of any length can be signed.

use crate::{Kms, TIMEOUT, pem};
use aws_config::{BehaviorVersion, Region, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_kms::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    primitives::Blob,
    types::{MessageType, SigningAlgorithmSpec},
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use domain::{
    port::{SignError, SignFault, Signer},
    signing::Custody,
};
use registry::seal::keys;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use tokio::runtime::Handle;

/// Errors of KMS that pass by themselves, and those that say "less often".
const PASSING: [&str; 4] = [
    "DependencyTimeoutException",
    "KMSInternalException",
    "KeyUnavailableException",
    "ServiceUnavailable",
];
const THROTTLED: [&str; 4] =
    ["LimitExceededException", "RequestLimitExceeded", "Throttling", "ThrottlingException"];

struct KmsKey {
    id: String,
    client: Client,
    runtime: Handle,
}

/// Makes a client; nobody is asked for anything yet, except where credentials come from.
pub(crate) async fn open(config: &Kms) -> Vec<Arc<dyn Signer>> {
    let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let timeouts =
        TimeoutConfig::builder().operation_timeout(TIMEOUT).connect_timeout(TIMEOUT).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        // The caller pauses and tries again, within a bound of its own.
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts);
    if let Some(region) = &config.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &config.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    let client = Client::new(&loader.load().await);
    let key = |id: &String| {
        let key = KmsKey { id: id.clone(), client: client.clone(), runtime: Handle::current() };
        Arc::new(key) as Arc<dyn Signer>
    };
    config.keys.iter().map(key).collect()
}

/// A fault with its causes, each once.
fn chain(fault: &dyn std::error::Error) -> String {
    let mut parts = vec![fault.to_string()];
    let mut next = fault.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !parts.iter().any(|part| part.contains(&said)) {
            parts.push(said);
        }
        next = cause.source();
    }
    parts.join(": ")
}

impl KmsKey {
    fn fault<E>(&self, fault: &SdkError<E>) -> SignError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        SdkError<E>: std::error::Error + 'static,
    {
        let code = fault.as_service_error().and_then(ProvideErrorMetadata::code);
        let said = fault.as_service_error().and_then(ProvideErrorMetadata::message);
        let said = said.map_or_else(|| chain(fault), str::to_owned);
        let said: String = said.chars().take(300).collect();
        let status = fault.raw_response().map_or(0, |response| response.status().as_u16());
        let why = match (fault, code) {
            (SdkError::TimeoutError(_), _) => SignFault::TimedOut(TIMEOUT.as_millis() as u64),
            (_, Some(code)) if THROTTLED.contains(&code) => SignFault::Throttled(code.to_owned()),
            (_, Some(code)) if PASSING.contains(&code) => SignFault::Unreachable(code.to_owned()),
            (SdkError::ServiceError(_), _) if status == 429 => SignFault::Throttled(said),
            (SdkError::ServiceError(_), _) if status >= 500 => SignFault::Unreachable(said),
            (SdkError::ServiceError(_), code) => {
                SignFault::Refused(format!("{}: {said}", code.unwrap_or("no code")))
            }
            // No credentials, no region: a person's to mend, or a metadata service that is down.
            (SdkError::ConstructionFailure(_), _) => SignFault::Refused(said),
            _ => SignFault::Unreachable(said),
        };
        SignError { key: self.name(), why }
    }
}

impl Signer for KmsKey {
    fn name(&self) -> String {
        format!("kms:{}", self.id)
    }

    fn custody(&self) -> Custody {
        Custody::Kms
    }

    fn public_pem(&self) -> Result<String, SignError> {
        let asked = self.client.get_public_key().key_id(&self.id).send();
        let answer = self.runtime.block_on(asked).map_err(|fault| self.fault(&fault))?;
        let der = answer.public_key().map_or(&[][..], AsRef::as_ref);
        keys::model_pem_of_der(der).ok_or_else(|| {
            let spec = answer.key_spec().map_or("unknown", |spec| spec.as_str());
            pem::wrong(&self.name(), format!("it is of kind {spec}, models take ECC_NIST_P256"))
        })
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let asked = self
            .client
            .sign()
            .key_id(&self.id)
            .message(Blob::new(Sha256::digest(message).to_vec()))
            .message_type(MessageType::Digest)
            .signing_algorithm(SigningAlgorithmSpec::EcdsaSha256)
            .send();
        let answer = self.runtime.block_on(asked).map_err(|fault| self.fault(&fault))?;
        pem::der(&self.name(), answer.signature().map_or(&[][..], AsRef::as_ref))
    }
}
