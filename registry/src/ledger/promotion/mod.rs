//! Promotions: every transition is checked here, and is an event of record.

mod approve;
mod decide;
mod request;
mod settle;

pub use decide::decision_value;
pub(super) use decide::{Found, Signed};
pub(super) use request::Asked;

use super::{
    Ledger,
    command::{Act, DataRule},
    key,
    model::{FamilyRow, usable},
};
use crate::seal::manifest;
use borsh::{BorshDeserialize, BorshSerialize};
use domain::{
    Millis, PromotionId,
    model::{ModelVersion, Stage},
    port::RowRead,
    promotion::{Promotion, PromotionState, Transition},
    refusal::RegistryRefusal,
    scratch,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What an open promotion waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Phase {
    /// Its gates and the policy.
    Gates,
    /// Its manifest's signature.
    Signature,
    /// People, or its time's end.
    People,
}

/// An open promotion, as it is kept in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct OpenPromotion {
    /// What it waits for.
    pub phase: Phase,
    /// When its time is over, by the log's clock.
    pub due: Millis,
}

impl OpenPromotion {
    fn of(promotion: &Promotion) -> Option<Self> {
        let (phase, due) = match &promotion.state {
            PromotionState::Gated => (Phase::Gates, promotion.expires),
            PromotionState::Signing => (Phase::Signature, promotion.expires),
            PromotionState::Pending => (Phase::People, promotion.expires),
            PromotionState::Unratified { due } => (Phase::People, *due),
            PromotionState::Applied
            | PromotionState::Refused { .. }
            | PromotionState::Rejected { .. }
            | PromotionState::Expired
            | PromotionState::Reversed { .. } => return None,
        };
        Some(Self { phase, due })
    }
}

/// Open promotions are few: all are read at once.
fn open_rows(rows: &impl RowRead) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (from, to) = key::all_open();
    rows.range(&from, &to, domain::limit::PROMOTIONS_OPEN_MAX)
}

impl Ledger {
    /// Open promotions as their rows have them.
    pub(super) fn load_open(rows: &impl RowRead) -> BTreeMap<PromotionId, OpenPromotion> {
        let all = open_rows(rows);
        all.iter().map(|(key, value)| (key::open_in(key), scratch::decode(key, value))).collect()
    }

    /// The promotion, or why there is none.
    fn promotion<R: RowRead>(
        act: &Act<'_, '_, R>,
        id: PromotionId,
    ) -> Result<Promotion, RegistryRefusal> {
        act.rows.read(&key::promotion(id)).ok_or_else(|| RegistryRefusal::NotFound {
            what: format!("promotion {id}"),
            list: "promotion list".into(),
        })
    }

