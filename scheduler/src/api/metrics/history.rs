//! What the audit chain tells: how often each thing happened, and how long it took.

use super::{seconds_of_calls, seconds_of_jobs};
use crate::{
    api::{context::Context, query::unreadable},
    consensus::shell::Rows,
    state::{Cluster, view::View},
};
use domain::{ArtifactId, Millis, PromotionId, audit::AuditEvent};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};
use serde_json::Value;
use std::time::Duration;
use tonic::Status;

/// A kind of event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: String,
}

/// How a promotion ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    status: String,
}

/// What is counted from the chain.
pub struct History {
    events: Family<Kind, Counter>,
    happened: Family<Kind, Counter>,
    checkpoints: Counter,
    artifacts: Counter,
    promotions: Family<Ended, Counter>,
    job: Histogram,
    wait: Histogram,
    registration: Histogram,
    promotion: Histogram,
}

impl History {
    /// All at zero.
    pub fn registered(all: &mut Registry) -> Self {
        let history = Self {
            events: Family::default(),
            happened: Family::default(),
            checkpoints: Counter::default(),
            artifacts: Counter::default(),
            promotions: Family::default(),
            job: seconds_of_jobs(),
            wait: seconds_of_jobs(),
            registration: seconds_of_calls(),
            promotion: seconds_of_jobs(),
        };
        // An alert on the first of them sees a rise only from a number that was there before.
        let attempts = Kind { kind: "registry.attempt.refused".into() };
        let _ = history.events.get_or_create(&attempts);
        let help = "Events of the audit chain";
        all.register("assay_audit_events", help, history.events.clone());
        let help = "Things that happened, of which one event may tell several";
        all.register("assay_happened", help, history.happened.clone());
        let help = "Checkpoints that were committed";
        all.register("assay_checkpoints_committed", help, history.checkpoints.clone());
        let help = "Artifacts that were sealed and registered";
        all.register("model_registry_artifacts_registered", help, history.artifacts.clone());
        let help = "Promotions that ended, by how";
        all.register("model_registry_promotions", help, history.promotions.clone());
        let help = "Time from the first placement of a job's element to its sealed artifact";
        all.register("ai_infra_training_job_duration_seconds", help, history.job.clone());
        let help = "Time from a job's submission to the first placement of its element";
        all.register("assay_job_wait_seconds", help, history.wait.clone());
        let help = "Time from the end of an attempt to its signed artifact";
        let name = "ai_infra_artifact_registration_latency_seconds";
        all.register(name, help, history.registration.clone());
        let help = "Time from the request of a promotion to its application";
        all.register("ai_infra_promotion_latency_seconds", help, history.promotion.clone());
        history
    }

    /// Counts events, each of which must come once.
    ///
    /// # Errors
    /// When this server's state cannot be read now.
    pub async fn count(&self, context: &Context, events: &[AuditEvent]) -> Result<(), Status> {
        let (mut artifacts, mut promotions) = (Vec::new(), Vec::new());
        for event in events {
            let Some(payload) = payload(event) else { continue };
            let kind = text(&payload, "eventType");
            let members = members(&payload);
            let label = Kind { kind: kind.clone() };
            self.events.get_or_create(&label).inc();
            self.happened.get_or_create(&label).inc_by(members);
            match kind.as_str() {
                "checkpoint.committed" => {
                    self.checkpoints.inc_by(members);
                }
                "registry.artifact.registered" => {
                    self.artifacts.inc();
                    artifacts.extend(text(&payload, "artifactId").parse::<ArtifactId>().ok());
                }
                kind => {
                    if let Some(status) = ended(kind) {
                        self.promotions.get_or_create(&Ended { status: status.into() }).inc();
                    }
                    if kind == "registry.promotion.applied" {
                        promotions
                            .extend(text(&payload, "promotionId").parse::<PromotionId>().ok());
                    }
                }
            }
        }
        self.time(context, artifacts, promotions).await
    }

    async fn time(
        &self,
        context: &Context,
        artifacts: Vec<ArtifactId>,
        promotions: Vec<PromotionId>,
    ) -> Result<(), Status> {
        if artifacts.is_empty() && promotions.is_empty() {
            return Ok(());
        }
        let read = context.node.read_local(move |cluster: &Cluster, rows: &Rows| {
            let view = cluster.view();
            let made: Vec<_> = artifacts.iter().filter_map(|id| made(&view, rows, *id)).collect();
            let took: Vec<_> = promotions.iter().filter_map(|id| took(&view, rows, *id)).collect();
            (made, took)
        });
        let (made, took) = read.await.map_err(|fault| unreadable(&fault))?;
        for Made { wait, job, registration } in made {
            self.registration.observe(seconds(registration));
            wait.into_iter().for_each(|time| self.wait.observe(seconds(time)));
            job.into_iter().for_each(|time| self.job.observe(seconds(time)));
        }
        took.into_iter().for_each(|time| self.promotion.observe(seconds(time)));
        Ok(())
    }
}

/// How long the parts of an artifact's making took.
struct Made {
    wait: Option<Millis>,
    job: Option<Millis>,
    registration: Millis,
}

fn made(view: &View<'_>, rows: &Rows, id: ArtifactId) -> Option<Made> {
    let artifact = view.artifact(rows, id)?.artifact;
    let job = view.job(rows, artifact.ticket.element.job);
    let granted = job.as_ref().and_then(|job| {
        let part = job.parts.iter().find(|part| part.id == artifact.ticket.element)?;
        part.attempts.first().map(|attempt| attempt.granted)
    });
    let submitted = job.as_ref().map(|job| job.line.submitted);
    Some(Made {
        wait: granted.zip(submitted).map(|(granted, submitted)| granted.minus(submitted)),
        job: granted.map(|granted| artifact.sealed.minus(granted)),
        registration: artifact.sealed.minus(artifact.ticket.opened),
    })
}

fn took(view: &View<'_>, rows: &Rows, id: PromotionId) -> Option<Millis> {
    let promotion = view.promotion(rows, id)?;
    let applied = promotion.history.iter().find(|step| step.state == "applied")?;
    Some(applied.since.minus(promotion.requested))
}

fn seconds(time: Millis) -> f64 {
    Duration::from_millis(time.0).as_secs_f64()
}

fn payload(event: &AuditEvent) -> Option<Value> {
    serde_json::from_str(&event.payload).ok()
}

fn text(payload: &Value, field: &str) -> String {
    payload[field].as_str().unwrap_or_default().to_owned()
}

/// Of how many things an event tells.
fn members(payload: &Value) -> u64 {
    let listed = payload["members"].as_array().map(|members| members.len() as u64);
    payload["memberCount"].as_u64().or(listed).unwrap_or(1)
}

/// The status of a promotion that ended with an event of this kind.
fn ended(kind: &str) -> Option<&str> {
    let status = kind.strip_prefix("registry.promotion.")?;
    let all = ["applied", "expired", "ratified", "refused", "rejected", "rolled_back"];
    all.contains(&status).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_tells_of_as_many_things_as_it_lists_or_counts() {
        assert_eq!(members(&json!({ "members": [{}, {}] })), 2);
        assert_eq!(members(&json!({ "memberCount": 40, "membersSha256": "x" })), 40);
        assert_eq!(members(&json!({ "artifactId": "a1" })), 1);
        assert_eq!(ended("registry.promotion.applied"), Some("applied"));
        assert_eq!(ended("registry.promotion.request"), None);
    }
}
