//! Drift: windows are scored by the server that is asked, outside the log, and what was found
//! goes into it.

mod wire;

use super::{
    context::{Context, keyed},
    error,
    query::{Answer, absent, json, page, unreadable},
};
use crate::{
    consensus::shell::Rows,
    state::{
        Cluster,
        command::{Command, Refusal, Reply},
        view::View,
    },
};
use domain::{
    Digest, EpisodeId, LogIndex, Millis, RequestKey,
    drift::{Dispatch, MonitorRules, RetrainPolicy},
    limit,
    model::ModelRef,
};
use proto::v1::{self, drift_change, registry_query::What, registry_request::Change};
use registry::{
    drift::{JudgeFault, Sketched, default_rules, judge, rules_of},
    ledger::{
        drift::{self, DriftCommand, Seen},
        model,
    },
};
use std::{collections::BTreeMap, fmt, time::Duration};
use tokio::sync::Semaphore;
use tonic::Status;

/// Windows that one server scores at the same time: each takes a processor.
static SCORING: Semaphore = Semaphore::const_new(2);
/// Time that a call waits for its turn.
const TURN: Duration = Duration::from_millis(limit::CALL_TIMEOUT.0 / 4);
/// Tries where the monitor is set anew between scoring and recording.
const TRIES: usize = 3;

fn invalid(fault: impl fmt::Display) -> Status {
    error::status("invalid", fault.to_string(), "correct the request", false)
}

/// Whether a change is one of these.
#[must_use]
pub fn is_drift(change: &Change) -> bool {
    matches!(
        change,
        Change::SetMonitor(_) | Change::ObserveDrift(_) | Change::DriftAlert(_) | Change::Drift(_)
    )
}

/// Makes one change.
///
/// # Errors
/// When the request is malformed, windows cannot be compared, a rule forbids it, or there is no
/// leader.
pub async fn change(
    context: &Context,
    user: &str,
    key: RequestKey,
    change: Change,
) -> Result<v1::RegistryReply, Status> {
    let command = match change {
        Change::SetMonitor(asked) => monitor(context, asked).await?,
        Change::ObserveDrift(asked) => return observe(context, user, key, asked).await,
        Change::DriftAlert(asked) => alert(context, asked).await?,
        Change::Drift(v1::DriftChange { what: Some(what) }) => other(context, what).await?,
        _ => return Err(invalid("no change is named")),
    };
    answer(propose(context, user, key, command).await?)
}

/// Takes another system's word that a model drifts: what `POST /drift/alert` does for whom
/// `user` names, who has been authenticated.
///
/// Its trigger is what gives it one effect, however often and at whichever server it is made.
///
/// # Errors
/// As [`change`].
pub async fn drift_alert(
    context: &Context,
    user: &str,
    asked: v1::DriftAlert,
) -> Result<v1::RegistryReply, Status> {
    if asked.trigger.is_empty() {
        return Err(invalid("`trigger` is missing: a key under which the alert has one effect"));
    }
    let mut key = [0; 16];
    getrandom::fill(&mut key)
        .map_err(|fault| error::status("internal", fault.to_string(), "report this", false))?;
    change(context, user, RequestKey(key), Change::DriftAlert(asked)).await
}

async fn propose(
    context: &Context,
    user: &str,
    key: RequestKey,
    command: DriftCommand,
) -> Result<Reply, Status> {
    context.propose(keyed(key, format!("user:{user}"), Command::Drift(command))).await
}

fn answer(reply: Reply) -> Result<v1::RegistryReply, Status> {
    match reply {
        Reply::Registry { number, at: LogIndex(log_index) } => {
            Ok(v1::RegistryReply { log_index, number })
        }
        other => Err(super::submit::unexpected(other)),
    }
}

/// What this server reads as new as any that was acknowledged.
async fn read<T: Send + 'static>(
    context: &Context,
    look: impl FnOnce(&Cluster, &Rows) -> T + Send + 'static,
) -> Result<T, Status> {
    context.node.read(look).await.map_err(|fault| unreadable(&fault))
}

