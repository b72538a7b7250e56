//! Sealed results: show, fetch, export.

use super::{Context, find};
use crate::{
    args::{selector::Selector, user},
    client::Client,
    exit::Exit,
    fault::Fault,
    quantity::show_size,
    render::{self, artifact::Detail, count},
};
use domain::{Digest, tree::Tree, view::ArtifactView};
use proto::v1::{KeysQuery, query_request::What};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The public keys of the signing proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// ECDSA P-256, for models and provenance.
    pub model_public_pem: String,
    /// Ed25519, for audit events.
    pub event_public_pem: String,
    /// Key id of the event signer.
    pub event_signer: String,
}

/// The files of an export.
#[derive(Clone, Debug)]
pub struct Export {
    /// Where they stand.
    pub dir: PathBuf,
}

impl Export {
    /// The model's folder.
    #[must_use]
    pub fn model(&self) -> PathBuf {
        self.dir.join("model")
    }

    /// The model's signature.
    #[must_use]
    pub fn signature(&self) -> PathBuf {
        self.dir.join("model.sig")
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> PathBuf {
        self.dir.join("model.pub.pem")
    }

    /// The signed provenance.
    #[must_use]
    pub fn provenance(&self) -> PathBuf {
        self.dir.join("provenance.dsse.json")
    }
}

/// `assay artifact`.
///
/// # Errors
/// When there is no such artifact, or its bytes cannot be had.
pub async fn run(context: &Context, args: user::Artifact) -> Result<Exit, Fault> {
    match args {
        user::Artifact::Show { which } => show(context, &which).await,
        user::Artifact::Revoke { id, reason } => super::model::revoke(context, id, reason).await,
        user::Artifact::Export { which, dir } => {
            let view = find::artifact(context, &which).await?;
            let export = export(&context.client, &view, &dir).await?;
            let id = view.artifact.id;
            let document = json!({ "artifact": id, "dir": dir });
            context.output.show("export", &document, |_| {
                format!(
                    "{id} exported to {}\nnext: assay verify --offline {0} --keys {}\n",
                    dir.display(),
                    export.public_key().display()
                )
            })?;
            Ok(Exit::Ok)
        }
    }
}

async fn show(context: &Context, which: &Selector) -> Result<Exit, Fault> {
    let artifact = find::artifact(context, which).await?;
    let tree = context.client.tree(artifact.artifact.ticket.output.tree).await?;
    let detail = Detail { artifact, tree };
    context.output.show("artifact", &detail, |style| render::artifact::detail(style, &detail))?;
    Ok(Exit::Ok)
}

/// `assay fetch`.
///
/// # Errors
/// When there is no such artifact, or its bytes cannot be had.
pub async fn fetch(context: &Context, args: &user::Fetch) -> Result<Exit, Fault> {
    let view = find::artifact(context, &args.which).await?;
    let tree = tree(&context.client, &view).await?;
    let size = context.client.fetch_tree(&tree, &args.dir).await?;
    let (id, files) = (view.artifact.id, tree.files.len() as u64);
    let document = json!({ "artifact": id, "dir": args.dir, "files": files, "size": size });
    context.output.show("fetched", &document, |_| {
        let (files, size, dir) = (count(files, "file"), show_size(size), args.dir.display());
        format!("{id}: {files}, {size} in {dir}, each verified\nnext: assay verify {id}\n")
    })?;
    Ok(Exit::Ok)
}

/// The tree of an artifact, which must have the root that was sealed.
///
/// # Errors
/// When it cannot be had, or has another root.
pub async fn tree(client: &Client, view: &ArtifactView) -> Result<Tree, Fault> {
    let output = &view.artifact.ticket.output;
    let tree = client.tree(output.tree).await?;
    if tree.root() == output.root {
        return Ok(tree);
    }
    let detail = format!("tree has root {}, {} was sealed", tree.root(), output.root);
    Err(Fault::mismatch("root", detail))
}

/// The cluster's public keys.
///
/// # Errors
/// When nobody answers.
pub async fn keys(client: &Client) -> Result<Keys, Fault> {
    Ok(client.query(What::Keys(KeysQuery {})).await?.value)
}

/// Writes an artifact as any tool for signed models expects it.
///
/// # Errors
/// When the folder is there already, or the bytes cannot be had.
pub async fn export(client: &Client, view: &ArtifactView, dir: &Path) -> Result<Export, Fault> {
    let export = Export { dir: dir.to_owned() };
    let keys = keys(client).await?;
    let pem_digest = Digest::of(keys.model_public_pem.as_bytes());
    if pem_digest != view.artifact.signer {
        let signer = view.artifact.signer;
        let detail = format!(
            "{} was signed by key {signer}, the cluster's key is {pem_digest}",
            view.artifact.id
        );
        return Err(Fault::mismatch("signer", detail)
            .hint("verify it with the key of its time: assay verify --offline DIR --keys FILE"));
    }
    if dir.exists() {
        let detail = format!("{} is there already", dir.display());
        return Err(Fault::usage("folder", detail).hint("name a folder that does not exist"));
    }
    let tree = tree(client, view).await?;
    client.fetch_tree(&tree, &export.model()).await?;
    client.blob_to_file(view.artifact.signature, &export.signature()).await?;
    client.blob_to_file(view.artifact.provenance, &export.provenance()).await?;
    let pem = export.public_key();
    fs::write(&pem, &keys.model_public_pem).map_err(|fault| Fault::file(&pem, &fault))?;
    Ok(export)
}
