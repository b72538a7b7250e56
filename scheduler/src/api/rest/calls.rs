//! The way from REST to the functions behind both ports: changes, queries, reads.

use super::{
    caller::{Caller, Key},
    fault::Fault,
};
use crate::{
    api::{context::Context, query, registry_calls},
    consensus::shell::Rows,
    state::Cluster,
};
use proto::v1::{self, query_request::What, registry_request::Change};
use serde::de::DeserializeOwned;

/// Makes one change of the registry, under the caller's key. Gives the number of what it is about.
///
/// # Errors
/// As the same change through the other port.
pub async fn change(
    context: &Context,
    caller: &Caller,
    key: &Key,
    change: Change,
) -> Result<u64, Fault> {
    let key = key.of_user(&caller.user()?).0.to_vec().into();
    let request = v1::RegistryRequest { key, change: Some(change) };
    Ok(registry_calls::change(context, caller.asks(request)).await?.number)
}

/// One document of `domain::view`.
///
/// # Errors
/// As the same query through the other port.
pub async fn query<T: DeserializeOwned>(
    context: &Context,
    caller: &Caller,
    what: What,
) -> Result<T, Fault> {
    let request = v1::QueryRequest { stale: false, what: Some(what) };
    let document = query::query(context, caller.asks(request)).await?;
    serde_json::from_slice(&document.json).map_err(|fault| {
        let http = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
        Fault::new(http, "internal", fault.to_string(), "report this")
    })
}

/// Looks at what was acknowledged before now.
///
/// # Errors
/// When this server cannot answer now.
pub async fn read<T: Send + 'static>(
    context: &Context,
    look: impl FnOnce(&Cluster, &Rows) -> T + Send + 'static,
) -> Result<T, Fault> {
    let read = context.node.read(look).await;
    read.map_err(|fault| query::unreadable(&fault).into())
}
