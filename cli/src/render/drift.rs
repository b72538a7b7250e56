//! Drift: monitors, what they met, and episodes with their retrains.

use crate::{
    output::{Style, table::table},
    quantity::{show_duration, show_time},
};
use domain::{
    drift::{
        Comparison, Dispatch, EpisodeView, FeatureFinding, MonitorView, Observation, Retrain, WHOLE,
    },
    model::ModelRef,
};
use serde::Serialize;

/// The document of `assay drift list --json`.
#[derive(Debug, Serialize)]
pub struct Monitors {
    /// By model.
    pub monitors: Vec<MonitorView>,
    /// The log index that the list shows.
    pub log_index: u64,
}

/// The document of `assay drift alerts --json`.
#[derive(Debug, Serialize)]
pub struct Episodes {
    /// Newest first.
    pub episodes: Vec<EpisodeView>,
    /// The log index that the list shows.
    pub log_index: u64,
}

/// The document of `assay drift observe --json`.
#[derive(Debug, Serialize)]
pub struct Observed {
    /// The version.
    pub model: String,
    /// What was recorded.
    pub observation: Observation,
    /// The episode that it belongs to.
    pub episode: Option<EpisodeView>,
}

fn slices(observation: &Observation) -> String {
    match observation.slices.is_empty() {
        true => "all data".to_owned(),
        false => observation.slices.join(", "),
    }
}

/// What an observation says in a few words.
fn verdict(style: Style, observation: &Observation) -> String {
    if observation.reason.is_some() {
        return style.bad("alert");
    }
    let drifted = observation.drifted().count();
    let of = observation.features.len();
    match drifted {
        0 => style.good("no drift"),
        drifted => style.bad(&format!("drift in {drifted} of {of}")),
    }
}

/// Monitors as text.
#[must_use]
pub fn monitors(style: Style, all: &Monitors) -> String {
    if all.monitors.is_empty() && style.table {
        return "no monitors yet; set one: assay drift monitor set MODEL --reference FILE\n".into();
    }
    let row = |view: &MonitorView| {
        let newest = view.recent.first();
        vec![
            view.monitor.model.to_string(),
            newest.map_or_else(|| "not observed".to_owned(), |it| verdict(style, it)),
            view.open.map(|id| id.to_string()).unwrap_or_default(),
            view.monitor.features.len().to_string(),
            view.observations.to_string(),
            view.monitor.policy.dispatch.word().to_owned(),
            newest.map(|it| show_time(it.since)).unwrap_or_default(),
        ]
    };
    let heading =
        ["MODEL", "NEWEST WINDOW", "EPISODE", "FEATURES", "WINDOWS", "DISPATCH", "OBSERVED"];
    table(style, &heading, &all.monitors.iter().map(row).collect::<Vec<_>>())
}

fn state(style: Style, view: &EpisodeView) -> String {
    match &view.episode.closed {
        None => style.bad("open"),
        Some(_) => style.faint("over"),
    }
}

fn retrain(view: &EpisodeView) -> String {
    match &view.episode.retrain {
        Retrain::Off => "none".to_owned(),
        Retrain::Suggested => "suggested".to_owned(),
        Retrain::Held { .. } => "held".to_owned(),
        Retrain::Dispatched { job, .. } => {
            let state = view.job_state.as_deref().unwrap_or("submitted");
            format!("{job} {state}")
        }
    }
}

fn slice_names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let name = |name: &String| match name.as_str() {
        WHOLE => "all data".to_owned(),
        name => name.to_owned(),
    };
    names.map(name).collect::<Vec<_>>().join(", ")
}

/// Episodes as text.
#[must_use]
pub fn episodes(style: Style, all: &Episodes) -> String {
    if all.episodes.is_empty() && style.table {
        return "no drift so far: assay drift list\n".into();
    }
    let row = |view: &EpisodeView| {
        let episode = &view.episode;
        vec![
            episode.id.to_string(),
            episode.model.to_string(),
            state(style, view),
            episode.features.keys().cloned().collect::<Vec<_>>().join(", "),
            slice_names(episode.slices.keys()),
            retrain(view),
            show_time(episode.opened),
        ]
    };
    let heading = ["EPISODE", "MODEL", "STATE", "FEATURES", "SLICES", "RETRAIN", "OPENED"];
    table(style, &heading, &all.episodes.iter().map(row).collect::<Vec<_>>())
}

