//! A person asks for a version to be moved to a stage.

use super::super::{
    Ledger, approver,
    command::{Act, DataRule, check_text},
    key,
    model::{usable, wanted},
    seal::ArtifactRow,
};
use domain::{
    Millis, PromotionId, limit,
    model::{ModelRef, ModelVersion, Stage},
    port::RowRead,
    promotion::{Promotion, PromotionState, Risk, Transition},
    refusal::RegistryRefusal,
};
use serde_json::json;

/// What is asked for.
pub(in crate::ledger) struct Asked {
    pub model: ModelRef,
    pub to: Stage,
    pub risk: Risk,
    pub emergency: bool,
    pub reason: String,
    pub within: Option<Millis>,
}

/// Draft, then staging, then prod. A version that is in a stage may be promoted to it again: that
/// lets the stage's alias name it once more, as a rollback does.
fn check_way(version: &ModelVersion, to: Stage) -> Result<(), RegistryRefusal> {
    let remedy = match (version.stage, to) {
        (Stage::Draft | Stage::Staging, Stage::Staging)
        | (Stage::Staging | Stage::Prod, Stage::Prod) => return Ok(()),
        (_, Stage::Draft | Stage::Deprecated) => {
            return Err(RegistryRefusal::Invalid(format!(
                "nothing is promoted to {to}; promote to staging or prod"
            )));
        }
        (Stage::Draft, Stage::Prod) => "promote it to staging first",
        (Stage::Prod, Stage::Staging) => "nothing goes back; promote another version",
        (Stage::Deprecated, Stage::Staging | Stage::Prod) => "register a new version",
    };
    let (model, stage) = (version.model.clone(), version.stage);
    Err(RegistryRefusal::Stage { model, stage, remedy: remedy.into() })
}

impl Ledger {
    /// Opens a promotion. Returns its number.
    pub(in crate::ledger) fn request_promotion<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        asked: Asked,
        data: &DataRule<'_, R>,
    ) -> Result<u64, RegistryRefusal> {
        check_text("the reason", &asked.reason)?;
        let version = wanted(act, &asked.model)?;
        let sealed = usable(act, version.artifact)?;
        check_way(&version, asked.to)?;
        if let Some(promotion) = act.rows.read::<PromotionId>(&key::open_of(&asked.model)) {
            return Err(RegistryRefusal::Open { model: asked.model, promotion });
        }
        if self.open.len() >= limit::PROMOTIONS_OPEN_MAX {
            return Err(RegistryRefusal::Full {
                what: "the number of open promotions".into(),
                most: limit::PROMOTIONS_OPEN_MAX as u64,
                remedy: "reject some, or await their end".into(),
            });
        }
        let asks_people = asked.risk == Risk::High || asked.emergency;
        let required = if asks_people { enough(act)? } else { 0 };
        data(&*act.rows, version.artifact)?;
        let id = PromotionId(act.rows.read::<u64>(&key::promotions()).unwrap_or(0) + 1);
        let mut promotion = opened(act, id, asked, &version, &sealed, required);
        let more = json!({ "reason": promotion.reason, "required": required });
        let audit_seq =
            self.event(act, "registry.promotion.request", super::body(&promotion, more));
        promotion.request_event = self.head.map(|head| head.hash).unwrap_or_default();
        promotion.history.push(Transition {
            state: promotion.state.word().to_owned(),
            since: act.now,
            by: act.actor.to_owned(),
            what: format!("requested: {}", promotion.reason),
            audit_seq,
        });
        act.rows.put(key::promotions(), &id.0);
        self.keep_promotion(act, &promotion);
        Ok(id.0)
    }
}

/// The promotion as it begins.
fn opened<R: RowRead>(
    act: &Act<'_, '_, R>,
    id: PromotionId,
    asked: Asked,
    version: &ModelVersion,
    sealed: &ArtifactRow,
    required: u32,
) -> Promotion {
    let within = asked.within.unwrap_or(limit::PROMOTION_KEPT).min(limit::PROMOTION_KEPT);
    Promotion {
        id,
        model: asked.model,
        artifact: version.artifact,
        root: sealed.artifact.ticket.output.root,
        artifact_signature: sealed.artifact.signature,
        provenance: sealed.artifact.provenance,
        from: version.stage,
        to: asked.to,
        risk: asked.risk,
        emergency: asked.emergency,
        reason: asked.reason,
        requested_by: act.user().to_owned(),
        requested: act.now,
        expires: act.now.plus(within),
        request_event: domain::Digest::default(),
        state: PromotionState::Gated,
        required,
        gates: Vec::new(),
        policy: None,
        manifest: None,
        approvals: Vec::new(),
        displaced: None,
        history: Vec::new(),
    }
}

/// The number of approvers that have to agree, if there are so many beside whoever asks.
fn enough<R: RowRead>(act: &Act<'_, '_, R>) -> Result<u32, RegistryRefusal> {
    let required = approver::quorum(act.rows).required;
    electorate(act, act.user(), required).map(|()| required)
}

/// Refuses where so many could never agree.
pub(super) fn electorate<R: RowRead>(
    act: &Act<'_, '_, R>,
    requester: &str,
    required: u32,
) -> Result<(), RegistryRefusal> {
    let others = approver::all(act.rows).into_iter().filter(|it| it.name != requester).count();
    let have = u32::try_from(others).unwrap_or(u32::MAX);
    match have < required {
        false => Ok(()),
        true => {
            Err(RegistryRefusal::Electorate { requester: requester.to_owned(), have, required })
        }
    }
}
