//! Why a job waits.

use super::{count, start};
use crate::output::Style;
use domain::view::WhyView;

/// The reasons as text, most binding first.
#[must_use]
pub fn text(style: Style, why: &WhyView) -> String {
    let mut out = match why.reasons.len() {
        0 => format!("{} does not wait: it is {}\n", why.job, why.state),
        _ if why.reasons.iter().all(|it| ["idle", "hung"].contains(&it.kind.as_str())) => {
            format!("{} is {}, and does nothing with what it holds\n", why.job, why.state)
        }
        _ if why.state == "sealing" => {
            format!("{} is done and holds no GPU; its result waits for its seal\n", why.job)
        }
        n => format!("{} waits for {}\n", why.job, count(n as u64, "reason")),
    };
    let kind_width = why.reasons.iter().map(|reason| reason.kind.len()).max().unwrap_or(0);
    for (number, reason) in why.reasons.iter().enumerate() {
        let kind = style.strong(&format!("{:<kind_width$}", reason.kind));
        let never =
            if reason.never { style.bad(" (never, as the cluster is)") } else { String::new() };
        out.push_str(&format!("  {} {kind}  {}{never}\n", number + 1, reason.detail));
        if !reason.remedy.is_empty() {
            out.push_str(&format!("  {:width$}-> {}\n", "", reason.remedy, width = kind_width + 4));
        }
    }
    if !why.not_reasons.is_empty() {
        out.push_str(&style.faint(&format!("not a reason: {}\n", why.not_reasons.join("; "))));
    }
    if let Some(start) = &why.start {
        out.push_str(&format!("{}\n", start::line(start)));
    }
    if why.reasons.is_empty() {
        out.push_str(&style.faint(&format!("next: assay job {}\n", why.job)));
    }
    out
}
