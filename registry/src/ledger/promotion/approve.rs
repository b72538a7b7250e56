//! People's words for and against a promotion.

use super::super::{
    Ledger,
    approver::raw_key,
    command::{Act, Background, check_text},
    key,
};
use super::Step;
use crate::seal::manifest;
use domain::{
    Digest, PromotionId, limit,
    port::RowRead,
    promotion::{Approval, Approver, Promotion, PromotionState},
    refusal::RegistryRefusal,
    version::ClusterVersion,
};
use serde_json::json;

fn closed(promotion: &Promotion, remedy: &str) -> RegistryRefusal {
    RegistryRefusal::State {
        promotion: promotion.id,
        state: promotion.state.word().to_owned(),
        remedy: remedy.to_owned(),
    }
}

/// Refuses a word that comes too early or too late.
fn check_time<R: RowRead>(
    act: &Act<'_, '_, R>,
    promotion: &Promotion,
) -> Result<(), RegistryRefusal> {
    let due = match &promotion.state {
        PromotionState::Pending => promotion.expires,
        PromotionState::Unratified { due } => *due,
        PromotionState::Gated | PromotionState::Signing => {
            return Err(closed(promotion, "wait for its gates and its manifest's signature"));
        }
        PromotionState::Expired => promotion.expires,
        PromotionState::Applied
        | PromotionState::Refused { .. }
        | PromotionState::Rejected { .. }
        | PromotionState::Reversed { .. } => {
            return Err(closed(promotion, "no approval changes that; request a new one"));
        }
    };
    match act.now >= due {
        true => Err(RegistryRefusal::Expired { promotion: promotion.id, since: due }),
        false => Ok(()),
    }
}

/// The key of the approver who speaks, if this is their word on this promotion, and their first.
///
/// The signature is verified here rather than by the leader alone: it is a pure function, so
/// every replica comes to the same result, and no server can vouch for an approver (ADR 23).
fn check_word(
    promotion: &Promotion,
    approver: &Approver,
    signature: &[u8],
) -> Result<Digest, RegistryRefusal> {
    let (promotion_id, user) = (promotion.id, approver.name.clone());
    if promotion.requested_by == user {
        return Err(RegistryRefusal::Own { promotion: promotion_id, user });
    }
    let raw = raw_key(&approver.key).unwrap_or_default();
    let key = Digest::of(&raw);
    if promotion.approvals.iter().any(|it| it.approver == user || it.key == key) {
        return Err(RegistryRefusal::Twice { promotion: promotion_id, approver: user });
    }
    match manifest::verify_approval(promotion, &raw, signature) {
        true => Ok(key),
        false => Err(RegistryRefusal::Forged { promotion: promotion_id, approver: user }),
    }
}

/// Since which version a word that no longer counts makes way for a new one.
pub(super) const WORDS_RENEWED: ClusterVersion = ClusterVersion(2);

/// Whether an approval counts: of somebody who is still an approver, under the key that they still
/// have.
fn counts<R: RowRead>(act: &Act<'_, '_, R>, approval: &Approval) -> bool {
    let row: Option<Approver> = act.rows.read(&key::approver(&approval.approver));
    let key = row.and_then(|row| raw_key(&row.key)).map(|raw| Digest::of(&raw));
    key == Some(approval.key)
}

/// Approvals that count.
pub(super) fn count<R: RowRead>(act: &Act<'_, '_, R>, promotion: &Promotion) -> usize {
    promotion.approvals.iter().filter(|approval| counts(act, approval)).count()
}