const HEADING: [&str; 7] =
    ["FEATURE", "DRIFT", "PSI", "JENSEN-SHANNON", "WASSERSTEIN", "TEST", "P"];

fn features(style: Style, findings: &[FeatureFinding]) -> String {
    let row = |finding: &FeatureFinding| {
        let score = |name: &str| match finding.scores.get(name) {
            Some(value) => value.to_string(),
            None => "-".to_owned(),
        };
        let test = match (finding.scores.get("ks"), finding.scores.get("chi_square")) {
            (Some(ks), _) => format!("KS {ks}"),
            (None, Some(chi)) => format!("chi-square {chi}"),
            (None, None) => "-".to_owned(),
        };
        vec![
            finding.feature.clone(),
            if finding.drifted { style.bad("yes") } else { "no".to_owned() },
            score("psi"),
            score("jensen_shannon"),
            score("wasserstein"),
            test,
            score("p_value_corrected"),
        ]
    };
    table(style, &HEADING, &findings.iter().map(row).collect::<Vec<_>>())
}

fn lines(style: Style, fields: &[(&str, String)]) -> String {
    let line = |(name, value): &(&str, String)| {
        format!("  {} {value}\n", style.faint(&format!("{name:<12}")))
    };
    fields.iter().map(line).collect()
}

/// What was observed, and what followed, as text.
#[must_use]
pub fn observation(style: Style, seen: &Observed) -> String {
    let found = &seen.observation;
    let mut out = format!(
        "{} window {} of {}: {}\n",
        style.strong(&seen.model),
        found.number,
        slices(found),
        verdict(style, found)
    );
    out.push_str(&features(style, &found.features));
    if let Some(view) = &seen.episode {
        out.push_str(&episode(style, view));
    }
    out
}

/// One monitor as text.
#[must_use]
pub fn monitor(style: Style, view: &MonitorView) -> String {
    let monitor = &view.monitor;
    let (rules, policy) = (&monitor.rules, &monitor.policy);
    let mut out = format!(
        "{} is watched: {} features, {} windows so far\n",
        style.strong(&monitor.model.to_string()),
        monitor.features.len(),
        view.observations
    );
    let follows = match policy.dispatch {
        Dispatch::Off => "an alert alone".to_owned(),
        Dispatch::Suggest => "a retrain is suggested".to_owned(),
        Dispatch::Auto => format!(
            "a retrain starts as a job of {}: at most {} in {}, {} apart",
            monitor.set_by,
            policy.budget,
            show_duration(policy.period),
            show_duration(policy.cool_down)
        ),
    };
    let mut fields = vec![
        ("after drift", follows),
        (
            "drift is",
            format!(
                "p < {} ({}), and psi {}, jensen-shannon {} or wasserstein {} and more",
                rules.alpha,
                rules.correction.word(),
                rules.psi,
                rules.jensen_shannon,
                rules.wasserstein
            ),
        ),
        ("window", format!("{} samples at least", rules.samples_min)),
    ];
    for (name, feature) in &monitor.features {
        fields.push(("feature", format!("{name}: {}, {} samples", feature.kind, feature.samples)));
    }
    for found in &view.recent {
        let said = format!(
            "{} {} of {}: {}",
            found.number,
            show_time(found.since),
            slices(found),
            verdict(style, found)
        );
        fields.push(("observed", said));
    }
    let (when, event) = (show_time(monitor.since), monitor.audit_seq);
    fields.push(("set", format!("{when} by {} (audit event {event})", monitor.set_by)));
    out.push_str(&lines(style, &fields));
    let next = match view.open {
        Some(id) => format!("assay drift show {id}"),
        None => format!("assay drift observe {} --current FILE", monitor.model),
    };
    out.push_str(&style.faint(&format!("next: {next}\n")));
    out
}

fn compared(found: &Comparison) -> Vec<(&'static str, String)> {
    let (new, old) = (found.artifact, found.artifact_before);
    let bits = if found.same_bits { "the same bits as" } else { "other bits than" };
    let mut fields =
        vec![("made", format!("{new}: {bits} {old} ({} / {})", found.root, found.root_before))];
    let text = |it: Option<domain::Decimal>, none: &str| {
        it.map_or_else(|| none.to_owned(), |it| it.to_string())
    };
    if let Some(measured) = &found.measured {
        let (before, after) = (measured.before, measured.after);
        let short: String = measured.method.to_string().chars().take(12).collect();
        fields.push(("measured", format!("by {before} and {after}, method {short}")));
        for (name, pair) in &measured.metrics {
            let (was, is) = (text(pair.before, "not measured"), text(pair.after, "not measured"));
            let worse = if measured.worse.contains(name) { ": worse" } else { "" };
            fields.push(("metric", format!("{name}: {was} before, {is} after{worse}")));
        }
    } else if let Some(job) = found.measured_by {
        fields.push(("measured", format!("by {job}, as {old} was")));
    }
    for (name, pair) in &found.metrics {
        let (was, is) = (text(pair.before, "nothing"), text(pair.after, "nothing"));
        fields.push(("claimed", format!("{name}: {was} before, {is} after")));
    }
    if let Some(seq) = found.suggested_seq {
        fields.push(("promotion", format!("suggested (audit event {seq})")));
    }
    fields
}

