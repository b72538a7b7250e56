//! `assay drift` with a cluster: monitors, windows, episodes, retrains.

use super::{
    super::{Context, change::done, live},
    windows,
};
use crate::{
    args::drift::{About, Alert, Monitor, Observe, Page, SetMonitor},
    client::{Answer, registry::Done},
    exit::Exit,
    fault::Fault,
    render::{
        self,
        drift::{Episodes, Monitors, Observed},
    },
};
use domain::{
    EpisodeId,
    drift::{EpisodeView, MonitorView},
    model::ModelView,
};
use proto::v1::{self, drift_change, registry_query::What, registry_request::Change};
use std::collections::BTreeMap;

/// The version that a word names, once for all that is asked of it.
async fn version(context: &Context, word: &str) -> Result<String, Fault> {
    let answer: Result<Answer<ModelView>, Fault> =
        context.client.registry_query(What::Model(word.to_owned())).await;
    let answer = answer.map_err(|fault| fault.hint_if_none("assay model list"))?;
    Ok(answer.value.version.model.to_string())
}

async fn monitor_of(context: &Context, word: &str) -> Result<Answer<MonitorView>, Fault> {
    let answer = context.client.registry_query(What::Monitor(word.to_owned())).await;
    answer.map_err(|fault| fault.hint_if_none("assay drift list"))
}

async fn episode_of(context: &Context, id: EpisodeId) -> Result<Answer<EpisodeView>, Fault> {
    let answer = context.client.registry_query(What::Episode(id.to_string())).await;
    answer.map_err(|fault| fault.hint_if_none("assay drift alerts"))
}

/// `assay drift monitor`.
///
/// # Errors
/// When a file holds no windows, a rule forbids it, or nobody answers.
pub async fn monitor(context: &Context, what: Monitor) -> Result<Exit, Fault> {
    match what {
        Monitor::Set(args) => set(context, *args).await,
        Monitor::Remove { model, reason } => {
            let model = version(context, &model).await?;
            let asked = v1::RemoveMonitor { model: model.clone(), reason };
            let changed = change(context, drift_change::What::Remove(asked)).await?;
            done(context, changed.at, &format!("{model} is not watched any more"))
        }
    }
}

async fn set(context: &Context, args: SetMonitor) -> Result<Exit, Fault> {
    let reference = match args.reference.is_empty() {
        true => BTreeMap::new(),
        false => windows::load(&args.reference)?,
    };
    let model = version(context, &args.model).await?;
    let asked = v1::SetMonitor {
        model: model.clone(),
        reference: windows::wire(reference),
        rules: Some(v1::DriftRules {
            samples_min: args.min_samples,
            alpha: args.alpha.to_string(),
            correction: args.correction.map(|it| it.word().to_owned()).unwrap_or_default(),
            psi: args.psi.to_string(),
            jensen_shannon: args.jensen_shannon.to_string(),
            wasserstein: args.wasserstein.to_string(),
        }),
        policy: Some(v1::DriftPolicy {
            dispatch: args.dispatch.word().to_owned(),
            cool_down_ms: Some(args.cool_down.0),
            budget: args.budget,
            period_ms: args.period.0,
        }),
    };
    context.client.registry(Change::SetMonitor(asked)).await?;
    let view = monitor_of(context, &model).await?.value;
    context.output.show("drift_monitor", &view, |style| render::drift::monitor(style, &view))?;
    Ok(Exit::Ok)
}

async fn change(context: &Context, what: drift_change::What) -> Result<Done, Fault> {
    context.client.registry(Change::Drift(v1::DriftChange { what: Some(what) })).await
}

fn data(about: &About) -> BTreeMap<String, String> {
    about.data.iter().cloned().collect()
}

/// `assay drift observe`.
///
/// # Errors
/// When a file holds no windows, they cannot be compared, or nobody answers.
pub async fn observe(context: &Context, args: Observe) -> Result<Exit, Fault> {
    let current = windows::wire(windows::load(&args.current)?);
    let model = version(context, &args.model).await?;
    let asked = v1::ObserveDrift {
        model: model.clone(),
        current,
        data: data(&args.about),
        slices: args.about.slices,
        trigger: args.trigger.unwrap_or_default(),
    };
    let changed = context.client.registry(Change::ObserveDrift(asked)).await?;
    observed(context, &model, changed).await
}

