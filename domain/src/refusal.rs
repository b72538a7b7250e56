//! Why the registry says no: one typed reason for each rule.

use crate::{
    dataset::{Block, DatasetRef},
    digest::Digest,
    evaluation::METRICS_FILE,
    id::{ArtifactId, ElementId, EpisodeId, PromotionId},
    model::{ModelRef, Stage},
    unit::Millis,
};
use borsh::{BorshDeserialize, BorshSerialize};

/// What kind of no it is, which decides what a caller does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The request itself is wrong.
    Invalid,
    /// Something that it names is not there.
    NotFound,
    /// The caller may not do it.
    NotAuthorised,
    /// A signature or a digest does not hold.
    Mismatch,
    /// A rule forbids it.
    Refused,
    /// It is too early: the same request may succeed later.
    NotYet,
}

/// Why a command to the registry changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, thiserror::Error)]
pub enum RegistryRefusal {
    /// A word that breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// Something that is not there.
    #[error("there is no {what}; `assay {list}` shows what there is")]
    NotFound {
        /// What was named.
        what: String,
        /// The command that lists such things.
        list: String,
    },
    /// Something has reached its bound.
    #[error("{what} is at its limit of {most}; {remedy}")]
    Full {
        /// What.
        what: String,
        /// The bound.
        most: u64,
        /// What to do.
        remedy: String,
    },
    /// The artifact was revoked.
    #[error("artifact {artifact} was revoked: {reason}; use another one")]
    Revoked {
        /// The artifact.
        artifact: ArtifactId,
        /// Why.
        reason: String,
    },
    /// The family has this artifact.
    #[error("artifact {artifact} is {model} already; use that version")]
    Known {
        /// The artifact.
        artifact: ArtifactId,
        /// The version that it is.
        model: ModelRef,
    },
    /// A parent that was not registered before: with it, lineage could run in a circle.
    #[error("parent {0} is not registered; a version's parents are registered before it")]
    Parent(ModelRef),
    /// A stage that does not allow this.
    #[error("{model} is in stage {stage}; {remedy}")]
    Stage {
        /// The version.
        model: ModelRef,
        /// Its stage.
        stage: Stage,
        /// What to do.
        remedy: String,
    },
    /// An alias that only promotions move.
    #[error("alias `{0}` follows promotions; use `assay promotion request`")]
    AliasReserved(String),
    /// The version is on its way already.
    #[error("{model} has an open promotion, {promotion}; approve, reject or await that one")]
    Open {
        /// The version.
        model: ModelRef,
        /// The promotion.
        promotion: PromotionId,
    },
    /// A promotion that stands elsewhere.
    #[error("promotion {promotion} is {state}; {remedy}")]
    State {
        /// The promotion.
        promotion: PromotionId,
        /// Its state's word.
        state: String,
        /// What to do.
        remedy: String,
    },
    /// Evidence for a decision that is not what the state holds.
    #[error("promotion {promotion}: {why}; it is to be decided anew")]
    Evidence {
        /// The promotion.
        promotion: PromotionId,
        /// What differs.
        why: String,
    },
    /// Too few people could ever agree.
    #[error(
        "{have} approvers beside {requester} are registered, {required} have to agree; \
         register more: `assay approver add NAME --key FILE`"
    )]
    Electorate {
        /// Who wants the promotion.
        requester: String,
        /// Approvers beside the requester.
        have: u32,
        /// How many have to agree.
        required: u32,
    },
    /// The caller is no approver.
    #[error("`{0}` is no approver; an admin registers one: `assay approver add NAME --key FILE`")]
    NotApprover(String),
    /// One's own request.
    #[error("{promotion} was requested by `{user}`, who cannot approve it; ask another approver")]
    Own {
        /// The promotion.
        promotion: PromotionId,
        /// Who asked for it, and now would approve.
        user: String,
    },
    /// A second word of one person, or under one key.
    #[error("`{approver}` has approved {promotion} already; each approver counts once")]
    Twice {
        /// The promotion.
        promotion: PromotionId,
        /// Who.
        approver: String,
    },
    /// A signature that is not the approver's, or not over this promotion.
    #[error(
        "the approval of {promotion} is not signed by the key of `{approver}`; sign this promotion \
         with the key whose public half is registered: `assay promotion approve {promotion}`"
    )]
    Forged {
        /// The promotion.
        promotion: PromotionId,
        /// Who is said to have signed.
        approver: String,
    },
    /// Too late.
    #[error("promotion {promotion} expired; request it anew")]
    Expired {
        /// The promotion.
        promotion: PromotionId,
        /// When, by the log's clock.
        since: Millis,
    },
    /// A key that belongs to someone else.
    #[error("this key is that of approver `{0}`; each approver has a key of its own")]
    KeyTaken(String),
    /// Not due by the log's clock.
    #[error("promotion {0} is not due yet")]
    NotDue(PromotionId),
    /// The data set has this tree.
    #[error("these files are {dataset} already (tree {}); use that version", tree.short())]
    DatasetKnown {
        /// The tree.
        tree: Digest,
        /// The version that it is.
        dataset: DatasetRef,
    },
    /// A data set that may not be used.
    #[error(
        "data set {dataset} is blocked: {}; an approver who did not register it clears it: \
         `assay dataset clear {dataset} --key FILE --reason TEXT`",
        blocks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", and ")
    )]
    DatasetBlocked {
        /// The data set.
        dataset: DatasetRef,
        /// Why.
        blocks: Vec<Block>,
    },
    /// One's own data set.
    #[error("{dataset} was registered by `{user}`, who cannot clear it; ask another approver")]
    OwnDataset {
        /// The data set.
        dataset: DatasetRef,
        /// Who registered it, and now would clear it.
        user: String,
    },
    /// Nothing to clear.
    #[error("data set {0} is not blocked: it can be used as it is")]
    NotBlocked(DatasetRef),
    /// A signature that is not the approver's, or not over this clearance.
    #[error(
        "the clearance of {dataset} is not signed by the key of `{approver}`; sign with the key \
         whose public half is registered: `assay dataset clear {dataset} --key FILE`"
    )]
    ForgedClearance {
        /// The data set.
        dataset: DatasetRef,
        /// Who is said to have signed.
        approver: String,
    },
    /// A signing key that does not allow this now.
    #[error("key {kid}: {state}; {remedy}")]
    Key {
        /// Its id.
        kid: String,
        /// How it stands.
        state: String,
        /// What to do.
        remedy: String,
    },
    /// A key whose holder did not show that it can sign with it, or that no model key vouches for.
    #[error("key {kid} is not proven: {why}; check the signer in the server's configuration")]
    KeyUnproven {
        /// Its id.
        kid: String,
        /// What does not hold.
        why: String,
    },
    /// A trigger's key that stands for something else.
    #[error(
        "trigger `{trigger}` of {model} was sent before with other content; send what was sent \
         then, or use a new key"
    )]
    TriggerReused {
        /// The model.
        model: ModelRef,
        /// The key.
        trigger: String,
    },
    /// Scores against a reference that was replaced meanwhile.
    #[error("the monitor of {model} is at revision {is}, the scores are of {scored}")]
    MonitorChanged {
        /// The model.
        model: ModelRef,
        /// The revision that was scored against.
        scored: u64,
        /// The revision now.
        is: u64,
    },
    /// An episode that does not allow this.
    #[error("episode {episode} {state}; {remedy}")]
    Episode {
        /// The episode.
        episode: EpisodeId,
        /// How it stands.
        state: String,
        /// What to do.
        remedy: String,
    },
    /// A sealed result that says nothing of the version: its job did not read the version's files.
    #[error(
        "{job}, which made {artifact}, did not read the files of {model}, so it says nothing of \
         it; `assay model evaluate {model} --job FILE` runs a job that does"
    )]
    NotOfModel {
        /// The version.
        model: ModelRef,
        /// The result.
        artifact: ArtifactId,
        /// What made it.
        job: ElementId,
    },
    /// A sealed result without metrics that can be read.
    #[error(
        "{file} of {artifact}: {why}; the job has to write it into $ASSAY_OUTPUT_DIR as one flat \
         object of names and decimal numbers",
        file = METRICS_FILE
    )]
    NoMetrics {
        /// The result.
        artifact: ArtifactId,
        /// What is wrong.
        why: String,
    },
    /// Bytes that are not those that were sealed.
    #[error("{what} of {artifact} hashes to {found}, {sealed} was sealed; use what was sealed")]
    NotSealed {
        /// The result.
        artifact: ArtifactId,
        /// What they are said to be.
        what: String,
        /// Their digest.
        found: Digest,
        /// The digest that was sealed.
        sealed: Digest,
    },
    /// Files that were collected.
    #[error(
        "the files of artifact {artifact} were collected by {rule}; use another one, or make it \
         again: `assay artifact show {artifact}` names its job"
    )]
    Collected {
        /// The artifact.
        artifact: ArtifactId,
        /// By which rule.
        rule: String,
    },
    /// No data set of this name, or no such version of it.
    #[error("there is no data set `{asked}`: {known}")]
    UnknownDataset {
        /// What was asked for.
        asked: String,
        /// What there is that is near.
        known: String,
    },
    /// Files that are said to be a version, and are others.
    #[error(
        "data set {dataset} is tree {}, the job has tree {} under its name; leave the digest to \
         the name, or the name out",
        tree.short(), said.short()
    )]
    DatasetDiffers {
        /// The version.
        dataset: DatasetRef,
        /// Digest of its tree.
        tree: Digest,
        /// What the job has.
        said: Digest,
    },
    /// A signature that is not the approver's, or not over this sign-off.
    #[error(
        "the sign-off of `{document}` is not signed by the key of `{approver}`; sign with the key \
         whose public half is registered: `assay audit sign-off FILE --key KEY`"
    )]
    ForgedSignOff {
        /// What the document is called.
        document: String,
        /// Who is said to have signed.
        approver: String,
    },
}

