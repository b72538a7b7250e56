//! One job in full.

use super::{count, jobs::elements, members, show_metrics, state};
use crate::{
    output::Style,
    quantity::{show_cpus, show_duration, show_gpus, show_size, show_time},
};
use domain::{
    ElementId,
    interrupt::Preemptible,
    isolation::{Confinement, Isolation, Network},
    job::{ElementState, JobSpec},
    lease::Phase,
    topology::{Layout, Topology},
    view::{AttemptView, ElementView, JobView},
};
use serde::Serialize;

/// The document of `assay job --json`.
#[derive(Debug, Serialize)]
pub struct Job {
    /// The job.
    #[serde(flatten)]
    pub job: JobView,
    /// The log index that it shows.
    pub log_index: u64,
}

/// Elements of an array that are shown in full.
const PARTS_SHOWN: usize = 20;

fn who(view: &JobView) -> String {
    let (line, class) = (&view.line, view.priority_class.as_ref());
    let class = class.map(|name| format!(" ({name})")).unwrap_or_default();
    format!("{}, queue {}, priority {}{class}", line.user, line.queue, line.priority)
}

/// The job as text.
#[must_use]
pub fn text(style: Style, view: &JobView) -> String {
    let line = &view.line;
    let mut out = format!(
        "{} {}  {}\n",
        style.strong(&line.id.to_string()),
        line.name,
        state(style, &line.state)
    );
    let mut field = |name: &str, value: String| {
        out.push_str(&format!("  {} {value}\n", style.faint(&format!("{name:<10}"))));
    };
    field("who", who(view));
    field("submitted", format!("{} (log {})", show_time(line.submitted), view.submitted_at));
    line.ended.into_iter().for_each(|ended| field("ended", show_time(ended)));
    field("command", view.spec.command.join(" "));
    field("needs", needs(&view.spec));
    field("recipe", view.recipe.to_string());
    if let Some(policy) = &view.policy {
        field("policy", format!("{} by {}: {}", policy.decision, policy.engine, policy.rationale));
    }
    for (name, value) in said(&view.spec) {
        field(name, value);
    }
    if view.spec.array.is_some() {
        field("elements", elements(&line.elements));
    }
    for (rank, metrics) in &view.metrics {
        field(&format!("rank {rank}"), show_metrics(metrics));
    }
    for idle in &view.idle {
        let what =
            format!("{} since {}", style.bad(&idle.state.to_string()), show_time(idle.since));
        field(&format!("rank {}", idle.rank), format!("{what} ({})", idle.lease));
    }
    for dump in &view.dumps {
        let what = format!("its threads, {} ({})", show_time(dump.time), dump.lease);
        let fetch = format!("assay logs {} --rank {} --dump", dump.element, dump.rank);
        field(&format!("rank {}", dump.rank), format!("{what}: {fetch}"));
    }
    for replay in &view.replays {
        field("replay", format!("{} ({})", replay.says, replay.id));
    }
    for part in view.parts.iter().take(PARTS_SHOWN) {
        out.push_str(&element(style, part, view.spec.array.is_some()));
    }
    if view.parts.len() > PARTS_SHOWN {
        let more = view.parts.len() - PARTS_SHOWN;
        out.push_str(&format!("  … {more} more; one of them: assay job {}[N]\n", line.id));
    }
    out.push_str(&style.faint(&format!("next: {}\n", next(view))));
    out
}

/// What few jobs say.
fn said(spec: &JobSpec) -> impl Iterator<Item = (&'static str, String)> {
    [
        ("class", spec.hardware_class.clone()),
        ("estimate", spec.estimate.map(|time| format!("runs for {}", show_duration(time)))),
        ("data", registered(spec)),
        ("retry", retries(spec)),
        ("verify", spec.verify.map(|it| it.to_string())),
        ("retain", spec.retain.map(|it| it.to_string())),
        ("check", spec.check.as_ref().map(|run| run.check.to_string())),
        ("reproduces", spec.reproduces.map(|it| it.to_string())),
    ]
    .into_iter()
    .filter_map(|(name, value): (_, Option<String>)| Some((name, value?)))
}