/// The version that a word names.
async fn named(context: &Context, word: &str) -> Result<ModelRef, Status> {
    if let Ok(model) = word.parse() {
        return Ok(model);
    }
    let asked = word.to_owned();
    let found = read(context, move |_, rows| model::resolve(rows, &asked)).await?;
    found.ok_or_else(|| absent(&format!("model `{word}`"), "model list"))
}

async fn monitor(context: &Context, asked: v1::SetMonitor) -> Result<DriftCommand, Status> {
    let policy = policy(asked.policy.unwrap_or_default())?;
    let rules = rules(&asked.rules.unwrap_or_default(), policy.dispatch)?;
    rules_of(&rules).map_err(invalid)?;
    let reference = match asked.reference.is_empty() {
        true => BTreeMap::new(),
        false => wire::windows(asked.reference)?,
    };
    for (feature, window) in &reference {
        if window.count() < rules.samples_min {
            let (count, least) = (window.count(), rules.samples_min);
            return Err(wire::refused(format!(
                "feature `{feature}`: the reference has {count} samples, {least} are needed"
            )));
        }
    }
    let model = named(context, &asked.model).await?;
    Ok(DriftCommand::SetMonitor { model, rules, policy, reference })
}

fn policy(asked: v1::DriftPolicy) -> Result<RetrainPolicy, Status> {
    let usual = RetrainPolicy::default();
    Ok(RetrainPolicy {
        dispatch: wire::word(&asked.dispatch)?.unwrap_or(usual.dispatch),
        cool_down: asked.cool_down_ms.map_or(usual.cool_down, Millis),
        budget: if asked.budget == 0 { usual.budget } else { asked.budget },
        period: if asked.period_ms == 0 { usual.period } else { Millis(asked.period_ms) },
    })
}

fn rules(asked: &v1::DriftRules, dispatch: Dispatch) -> Result<MonitorRules, Status> {
    let usual = default_rules(dispatch);
    let least = asked.samples_min;
    Ok(MonitorRules {
        samples_min: if least == 0 { usual.samples_min } else { least },
        alpha: wire::word(&asked.alpha)?.unwrap_or(usual.alpha),
        correction: wire::word(&asked.correction)?.unwrap_or(usual.correction),
        psi: wire::word(&asked.psi)?.unwrap_or(usual.psi),
        jensen_shannon: wire::word(&asked.jensen_shannon)?.unwrap_or(usual.jensen_shannon),
        wasserstein: wire::word(&asked.wasserstein)?.unwrap_or(usual.wasserstein),
    })
}

/// Scores a window and records what was found; anew where the monitor was set anew meanwhile.
async fn observe(
    context: &Context,
    user: &str,
    key: RequestKey,
    asked: v1::ObserveDrift,
) -> Result<v1::RegistryReply, Status> {
    let current = wire::windows(asked.current)?;
    let model = named(context, &asked.model).await?;
    let seen = Seen {
        slices: asked.slices,
        trigger: (!asked.trigger.is_empty()).then_some(asked.trigger),
        data: wire::data(context, asked.data).await?,
        windows: Some(Digest::of_value(&current)),
        features: Vec::new(),
    };
    for _ in 0..TRIES {
        let (revision, features) = score(context, &model, current.clone()).await?;
        let seen = Seen { features, ..seen.clone() };
        let command = DriftCommand::Observe { model: model.clone(), revision, seen };
        match propose(context, user, key, command).await? {
            Reply::Refused(Refusal::NotYet { .. }) => {}
            reply => return answer(reply),
        }
    }
    let why = format!("the monitor of {model} is set anew again and again");
    Err(error::status("busy", why, "repeat it in a moment", true))
}

