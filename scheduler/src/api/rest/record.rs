//! The record of one version of a model, gathered in one look.

use super::{answer::time, calls, fault::Fault, input, shapes::NamedDataset};
use crate::{api::context::Context, consensus::shell::Rows, state::view::View};
use axum::http::StatusCode;
use domain::{
    ArtifactId, Digest, PromotionId,
    evaluation::Measured,
    job::JobSpec,
    limit,
    model::{ModelRef, ModelView},
    promotion::Promotion,
    view::ArtifactView,
};
use registry::ledger::model::models_of;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Versions of one artifact that a fault names.
const NAMED_MAX: usize = 8;

/// A sealed artifact and what its job was given.
pub struct Made {
    /// Root over its files.
    pub root: Digest,
    /// What ran.
    pub spec: JobSpec,
}

/// One version and what it was made of.
pub struct Found {
    /// The version.
    pub model: ModelView,
    /// What it is made of.
    pub artifact: ArtifactView,
    /// What ran.
    pub spec: JobSpec,
    /// Its promotions, newest first, of the newest page of all.
    pub promotions: Vec<Promotion>,
}

/// Why a word names no version.
enum Unknown {
    Absent(String),
    Several(Vec<ModelRef>),
}

impl From<Unknown> for Fault {
    fn from(unknown: Unknown) -> Self {
        match unknown {
            Unknown::Absent(what) => Self::absent(&what),
            Unknown::Several(models) => {
                let names: Vec<_> = models.iter().map(ToString::to_string).collect();
                let why = format!("the artifact is several versions: {}", names.join(", "));
                Self::new(StatusCode::CONFLICT, "refused", why, "name one of them")
            }
        }
    }
}

/// The version that a word names: `digits@3`, `digits@prod`, or the only one of `a7`.
fn model(view: &View<'_>, rows: &Rows, word: &str) -> Result<ModelView, Unknown> {
    let absent =
        || Unknown::Absent(format!("model `{}`", word.chars().take(130).collect::<String>()));
    let Some(artifact) = word.parse().ok().filter(|id: &ArtifactId| id.to_string() == word) else {
        return view.model(rows, word).ok_or_else(absent);
    };
    match models_of(rows, artifact, NAMED_MAX).as_slice() {
        [] => Err(absent()),
        [only] => view.model(rows, &only.to_string()).ok_or_else(absent),
        several => Err(Unknown::Several(several.to_vec())),
    }
}

fn made(view: &View<'_>, rows: &Rows, id: ArtifactId) -> Option<(ArtifactView, JobSpec)> {
    let artifact = view.artifact(rows, id)?;
    let (submitted, _) = view.job_rows(rows, artifact.artifact.ticket.element.job)?;
    Some((artifact, submitted.spec))
}

/// An artifact with what its job was given.
///
/// # Errors
/// When there is none of this id, or this server cannot answer now.
pub async fn artifact(context: &Context, id: &str) -> Result<Made, Fault> {
    input::id("artifact", 'a', id)?;
    let absent = || Fault::absent(&format!("artifact `{id}`"));
    let parsed: ArtifactId = id.parse().map_err(|_| absent())?;
    let found = calls::read(context, move |cluster, rows| made(&cluster.view(), rows, parsed));
    let (artifact, spec) = found.await?.ok_or_else(absent)?;
    Ok(Made { root: artifact.artifact.ticket.output.root, spec })
}

/// The version that a word names, with all that is recorded of it.
///
/// # Errors
/// When there is none, or this server cannot answer now.
pub async fn find(context: &Context, word: &str) -> Result<Found, Fault> {
    let word = word.to_owned();
    let look = move |view: &View<'_>, rows: &Rows| -> Result<Found, Unknown> {
        let model = model(view, rows, &word)?;
        let made = made(view, rows, model.version.artifact);
        let (artifact, spec) = made.ok_or_else(|| Unknown::Absent("artifact".into()))?;
        let promotions = view.promotions(rows, PromotionId(0), limit::PAGE_MAX);
        let of_model = |it: &Promotion| it.model == model.version.model;
        let promotions = promotions.into_iter().filter(of_model).collect();
        Ok(Found { model, artifact, spec, promotions })
    };
    let found = calls::read(context, move |cluster, rows| look(&cluster.view(), rows)).await?;
    Ok(found?)
}

/// The digest of the image that a job runs on, if it runs on one.
#[must_use]
pub fn image_digest(spec: &JobSpec) -> Option<String> {
    let image = spec.image.as_ref()?.to_string();
    image.split_once('@').map(|(_, digest)| digest.to_owned())
}

/// The data that a job reads, with the platform's names.
#[must_use]
pub fn datasets(spec: &JobSpec) -> Vec<NamedDataset> {
    let named = |(name, set): (&String, &domain::job::Captured)| {
        let version = spec.registered.get(name).cloned();
        NamedDataset {
            dataset: version.as_ref().map_or_else(|| name.clone(), |it| it.name.clone()),
            checksum: Some(set.tree.to_string()),
            version: version.map(|it| it.version),
        }
    };
    spec.datasets.iter().map(named).collect()
}

