//! Sign-offs: what approvers vouch for, in the audit chain for good.

use super::{
    Ledger,
    approver::raw_key,
    command::{Act, check_text},
    key,
};
use crate::seal::sign_off;
use domain::{Digest, limit, port::RowRead, promotion::Approver, refusal::RegistryRefusal};
use serde_json::json;

/// What a sign-off is recorded as.
pub const KIND: &str = "audit.signed_off";

impl Ledger {
    /// Takes an approver's word for a file, signed by the approver's own key.
    ///
    /// It is an event and nothing else: the signature is in it, with the key that it holds under,
    /// so that it can be checked when the approver is none any more.
    pub(super) fn sign_off<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        document: &str,
        sha256: Digest,
        reason: &str,
        signature: &[u8],
    ) -> Result<(), RegistryRefusal> {
        check_text("the reason", reason)?;
        let most = limit::DOCUMENT_NAME_MAX;
        if document.trim().is_empty() || document.len() > most {
            let why = format!("the document's name must have 1 to {most} bytes");
            return Err(RegistryRefusal::Invalid(why));
        }
        let approver: Option<Approver> = act.rows.read(&key::approver(act.user()));
        let approver = approver.ok_or_else(|| RegistryRefusal::NotApprover(act.user().into()))?;
        let raw = raw_key(&approver.key).unwrap_or_default();
        if !sign_off::verify(document, sha256, reason, &raw, signature) {
            let (document, approver) = (document.to_owned(), approver.name);
            return Err(RegistryRefusal::ForgedSignOff { document, approver });
        }
        let body = json!({
            "approverId": approver.name,
            "approverKey": approver.key,
            "document": document,
            "reason": reason,
            "sha256": sha256.to_string(),
            "signature": hex::encode(signature),
        });
        self.event(act, KIND, body);
        Ok(())
    }
}
