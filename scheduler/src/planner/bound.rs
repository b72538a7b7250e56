//! Bounds of queues, users and budgets, as reasons to wait.

use crate::state::{queue::Bar, sched::Job, view::View};
use domain::{JobId, Millis, view::ReasonView};

/// Every bound that keeps one more gang of a job from starting, the nearest first.
#[must_use]
pub fn reasons(view: &View<'_>, job: &Job, now: Millis) -> Vec<ReasonView> {
    let bars = view.bars(job, now);
    bars.iter().map(|(queue, bar)| reason(view, job, queue, *bar, now)).collect()
}

fn reason(view: &View<'_>, job: &Job, queue: &str, bar: Bar, now: Millis) -> ReasonView {
    let gpus = job.brief.gang().gpus();
    let user = &*job.brief.user;
    let (kind, detail, remedy) = match bar {
        Bar::Queue { held, max } => {
            let detail = format!("queue {queue} is at {held}/{max} GPUs, and this needs {gpus}");
            let over = held.saturating_add(gpus) - max;
            let guaranteed = view.queues().get(queue).map_or(0, |it| it.spec.guaranteed_gpus);
            let borrow = (max + over).saturating_sub(guaranteed);
            let frees = frees(view, queue, None, over);
            (
                "queue",
                detail,
                format!("{frees}; or raise `borrow_gpus_max` of `{queue}` to {borrow}"),
            )
        }
        Bar::UserGpus { held, max } => {
            let detail = format!(
                "{user} is at {held}/{max} GPUs that a user may hold in queue {queue}, \
                 and this needs {gpus}"
            );
            let over = held.saturating_add(gpus) - max;
            let (frees, most) = (frees(view, queue, Some(user), over), max + over);
            ("user", detail, format!("{frees}; or raise `user_gpus_max` of `{queue}` to {most}"))
        }
        Bar::UserRunning { max } => {
            let detail = format!("{user} has {max} running, the most for a user in queue {queue}");
            let running = view.queues().get(queue).and_then(|it| it.users.get(user));
            let most = running.map_or(max, |user| user.running).saturating_add(1);
            let first = held_by(view, queue, Some(user)).next();
            let first = first.map_or("one of them".to_owned(), |(id, _)| id.to_string());
            let raise = format!("or raise `user_running_max` of `{queue}` to {most}");
            ("user", detail, format!("wait until {first} ends; {raise}"))
        }
        Bar::Budget { hours } => {
            let detail = format!("queue {queue} has used its budget of {hours} GPU-hours");
            ("budget", detail, budget(view, queue, now))
        }
    };
    ReasonView { kind: kind.into(), detail, remedy, never: false }
}

/// Jobs that hold GPUs of a queue and its parts, lease by lease.
fn held_by<'a>(
    view: &View<'a>,
    queue: &'a str,
    user: Option<&'a str>,
) -> impl Iterator<Item = (JobId, u64)> + 'a {
    let view = *view;
    view.all_leases().filter_map(move |lease| {
        let brief = &view.live_job(lease.element.job)?.brief;
        let above = &view.queues().get(&brief.queue)?.above;
        let inside = *brief.queue == *queue || above.iter().any(|name| **name == *queue);
        let theirs = user.is_none_or(|user| *brief.user == *user);
        (inside && theirs).then(|| (lease.element.job, brief.gang().gpus()))
    })
}

/// Whose end makes room for `over` GPUs: the smallest that alone does, if one does.
fn frees(view: &View<'_>, queue: &str, user: Option<&str>, over: u64) -> String {
    let enough = held_by(view, queue, user).filter(|(_, gpus)| *gpus >= over);
    match enough.min_by_key(|(id, gpus)| (*gpus, *id)) {
        Some((id, gpus)) => format!("frees {gpus} when {id} ends"),
        None => format!("wait until {over} of those GPUs are free"),
    }
}

fn budget(view: &View<'_>, queue: &str, now: Millis) -> String {
    let Some(known) = view.queues().get(queue) else { return String::new() };
    let used = known.usage_at(now, view.config().half_life).spent;
    let hours = used / domain::queue::GPU_HOUR_MS + 1;
    let raise = format!("raise `budget_gpu_hours` of `{queue}` to {hours}");
    match known.spec.budget_period {
        Some(period) => {
            let minutes = (period.0 - now.0 % period.0.max(1)).div_ceil(60_000);
            format!("it is whole again in {}h{:02}m; or {raise}", minutes / 60, minutes % 60)
        }
        None => format!("ask an operator to {raise}"),
    }
}

/// What is free goes first to queues that have had less of their share.
#[must_use]
pub fn behind(job: &Job, others: &[(JobId, &str)]) -> Option<ReasonView> {
    let own: &str = &job.brief.queue;
    let mut first: Vec<&str> = others.iter().map(|(_, name)| *name).collect();
    first.retain(|name| *name != own);
    let gangs = first.len();
    first.sort_unstable();
    first.dedup();
    first.truncate(4);
    let names = first.join(", ");
    (gangs > 0).then(|| ReasonView {
        kind: "share".into(),
        detail: format!(
            "what is free goes first to {gangs} gangs of queues that have less of their share \
             than {own}: {names}"
        ),
        remedy: format!(
            "wait until they have ended, or raise `weight` or `guaranteed_gpus` of `{own}`"
        ),
        never: false,
    })
}