/// A version of a model with all that is recorded of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Record {
    /// Always true.
    ok: bool,
    /// `a7`
    #[serde(rename = "artifactId")]
    artifact: String,
    /// `digits@3`
    #[serde(rename = "modelId")]
    model: String,
    /// Its family.
    family: String,
    /// Its number within the family.
    version: u64,
    /// draft, staging, prod or deprecated.
    status: String,
    /// `assay:a7`
    artifact_url: String,
    /// SHA-256 root over the artifact's files.
    artifact_sha256: String,
    /// SHA-256 of the job's code; none where it had none.
    #[serde(rename = "codeRef")]
    code: Option<String>,
    /// The digest of the image that the job ran on; none where it ran on none.
    container_digest: Option<String>,
    /// The data that the job read.
    #[serde(rename = "datasetRefs")]
    datasets: Vec<NamedDataset>,
    /// The job's hyperparameters.
    hyperparams: BTreeMap<String, String>,
    /// What was measured of it, as decimal texts: by evaluations, else as it was claimed.
    metrics: BTreeMap<String, String>,
    /// Where each metric comes from: the evaluation's artifact `a9`, or `claimed`.
    #[serde(rename = "metricSources")]
    metric_sources: BTreeMap<String, String>,
    /// When it was registered.
    created_at: String,
    /// By whom.
    created_by: String,
    /// SHA-256 of the signer's public key in PEM.
    #[serde(rename = "signerId")]
    signer: String,
    /// SHA-256 of the artifact's signature.
    #[serde(rename = "manifestSignatureId")]
    signature: String,
    metadata: RecordMetadata,
    lineage: RecordLineage,
    /// Signatures over it, by digest.
    signatures: Vec<Signature>,
    /// Its promotions, newest first.
    promotions: Vec<PromotionLine>,
}

/// What the platform has no field for.
#[derive(Debug, Serialize, ToSchema)]
struct RecordMetadata {
    /// Names for it within its family.
    aliases: Vec<String>,
    /// SHA-256 of the job's recipe.
    recipe: String,
    /// SHA-256 of the signed provenance.
    provenance: String,
    /// Bytes of the artifact.
    size_bytes: u64,
    /// Why the artifact was revoked, if it was.
    revoked: Option<String>,
    /// The audit event that records it.
    audit_seq: u64,
}

/// What it was made of.
#[derive(Debug, Serialize, ToSchema)]
struct RecordLineage {
    /// The job: `j7`.
    #[serde(rename = "trainingJobId")]
    job: String,
    /// Versions that it was made from.
    #[serde(rename = "parentArtifacts")]
    parents: Vec<String>,
}

/// One signature.
#[derive(Debug, Serialize, ToSchema)]
struct Signature {
    /// Of what: `artifact` or `promotion`.
    of: &'static str,
    /// Who signed.
    #[serde(rename = "signerId")]
    signer: String,
    /// The digest that names it.
    digest: String,
}

/// A promotion in a record.
#[derive(Debug, Serialize, ToSchema)]
struct PromotionLine {
    /// `p7`
    promotion_id: String,
    /// staging or prod.
    target_env: String,
    /// Where it stands.
    status: String,
}

impl Found {
    /// With the platform's names.
    #[must_use]
    pub fn record(self) -> Record {
        let Self { model, artifact, spec, promotions } = self;
        let version = model.version;
        let id = version.artifact.to_string();
        let of_promotion = promotions.iter().filter_map(|promotion| {
            let signed = promotion.manifest.as_ref()?;
            let digest = signed.manifest.to_string();
            Some(Signature { of: "promotion", signer: signed.signer.clone(), digest })
        });
        let own = Signature {
            of: "artifact",
            signer: model.signer.to_string(),
            digest: model.signature.to_string(),
        };
        Record {
            ok: true,
            artifact_url: format!("assay:{id}"),
            artifact: id,
            model: version.model.to_string(),
            status: version.stage.word().to_owned(),
            artifact_sha256: model.root.to_string(),
            code: spec.code.as_ref().map(|code| code.tree.to_string()),
            container_digest: image_digest(&spec),
            datasets: datasets(&spec),
            hyperparams: spec.hyperparameters,
            metrics: model
                .measured
                .iter()
                .map(|(name, it)| (name.clone(), it.value.to_string()))
                .collect(),
            metric_sources: model.measured.into_iter().map(source).collect(),
            created_at: time(version.registered),
            created_by: version.registered_by,
            signer: model.signer.to_string(),
            signature: model.signature.to_string(),
            signatures: std::iter::once(own).chain(of_promotion).collect(),
            metadata: RecordMetadata {
                aliases: model.aliases,
                recipe: model.recipe.to_string(),
                provenance: model.provenance.to_string(),
                size_bytes: artifact.artifact.ticket.output.size.0,
                revoked: model.revoked.map(|revoked| revoked.reason),
                audit_seq: version.audit_seq,
            },
            lineage: RecordLineage {
                job: model.job.to_string(),
                parents: version.parents.iter().map(ToString::to_string).collect(),
            },
            promotions: promotions.iter().map(line).collect(),
            family: version.model.family,
            version: version.model.version,
        }
    }
}

fn source((name, measured): (String, Measured)) -> (String, String) {
    let evaluation = measured.evaluation.map(|id| id.to_string());
    (name, evaluation.unwrap_or_else(|| "claimed".to_owned()))
}

fn line(promotion: &Promotion) -> PromotionLine {
    PromotionLine {
        promotion_id: promotion.id.to_string(),
        target_env: promotion.to.word().to_owned(),
        status: promotion.state.word().to_owned(),
    }
}
