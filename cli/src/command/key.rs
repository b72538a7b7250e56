//! `assay key`: which keys sign for the cluster, and since when.

use super::{Context, artifact, live};
use crate::{args::Global, args::key::Key, exit::Exit, fault::Fault, output::Style, render::keys};
use domain::{Millis, signing::KeysView};
use proto::v1::{self, registry_request::Change};
use registry::{ledger::parse_rfc3339, seal::bundle, sign::local};
use serde_json::json;
use std::{fs::OpenOptions, io::Write, path::Path};

/// Letters of an id that are enough to name a key.
const ENOUGH: usize = 6;

/// Runs the command.
///
/// # Errors
/// When there is no such key, a rule forbids it, or nobody answers.
pub async fn run(global: &Global, what: Key) -> Result<Exit, Fault> {
    if let Key::New { file } = &what {
        return new(global, file);
    }
    let context = Context::new(global)?;
    if let Key::List { all, live } = what {
        let asked = v1::query_request::What::Keys(v1::KeysQuery {});
        return live::show(&context, live, asked, |answer| {
            let keys: KeysView = answer.value;
            context.output.show("keys", &keys, |style: Style| keys::list(style, &keys, all))
        })
        .await;
    }
    let keys = artifact::keys(&context.client).await?;
    match what {
        Key::Export { file } => export(&context, &keys, &file),
        Key::Rotate { key, overlap } => {
            let to = named(&keys, &key)?;
            let asked = v1::RotateKey { to: to.clone(), overlap_ms: overlap.0 };
            let done = context.client.registry(Change::RotateKey(asked)).await?;
            super::change::done(&context, done.at, &format!("key {to} seals from now on"))
        }
        Key::Revoke { key, since, reason } => {
            let kid = named(&keys, &key)?;
            let since_ms = since.map_or(Ok(0), |text| time(&text).map(|at| at.0))?;
            let asked = v1::RevokeKey { kid: kid.clone(), since_ms, reason };
            let done = context.client.registry(Change::RevokeKey(asked)).await?;
            super::change::done(&context, done.at, &format!("key {kid} is revoked"))
        }
        Key::List { .. } | Key::New { .. } => Ok(Exit::Ok),
    }
}

fn new(global: &Global, file: &Path) -> Result<Exit, Fault> {
    let made = local::create_model(file).map_err(|fault| Fault::file(file, &fault))?;
    let public = domain::port::Signer::public_pem(&made);
    let kid = public.map(|pem| bundle::hint(&pem)).map_err(|fault| Fault::file(file, &fault))?;
    let document = json!({ "file": file, "key": kid });
    super::output(global).show("new_key", &document, |_| {
        format!(
            "key {kid} written to {}\nnext: lay it into the `keys` folder of every server, start \
             them anew one by one, then: assay key rotate {}\n",
            file.display(),
            &kid[..12]
        )
    })?;
    Ok(Exit::Ok)
}

fn export(context: &Context, keys: &KeysView, file: &Path) -> Result<Exit, Fault> {
    let made = OpenOptions::new().write(true).create_new(true).open(file);
    made.and_then(|mut made| {
        made.write_all(artifact::document(keys).as_bytes())?;
        made.sync_all()
    })
    .map_err(|fault| Fault::file(file, &fault))?;
    let document = json!({ "file": file, "keys": keys.keys.len() });
    context.output.show("key_export", &document, |_| {
        let (count, file) = (keys.keys.len(), file.display());
        format!("{count} keys written to {file}\nnext: assay verify --offline DIR --keys {file}\n")
    })?;
    Ok(Exit::Ok)
}

/// The one key whose id begins like this.
fn named(keys: &KeysView, text: &str) -> Result<String, Fault> {
    let all = keys.keys.iter().map(|key| key.kid.as_str());
    let found: Vec<&str> = all.filter(|kid| kid.starts_with(text)).collect();
    match found.as_slice() {
        [one] if text.len() >= ENOUGH => Ok((*one).to_owned()),
        _ => {
            let detail = match found.len() {
                0 => format!("no key's id begins with `{text}`"),
                1 => format!("`{text}` is short of {ENOUGH} letters"),
                many => format!("{many} keys' ids begin with `{text}`"),
            };
            Err(Fault::new(crate::fault::Kind::NotFound, "key", detail).hint("assay key list"))
        }
    }
}

fn time(text: &str) -> Result<Millis, Fault> {
    let parsed = parse_rfc3339(text).map(|micros| Millis(micros / 1_000));
    parsed.ok_or_else(|| {
        Fault::usage("since", format!("`{text}` is no time"))
            .hint("write it like 2026-01-31T12:00:00.000000Z")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::keys::tests::sample;

    #[test]
    fn the_beginning_of_an_id_names_a_key_if_it_is_long_enough_and_the_only_one() {
        let keys = sample();
        let kid = keys.keys[0].kid.clone();
        assert_eq!(named(&keys, &kid[..8]).unwrap(), kid);
        assert!(named(&keys, &kid[..3]).unwrap_err().detail.contains("short of 6"));
        assert!(named(&keys, "nothing").unwrap_err().detail.contains("no key's id"));
    }
}