/// Names of registered data that a job was given by name.
fn registered(spec: &JobSpec) -> Option<String> {
    let all: Vec<_> = spec.registered.iter().map(|(name, it)| format!("{name} is {it}")).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// How often it is tried again; nothing for a job that leaves it at once.
fn retries(spec: &JobSpec) -> Option<String> {
    let max = &spec.retry.max;
    let own = max.own.iter().map(|(kind, most)| format!("{} {most}", kind.word()));
    let own: Vec<String> = own.collect();
    let of = if own.is_empty() { String::new() } else { format!(" (at most {})", own.join(", ")) };
    let own = (spec.retries > 0 || !of.is_empty())
        .then(|| format!("{} after its own failures{of}", count(spec.retries.into(), "time")));
    let node = max.node.map(|most| format!("{} after faults of nodes", count(most.into(), "time")));
    let all: Vec<String> = own.into_iter().chain(node).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

fn needs(spec: &JobSpec) -> String {
    let resources = &spec.resources;
    let model = resources.gpu_model.clone();
    let memory = resources.gpu_memory.map(|least| format!("{} or more", show_size(least)));
    let like: Vec<String> = model.into_iter().chain(memory).collect();
    let model = if like.is_empty() { String::new() } else { format!(" ({})", like.join(", ")) };
    let cores = match show_cpus(resources.cpu).as_str() {
        "1" => "1 core".to_owned(),
        cores => format!("{cores} cores"),
    };
    format!(
        "{} of {}{model}, {cores} and {}",
        count(spec.tasks.into(), "task"),
        show_gpus(resources.gpus, resources.gpu_share),
        show_size(resources.memory),
    ) + &apart(&spec.confinement)
        + &spec.image.as_ref().map(|image| format!(", in {image}")).unwrap_or_default()
        + &near(spec.topology)
        + if spec.interrupt.preemptible == Preemptible::No { ", not preemptible" } else { "" }
}

/// What a job asks of where its gang lies; nothing for one that leaves it to the planner.
fn near(asked: Topology) -> String {
    let require = asked.require.map(|level| format!(", within one {}", level.one()));
    let prefer = asked.prefer.map(|level| format!(", in few {}s", level.one()));
    let spread = (asked.layout == Layout::Spread).then(|| ", spread over nodes".to_owned());
    [require, prefer, spread].into_iter().flatten().collect()
}

/// What a job asks for of its isolation; nothing for one that leaves it to the node.
fn apart(asked: &Confinement) -> String {
    let disk = asked.disk.map(|disk| format!(", {} of disk", show_size(disk)));
    let sandbox = (asked.isolation == Isolation::Sandbox).then(|| ", in a sandbox".to_owned());
    let network = asked.network.map(|network| match network {
        Network::None => ", without network".to_owned(),
        Network::Host => ", on the node's network".to_owned(),
    });
    [disk, sandbox, network].into_iter().flatten().collect()
}

fn element(style: Style, part: &ElementView, of_array: bool) -> String {
    let mut out = String::new();
    if of_array {
        out.push_str(&format!("  {}  {}\n", part.id, state(style, part.state.word())));
    }
    for attempt in &part.attempts {
        out.push_str(&attempt_line(style, attempt));
    }
    for point in &part.checkpoints {
        out.push_str(&format!(
            "  {} step {}  {}  {}\n",
            style.faint("checkpoint"),
            point.step,
            point.root.short(),
            show_size(point.size)
        ));
    }
    match &part.state {
        ElementState::Completed { artifact } => {
            let name = style.faint(&format!("{:<10}", "result"));
            out.push_str(&format!("  {name} {}\n", style.good(&artifact.to_string())));
        }
        ElementState::Failed { cause } => {
            let name = style.faint(&format!("{:<10}", "failed"));
            out.push_str(&format!("  {name} {}\n", style.bad(&cause.to_string())));
        }
        ElementState::Waiting
        | ElementState::Running { .. }
        | ElementState::Sealing { .. }
        | ElementState::Cancelled => {}
    }
    out
}

fn attempt_line(style: Style, attempt: &AttemptView) -> String {
    let name = style.faint(&format!("{:<10}", format!("attempt {}", attempt.attempt.0)));
    let took = attempt.ended.map_or(String::new(), |ended| {
        format!(", {}", show_duration(ended.minus(attempt.granted)))
    });
    let how = match (&attempt.cause, &attempt.phase) {
        (Some(cause), _) => format!("ended: {cause}"),
        (None, Some(Phase::Preparing { ready })) => {
            format!("preparing, {} of {} nodes ready", ready.len(), attempt.members.len())
        }
        (None, Some(Phase::Started { .. })) => match &attempt.notice {
            Some(notice) => format!("running, to give its place up: {}", notice.cause),
            None => "running".to_owned(),
        },
        (None, Some(Phase::Stopping { cause, .. })) => format!("stopping: {cause}"),
        (None, None) => "ended well".to_owned(),
    };
    format!("  {name} {} on {}{took}: {how}\n", attempt.lease, members(&attempt.members))
}

/// The command that most likely comes next.
#[must_use]
pub fn next(view: &JobView) -> String {
    let id = view.line.id;
    match view.line.state.as_str() {
        "waiting" | "sealing" => format!("assay why {id}"),
        _ if view.spec.array.is_some() => {
            // Where one has failed, that is the one to look at.
            let failed = |part: &&ElementView| matches!(part.state, ElementState::Failed { .. });
            let part = view.parts.iter().find(failed).map(|part| part.id);
            format!("assay job {}", part.unwrap_or(ElementId { job: id, index: Some(0) }))
        }
        "running" => format!("assay logs -f {id}"),
        "completed" => format!("assay artifact show {id}"),
        _ => format!("assay logs {id}"),
    }
}