fn next(view: &EpisodeView) -> String {
    let episode = &view.episode;
    let id = episode.id;
    let register = |model: &ModelRef, artifact: domain::ArtifactId| {
        format!("assay model register {} --artifact {artifact} --parent {model}", model.family)
    };
    if episode.closed.is_some() && episode.comparison.is_none() {
        return format!("assay drift show {}", episode.model);
    }
    match (&episode.comparison, &episode.retrain) {
        (Some(found), _) if found.same_bits => format!("assay drift close {id} --reason TEXT"),
        (Some(found), _) => match &found.model {
            None => register(&episode.model, found.artifact),
            Some(model) if found.suggested_seq.is_some() => {
                format!("assay promotion request {model} --to staging --reason TEXT")
            }
            Some(model) if found.measured.is_some() => {
                format!("assay model compare {} {model}", episode.model)
            }
            Some(model) => match found.measured_by {
                Some(job) => format!("assay model evaluate {model} --artifact {job}"),
                None => format!(
                    "assay model evaluate {} --job FILE, and the same of {model}",
                    episode.model
                ),
            },
        },
        (None, Retrain::Dispatched { job, .. }) => format!("assay watch {job}"),
        (None, Retrain::Off) => format!("assay drift close {id} --reason TEXT"),
        (None, Retrain::Suggested | Retrain::Held { .. }) => {
            format!("assay drift retrain {id} --data NAME=DATASET")
        }
    }
}

/// One episode as text.
#[must_use]
pub fn episode(style: Style, view: &EpisodeView) -> String {
    let episode = &view.episode;
    let mut out = format!(
        "{} {} drifts: {}\n",
        style.strong(&episode.id.to_string()),
        episode.model,
        state(style, view)
    );
    let opened = format!(
        "{} by {} (audit event {})",
        show_time(episode.opened),
        episode.opened_by,
        episode.alert_seq
    );
    let mut fields = vec![("opened", opened), ("windows", episode.observations.to_string())];
    for (name, feature) in &episode.features {
        let scores: Vec<_> =
            feature.scores.iter().map(|(score, value)| format!("{score} {value}")).collect();
        let of = slice_names(feature.slices.iter());
        fields.push(("feature", format!("{name} in {of}: {}", scores.join(", "))));
    }
    for slice in &episode.suggested {
        let name = slice_names(std::iter::once(&slice.slice));
        let drifts = episode.slices.get(&slice.slice).copied().unwrap_or_default();
        let now = if drifts { "drifts" } else { "has come back" };
        let of = slice.dataset.as_ref().map(|it| format!(" of {it}: {}", slice.paths.join(" ")));
        fields.push(("slice", format!("{name}{} ({now})", of.unwrap_or_default())));
    }
    for (name, dataset) in &episode.data {
        let name = if name.is_empty() { "the job's data set" } else { name };
        fields.push(("data", format!("{name}: {dataset}")));
    }
    let how = match &episode.retrain {
        Retrain::Held { why, due } => {
            let due = due.map(|at| format!(", until {}", show_time(at))).unwrap_or_default();
            format!("held: {why}{due}")
        }
        Retrain::Dispatched { since, by, .. } => {
            format!("{}, started {} by {by}", retrain(view), show_time(*since))
        }
        Retrain::Off | Retrain::Suggested => retrain(view),
    };
    fields.push(("retrain", how));
    fields.extend(episode.comparison.iter().flat_map(compared));
    if let Some(closed) = &episode.closed {
        let (when, by) = (show_time(closed.since), &closed.by);
        fields.push(("over", format!("{when} by {by}: {}", closed.reason)));
    }
    out.push_str(&lines(style, &fields));
    out.push_str(&style.faint(&format!("next: {}\n", next(view))));
    out
}
