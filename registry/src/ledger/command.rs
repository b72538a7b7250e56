//! What may be asked of the registry through the log.

use super::{
    Ledger,
    evaluation::Said,
    model::NewVersion,
    promotion::{Asked, Found, Signed},
};
use borsh::{BorshDeserialize, BorshSerialize};
use domain::{
    ArtifactId, Decimal, Digest, Millis, PromotionId,
    dataset::{DatasetFacts, DatasetRef},
    job::JobSpec,
    model::{ModelRef, Stage},
    port::RowRead,
    promotion::{GateResult, PolicyDecision, Quorum, Risk},
    refusal::RegistryRefusal,
    scratch::Scratch,
    signing::{Custody, Delegation},
    version::ClusterVersion,
};
use serde_json::json;
use std::collections::BTreeMap;

/// A change of the registry.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum RegistryCommand {
    /// Make a sealed artifact the next version of a family.
    RegisterModel {
        /// The family; its first version makes it.
        family: String,
        /// What the version is made of.
        artifact: ArtifactId,
        /// What was measured of it.
        metrics: BTreeMap<String, Decimal>,
        /// Versions that it was made from.
        parents: Vec<ModelRef>,
        /// Names that stand for it from now on.
        aliases: Vec<String>,
    },
    /// Let a name stand for a version, or for none.
    SetAlias {
        /// The family.
        family: String,
        /// The name.
        alias: String,
        /// The version's number.
        version: Option<u64>,
    },
    /// Take a version out of use.
    DeprecateModel {
        /// Which.
        model: ModelRef,
        /// Why.
        reason: String,
    },
    /// Say that an artifact is not to be used any more.
    RevokeArtifact {
        /// Which.
        artifact: ArtifactId,
        /// Why.
        reason: String,
    },
    /// Register an approver with the key that verifies its word.
    AddApprover {
        /// The user's name, as its certificate has it.
        name: String,
        /// The Ed25519 public key.
        key: [u8; 32],
    },
    /// Let an approver's word count no more.
    RemoveApprover {
        /// Who.
        name: String,
    },
    /// Say how many of how many approvers have to agree.
    SetQuorum {
        /// How many.
        quorum: Quorum,
    },
    /// Ask for a version to be moved to a stage.
    RequestPromotion {
        /// Which.
        model: ModelRef,
        /// Where to.
        to: Stage,
        /// What is at stake.
        risk: Risk,
        /// Whether one approver is enough for now.
        emergency: bool,
        /// Why.
        reason: String,
        /// Time within which it has to be cleared.
        within: Option<Millis>,
    },
    /// What evaluation gates and policy said (proposed by the leader's gate duty).
    DecidePromotion {
        /// Of which.
        promotion: PromotionId,
        /// The gates with what they met.
        gates: Vec<GateResult>,
        /// Whether the rules let the stage do without gates.
        ungated: bool,
        /// The least risk that the rules see in the stage.
        risk: Risk,
        /// What the policy said.
        policy: PolicyDecision,
    },
    /// The signature of a promotion's manifest (proposed by the leader's gate duty).
    SignPromotion {
        /// Of which.
        promotion: PromotionId,
        /// Digest of the manifest that was signed.
        manifest: Digest,
        /// Ed25519 over the digest's bytes.
        signature: Vec<u8>,
        /// Key id of the signer.
        signer: String,
    },
    /// An approver's word for a promotion.
    Approve {
        /// Which.
        promotion: PromotionId,
        /// Ed25519 over its approval document.
        signature: Vec<u8>,
    },
    /// A person's word against a promotion.
    Reject {
        /// Which.
        promotion: PromotionId,
        /// Why.
        reason: String,
    },
    /// End a promotion whose time is over (proposed by the leader's gate duty).
    SettlePromotion {
        /// Which.
        promotion: PromotionId,
    },
    /// Make a tree of files the next version of a data set.
    RegisterDataset {
        /// Its name; its first version makes it.
        name: String,
        /// What is known of it, the scan of the server that took it in among it.
        facts: DatasetFacts,
    },
    /// An approver's word that a data set may be used in spite of what blocks it.
    ClearDataset {
        /// Which.
        dataset: DatasetRef,
        /// Why.
        reason: String,
        /// Ed25519 over its clearance document.
        signature: Vec<u8>,
    },
    /// Put a data set under legal hold, or end that.
    HoldDataset {
        /// Which.
        dataset: DatasetRef,
        /// Whether it is held from now on.
        held: bool,
        /// Why.
        reason: String,
    },
    /// Say whether a licence allows training.
    SetLicence {
        /// SPDX identifier, or `LicenseRef-...`.
        licence: String,
        /// Whether it does.
        allowed: bool,
    },
    /// A server can sign with a model key (proposed by that server).
    IntroduceKey {
        /// The public key: SPKI in PEM.
        public_pem: String,
        /// Where the key is.
        custody: Custody,
        /// Its signature of `seal::keys::introduction`, DER.
        proof: Vec<u8>,
    },
    /// A model key vouches for an event key (proposed by the server that has it).
    DelegateKey {
        /// What it says.
        delegation: Delegation,
        /// The model key's signature of `seal::keys::delegation`, DER.
        signature: Vec<u8>,
    },
    /// Seal with another model key from now on.
    RotateKey {
        /// Its id.
        to: String,
        /// Time for which the one before counts beside it.
        overlap: Millis,
    },
    /// Say that a key's word no longer counts.
    RevokeKey {
        /// Its id.
        kid: String,
        /// From when on; none is from now on.
        since: Option<Millis>,
        /// Why.
        reason: String,
    },
    /// Record what a sealed job measured of a version.
    RecordEvaluation {
        /// Of which.
        model: ModelRef,
        /// The job's sealed output.
        artifact: ArtifactId,
        /// The stored list of its files, which hashes to what was sealed.
        listing: Vec<u8>,
        /// The file with the metrics, which hashes to what the list says.
        metrics: Vec<u8>,
    },
    /// Let the files of these go, as far as nothing keeps them.
    Collect {
        /// Which.
        artifacts: Vec<ArtifactId>,
    },
    /// Put an artifact under legal hold, or end that.
    HoldArtifact {
        /// Which.
        artifact: ArtifactId,
        /// Whether it is held from now on.
        held: bool,
        /// Why.
        reason: String,
    },
    /// Vouch for a file as an approver. Since version 2.
    SignOff {
        /// What people call it.
        document: String,
        /// What it is.
        sha256: Digest,
        /// What is vouched for.
        reason: String,
        /// Ed25519 over `seal::sign_off::document`.
        signature: Vec<u8>,
    },
}

