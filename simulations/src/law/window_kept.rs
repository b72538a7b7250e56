//! `window_kept`: no grant overlaps, by its time limit, a window of which its job is no member.

use domain::LogIndex;
use scheduler::state::{
    command::{Command, Entry},
    view::View,
};

/// Looks at all that an entry granted, as the entry left it.
pub fn broken(view: &View<'_>, at: LogIndex, entry: &Entry) -> Option<String> {
    let changes = |command: &Command| {
        use Command::{ApplyConfig, ApplyFurther, Reserve};
        matches!(command, Reserve(_) | ApplyConfig { .. } | ApplyFurther(_))
    };
    // A change in the same entry may have made a window, or a member none, after the grant.
    if entry.members.iter().any(|request| changes(&request.command)) {
        return None;
    }
    let new = view.all_leases().filter(|lease| lease.id.index == at.0);
    new.filter_map(|lease| Some((lease, view.live_job(lease.element.job)?))).find_map(
        |(lease, job)| {
            let barred = view.barred(job, lease.granted);
            let inside = lease.members.iter().any(|member| barred.has(member.node));
            inside.then(|| format!("window_kept: entry {at} starts {} in a window", lease.element))
        },
    )
}
