//! The end of promotions whose time is over.

use super::super::{Ledger, command::Act, key};
use super::{
    OpenPromotion, Step,
    approve::{WORDS_RENEWED, count},
};
use domain::{
    PromotionId,
    port::RowRead,
    promotion::{Promotion, PromotionState},
    refusal::RegistryRefusal,
    version::ClusterVersion,
};
use serde_json::json;

/// Since which version what was displaced by something that is taken back is passed on.
const DISPLACED_PASSED_ON: ClusterVersion = ClusterVersion(2);

impl Ledger {
    /// Ends a promotion whose time is over by the log's clock: it expires, or is reversed if it
    /// was applied in an emergency and not ratified.
    pub(in crate::ledger) fn settle<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        id: PromotionId,
        version: ClusterVersion,
    ) -> Result<u64, RegistryRefusal> {
        let mut promotion = Self::promotion(act, id)?;
        let Some(open) = OpenPromotion::of(&promotion) else { return Ok(id.0) };
        if act.now < open.due {
            return Err(RegistryRefusal::NotDue(id));
        }
        if matches!(promotion.state, PromotionState::Unratified { .. }) {
            let have = match version >= WORDS_RENEWED {
                true => count(act, &promotion),
                false => promotion.approvals.len(),
            };
            let required = promotion.required;
            let why = format!("not ratified in time: {have} of {required} approved");
            self.reverse(act, &mut promotion, why, version);
            return Ok(id.0);
        }
        let waited_for = promotion.state.word().to_owned();
        let step = Step {
            state: PromotionState::Expired,
            kind: "registry.promotion.expired",
            what: format!("expired while {waited_for}"),
            more: json!({ "stateBefore": waited_for }),
        };
        self.transit(act, &mut promotion, step);
        Ok(id.0)
    }

    /// Takes an emergency promotion back.
    pub(super) fn reverse<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        promotion: &mut Promotion,
        why: String,
        version: ClusterVersion,
    ) {
        self.take_from_stage(act, promotion);
        if version >= DISPLACED_PASSED_ON {
            self.pass_on_displaced(act, promotion);
        }
        let step = Step {
            state: PromotionState::Reversed { why: why.clone() },
            kind: "registry.promotion.rolled_back",
            what: why.clone(),
            more: json!({ "stageAfter": promotion.from.word(), "why": why }),
        };
        self.transit(act, promotion, step);
    }

    /// Others that displaced this one would put it back when they are taken back in turn, and it is
    /// in its stage no more: what it displaced itself takes its place.
    fn pass_on_displaced<R: RowRead>(&self, act: &mut Act<'_, '_, R>, gone: &Promotion) {
        let open: Vec<PromotionId> =
            self.open.keys().copied().filter(|id| *id != gone.id).collect();
        for id in open {
            let Ok(mut other) = Self::promotion(act, id) else { continue };
            let same = other.model.family == gone.model.family && other.to == gone.to;
            if same && other.displaced == Some(gone.model.version) {
                other.displaced = gone.displaced;
                act.rows.put(key::promotion(id), &other);
            }
        }
    }
}
