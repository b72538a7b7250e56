//! Which results' files may go, what keeps the others, and the step that lets files go.
//!
//! Nothing but files goes: row, manifest, provenance, signatures, logs and lineage of a result stay
//! as they were. Source: ADR-0053.

use super::{
    Ledger, key,
    model::{self, FamilyRow},
    seal::{ArtifactRow, object},
    view,
};
use domain::{
    ArtifactId, Digest, JobId, Millis, PromotionId,
    artifact::Artifact,
    limit,
    model::{ModelRef, Stage},
    port::RowRead,
    refusal::RegistryRefusal,
    retain::{ArtifactHold, Collected, GcItem, GcPage, Keep, Retain, Rule},
    scratch::{self, Scratch},
};
use serde_json::json;
use std::collections::{BTreeSet, VecDeque};

/// What the scheduler knows of a result that the ledger does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// How long its job, or the job's queue, wants it kept.
    pub rule: Option<Rule>,
    /// A job that has not ended and was given its files.
    pub input: Option<JobId>,
}

fn read<T: borsh::BorshDeserialize>(rows: &impl RowRead, key: &[u8]) -> Option<T> {
    rows.get(key).map(|bytes| scratch::decode(key, &bytes))
}

/// That a result's files went, if they did.
#[must_use]
pub fn collected(rows: &impl RowRead, id: ArtifactId) -> Option<Collected> {
    read(rows, &key::collected(id))
}

/// The legal hold that a result is under, if it is under one.
#[must_use]
pub fn hold(rows: &impl RowRead, id: ArtifactId) -> Option<ArtifactHold> {
    read(rows, &key::artifact_hold(id))
}

/// Results whose files went, in the order in which they did, after an event.
#[must_use]
pub fn collected_after(rows: &impl RowRead, seq: u64, max: usize) -> Vec<(u64, Artifact)> {
    let (from, to) = key::collected_after(seq);
    let found = |(key, value): &(Vec<u8>, Vec<u8>)| {
        let id: ArtifactId = scratch::decode(key, value);
        Some((key::collected_in(key)?, artifact(rows, id)?.artifact))
    };
    rows.range(&from, &to, max).iter().filter_map(found).collect()
}

fn artifact(rows: &impl RowRead, id: ArtifactId) -> Option<ArtifactRow> {
    read(rows, &key::artifact(id))
}

/// Why a version is in use, if it is: it is in a stage, a name stands for it, or it is to be
/// promoted.
fn in_use(rows: &impl RowRead, of: &ModelRef) -> Option<Keep> {
    let version = model::version(rows, of)?;
    let model = of.clone();
    if matches!(version.stage, Stage::Staging | Stage::Prod) {
        return Some(Keep::Stage { model, stage: version.stage });
    }
    let family: FamilyRow = read(rows, &key::family(&of.family)).unwrap_or_default();
    let mut aliases = family.aliases.into_iter();
    if let Some((alias, _)) = aliases.find(|(_, named)| *named == of.version) {
        return Some(Keep::Alias { model, alias });
    }
    let promotion: Option<PromotionId> = read(rows, &key::open_of(of));
    promotion.map(|promotion| Keep::Promotion { model, promotion })
}

/// Versions that may still be looked at: more lie between a result and what may need it than can
/// be looked through while an entry is applied.
pub struct Looks(usize);

impl Looks {
    /// For one result.
    fn at_one() -> Self {
        Self(limit::LINEAGE_NODES_MAX)
    }

    /// For all results of one request. What is left over then goes with the next, since each of
    /// the first few had all that it might take by itself.
    #[must_use]
    pub fn at_many() -> Self {
        Self(limit::COLLECT_LOOKS_MAX)
    }

