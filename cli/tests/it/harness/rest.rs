//! A caller of the REST port: what `curl` with a certificate does.

use super::cluster::Cluster;
use reqwest::{Certificate, Client, Identity, Method, RequestBuilder};
use serde_json::Value;
use std::{fs, path::Path, time::Duration};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A caller at one server, with or without a certificate.
pub struct Rest {
    client: Client,
    base: String,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub body: Value,
    pub request_id: String,
}

impl Reply {
    /// The word of its fault.
    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }
}

/// Where a server answers REST, `https://host:port`.
pub fn address(cluster: &Cluster, server: &str) -> String {
    let text = fs::read_to_string(cluster.path(&format!("config/{server}.toml"))).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("rest = ")).unwrap();
    format!("https://{}", line.trim_matches('"'))
}

impl Rest {
    /// A caller whose certificate and key are `NAME.pem` and `NAME.key`; none without a path.
    pub fn new(cluster: &Cluster, server: &str, name: Option<&Path>) -> Self {
        let ca = fs::read(cluster.path("tls/ca.pem")).unwrap();
        let mut client = Client::builder()
            .use_rustls_tls()
            .add_root_certificate(Certificate::from_pem(&ca).unwrap())
            .no_proxy()
            .timeout(PATIENCE);
        if let Some(name) = name {
            let mut pem = fs::read(name.with_extension("pem")).unwrap();
            pem.extend(fs::read(name.with_extension("key")).unwrap());
            client = client.identity(Identity::from_pem(&pem).unwrap());
        }
        Self { client: client.build().unwrap(), base: address(cluster, server) }
    }

    /// A call that is not sent yet.
    pub fn call(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// Sends a call; fails where no HTTP comes back.
    pub async fn try_send(call: RequestBuilder) -> Result<Reply, reqwest::Error> {
        let response = call.send().await?;
        let status = response.status().as_u16();
        let id = response.headers().get("x-request-id");
        let request_id = id.and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Reply { status, body, request_id })
    }

    /// Looks at something.
    pub async fn get(&self, path: &str) -> Reply {
        Self::try_send(self.call(Method::GET, path)).await.unwrap()
    }

    /// Looks at something that must be there.
    pub async fn found(&self, path: &str) -> Value {
        let reply = self.get(path).await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        reply.body
    }

    /// Changes something, with a body that is sent as it stands.
    pub async fn post_text(&self, path: &str, key: &str, body: impl Into<String>) -> Reply {
        let call = self.call(Method::POST, path).header("Idempotency-Key", key);
        let call = call.header("Content-Type", "application/json").body(body.into());
        Self::try_send(call).await.unwrap()
    }

    /// Changes something.
    pub async fn post(&self, path: &str, key: &str, body: &Value) -> Reply {
        self.post_text(path, key, body.to_string()).await
    }

    /// Looks until something is found.
    pub async fn until<T>(&self, what: &str, path: &str, look: impl Fn(&Value) -> Option<T>) -> T {
        let end = tokio::time::Instant::now() + super::PATIENCE;
        loop {
            let reply = self.get(path).await;
            if let Some(found) = look(&reply.body) {
                return found;
            }
            let waited = tokio::time::Instant::now();
            assert!(waited < end, "not within {:?}: {what}: {reply:?}", super::PATIENCE);
            tokio::time::sleep(super::LOOK).await;
        }
    }
}