impl RegistryRefusal {
    /// What kind of no it is.
    #[must_use]
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::Invalid(_) => RefusalKind::Invalid,
            Self::NotFound { .. } | Self::Parent(_) | Self::UnknownDataset { .. } => {
                RefusalKind::NotFound
            }
            Self::NotApprover(_) | Self::Own { .. } | Self::OwnDataset { .. } => {
                RefusalKind::NotAuthorised
            }
            Self::Forged { .. }
            | Self::ForgedClearance { .. }
            | Self::ForgedSignOff { .. }
            | Self::NotSealed { .. }
            | Self::DatasetDiffers { .. }
            | Self::KeyUnproven { .. } => RefusalKind::Mismatch,
            Self::NotDue(_) | Self::MonitorChanged { .. } => RefusalKind::NotYet,
            Self::Full { .. }
            | Self::Revoked { .. }
            | Self::Known { .. }
            | Self::Stage { .. }
            | Self::AliasReserved(_)
            | Self::Open { .. }
            | Self::State { .. }
            | Self::Evidence { .. }
            | Self::Electorate { .. }
            | Self::Twice { .. }
            | Self::Expired { .. }
            | Self::KeyTaken(_)
            | Self::DatasetKnown { .. }
            | Self::DatasetBlocked { .. }
            | Self::NotBlocked(_)
            | Self::TriggerReused { .. }
            | Self::Episode { .. }
            | Self::NotOfModel { .. }
            | Self::NoMetrics { .. }
            | Self::Collected { .. }
            | Self::Key { .. } => RefusalKind::Refused,
        }
    }

    /// Whether it met an attempt on the rules, which is an event of record.
    #[must_use]
    pub fn is_attempt(&self) -> bool {
        matches!(
            self,
            Self::Revoked { .. }
                | Self::NotApprover(_)
                | Self::Own { .. }
                | Self::Twice { .. }
                | Self::Forged { .. }
                | Self::Expired { .. }
                | Self::KeyTaken(_)
                | Self::OwnDataset { .. }
                | Self::ForgedClearance { .. }
                | Self::ForgedSignOff { .. }
                | Self::NotSealed { .. }
        )
    }
}
