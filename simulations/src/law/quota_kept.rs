//! `quota_kept`: no grant takes a queue, or a user in it, beyond what they may hold.

use domain::LogIndex;
use scheduler::state::{
    command::{Command, Entry},
    view::View,
};

/// Looks at the queues of all that an entry granted, as the entry left them.
pub fn broken(view: &View<'_>, at: LogIndex, entry: &Entry) -> Option<String> {
    let changes = |command: &Command| {
        matches!(command, Command::ApplyConfig { .. } | Command::ApplyFurther(_))
    };
    // A change in the same entry may have lowered a bound after the grant.
    if entry.members.iter().any(|request| changes(&request.command)) {
        return None;
    }
    let new = view.all_leases().filter(|lease| lease.id.index == at.0);
    new.filter_map(|lease| view.live_job(lease.element.job)).find_map(|job| {
        let own = view.queues().get(&job.brief.queue)?;
        let user = own.users.get(&job.brief.user)?;
        let spec = &own.spec;
        if spec.user_gpus_max.is_some_and(|max| user.gpus > max && job.brief.gang().gpus() > 0)
            || spec.user_running_max.is_some_and(|max| user.running > max)
        {
            let (user, queue) = (&job.brief.user, &job.brief.queue);
            return Some(format!("quota_kept: entry {at} gives {user} too much of {queue}"));
        }
        let mut line = std::iter::once(&job.brief.queue).chain(&own.above);
        let gpus = job.brief.gang().gpus();
        let over = line.find(|name| {
            let queue = view.queues().get(*name);
            gpus > 0
                && queue
                    .is_some_and(|it| it.spec.gpus_max().is_some_and(|max| it.held.gpus() > max))
        });
        over.map(|queue| format!("quota_kept: entry {at} takes {queue} beyond its limit"))
    })
}