/// `assay drift alert`.
///
/// # Errors
/// When a rule forbids it, or nobody answers.
pub async fn alert(context: &Context, args: Alert) -> Result<Exit, Fault> {
    let model = version(context, &args.model).await?;
    let mut features: BTreeMap<String, v1::DriftScores> = BTreeMap::new();
    for (feature, score) in args.features {
        let scores = &mut features.entry(feature).or_default().scores;
        scores.extend(score.map(|(name, value)| (name, value.to_string())));
    }
    let asked = v1::DriftAlert {
        model: model.clone(),
        trigger: args.trigger,
        reason: args.reason,
        features,
        data: data(&args.about),
        slices: args.about.slices,
    };
    let changed = context.client.registry(Change::DriftAlert(asked)).await?;
    observed(context, &model, changed).await
}

/// Shows what was recorded, and what followed.
async fn observed(context: &Context, model: &str, changed: Done) -> Result<Exit, Fault> {
    let monitor = monitor_of(context, model).await?.value;
    let found = monitor.recent.into_iter().find(|it| it.number == changed.number);
    let Some(observation) = found else {
        let said = format!("observation {} of {model} was recorded before", changed.number);
        return done(context, changed.at, &said);
    };
    let episode = match observation.episode {
        Some(id) => Some(episode_of(context, id).await?.value),
        None => None,
    };
    let seen = Observed { model: model.to_owned(), observation, episode };
    context
        .output
        .show("drift_observation", &seen, |style| render::drift::observation(style, &seen))?;
    Ok(Exit::Ok)
}

/// `assay drift list`.
///
/// # Errors
/// When nobody answers.
pub async fn list(context: &Context, page: &Page) -> Result<Exit, Fault> {
    let query = v1::MonitorsQuery { after: String::new(), limit: page.limit };
    live::show(context, page.live, live::registry(What::Monitors(query)), |answer| {
        let all = Monitors { monitors: answer.value, log_index: answer.log_index };
        context.output.show("drift_monitors", &all, |style| render::drift::monitors(style, &all))
    })
    .await
}

/// `assay drift alerts`.
///
/// # Errors
/// When nobody answers.
pub async fn alerts(context: &Context, page: &Page) -> Result<Exit, Fault> {
    let query = v1::EpisodesQuery { before: 0, limit: page.limit };
    live::show(context, page.live, live::registry(What::Episodes(query)), |answer| {
        let all = Episodes { episodes: answer.value, log_index: answer.log_index };
        context.output.show("drift_episodes", &all, |style| render::drift::episodes(style, &all))
    })
    .await
}

/// `assay drift show`.
///
/// # Errors
/// When there is no such monitor or episode, or nobody answers.
pub async fn show(context: &Context, word: &str) -> Result<Exit, Fault> {
    if let Ok(id) = word.parse() {
        return show_episode(context, id).await;
    }
    let answer = monitor_of(context, word).await?;
    context.mark(answer.log_index);
    let view = answer.value;
    context.output.show("drift_monitor", &view, |style| render::drift::monitor(style, &view))?;
    Ok(Exit::Ok)
}

async fn show_episode(context: &Context, id: EpisodeId) -> Result<Exit, Fault> {
    let answer = episode_of(context, id).await?;
    context.mark(answer.log_index);
    let view = answer.value;
    context.output.show("drift_episode", &view, |style| render::drift::episode(style, &view))?;
    Ok(Exit::Ok)
}

/// `assay drift retrain`.
///
/// # Errors
/// When a rule forbids it, or nobody answers.
pub async fn retrain(
    context: &Context,
    episode: EpisodeId,
    data: Vec<(String, String)>,
) -> Result<Exit, Fault> {
    let data = data.into_iter().collect();
    let asked = v1::StartRetrain { episode: episode.to_string(), data };
    change(context, drift_change::What::Retrain(asked)).await?;
    show_episode(context, episode).await
}

/// `assay drift close`.
///
/// # Errors
/// When a rule forbids it, or nobody answers.
pub async fn close(context: &Context, episode: EpisodeId, reason: String) -> Result<Exit, Fault> {
    let asked = v1::CloseEpisode { episode: episode.to_string(), reason };
    let changed = change(context, drift_change::What::Close(asked)).await?;
    done(context, changed.at, &format!("{episode} is over"))
}