impl RegistryCommand {
    /// The version of the cluster since which it is understood.
    #[must_use]
    pub fn since(&self) -> ClusterVersion {
        match self {
            Self::SignOff { .. } => ClusterVersion(2),
            Self::RegisterModel { .. }
            | Self::SetAlias { .. }
            | Self::DeprecateModel { .. }
            | Self::RevokeArtifact { .. }
            | Self::AddApprover { .. }
            | Self::RemoveApprover { .. }
            | Self::SetQuorum { .. }
            | Self::RequestPromotion { .. }
            | Self::DecidePromotion { .. }
            | Self::SignPromotion { .. }
            | Self::Approve { .. }
            | Self::Reject { .. }
            | Self::SettlePromotion { .. }
            | Self::RegisterDataset { .. }
            | Self::ClearDataset { .. }
            | Self::HoldDataset { .. }
            | Self::SetLicence { .. }
            | Self::IntroduceKey { .. }
            | Self::DelegateKey { .. }
            | Self::RotateKey { .. }
            | Self::RevokeKey { .. }
            | Self::RecordEvaluation { .. }
            | Self::Collect { .. }
            | Self::HoldArtifact { .. } => ClusterVersion::FIRST,
        }
    }
}

/// The rows, the log's clock and whoever asks.
pub(super) struct Act<'a, 'b, R: RowRead> {
    pub rows: &'a mut Scratch<'b, R>,
    pub now: Millis,
    pub actor: &'a str,
}

/// Whether data that an artifact came of may be used, by the rows of the scheduler. A walk that
/// costs more than all other rules: it is asked last.
pub type DataRule<'a, R> = dyn Fn(&Scratch<'_, R>, ArtifactId) -> Result<(), RegistryRefusal> + 'a;

