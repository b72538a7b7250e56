//! One line for each figure: ours, its peer or bound, the ratio, the target, the verdict.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// A measured number with its unit.
#[derive(Clone, Copy, Debug)]
pub enum Quantity {
    /// Operations a second: more is better.
    Rate(f64),
    /// A time: less is better.
    Time(Duration),
    /// Bytes a second: more is better.
    Bandwidth(f64),
    /// Memory in bytes: less is better.
    Memory(u64),
    /// A number of things that should not happen.
    Count(u64),
    /// A share of one core: less is better.
    Share(f64),
}

impl Quantity {
    /// A time in ms.
    pub fn ms(value: f64) -> Self {
        Self::Time(Duration::from_secs_f64(value.max(0.0) / 1e3))
    }

    fn value(self) -> f64 {
        match self {
            Self::Rate(value) | Self::Bandwidth(value) | Self::Share(value) => value,
            Self::Time(time) => time.as_secs_f64(),
            Self::Memory(count) | Self::Count(count) => count as f64,
        }
    }

    /// How many times better this is than `other`, of the same unit.
    pub fn times_better(self, other: Self) -> f64 {
        match self {
            Self::Rate(_) | Self::Bandwidth(_) => self.value() / other.value(),
            Self::Time(_) | Self::Memory(_) | Self::Count(_) | Self::Share(_) => {
                other.value() / self.value()
            }
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate(value) if *value < 100.0 => write!(f, "{value:.1}/s"),
            Self::Rate(value) => write!(f, "{value:.0}/s"),
            Self::Bandwidth(value) => write!(f, "{:.2} GB/s", value / 1e9),
            Self::Memory(bytes) => write!(f, "{:.0} MB", *bytes as f64 / 1e6),
            Self::Count(count) => write!(f, "{count}"),
            Self::Share(share) => write!(f, "{:.2} %", share * 1e2),
            Self::Time(time) if time.as_secs_f64() < 1.0 => {
                write!(f, "{:.2} ms", time.as_secs_f64() * 1e3)
            }
            Self::Time(time) => write!(f, "{:.2} s", time.as_secs_f64()),
        }
    }
}

/// What the issue asks of a figure.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// So many times better than the peer, or this share of the bound: floor, goal.
    Times(f64, f64),
    /// No more than this: floor, goal.
    AtMost(Quantity, Quantity),
    /// Nothing: the line is there to be compared with.
    None,
}

/// One figure; builds its line.
#[derive(Clone)]
pub struct Figure {
    name: String,
    ours: Quantity,
    peer: Option<(String, Quantity)>,
    target: Target,
    cpu: String,
    notes: Vec<String>,
}

static MISSED: AtomicU32 = AtomicU32::new(0);
static PRINTED: AtomicU32 = AtomicU32::new(0);
/// What could not be measured, or failed.
static FAILED: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl Figure {
    /// A figure that was measured.
    pub fn new(name: impl Into<String>, ours: Quantity) -> Self {
        Self {
            name: name.into(),
            ours,
            peer: None,
            target: Target::None,
            cpu: "-".into(),
            notes: Vec::new(),
        }
    }

    /// The peer's or the bound's number from the same run.
    pub fn beside(mut self, name: impl Into<String>, value: Quantity) -> Self {
        self.peer = Some((name.into(), value));
        self
    }

    /// The target.
    pub fn target(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    /// CPU of our processes for each operation.
    pub fn cpu(mut self, ours: Duration) -> Self {
        self.cpu = micros(ours);
        self
    }

    /// CPU of ours and of the peer's processes for each operation.
    pub fn cpu_beside(mut self, ours: Duration, peer: Duration) -> Self {
        self.cpu = format!("{} vs {}", micros(ours), micros(peer));
        self
    }

    /// What else is to be known.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    fn ratio(&self) -> Option<f64> {
        // Nothing at all is not a number of times better.
        let ratio = self.peer.as_ref().map(|(_, peer)| self.ours.times_better(*peer));
        ratio.filter(|ratio| ratio.is_finite())
    }

    /// Whether there is none of what the peer has some of, or neither has any.
    fn is_none_of(&self) -> bool {
        let none = matches!(self.ours, Quantity::Count(0));
        none && matches!(self.peer, Some((_, Quantity::Count(_))))
    }

    /// The words of the verdict, and whether the floor is met.
    fn verdict(&self) -> (&'static str, bool) {
        let (floor, goal) = match (self.target, self.ratio()) {
            (Target::None, _) => return ("-", true),
            (Target::Times(floor, goal), Some(ratio)) => (ratio >= floor, ratio >= goal),
            (Target::Times(..), None) if self.is_none_of() => (true, true),
            (Target::Times(..), None) => return ("no peer", false),
            (Target::AtMost(floor, goal), _) => {
                let ours = self.ours.value();
                (ours <= floor.value(), ours <= goal.value())
            }
        };
        match (floor, goal) {
            (_, true) => ("goal met", true),
            (true, false) => ("floor met", true),
            (false, false) => ("MISSED", false),
        }
    }

    /// The line, without its notes.
    fn line(&self) -> String {
        let peer = match &self.peer {
            Some((name, value)) => format!("{name} {value}"),
            None => "-".into(),
        };
        let ratio = self.ratio().map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}x"));
        let target = match self.target {
            Target::Times(floor, goal) if floor == goal => times(goal),
            Target::Times(floor, goal) => format!("{} -> {}", times(floor), times(goal)),
            Target::AtMost(floor, goal) if floor.value() == goal.value() => format!("<= {goal}"),
            Target::AtMost(floor, goal) => format!("<= {floor} -> {goal}"),
            Target::None => "-".into(),
        };
        let (verdict, _) = self.verdict();
        format!(
            "{:<42} | {:>10} | {peer:<28} | {ratio:>7} | {target:<22} | {verdict:<9} | {}",
            self.name,
            self.ours.to_string(),
            self.cpu,
        )
    }

    /// Prints the line.
    pub fn print(self) {
        if PRINTED.fetch_add(1, Ordering::Relaxed) == 0 {
            println!(
                "{:<42} | {:>10} | {:<28} | {:>7} | {:<22} | {:<9} | CPU per operation",
                "figure", "ours", "peer or bound", "better", "floor -> goal", "verdict"
            );
        }
        if !self.verdict().1 {
            MISSED.fetch_add(1, Ordering::Relaxed);
        }
        println!("{}", self.line());
        for note in &self.notes {
            println!("    {note}");
        }
    }
}

