//! Object Lock: nobody deletes or replaces what is written before a time.
//!
//! `object_store` knows no such headers, so they are added on the way out, where the request is
//! signed anew: a store refuses headers of its own that are not signed.

use object_store::{
    ClientOptions, Result as StoreResult,
    aws::{AwsAuthorizer, AwsCredentialProvider},
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
        HttpService, ReqwestConnector,
    },
};
use registry::ledger::rfc3339;
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Who may end a lock early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LockMode {
    /// Users with a permission of their own
    Governance,
    /// Nobody
    Compliance,
}

impl LockMode {
    /// As S3 has it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }
}

/// What everything written is locked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Who may end it early.
    pub mode: LockMode,
    /// Until when.
    pub until: Until,
}

/// When a lock ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Until {
    /// At this time, as RFC 3339 has it.
    At(String),
    /// So long after an object is written.
    For(Duration),
}

impl Until {
    /// So long from now on.
    #[must_use]
    pub fn after(time: Duration) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let until = now.saturating_add(time).as_micros();
        // Whole seconds: not every store reads parts of one.
        let text = rfc3339(u64::try_from(until).unwrap_or(u64::MAX));
        format!("{}Z", text.chars().take(19).collect::<String>())
    }

    /// The time, for what is written now.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::At(time) => time.clone(),
            Self::For(time) => Self::after(*time),
        }
    }
}

/// Signs requests, and locks those that make an object.
#[derive(Clone, Debug)]
pub(super) struct Locking {
    pub lock: Option<Lock>,
    pub credentials: AwsCredentialProvider,
    pub region: String,
}

impl HttpConnector for Locking {
    fn connect(&self, options: &ClientOptions) -> StoreResult<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Service { inner, locking: Arc::new(self.clone()) }))
    }
}

#[derive(Debug)]
struct Service {
    inner: HttpClient,
    locking: Arc<Locking>,
}

/// Whether a request makes an object: it puts one whole, or begins one in parts.
fn makes_object(request: &HttpRequest) -> bool {
    let query = request.uri().query().unwrap_or_default();
    match request.method().as_str() {
        "PUT" => query.is_empty(),
        "POST" => query.split('&').any(|it| it == "uploads" || it == "uploads="),
        _ => false,
    }
}

#[tonic::async_trait]
impl HttpService for Service {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if let Some(lock) = &self.locking.lock
            && makes_object(&request)
        {
            let mut add = |name: &'static str, value: &str| {
                let value =
                    value.parse().map_err(|why| HttpError::new(HttpErrorKind::Request, why));
                value.map(|value| request.headers_mut().insert(name, value))
            };
            add("x-amz-object-lock-mode", lock.mode.word())?;
            add("x-amz-object-lock-retain-until-date", &lock.until.text())?;
            self.locking.sign(&mut request).await?;
        }
        self.inner.execute(request).await
    }
}

impl Locking {
    /// Signs a request, in the place of a signature that it may have.
    pub async fn sign(&self, request: &mut HttpRequest) -> Result<(), HttpError> {
        let found = self.credentials.get_credential().await;
        let found = found.map_err(|why| HttpError::new(HttpErrorKind::Request, why))?;
        request.headers_mut().remove("authorization");
        let known = request.headers().get("x-amz-content-sha256").and_then(|it| it.to_str().ok());
        let digest = known.and_then(|text| text.parse::<domain::Digest>().ok());
        let authorizer = AwsAuthorizer::new(&found, "s3", &self.region);
        authorizer.authorize(request, digest.as_ref().map(|digest| &digest.0[..]));
        Ok(())
    }
}