/// What the scheduler's rows say of what a change is about.
pub struct Background<'a, R: RowRead> {
    /// The job whose output an evaluation is.
    pub made_by: Option<JobSpec>,
    /// What a promotion asks of the data.
    pub data: &'a DataRule<'a, R>,
    /// The version that the cluster runs at.
    pub version: ClusterVersion,
}

impl<R: RowRead> Background<'_, R> {
    /// Where nothing is to be known.
    #[must_use]
    pub fn none() -> Self {
        Self { made_by: None, data: &|_, _| Ok(()), version: ClusterVersion::FIRST }
    }
}

impl<R: RowRead> Act<'_, '_, R> {
    /// The name of the user who asks, or the whole actor where a server does.
    pub fn user(&self) -> &str {
        self.actor.strip_prefix("user:").unwrap_or(self.actor)
    }
}

impl Ledger {
    /// Does one change. Returns the number of what it made: a version or a promotion, or 0.
    ///
    /// An attempt on the rules is an event of record.
    ///
    /// # Errors
    /// The rule that forbids it. No row but the event's has changed then, except that a promotion
    /// whose artifact was revoked, or whose version has changed its stage, is refused for good.
    pub fn step<R: RowRead>(
        &mut self,
        rows: &mut Scratch<'_, R>,
        now: Millis,
        actor: &str,
        command: RegistryCommand,
        background: &Background<'_, R>,
    ) -> Result<u64, RegistryRefusal> {
        let about = about(&command);
        let mut act = Act { rows, now, actor };
        let done = match command {
            RegistryCommand::HoldArtifact { artifact, held, reason } => {
                self.hold_artifact(&mut act, artifact, held, reason)
            }
            RegistryCommand::SignOff { document, sha256, reason, signature } => {
                self.sign_off(&mut act, &document, sha256, &reason, &signature).map(|()| 0)
            }
            command => self.perform(&mut act, command, background),
        };
        if let Err(refusal) = &done
            && refusal.is_attempt()
        {
            let body = json!({ "asked": about, "reason": refusal.to_string() });
            self.event(&mut act, "registry.attempt.refused", body);
        }
        done
    }

    fn perform<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        command: RegistryCommand,
        background: &Background<'_, R>,
    ) -> Result<u64, RegistryRefusal> {
        use RegistryCommand as C;
        match command {
            C::RegisterModel { family, artifact, metrics, parents, aliases } => {
                self.register_model(act, NewVersion { family, artifact, metrics, parents, aliases })
            }
            C::SetAlias { family, alias, version } => {
                self.set_alias(act, &family, &alias, version).map(|()| 0)
            }
            C::DeprecateModel { model, reason } => {
                self.deprecate(act, &model, reason).map(|()| model.version)
            }
            C::RevokeArtifact { artifact, reason } => {
                self.revoke(act, artifact, reason).map(|()| 0)
            }
            C::AddApprover { name, key } => self.add_approver(act, name, key).map(|()| 0),
            C::RemoveApprover { name } => self.remove_approver(act, &name).map(|()| 0),
            C::SetQuorum { quorum } => self.set_quorum(act, quorum).map(|()| 0),
            C::RequestPromotion { .. }
            | C::DecidePromotion { .. }
            | C::SignPromotion { .. }
            | C::Approve { .. }
            | C::Reject { .. }
            | C::SettlePromotion { .. } => self.promote(act, command, background),
            C::RegisterDataset { name, facts } => self.register_dataset(act, name, facts),
            C::ClearDataset { dataset, reason, signature } => {
                self.clear_dataset(act, &dataset, reason, &signature).map(|()| dataset.version)
            }
            C::HoldDataset { dataset, held, reason } => {
                self.hold_dataset(act, &dataset, held, reason).map(|()| dataset.version)
            }
            C::SetLicence { licence, allowed } => self.set_licence(act, &licence, allowed),
            C::IntroduceKey { public_pem, custody, proof } => {
                self.introduce_key(act, public_pem, custody, &proof).map(|()| 0)
            }
            C::DelegateKey { delegation, signature } => {
                self.delegate_key(act, delegation, &signature).map(|()| 0)
            }
            C::RotateKey { to, overlap } => self.rotate_key(act, &to, overlap).map(|()| 0),
            C::RevokeKey { kid, since, reason } => {
                self.revoke_key(act, &kid, since, reason).map(|()| 0)
            }
            C::RecordEvaluation { model, artifact, listing, metrics } => self.record_evaluation(
                act,
                Said { model, artifact, listing, metrics },
                background.made_by.as_ref(),
            ),
            // Done before; by the scheduler, which knows the rules.
            C::HoldArtifact { .. } | C::SignOff { .. } | C::Collect { .. } => Ok(0),
        }
    }

    /// One step of a promotion.
    fn promote<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        command: RegistryCommand,
        background: &Background<'_, R>,
    ) -> Result<u64, RegistryRefusal> {
        use RegistryCommand as C;
        let Background { data, version, .. } = *background;
        match command {
            C::RequestPromotion { model, to, risk, emergency, reason, within } => {
                let asked = Asked { model, to, risk, emergency, reason, within };
                self.request_promotion(act, asked, data)
            }
            C::DecidePromotion { promotion, gates, ungated, risk, policy } => {
                let found = Found { gates, ungated, risk, policy };
                self.decide_promotion(act, promotion, found, data)
            }
            C::SignPromotion { promotion, manifest, signature, signer } => {
                let signed = Signed { manifest, signature, signer };
                self.sign_promotion(act, promotion, signed, data)
            }
            C::Approve { promotion, signature } => {
                self.approve(act, promotion, &signature, background)
            }
            C::Reject { promotion, reason } => self.reject(act, promotion, reason, version),
            C::SettlePromotion { promotion } => self.settle(act, promotion, version),
            // No step of one.
            _ => Ok(0),
        }
    }

    /// Chains an event whose body is an object of strings and integers.
    pub(super) fn event<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        kind: &str,
        body: serde_json::Value,
    ) -> u64 {
        self.record(act.rows, act.now, kind, act.actor, super::seal::object(body))
    }
}

