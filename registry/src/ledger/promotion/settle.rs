//! The end of promotions whose time is over.

use super::super::{Ledger, command::Act};
use super::{OpenPromotion, Step};
use domain::{
    PromotionId,
    port::RowRead,
    promotion::{Promotion, PromotionState},
    refusal::RegistryRefusal,
};
use serde_json::json;

impl Ledger {
    /// Ends a promotion whose time is over by the log's clock: it expires, or is reversed if it
    /// was applied in an emergency and not ratified.
    pub(in crate::ledger) fn settle<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        id: PromotionId,
    ) -> Result<u64, RegistryRefusal> {
        let mut promotion = Self::promotion(act, id)?;
        let Some(open) = OpenPromotion::of(&promotion) else { return Ok(id.0) };
        if act.now < open.due {
            return Err(RegistryRefusal::NotDue(id));
        }
        if matches!(promotion.state, PromotionState::Unratified { .. }) {
            let (have, required) = (promotion.approvals.len(), promotion.required);
            let why = format!("not ratified in time: {have} of {required} approved");
            self.reverse(act, &mut promotion, why);
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
    ) {
        self.take_from_stage(act, promotion);
        let step = Step {
            state: PromotionState::Reversed { why: why.clone() },
            kind: "registry.promotion.rolled_back",
            what: why.clone(),
            more: json!({ "stageAfter": promotion.from.word(), "why": why }),
        };
        self.transit(act, promotion, step);
    }
}
