//! What the ledger shows: reads of its rows.

use super::{Ledger, key, seal::ArtifactRow};
use domain::{
    ArtifactId, Digest, ElementId,
    audit::AuditEvent,
    limit,
    model::Revocation,
    port::RowRead,
    scratch,
    view::{ArtifactView, AuditPage},
};

/// Artifacts of one build key that are looked at for agreement.
const BUILDS_MAX: usize = 1_000;

fn id_in(key: &[u8]) -> ArtifactId {
    let tail = key.last_chunk().expect("keys of artifacts end with their id");
    ArtifactId(u64::from_be_bytes(*tail))
}

/// The artifacts of a build key with their roots, oldest first.
#[must_use]
pub fn builds(rows: &impl RowRead, build_key: Digest) -> Vec<(ArtifactId, Digest)> {
    let (from, to) = key::builds(build_key);
    let found = rows.range(&from, &to, BUILDS_MAX);
    found.iter().map(|(key, value)| (id_in(key), scratch::decode(key, value))).collect()
}

/// Artifacts that were made from a captured code folder or data set.
#[must_use]
pub fn made_from(rows: &impl RowRead, source: Digest, limit: usize) -> Vec<ArtifactId> {
    let (from, to) = key::made_from(source);
    rows.range(&from, &to, limit).iter().map(|(key, _)| id_in(key)).collect()
}

/// What made an artifact.
#[must_use]
pub fn made_by(rows: &impl RowRead, id: ArtifactId) -> Option<ElementId> {
    let key = key::artifact(id);
    let row: ArtifactRow = scratch::decode(&key, &rows.get(&key)?);
    Some(row.artifact.ticket.element)
}

/// One artifact.
#[must_use]
pub fn artifact(rows: &impl RowRead, id: ArtifactId) -> Option<ArtifactView> {
    let key = key::artifact(id);
    let row = rows.get(&key)?;
    Some(document(rows, scratch::decode(&key, &row)))
}

fn document(rows: &impl RowRead, row: ArtifactRow) -> ArtifactView {
    let ticket = &row.artifact.ticket;
    let others = builds(rows, ticket.build_key);
    let others = others.into_iter().filter(|(id, _)| *id != row.artifact.id);
    let (agrees, differs): (Vec<_>, Vec<_>) =
        others.partition(|(_, root)| *root == ticket.output.root);
    let ids = |pairs: Vec<(ArtifactId, Digest)>| pairs.into_iter().map(|(id, _)| id).collect();
    ArtifactView {
        agrees_with: ids(agrees),
        differs_from: ids(differs),
        replays: Vec::new(),
        collected: super::retain::collected(rows, row.artifact.id),
        hold: super::retain::hold(rows, row.artifact.id),
        artifact: row.artifact,
        name: row.name,
    }
}

/// The artifact of a job or of an array's element.
#[must_use]
pub fn artifact_of(rows: &impl RowRead, element: ElementId) -> Option<ArtifactView> {
    let key = key::of_element(element);
    let id: ArtifactId = rows.get(&key).map(|bytes| scratch::decode(&key, &bytes))?;
    artifact(rows, id)
}

/// A page of artifacts above `after`, ascending.
#[must_use]
pub fn artifacts(rows: &impl RowRead, after: ArtifactId, limit: usize) -> Vec<ArtifactView> {
    let from = key::artifact(ArtifactId(after.0.saturating_add(1)));
    let page = rows.range(&from, &key::artifacts_end(), limit);
    page.iter().map(|(key, value)| document(rows, scratch::decode(key, value))).collect()
}

/// Events from `first` on.
#[must_use]
pub fn events(rows: &impl RowRead, first: u64, limit: usize) -> Vec<AuditEvent> {
    let page = rows.range(&key::event(first), &key::events_end(), limit);
    page.iter().map(|(key, value)| scratch::decode(key, value)).collect()
}

/// A page of the chain with its head.
#[must_use]
pub fn audit(ledger: &Ledger, rows: &impl RowRead, first: u64, limit: usize) -> AuditPage {
    AuditPage {
        events: events(rows, first, limit),
        head: ledger.head().map_or(0, |head| head.seq),
        head_hash: ledger.head().map(|head| head.hash),
        signed: ledger.signed(),
    }
}

/// Whether an artifact was revoked, and why.
#[must_use]
pub fn revocation(rows: &impl RowRead, id: ArtifactId) -> Option<Revocation> {
    let key = key::revoked(id);
    rows.get(&key).map(|bytes| scratch::decode(&key, &bytes))
}

/// Artifacts whose files make up this tree.
#[must_use]
pub fn of_tree(rows: &impl RowRead, tree: Digest, limit: usize) -> Vec<ArtifactId> {
    let (from, to) = key::trees(tree);
    rows.range(&from, &to, limit).iter().map(|(key, _)| id_in(key)).collect()
}

/// The newest artifact of a recipe that has its files and was not revoked, among the last page of
/// them; of one build key alone, where that is given.
#[must_use]
pub fn of_recipe(
    rows: &impl RowRead,
    recipe: Digest,
    build_key: Option<Digest>,
) -> Option<ArtifactId> {
    let (from, to) = key::recipes(recipe);
    let page = rows.range(&from, &to, limit::PAGE_MAX);
    let usable = |id: &ArtifactId| {
        revocation(rows, *id).is_none() && super::retain::collected(rows, *id).is_none()
    };
    let built = |id: &ArtifactId| {
        build_key.is_none_or(|wanted| {
            let key = key::artifact(*id);
            let row = rows.get(&key).map(|bytes| scratch::decode::<ArtifactRow>(&key, &bytes));
            row.is_some_and(|row| row.artifact.ticket.build_key == wanted)
        })
    };
    page.iter().map(|(key, _)| id_in(key)).rfind(|id| usable(id) && built(id))
}
