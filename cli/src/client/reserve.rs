//! Changes of the windows of nodes and time.

use super::{AssayClient, Client};
use crate::fault::Fault;
use domain::{LogIndex, reservation::Reservation};
use proto::v1::{self, reserve_request::Change};

impl Client {
    /// Makes a window.
    ///
    /// # Errors
    /// When it breaks a rule, its nodes are in another window then, or nobody answers.
    pub async fn create_reservation(&self, asked: &Reservation) -> Result<LogIndex, Fault> {
        self.reserve(Change::Create(asked.into())).await
    }

    /// Ends a window, or takes it back before it begins.
    ///
    /// # Errors
    /// When there is none of the name, or nobody answers.
    pub async fn delete_reservation(&self, name: &str) -> Result<LogIndex, Fault> {
        self.reserve(Change::Delete(name.to_owned())).await
    }

    async fn reserve(&self, change: Change) -> Result<LogIndex, Fault> {
        let request = v1::ReserveRequest { key: self.key()?, change: Some(change) };
        let call = |mut service: AssayClient<_>| {
            let request = request.clone();
            async move { service.reserve(request).await }
        };
        self.call(call).await.map(|done| LogIndex(done.log_index))
    }
}