impl Ledger {
    /// Takes an approver's word.
    pub(in crate::ledger) fn approve<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        id: PromotionId,
        signature: &[u8],
        background: &Background<'_, R>,
    ) -> Result<u64, RegistryRefusal> {
        let mut promotion = Self::promotion(act, id)?;
        check_time(act, &promotion)?;
        if background.version >= WORDS_RENEWED {
            // Who has another key now, or became an approver again, has to be able to say it anew.
            promotion.approvals.retain(|approval| counts(act, approval));
        }
        let approver: Option<Approver> = act.rows.read(&key::approver(act.user()));
        let approver = approver.ok_or_else(|| RegistryRefusal::NotApprover(act.user().into()))?;
        let key = check_word(&promotion, &approver, signature)?;
        self.still_stands(act, &mut promotion, background.data)?;
        promotion.approvals.push(Approval {
            approver: approver.name.clone(),
            key,
            signature: hex::encode(signature),
            since: act.now,
            audit_seq: self.head.map_or(0, |head| head.seq) + 1,
        });
        let (have, required) = (count(act, &promotion), promotion.required as usize);
        let step = Step {
            state: promotion.state.clone(),
            kind: "approval.submitted",
            what: format!("{} approved, {have} of {required}", approver.name),
            more: json!({
                "approverId": approver.name,
                "approverKey": key.to_string(),
                "approvals": have,
                "required": required,
                "signature": hex::encode(signature),
            }),
        };
        self.transit(act, &mut promotion, step);
        let enough = have >= required;
        match promotion.state {
            PromotionState::Pending if enough => self.apply_promotion(act, &mut promotion),
            PromotionState::Pending if promotion.emergency => {
                self.apply_at_once(act, &mut promotion);
            }
            PromotionState::Unratified { .. } if enough => {
                let step = Step {
                    state: PromotionState::Applied,
                    kind: "registry.promotion.ratified",
                    what: format!("ratified by {have} of {required}"),
                    more: json!({ "approvals": have, "required": required }),
                };
                self.transit(act, &mut promotion, step);
            }
            _ => {}
        }
        Ok(id.0)
    }

    /// Applies a promotion that everybody has cleared who has to.
    pub(super) fn apply_promotion<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        promotion: &mut Promotion,
    ) {
        self.put_in_stage(act, promotion);
        let (model, to) = (promotion.model.clone(), promotion.to);
        let step = Step {
            state: PromotionState::Applied,
            kind: "registry.promotion.applied",
            what: format!("{model} is in {to}"),
            more: json!({ "stageBefore": promotion.from.word(), "displaced": promotion.displaced }),
        };
        self.transit(act, promotion, step);
    }

    /// Applies an emergency promotion on one approver's word.
    fn apply_at_once<R: RowRead>(&mut self, act: &mut Act<'_, '_, R>, promotion: &mut Promotion) {
        self.put_in_stage(act, promotion);
        let due = act.now.plus(limit::RATIFY_WITHIN);
        let (model, to) = (promotion.model.clone(), promotion.to);
        let step = Step {
            state: PromotionState::Unratified { due },
            kind: "registry.promotion.applied",
            what: format!("{model} is in {to}, to be ratified within 48 h"),
            more: json!({
                "displaced": promotion.displaced,
                "ratifyBy": super::super::rfc3339(due.0.saturating_mul(1_000)),
                "stageBefore": promotion.from.word(),
            }),
        };
        self.transit(act, promotion, step);
    }

    /// Takes a person's word against it: an approver's, or the requester's own.
    pub(in crate::ledger) fn reject<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        id: PromotionId,
        reason: String,
        version: ClusterVersion,
    ) -> Result<u64, RegistryRefusal> {
        check_text("the reason", &reason)?;
        let mut promotion = Self::promotion(act, id)?;
        let user = act.user().to_owned();
        let known = act.rows.get(&key::approver(&user)).is_some();
        if !known && promotion.requested_by != user {
            return Err(RegistryRefusal::NotApprover(user));
        }
        if !promotion.state.is_open() {
            return Err(closed(&promotion, "nothing is left to be rejected"));
        }
        if matches!(promotion.state, PromotionState::Unratified { .. }) {
            let why = format!("rejected by {user}: {reason}");
            self.reverse(act, &mut promotion, why, version);
            return Ok(id.0);
        }
        let step = Step {
            state: PromotionState::Rejected { by: user.clone(), why: reason.clone() },
            kind: "registry.promotion.rejected",
            what: format!("rejected by {user}: {reason}"),
            more: json!({ "by": user, "why": reason }),
        };
        self.transit(act, &mut promotion, step);
        Ok(id.0)
    }
}
