//! What a gate is asked.

use serde_json::{Map, Value, json};

/// A question: may `actor` do `action` to `resource`?
#[derive(Clone, Debug, PartialEq)]
pub struct GateRequest {
    action: String,
    actor: Value,
    resource: Value,
    context: Map<String, Value>,
    request_id: String,
}

/// A question that cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestFault {
    /// Nothing is to be done.
    #[error("`action` is empty; name what is to be done, such as `model.promote`")]
    Action,
    /// The sampling of canary policies rests on it.
    #[error("`requestId` is empty; without it a canary policy applies at random")]
    RequestId,
}

impl GateRequest {
    /// A question.
    ///
    /// # Errors
    /// When action or request id are empty.
    pub fn new(
        action: &str,
        request_id: &str,
        actor: Value,
        resource: Value,
        context: Map<String, Value>,
    ) -> Result<Self, RequestFault> {
        if action.is_empty() {
            return Err(RequestFault::Action);
        }
        if request_id.is_empty() {
            return Err(RequestFault::RequestId);
        }
        let (action, request_id) = (action.to_owned(), request_id.to_owned());
        Ok(Self { action, actor, resource, context, request_id })
    }

    /// Its id.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The body that is posted, which is also what rules read.
    ///
    /// Source: platform contract §5.1.
    #[must_use]
    pub fn body(&self) -> Value {
        json!({
            "action": self.action,
            "actor": self.actor,
            "context": self.context,
            "requestId": self.request_id,
            "resource": self.resource,
        })
    }
}