    /// Takes one, if one is left.
    fn take(&mut self) -> bool {
        let left = self.0.checked_sub(1);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

/// Why the versions that are made of a result keep its files. A version keeps what it was made
/// from, over any number of steps, for as long as it is in use: it could not be made again without.
fn kept_by_models(rows: &impl RowRead, id: ArtifactId, looks: &mut Looks) -> Option<Keep> {
    let own = model::models_of(rows, id, limit::PAGE_MAX);
    if own.len() >= limit::PAGE_MAX {
        return Some(Keep::Unsure);
    }
    if let Some(keep) = own.iter().find_map(|model| in_use(rows, model)) {
        return Some(keep);
    }
    let mut met: BTreeSet<ModelRef> = own.iter().cloned().collect();
    let mut queue: VecDeque<ModelRef> = own.into();
    while let Some(model) = queue.pop_front() {
        let children = model::children(rows, &model, limit::PAGE_MAX);
        let sure = children.len() < limit::PAGE_MAX && met.len() <= limit::LINEAGE_NODES_MAX;
        if !looks.take() || !sure {
            return Some(Keep::Unsure);
        }
        for child in children {
            if in_use(rows, &child).is_some() {
                return Some(Keep::Parent { child });
            }
            if met.insert(child.clone()) {
                queue.push_back(child);
            }
        }
    }
    None
}

/// Why results that were made with a tree keep its files.
fn kept_by_results(rows: &impl RowRead, tree: Digest, but: ArtifactId) -> Option<Keep> {
    let made = view::made_from(rows, tree, limit::PAGE_MAX);
    if made.len() >= limit::PAGE_MAX {
        return Some(Keep::Unsure);
    }
    let keeps = |id: &ArtifactId| *id != but && collected(rows, *id).is_none();
    made.into_iter().find(keeps).map(|of| Keep::Source { of })
}

/// The first reason why the files of a result are kept; none when they may go.
#[must_use]
pub fn kept(
    rows: &impl RowRead,
    artifact: &Artifact,
    outside: &Outside,
    now: Millis,
    looks: &mut Looks,
) -> Option<Keep> {
    let Some(rule) = &outside.rule else { return Some(Keep::NoRule) };
    let Retain::For(time) = rule.retain else {
        return Some(Keep::Time { until: Millis(u64::MAX), rule: rule.clone() });
    };
    let until = artifact.sealed.plus(time);
    if until > now {
        return Some(Keep::Time { until, rule: rule.clone() });
    }
    needed(rows, artifact, outside.input, looks)
}

/// The first reason why the files of a result are needed, whatever its rule says.
fn needed(
    rows: &impl RowRead,
    artifact: &Artifact,
    input: Option<JobId>,
    looks: &mut Looks,
) -> Option<Keep> {
    let tree = artifact.ticket.output.tree;
    if let Some(ArtifactHold { reason, .. }) = hold(rows, artifact.id) {
        return Some(Keep::Hold { reason });
    }
    if let Some(dataset) = super::dataset::versions_of(rows, tree).into_iter().next() {
        return Some(Keep::Dataset { dataset });
    }
    kept_by_models(rows, artifact.id, looks)
        .or_else(|| kept_by_results(rows, tree, artifact.id))
        .or_else(|| input.map(|job| Keep::Input { job }))
}

/// Whether the files of a tree went with the results that had them, and nothing that is kept names
/// the tree. A tree that no result has is none of this module's.
#[must_use]
pub fn is_gone(rows: &impl RowRead, tree: Digest, input: Option<JobId>) -> bool {
    let all = view::of_tree(rows, tree, limit::PAGE_MAX);
    let Some(first) = all.first().and_then(|id| artifact(rows, *id)) else { return false };
    all.len() < limit::PAGE_MAX
        && all.iter().all(|id| collected(rows, *id).is_some())
        && needed(rows, &first.artifact, input, &mut Looks::at_one()).is_none()
}

/// A page of what would become of the results that have their files.
#[must_use]
pub fn plan(
    rows: &impl RowRead,
    (after, max): (ArtifactId, usize),
    now: Millis,
    outside: &dyn Fn(&Artifact) -> Outside,
) -> GcPage {
    let from = key::artifact(ArtifactId(after.0.saturating_add(1)));
    let page = rows.range(&from, &key::artifacts_end(), max);
    let found: Vec<ArtifactRow> =
        page.iter().map(|(key, value)| scratch::decode(key, value)).collect();
    let next = found.last().filter(|_| found.len() >= max).map(|row| row.artifact.id);
    let has = |row: &ArtifactRow| collected(rows, row.artifact.id).is_none();
    let item = |row: ArtifactRow| {
        let outside = outside(&row.artifact);
        let kept = kept(rows, &row.artifact, &outside, now, &mut Looks::at_one());
        let output = &row.artifact.ticket.output;
        let (id, files, size, tree) = (row.artifact.id, output.files, output.size, output.tree);
        let same = view::of_tree(rows, tree, limit::PAGE_MAX);
        let shared = same.into_iter().find(|it| *it != id && collected(rows, *it).is_none());
        GcItem {
            artifact: id,
            sealed: row.artifact.sealed,
            name: row.name,
            tree,
            files,
            size,
            rule: outside.rule,
            kept,
            shared_with: shared,
        }
    };
    GcPage { items: found.into_iter().filter(has).map(item).collect(), next, now }
}

impl Ledger {
    /// Lets the files of a result go, if nothing keeps them now, with the event that says so.
    pub fn collect<R: RowRead>(
        &mut self,
        rows: &mut Scratch<'_, R>,
        (now, actor): (Millis, &str),
        id: ArtifactId,
        (outside, looks): (Outside, &mut Looks),
    ) -> bool {
        let Some(row) = artifact(rows, id) else { return false };
        let kept = kept(rows, &row.artifact, &outside, now, looks).is_some();
        let (Some(rule), false) = (outside.rule, kept) else { return false };
        if collected(rows, id).is_some() {
            return false;
        }
        let output = &row.artifact.ticket.output;
        let body = object(json!({
            "artifactId": id.to_string(),
            "artifactRoot": output.root.to_string(),
            "bytes": output.size.0.to_string(),
            "files": output.files,
            "rule": rule.to_string(),
        }));
        let audit_seq = self.record(rows, now, "registry.artifact.collected", actor, body);
        let by = actor.strip_prefix("user:").unwrap_or(actor).to_owned();
        let (files, size) = (output.files, output.size);
        let word = Collected { since: now, rule, by, files, size, audit_seq };
        rows.put_new(key::collected(id), &word);
        rows.put_new(key::collection(audit_seq), &id);
        self.keep(rows);
        true
    }

    /// Puts a result under legal hold, or ends that.
    pub(super) fn hold_artifact<R: RowRead>(
        &mut self,
        act: &mut super::command::Act<'_, '_, R>,
        id: ArtifactId,
        held: bool,
        reason: String,
    ) -> Result<u64, RegistryRefusal> {
        super::command::check_text("the reason", &reason)?;
        let row = artifact(act.rows, id).ok_or_else(|| RegistryRefusal::NotFound {
            what: format!("sealed artifact {id}"),
            list: "artifacts".into(),
        })?;
        if held && let Some(gone) = collected(act.rows, id) {
            return Err(gone_refusal(id, &gone));
        }
        if hold(act.rows, id).is_some() == held {
            let state = if held { "under legal hold already" } else { "not under legal hold" };
            return Err(RegistryRefusal::Invalid(format!("{id} is {state}")));
        }
        let kind = if held { "registry.artifact.held" } else { "registry.artifact.released" };
        let body = json!({
            "artifactId": id.to_string(),
            "artifactRoot": row.artifact.ticket.output.root.to_string(),
            "reason": reason,
        });
        self.event(act, kind, body);
        let by = act.user().to_owned();
        match held {
            true => {
                let word = ArtifactHold { reason, by, since: act.now };
                act.rows.put_new(key::artifact_hold(id), &word);
            }
            false => act.rows.remove(key::artifact_hold(id)),
        }
        Ok(0)
    }
}

/// The refusal of what takes files that went.
pub(super) fn gone_refusal(artifact: ArtifactId, gone: &Collected) -> RegistryRefusal {
    RegistryRefusal::Collected { artifact, rule: gone.rule.to_string() }
}