    /// Moves a promotion to a state, with its event, and keeps it.
    fn transit<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        promotion: &mut Promotion,
        step: Step<'_>,
    ) {
        let Step { state, kind, what, more } = step;
        promotion.state = state;
        let audit_seq = self.event(act, kind, body(promotion, more));
        promotion.history.push(Transition {
            state: promotion.state.word().to_owned(),
            since: act.now,
            by: act.actor.to_owned(),
            what,
            audit_seq,
        });
        self.keep_promotion(act, promotion);
    }

    fn keep_promotion<R: RowRead>(&mut self, act: &mut Act<'_, '_, R>, promotion: &Promotion) {
        let id = promotion.id;
        act.rows.put(key::promotion(id), promotion);
        match OpenPromotion::of(promotion) {
            Some(open) => {
                self.open.insert(id, open);
                act.rows.put(key::open(id), &open);
                act.rows.put(key::open_of(&promotion.model), &id);
            }
            None => {
                self.open.remove(&id);
                act.rows.remove(key::open(id));
                act.rows.remove(key::open_of(&promotion.model));
            }
        }
    }

    /// Puts the version into its stage. The stage's alias names it from now on.
    fn put_in_stage<R: RowRead>(&self, act: &mut Act<'_, '_, R>, promotion: &mut Promotion) {
        let model = &promotion.model;
        let mut family: FamilyRow = act.rows.read(&key::family(&model.family)).unwrap_or_default();
        let version = act.rows.read::<ModelVersion>(&key::model(model));
        let mut version = version.expect("a promotion's version has a row: none is ever removed");
        // The alias of the stage that it leaves would name a version that is not in it.
        if promotion.from != promotion.to {
            let left = promotion.from.word();
            if family.aliases.get(left) == Some(&model.version) {
                family.aliases.remove(left);
            }
        }
        promotion.displaced = family.aliases.insert(promotion.to.word().into(), model.version);
        version.stage = promotion.to;
        act.rows.put(key::model(model), &version);
        act.rows.put(key::family(&model.family), &family);
    }

    /// Takes [`Self::put_in_stage`] back, as far as nobody has changed it since.
    fn take_from_stage<R: RowRead>(&self, act: &mut Act<'_, '_, R>, promotion: &Promotion) {
        let model = &promotion.model;
        let Some(mut version) = act.rows.read::<ModelVersion>(&key::model(model)) else { return };
        if version.stage != promotion.to {
            return;
        }
        let mut family: FamilyRow = act.rows.read(&key::family(&model.family)).unwrap_or_default();
        let alias = promotion.to.word().to_owned();
        if family.aliases.get(&alias) == Some(&model.version) {
            family.aliases.remove(&alias);
            let before = promotion.displaced.filter(|number| {
                let before =
                    domain::model::ModelRef { family: model.family.clone(), version: *number };
                let row: Option<ModelVersion> = act.rows.read(&key::model(&before));
                row.is_some_and(|row| row.stage == promotion.to)
            });
            // The version itself may be the one that is displaced: then it stays in its stage.
            let stays = promotion.from == promotion.to;
            if let Some(before) = before.filter(|before| stays || *before != model.version) {
                family.aliases.insert(alias, before);
            }
        }
        version.stage = promotion.from;
        if promotion.from == Stage::Staging {
            let from = promotion.from.word().to_owned();
            family.aliases.entry(from).or_insert(model.version);
        }
        act.rows.put(key::model(model), &version);
        act.rows.put(key::family(&model.family), &family);
    }

    /// Whether the promotion may still go on: its version stands where it stood, neither its
    /// artifact nor an evaluation that its gates rest on was revoked, and `data` that it came of
    /// may be used. Where it may not, it is refused for good.
    fn still_stands<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        promotion: &mut Promotion,
        data: &DataRule<'_, R>,
    ) -> Result<(), RegistryRefusal> {
        let version: Option<ModelVersion> = act.rows.read(&key::model(&promotion.model));
        let applied = matches!(promotion.state, PromotionState::Unratified { .. });
        let wanted = if applied { promotion.to } else { promotion.from };
        let stage = version.map_or(Stage::Deprecated, |version| version.stage);
        let evaluations = promotion.gates.iter().filter_map(|gate| gate.evaluation);
        let mut rests_on = std::iter::once(promotion.artifact).chain(evaluations);
        let why = match rests_on.try_for_each(|id| usable(act, id).map(drop)) {
            Err(why) => why,
            Ok(()) if stage == wanted => match data(&*act.rows, promotion.artifact) {
                Ok(()) => return Ok(()),
                Err(why) => why,
            },
            Ok(()) => RegistryRefusal::Stage {
                model: promotion.model.clone(),
                stage,
                remedy: format!("it was in {wanted} when the promotion was requested"),
            },
        };
        // What was applied in an emergency is for its reversal to end.
        if !applied {
            let after = match why {
                RegistryRefusal::DatasetBlocked { .. } => "; then request the promotion again",
                _ => "",
            };
            self.refuse(act, promotion, &format!("{why}{after}"));
        }
        Err(why)
    }

    fn refuse<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        promotion: &mut Promotion,
        why: &str,
    ) {
        let step = Step {
            state: PromotionState::Refused { why: why.to_owned() },
            kind: "registry.promotion.refused",
            what: why.to_owned(),
            more: json!({ "gates": promotion.gates, "why": why }),
        };
        self.transit(act, promotion, step);
    }
}

/// One transition.
struct Step<'a> {
    state: PromotionState,
    kind: &'a str,
    what: String,
    /// What its event holds beside what every event of a promotion holds.
    more: Value,
}

/// What every event of a promotion holds, so that each is bound to its manifest and signature.
fn body(promotion: &Promotion, more: Value) -> Value {
    let signed = promotion.manifest.as_ref();
    let mut body = json!({
        "artifactId": promotion.artifact.to_string(),
        "artifactRoot": promotion.root.to_string(),
        "artifactSignature": promotion.artifact_signature.to_string(),
        "emergency": promotion.emergency,
        "manifestDigest": signed.map(|signed| signed.manifest.to_string()),
        "manifestSignature": signed.map(|signed| &signed.signature),
        "model": promotion.model.to_string(),
        "promotionId": promotion.id.to_string(),
        "risk": promotion.risk.to_string(),
        "signer": signed.map(|signed| &signed.signer),
        "state": promotion.state.word(),
        "targetEnv": promotion.to.word(),
    });
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    body
}

/// One promotion.
#[must_use]
pub fn promotion(rows: &impl RowRead, id: PromotionId) -> Option<Promotion> {
    let key = key::promotion(id);
    rows.get(&key).map(|bytes| scratch::decode(&key, &bytes))
}

/// A page of promotions below a number, newest first.
#[must_use]
pub fn promotions(rows: &impl RowRead, before: PromotionId, limit: usize) -> Vec<Promotion> {
    let key = key::promotions();
    let last: u64 = rows.get(&key).map_or(0, |bytes| scratch::decode(&key, &bytes));
    let last = if before.0 == 0 { last } else { last.min(before.0 - 1) };
    let first = last.saturating_sub(limit as u64);
    ((first + 1)..=last).rev().filter_map(|id| promotion(rows, PromotionId(id))).collect()
}

/// Approvers and quorum.
pub use super::approver::view as approvers;

/// The text that is signed for a promotion: its manifest in canonical JSON.
#[must_use]
pub fn manifest_of(promotion: &Promotion) -> String {
    manifest::manifest(promotion)
}
