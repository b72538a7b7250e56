//! `assay debug replay`: whether the leaders planned by the rules.

use super::Context;
use crate::{
    args::debug::Replay,
    exit::Exit,
    fault::{Fault, Kind},
    output::{Form, Style},
};
use domain::replay::{DecisionKind, DecisionView, ReplayEnd, ReplayHead, ReplayPart, Verdict};
use proto::v1::ReplayRequest;
use serde::Serialize;

/// Decisions that one document holds at most: they are in memory until it is written.
const LISTED_MAX: usize = 250_000;

/// All of it, for programs.
#[derive(Debug, Serialize)]
struct Document {
    #[serde(flatten)]
    head: ReplayHead,
    #[serde(flatten)]
    end: ReplayEnd,
    /// Of the decisions, those that are not the same.
    different: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    list: Option<Vec<DecisionView>>,
}

/// Runs the command.
///
/// # Errors
/// When no server can do it; the fault says which entries are kept.
pub async fn run(context: &Context, args: &Replay) -> Result<Exit, Fault> {
    let asked = ReplayRequest {
        from: args.from.unwrap_or(0),
        to: args.to.unwrap_or(0),
        server: args.on.map_or(0, |id| id.0),
    };
    let mut parts = context.client.replay(asked).await?;
    let (mut head, mut list) = (None, Vec::new());
    let output = &context.output;
    while let Some(part) = parts.next().await? {
        match part {
            ReplayPart::Head(told) => head = Some(told),
            ReplayPart::Decisions { decisions } => match output.form {
                Form::Text => {
                    let lines: String = decisions.iter().map(|it| line(it, output.style)).collect();
                    output.text(&lines)?;
                }
                Form::JsonLines => {
                    decisions.iter().try_for_each(|it| output.document("decision", it))?;
                }
                Form::Json => {
                    list.extend(decisions);
                    if list.len() > LISTED_MAX {
                        return Err(too_many());
                    }
                }
            },
            ReplayPart::End(end) => {
                let Some(head) = head.take() else { break };
                let different = end.decisions - end.equal;
                let list = (output.form == Form::Json).then_some(list);
                let document = Document { head, end, different, list };
                output.show("debug_replay", &document, |style| summary(&document, style))?;
                return Ok(if different == 0 { Exit::Ok } else { Exit::Mismatch });
            }
        }
    }
    Err(Fault::new(Kind::Unavailable, "cut_off", "the server ended in the middle")
        .hint("repeat it"))
}

fn too_many() -> Fault {
    Fault::new(Kind::Refused, "too_many", format!("more than {LISTED_MAX} decisions"))
        .hint("ask for less, `--from` and `--to`, or have one document a line: --jsonl")
}

/// One decision; of one that differs, both digests.
fn line(it: &DecisionView, style: Style) -> String {
    let kind = match it.kind {
        DecisionKind::Place => "place",
        DecisionKind::Preempt => "preempt",
    };
    let gangs = if it.gangs == 1 { "1 gang".to_owned() } else { format!("{} gangs", it.gangs) };
    let head = format!(
        "entry {:>8}  {kind:<7}  {gangs:>11}  on {:>8}  policy {}",
        it.entry.0, it.base.0, it.policy_version
    );
    let (digest, word) = (it.recorded, word(it.verdict));
    if it.verdict == Verdict::Equal {
        return format!("{head}  {digest}  {}\n", style.good(word));
    }
    let made = it.made.map_or_else(|| "none".to_owned(), |made| made.to_string());
    let why = it.why.as_deref().unwrap_or_default();
    format!("{head}  recorded {digest}  made {made}  {}: {why}\n", style.bad(word))
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Equal => "equal",
        Verdict::Record => "record damaged",
        Verdict::Base => "no such moment",
        Verdict::View => "other state",
        Verdict::Policy => "other rules",
        Verdict::Plan => "differs",
    }
}

fn summary(document: &Document, style: Style) -> String {
    let Document { head, end, different, .. } = document;
    let verdict = match (end.decisions, different) {
        (0, _) => "nothing was decided".to_owned(),
        (all, 0) => style.good(&format!("{all} decisions, all equal to the byte")),
        (all, _) => style.bad(&format!("{different} of {all} decisions are not equal")),
    };
    let rows = head.rows_of.map_or_else(String::new, |at| {
        format!(", from its rows as of entry {} through {} entries", at.0, end.entries)
    });
    let left = match end.left_out {
        0 => String::new(),
        left => format!("{left} at the beginning were made on earlier rows and left out\n"),
    };
    format!("entries {} to {} on {}{rows}: {verdict}\n{left}", head.from.0, head.to.0, head.server)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::stable;
    use domain::{Digest, LogIndex, Millis, ReplicaId};

    fn decision(verdict: Verdict) -> DecisionView {
        let made = match verdict {
            Verdict::Equal => Some(Digest::of(b"plan")),
            Verdict::Plan => Some(Digest::of(b"other")),
            _ => None,
        };
        DecisionView {
            entry: LogIndex(57),
            member: 0,
            kind: DecisionKind::Place,
            verdict,
            base: LogIndex(55),
            now: Millis(1_000_000),
            budget_steps: 4_096,
            policy_version: 6,
            view: Digest::of(b"view"),
            gangs: 2,
            recorded: Digest::of(b"plan"),
            made,
            why: (verdict == Verdict::Plan).then(|| "the leader did not plan by the rules".into()),
        }
    }

    fn document(list: Option<Vec<DecisionView>>) -> Document {
        let head = ReplayHead {
            server: ReplicaId(2),
            from: LogIndex(2),
            to: LogIndex(80),
            rows_of: Some(LogIndex(1)),
            kept_from: LogIndex(2),
        };
        let end = ReplayEnd { decisions: 2, equal: 1, left_out: 0, entries: 54 };
        Document { head, end, different: 1, list }
    }

    #[test]
    fn a_decision_that_differs_is_told_with_both_digests() {
        let [plan, other] = [&b"plan"[..], b"other"].map(Digest::of);
        let head = "entry       57  place        2 gangs  on       55  policy 6";
        let shown = |verdict| line(&decision(verdict), Style::PLAIN);
        assert_eq!(shown(Verdict::Equal), format!("{head}  {plan}  equal\n"));
        let why = "differs: the leader did not plan by the rules";
        let told = format!("{head}  recorded {plan}  made {other}  {why}\n");
        assert_eq!(shown(Verdict::Plan), told);
        let rows = "entries 2 to 80 on r2, from its rows as of entry 1 through 54 entries";
        let told = format!("{rows}: 1 of 2 decisions are not equal\n");
        assert_eq!(summary(&document(None), Style::PLAIN), told);
    }

    #[test]
    fn the_documents_keep_their_form() {
        let list = vec![decision(Verdict::Equal), decision(Verdict::Plan)];
        let line = stable::document("decision", &list[1]);
        insta::assert_json_snapshot!("decision.json", line);
        let whole = stable::document("debug_replay", &document(Some(list)));
        insta::assert_json_snapshot!("debug_replay.json", whole);
    }
}
