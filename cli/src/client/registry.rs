//! Changes of the registry, and its documents.

use super::{Answer, Client};
use crate::fault::Fault;
use domain::LogIndex;
use proto::v1::{self, registry_query, registry_request::Change};
use serde::de::DeserializeOwned;

/// A change that is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// The version or the promotion that it is about, else 0.
    pub number: u64,
    /// The entry that holds it.
    pub at: LogIndex,
}

impl Client {
    /// Makes one change.
    ///
    /// # Errors
    /// When a rule forbids it, or nobody answers.
    pub async fn registry(&self, change: Change) -> Result<Done, Fault> {
        let request = v1::RegistryRequest { key: self.key()?, change: Some(change) };
        let call = |mut service: super::AssayClient<_>| {
            let request = request.clone();
            async move { service.registry(request).await }
        };
        let reply = self.call(call).await?;
        Ok(Done { number: reply.number, at: LogIndex(reply.log_index) })
    }

    /// Asks for a document of the registry.
    ///
    /// # Errors
    /// When it is not there, or nobody answers.
    pub async fn registry_query<T: DeserializeOwned>(
        &self,
        what: registry_query::What,
    ) -> Result<Answer<T>, Fault> {
        let what = v1::RegistryQuery { what: Some(what) };
        self.query(v1::query_request::What::Registry(what)).await
    }
}
