//! From symptom to action: the one table.

use std::fmt;

/// What a symptom calls for, from mild to severe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Counted, no more: the job's own fault, or repaired by the hardware.
    Ignore,
    /// Told to the operator; the GPU goes on.
    Watch,
    /// The GPU finishes what it runs and takes nothing new until an acceptance job passes.
    Drain,
    /// What runs on it is ended, since its bits cannot be trusted; then as [`Action::Drain`].
    Quarantine,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ignore => "ignore",
            Self::Watch => "watch",
            Self::Drain => "drain after the job",
            Self::Quarantine => "kill and quarantine",
        })
    }
}

/// What can be noticed of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Symptom {
    /// An error that the driver reports by number.
    Xid(u64),
    /// More corrected memory errors than before.
    EccCorrected,
    /// More uncorrected memory errors than before.
    EccUncorrected,
    /// A row of memory waits for a reset to be replaced.
    RowRemapPending,
    /// A row of memory could not be replaced.
    RowRemapFailed,
    /// As hot as where it slows down.
    Hot,
    /// Slowed down by hardware or driver for heat.
    ThermalSlowdown,
    /// Slowed down by the hardware for want of power.
    PowerBrake,
    /// Slowed down by the hardware, which says no more.
    HwSlowdown,
    /// An NVLink is down.
    NvLinkDown,
    /// More errors on NVLinks than before.
    NvLinkErrors,
    /// The driver says that the GPU fell off the bus.
    Lost,
    /// A call on it did not return in time.
    Hung,
    /// Calls on it have not returned for several readings in a row.
    StillHung,
}

impl fmt::Display for Symptom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xid(number) => write!(f, "Xid {number}"),
            Self::EccCorrected => f.write_str("corrected memory errors"),
            Self::EccUncorrected => f.write_str("uncorrected memory errors"),
            Self::RowRemapPending => f.write_str("row remap pending"),
            Self::RowRemapFailed => f.write_str("row remap failed"),
            Self::Hot => f.write_str("hot"),
            Self::ThermalSlowdown => f.write_str("thermal slowdown"),
            Self::PowerBrake => f.write_str("power brake"),
            Self::HwSlowdown => f.write_str("hardware slowdown"),
            Self::NvLinkDown => f.write_str("NVLink down"),
            Self::NvLinkErrors => f.write_str("NVLink errors"),
            Self::Lost => f.write_str("lost"),
            Self::Hung => f.write_str("hung call"),
            Self::StillHung => f.write_str("calls still hung"),
        }
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The symptom.
    pub symptom: Symptom,
    /// What it means.
    pub means: &'static str,
    /// What it calls for.
    pub action: Action,
    /// So many within [`super::WINDOW`] call for [`Action::Drain`]; 0 means never.
    pub drain_after: u32,
    /// What an operator is to do.
    pub then: &'static str,
}

const fn rule(
    symptom: Symptom,
    means: &'static str,
    action: Action,
    drain_after: u32,
    then: &'static str,
) -> Rule {
    Rule { symptom, means, action, drain_after, then }
}

