//! Renews the locks on this server's blobs in a store elsewhere, long before they end.

use super::context::Context;
use std::{sync::Arc, time::Duration};

/// Pause between two looks at whether it is time.
const PAUSE: Duration = Duration::from_secs(60);

/// Looks until the replica ends.
pub async fn run(context: Arc<Context>) {
    loop {
        let store = context.blobs.store().clone();
        match tokio::task::spawn_blocking(move || store.renew_locks()).await {
            Ok(Ok(0)) => {}
            Ok(Ok(blobs)) => tracing::info!(blobs, "locks renewed"),
            Ok(Err(why)) => tracing::warn!(%why, "locks not renewed; they are tried again"),
            Err(why) => tracing::warn!(%why, "locks not renewed"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
