//! Gates: may this be done? Embedded rules, and the answers of a policy engine.
//!
//! Both speak the platform's policy language, and both fail closed: what is not clearly an
//! allowance is none. Nothing here asks over the network; an adapter hands in what came back.

mod decision;
mod policy;
mod request;
mod rules;
mod ruleset;
mod sample;
mod sentinel;

pub use decision::{Decision, Outcome, PolicyRef};
pub use policy::{Policy, PolicyFault, PolicyState, Severity};
pub use request::{GateRequest, RequestFault};
pub use rules::Rules;
pub use ruleset::{RuleSet, RuleSetFault, StageRules};
pub use sample::sampled;
pub use sentinel::{BODY_MAX, Reply, decide};