/// What was asked, for the record of an attempt.
fn about(command: &RegistryCommand) -> String {
    use RegistryCommand as C;
    match command {
        C::RegisterModel { family, artifact, .. } => format!("register {artifact} as {family}"),
        C::SetAlias { family, alias, .. } => format!("alias {alias} of {family}"),
        C::DeprecateModel { model, .. } => format!("deprecate {model}"),
        C::RevokeArtifact { artifact, .. } => format!("revoke {artifact}"),
        C::AddApprover { name, .. } => format!("add approver {name}"),
        C::RemoveApprover { name } => format!("remove approver {name}"),
        C::SetQuorum { .. } => "set the quorum".to_owned(),
        C::RequestPromotion { model, to, .. } => format!("promote {model} to {to}"),
        C::DecidePromotion { promotion, .. } => format!("decide {promotion}"),
        C::SignPromotion { promotion, .. } => format!("sign {promotion}"),
        C::Approve { promotion, .. } => format!("approve {promotion}"),
        C::Reject { promotion, .. } => format!("reject {promotion}"),
        C::SettlePromotion { promotion } => format!("settle {promotion}"),
        C::RegisterDataset { name, .. } => format!("register data set {name}"),
        C::ClearDataset { dataset, .. } => format!("clear {dataset}"),
        C::HoldDataset { dataset, .. } => format!("hold {dataset}"),
        C::SetLicence { licence, .. } => format!("licence {licence}"),
        C::IntroduceKey { custody, .. } => format!("introduce a key in {custody}"),
        C::DelegateKey { delegation, .. } => format!("delegate to {}", delegation.kid),
        C::RotateKey { to, .. } => format!("seal with key {to}"),
        C::RevokeKey { kid, .. } => format!("revoke key {kid}"),
        C::RecordEvaluation { model, artifact, .. } => format!("{artifact} evaluates {model}"),
        C::Collect { artifacts } => format!("collect {} artifacts", artifacts.len()),
        C::HoldArtifact { artifact, .. } => format!("hold {artifact}"),
        C::SignOff { document, .. } => format!("sign off {document}"),
    }
}

/// Checks a text of a person or an engine.
pub(super) fn check_text(what: &str, text: &str) -> Result<(), RegistryRefusal> {
    let (size, most) = (text.len(), domain::limit::REASON_MAX);
    let fault = if text.trim().is_empty() {
        format!("{what} is empty; say why, for those who read the record")
    } else if size > most {
        format!("{what} has {size} bytes; {most} are the most")
    } else {
        return Ok(());
    };
    Err(RegistryRefusal::Invalid(fault))
}