/// Scores a window against the monitor's reference as it is now.
async fn score(
    context: &Context,
    model: &ModelRef,
    current: BTreeMap<String, Sketched>,
) -> Result<(u64, Vec<domain::drift::FeatureFinding>), Status> {
    let of = model.clone();
    let look = move |_: &Cluster, rows: &Rows| {
        Some((drift::monitor(rows, &of)?.monitor, drift::reference(rows, &of)?))
    };
    let found = read(context, look).await?;
    let (monitor, reference) =
        found.ok_or_else(|| absent(&format!("monitor of {model}"), "drift list"))?;
    if reference.is_empty() {
        let why = format!("the monitor of {model} has no reference to compare with");
        let hint = "set one: assay drift monitor set MODEL --reference FILE";
        return Err(error::status("refused", why, hint, false));
    }
    let rules = rules_of(&monitor.rules).map_err(invalid)?;
    let busy = || error::status("busy", "this server scores other windows", "repeat it", true);
    let turn = tokio::time::timeout(TURN, SCORING.acquire()).await;
    let _turn = turn.map_err(|_| busy())?.map_err(|_| busy())?;
    let judged = tokio::task::spawn_blocking(move || judge(&reference, &current, &rules)).await;
    let broke_off = |_| error::status("internal", "scoring broke off", "report this", false);
    let features = judged.map_err(broke_off)?.map_err(|fault| not_judged(&fault))?;
    Ok((monitor.revision, features))
}

fn not_judged(fault: &JudgeFault) -> Status {
    let hint = match fault {
        JudgeFault::Features { .. } => "`assay drift show MODEL` lists the monitor's features",
        JudgeFault::Window { .. } | JudgeFault::Score { .. } => "correct the window",
    };
    error::status("refused", fault.to_string(), hint, false)
}

async fn alert(context: &Context, asked: v1::DriftAlert) -> Result<DriftCommand, Status> {
    let model = named(context, &asked.model).await?;
    let seen = Seen {
        slices: asked.slices,
        trigger: (!asked.trigger.is_empty()).then_some(asked.trigger),
        data: wire::data(context, asked.data).await?,
        windows: None,
        features: wire::claimed(asked.features)?,
    };
    Ok(DriftCommand::Alert { model, reason: asked.reason, seen })
}

async fn other(context: &Context, what: drift_change::What) -> Result<DriftCommand, Status> {
    use drift_change::What as W;
    Ok(match what {
        W::Remove(v1::RemoveMonitor { model, reason }) => {
            DriftCommand::RemoveMonitor { model: named(context, &model).await?, reason }
        }
        W::Retrain(v1::StartRetrain { episode, data }) => DriftCommand::Retrain {
            episode: episode.parse().map_err(invalid)?,
            data: wire::data(context, data).await?,
        },
        W::Close(v1::CloseEpisode { episode, reason }) => {
            DriftCommand::Close { episode: episode.parse().map_err(invalid)?, reason }
        }
    })
}

/// One document of drift.
///
/// # Errors
/// When what is asked for is not there.
pub fn document(view: &View<'_>, rows: &Rows, what: What) -> Answer {
    match what {
        What::Monitors(asked) => {
            let after = match asked.after.is_empty() {
                true => None,
                false => Some(asked.after.parse().map_err(invalid)?),
            };
            json(&view.monitors(rows, after.as_ref(), page(asked.limit)))
        }
        What::Monitor(word) => {
            let found = model::resolve(rows, &word).and_then(|it| view.monitor(rows, &it));
            json(&found.ok_or_else(|| absent(&format!("monitor of `{word}`"), "drift list"))?)
        }
        What::Episodes(asked) => {
            json(&view.episodes(rows, EpisodeId(asked.before), page(asked.limit)))
        }
        What::Episode(id) => {
            let episode = view.episode(rows, id.parse().map_err(invalid)?);
            json(&episode.ok_or_else(|| absent(&format!("episode {id}"), "drift alerts"))?)
        }
        _ => Err(error::status("internal", "answered elsewhere", "report this", false)),
    }
}