/// Every symptom with its action.
///
/// Source: NVIDIA, "Xid Errors" with its catalog (<https://docs.nvidia.com/deploy/xid-errors/>),
/// and "GPU Memory Error Management" (<https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt/>).
/// NVIDIA says what to do with the GPU (restart the application, reset the GPU, restart the
/// machine, look further); the action is what follows for the job that runs on it: restart the
/// application is the job's own end, a reset waits for the job where its bits are whole, and
/// does not where they may not be.
pub const RULES: &[Rule] = {
    use Action::{Drain, Ignore, Quarantine, Watch};
    use Symptom::Xid;
    &[
        rule(Xid(13), "exception in a kernel, most often the program's", Ignore, 0, "-"),
        rule(Xid(31), "page fault on the GPU, most often the program's", Ignore, 0, "-"),
        rule(Xid(43), "the program's channel was stopped after its fault", Ignore, 0, "-"),
        rule(Xid(45), "channels were removed after an earlier fault", Ignore, 0, "-"),
        rule(Xid(48), "uncorrectable memory error", Quarantine, 0, "reset the GPU"),
        rule(Xid(62), "the GPU's own controller stopped", Quarantine, 0, "reset the GPU"),
        rule(Xid(63), "a row of memory is to be replaced", Drain, 0, "reset the GPU"),
        rule(Xid(64), "a row of memory could not be replaced", Quarantine, 0, "replace the GPU"),
        rule(Xid(74), "NVLink error", Quarantine, 0, "reset the GPUs; look at link and switch"),
        rule(Xid(79), "the GPU fell off the bus", Quarantine, 0, "boot; look at seat and power"),
        rule(Xid(92), "many corrected memory errors", Watch, 3, "reset the GPU when idle"),
        rule(Xid(94), "memory error, contained to one program", Drain, 0, "reset the GPU"),
        rule(Xid(95), "memory error, not contained", Quarantine, 0, "reset the GPU"),
        rule(Xid(109), "a program could not be switched away from", Drain, 0, "reset the GPU"),
        rule(
            Xid(119),
            "the GPU's system processor does not answer",
            Quarantine,
            0,
            "reset the GPU",
        ),
        rule(Xid(120), "error in the GPU's system processor", Quarantine, 0, "reset the GPU"),
        rule(Xid(140), "memory error that was not recovered", Quarantine, 0, "reset the GPU"),
        rule(Symptom::EccCorrected, "the hardware repaired what it read", Ignore, 0, "-"),
        rule(Symptom::EccUncorrected, "the driver ended who read it", Drain, 0, "reset the GPU"),
        rule(Symptom::RowRemapPending, "takes effect at a reset", Drain, 0, "reset the GPU"),
        rule(Symptom::RowRemapFailed, "no spare row is left", Quarantine, 0, "replace the GPU"),
        rule(Symptom::Hot, "reached where it slows down", Watch, 12, "look at cooling"),
        rule(Symptom::ThermalSlowdown, "slowed down for heat", Watch, 12, "look at cooling"),
        rule(Symptom::PowerBrake, "slowed down for want of power", Watch, 12, "look at power"),
        rule(Symptom::HwSlowdown, "heat, want of power, or a fault", Watch, 12, "look at both"),
        rule(Symptom::NvLinkDown, "gangs go the long way", Drain, 0, "reset the GPUs"),
        rule(Symptom::NvLinkErrors, "packets were sent again", Watch, 60, "look at the link"),
        rule(Symptom::Lost, "the driver cannot reach it", Quarantine, 0, "boot the machine"),
        rule(Symptom::Hung, "the driver did not answer in time", Watch, 12, "look at `dmesg`"),
        rule(Symptom::StillHung, "the driver does not answer", Quarantine, 0, "boot the machine"),
    ]
};

/// What is not in the table is told and looked up by a person.
const UNKNOWN: Rule =
    rule(Symptom::Xid(0), "not in the table", Action::Watch, 12, "look it up in NVIDIA's catalog");

/// The line of a symptom.
#[must_use]
pub fn rule_of(symptom: Symptom) -> Rule {
    let known = RULES.iter().find(|rule| rule.symptom == symptom).copied();
    known.unwrap_or(Rule { symptom, ..UNKNOWN })
}

/// The table as `docs/HEALTH.md` shows it.
#[must_use]
pub fn as_markdown() -> String {
    let mut text = "| symptom | means | action | then |\n|---|---|---|---|\n".to_owned();
    let unknown = format!("any other Xid | {}", UNKNOWN.means);
    let line = |rule: &Rule, start: String| {
        let after = match rule.drain_after {
            0 => String::new(),
            times => format!(", drain after {times} a day"),
        };
        format!("| {start} | {}{after} | {} |\n", rule.action, rule.then)
    };
    for rule in RULES {
        text += &line(rule, format!("{} | {}", rule.symptom, rule.means));
    }
    text + &line(&UNKNOWN, unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_document_shows_the_table() {
        let document = include_str!("../../../../docs/HEALTH.md");
        assert!(document.contains(&as_markdown()), "put this there:\n{}", as_markdown());
    }

    #[test]
    fn each_symptom_has_one_line_and_only_watching_grows_worse() {
        let symptoms: BTreeSet<_> = RULES.iter().map(|rule| rule.symptom).collect();
        assert_eq!(symptoms.len(), RULES.len());
        for rule in RULES {
            assert_eq!(rule.drain_after > 0, rule.action == Action::Watch, "{}", rule.symptom);
        }
        assert_eq!(rule_of(Symptom::Xid(79)).action, Action::Quarantine);
        assert_eq!(rule_of(Symptom::Xid(4_711)).action, Action::Watch);
        assert_eq!(rule_of(Symptom::Xid(4_711)).symptom, Symptom::Xid(4_711));
    }
}
