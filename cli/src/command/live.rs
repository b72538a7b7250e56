//! A list that is shown once, or again whenever it changes.

use super::Context;
use crate::{
    args::user::Live,
    client::{Answer, follow::Documents},
    exit::Exit,
    fault::Fault,
    output::Form,
};
use proto::v1::{RegistryQuery, query_request::What, registry_query};
use serde::de::DeserializeOwned;

/// Clears a terminal, its scroll-back kept, and goes to its first line.
pub(super) const CLEAR: &[u8] = b"\x1b[H\x1b[2J";

/// A document of the registry.
#[must_use]
pub fn registry(what: registry_query::What) -> What {
    What::Registry(RegistryQuery { what: Some(what) })
}

/// Asks for a document and shows it; with `--watch`, each that follows, until Ctrl-C.
///
/// On a terminal a new one takes the place of the last; elsewhere they stand one after the other.
///
/// # Errors
/// When what is asked for is not there, nobody answers, or `show` fails.
pub async fn show<T: DeserializeOwned>(
    context: &Context,
    live: Live,
    what: What,
    show: impl Fn(Answer<T>) -> Result<(), Fault>,
) -> Result<Exit, Fault> {
    if !live.watch {
        let answer = context.client.query(what).await?;
        context.mark(answer.log_index);
        show(answer)?;
        return Ok(Exit::Ok);
    }
    let replaces = context.output.form == Form::Text && context.output.style.table;
    let mut documents = Documents::new(&context.client, what);
    loop {
        // Cancel-safe: on Ctrl-C the stream is not used again.
        let answer = tokio::select! {
            answer = documents.next() => answer?,
            () = super::follow::interrupt() => return Ok(Exit::Detached),
        };
        if replaces {
            context.output.bytes(CLEAR)?;
        }
        show(answer)?;
    }
}
