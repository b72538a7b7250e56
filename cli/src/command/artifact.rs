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
use domain::{
    signing::{KeyPurpose, KeysView},
    tree::Tree,
    view::{ArtifactView, AuditProofView},
};
use proto::v1::{self, AuditProofQuery, KeysQuery, query_request::What, registry_request::Change};
use registry::seal::{dsse::Envelope, keys as seal_keys, logged, node};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long and how often a server is asked again whose key for the log an older key vouches for.
const RENEWED: (Duration, u32) = (Duration::from_millis(200), 50);

/// The files of an export.
#[derive(Clone, Debug)]
pub struct Export {
    /// Where they stand.
    pub dir: PathBuf,
    /// The cluster's keys, as the export has them.
    pub known: KeysView,
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

    /// The signed provenance.
    #[must_use]
    pub fn provenance(&self) -> PathBuf {
        self.dir.join("provenance.dsse.json")
    }

    /// The cluster's keys with the times of their word.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.dir.join("keys.json")
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<(), Fault> {
        let path = self.dir.join(name);
        fs::write(&path, bytes).map_err(|fault| Fault::file(&path, &fault))
    }
}

/// `assay artifact`.
///
/// # Errors
/// When there is no such artifact, or its bytes cannot be had.
pub async fn run(context: &Context, args: user::Artifact) -> Result<Exit, Fault> {
    match args {
        user::Artifact::Show { which } => show(context, &which).await,
        user::Artifact::Hold { which, reason } => hold(context, &which, true, reason).await,
        user::Artifact::Release { which, reason } => hold(context, &which, false, reason).await,
        user::Artifact::Revoke { id, reason } => super::model::revoke(context, id, reason).await,
        user::Artifact::Export { which, dir } => {
            let view = find::artifact(context, &which).await?;
            export(&context.client, &view, &dir).await?;
            let id = view.artifact.id;
            let document = json!({ "artifact": id, "dir": dir });
            context.output.show("export", &document, |_| {
                // The folder's own keys would vouch for the folder, whoever made it.
                format!(
                    "{id} exported to {}\nnext: assay key export trusted.json; then, wherever both \
                     are: assay verify --offline {0} --keys trusted.json\n",
                    dir.display()
                )
            })?;
            Ok(Exit::Ok)
        }
    }
}

async fn hold(
    context: &Context,
    which: &Selector,
    held: bool,
    reason: String,
) -> Result<Exit, Fault> {
    let id = find::artifact(context, which).await?.artifact.id;
    let asked = v1::HoldArtifact { artifact: id.to_string(), held, reason };
    let changed = context.client.registry(Change::HoldArtifact(asked)).await?;
    let state = if held { "is under legal hold" } else { "is not under legal hold any more" };
    super::change::done(context, changed.at, &format!("{id} {state}"))
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
    super::gc::check_has_files(&view)?;
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
pub async fn keys(client: &Client) -> Result<KeysView, Fault> {
    Ok(client.query(What::Keys(KeysQuery {})).await?.value)
}

/// The public keys of event signers, by their ids.
#[must_use]
pub fn event_keys(keys: &KeysView) -> BTreeMap<String, String> {
    let events = keys.keys.iter().filter(|key| key.purpose == KeyPurpose::Event);
    events.map(|key| (key.kid.clone(), key.public_pem.clone())).collect()
}

/// Writes an artifact as any tool for signed models expects it.
///
/// # Errors
/// When the folder is there already, or the bytes cannot be had.
pub async fn export(client: &Client, view: &ArtifactView, dir: &Path) -> Result<Export, Fault> {
    super::gc::check_has_files(view)?;
    let (proof, known) = proved(client, view).await?;
    let export = Export { dir: dir.to_owned(), known };
    let keys = &export.known;
    let signer = view.artifact.signer.to_string();
    let Some(key) = keys.of(&signer) else {
        let id = view.artifact.id;
        let detail = format!("{id} was signed by key {signer}, which the cluster does not know");
        return Err(Fault::mismatch("signer", detail)
            .hint("verify it with the key of its time: assay verify --offline DIR --keys FILE"));
    };
    if dir.exists() {
        let detail = format!("{} is there already", dir.display());
        return Err(Fault::usage("folder", detail).hint("name a folder that does not exist"));
    }
    let tree = tree(client, view).await?;
    client.fetch_tree(&tree, &export.model()).await?;
    client.blob_to_file(view.artifact.signature, &export.signature()).await?;
    client.blob_to_file(view.artifact.provenance, &export.provenance()).await?;
    export.write("model.pub.pem", &key.public_pem)?;
    export.write("keys.json", document(keys))?;
    export.write(logged::EVENT, &proof.event.payload)?;
    export.write(logged::PROOF, &proof.proof)?;
    export.write(logged::DELEGATION, &proof.delegation)?;
    own_word(&export)?;
    Ok(export)
}

/// The proof that the log holds an artifact, and the keys, the one that signed its head among them.
///
/// Who has the key that sealed the artifact checks the proof with that alone, if that key seals now:
/// it vouches for the log's key of the day. A server that has not heard yet that another key seals is
/// given a moment to.
async fn proved(client: &Client, view: &ArtifactView) -> Result<(AuditProofView, KeysView), Fault> {
    let signer = view.artifact.signer.to_string();
    let mut tries = RENEWED.1;
    loop {
        let asked = AuditProofQuery { event: view.artifact.audit_seq };
        let proof: AuditProofView = client.query(What::AuditProof(asked)).await?.value;
        // After the proof.
        let known = keys(client).await?;
        let by = seal_keys::delegated_by(&proof.delegation);
        let old = known.active.as_ref() == Some(&signer) && by.is_some_and(|by| by != signer);
        if !old || tries == 0 {
            return Ok((proof, known));
        }
        tries -= 1;
        tokio::time::sleep(RENEWED.0).await;
    }
}

/// Writes the node's own statement, with its certificate, beside the provenance that holds both.
fn own_word(export: &Export) -> Result<(), Fault> {
    let path = export.provenance();
    let text = fs::read(&path).map_err(|fault| Fault::file(&path, &fault))?;
    // One that is damaged is for `verify` to name.
    let envelope = serde_json::from_slice::<Envelope>(&text).ok();
    let payload = envelope.and_then(|envelope| envelope.open().ok()).map(|(payload, _)| payload);
    let value = payload.and_then(|payload| serde_json::from_slice(&payload).ok());
    if let Some(Ok((statement, certificate))) = value.as_ref().map(node::extract) {
        export.write("node.dsse.json", statement)?;
        export.write("node.cert.pem", certificate)?;
    }
    Ok(())
}

/// The document of the keys, as a file.
#[must_use]
pub fn document(keys: &KeysView) -> String {
    let mut value = json!(keys);
    value["schema"] = "keys/v1".into();
    format!("{value:#}\n")
}