fn micros(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        ..10.0 => format!("{micros:.1} us"),
        10.0..10_000.0 => format!("{micros:.0} us"),
        _ => format!("{:.0} ms", micros / 1e3),
    }
}

/// Begins a section.
pub fn section(text: &str) {
    println!("\n# {text}");
}

/// Says that something could not be measured or must not be; the run fails at its end.
pub fn failed(what: &str, why: &anyhow::Error) {
    println!("FAILED: {what}: {why:#}");
    FAILED.lock().unwrap_or_else(PoisonError::into_inner).push(what.to_owned());
}

/// Two digits after the point at most.
fn times(ratio: f64) -> String {
    let text = format!("{ratio:.2}");
    format!("{}x", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Says how many figures missed their floor. Returns what failed.
pub fn summary() -> Vec<String> {
    let (printed, missed) = (PRINTED.load(Ordering::Relaxed), MISSED.load(Ordering::Relaxed));
    println!("\n{printed} figures, {missed} below their floor");
    FAILED.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(ours: Quantity, peer: Quantity, target: Target) -> &'static str {
        Figure::new("x", ours).beside("peer", peer).target(target).verdict().0
    }

    #[test]
    fn more_is_better_for_rates_and_less_for_times() {
        assert_eq!(Quantity::Rate(30.0).times_better(Quantity::Rate(10.0)), 3.0);
        let better = Quantity::ms(10.0).times_better(Quantity::ms(30.0));
        assert!((better - 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_figure_meets_its_goal_its_floor_or_nothing() {
        let target = Target::Times(1.3, 1.6);
        let of = |rate| verdict(Quantity::Rate(rate), Quantity::Rate(10.0), target);
        assert_eq!([of(16.0), of(13.0), of(12.9)], ["goal met", "floor met", "MISSED"]);
        let target = Target::AtMost(Quantity::ms(11.0), Quantity::ms(5.0));
        let of = |ms| verdict(Quantity::ms(ms), Quantity::ms(600.0), target);
        assert_eq!([of(5.0), of(11.0), of(11.1)], ["goal met", "floor met", "MISSED"]);
    }

    #[test]
    fn a_ratio_without_its_peer_is_no_success() {
        let figure = Figure::new("x", Quantity::Rate(1e9)).target(Target::Times(1.0, 1.0));
        assert_eq!(figure.verdict(), ("no peer", false));
    }

    #[test]
    fn none_of_what_should_not_be_is_the_goal() {
        let target = Target::Times(1.0, 2.0);
        let of = |ours, peer| verdict(Quantity::Count(ours), Quantity::Count(peer), target);
        assert_eq!(
            [of(0, 20), of(0, 0), of(5, 10), of(20, 10)],
            ["goal met", "goal met", "goal met", "MISSED"]
        );
    }

    #[test]
    fn a_target_is_shown_with_few_digits() {
        assert_eq!([1.3, 40.0 / 3.0, 10.0].map(times), ["1.3x", "13.33x", "10x"]);
    }

    #[test]
    fn the_line_names_both_numbers_and_the_target() {
        let figure = Figure::new("submits, 16 clients", Quantity::Rate(6_000.0))
            .beside("etcd", Quantity::Rate(4_000.0))
            .target(Target::Times(1.3, 1.6))
            .cpu_beside(Duration::from_micros(80), Duration::from_micros(120));
        let line = figure.line().split('|').map(str::trim).collect::<Vec<_>>().join("|");
        assert_eq!(
            line,
            "submits, 16 clients|6000/s|etcd 4000/s|1.50x|1.3x -> 1.6x|floor met|80 us vs 120 us"
        );
    }
}
