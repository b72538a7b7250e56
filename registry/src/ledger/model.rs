//! Model families with their versions.

use super::{
    Ledger,
    command::{Act, check_text},
    evaluation, key, retain,
    seal::ArtifactRow,
    view,
};
use borsh::{BorshDeserialize, BorshSerialize};
use domain::{
    ArtifactId, Decimal,
    evaluation::Metrics,
    limit,
    model::{
        FamilyView, ModelRef, ModelVersion, ModelView, Revocation, Stage, check_alias, check_family,
    },
    port::RowRead,
    refusal::RegistryRefusal,
    scratch,
};
use serde_json::json;
use std::collections::BTreeMap;

/// A family as its row has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct FamilyRow {
    /// Number of its newest version.
    pub newest: u64,
    /// Names for versions.
    pub aliases: BTreeMap<String, u64>,
}

/// What becomes a version.
pub(super) struct NewVersion {
    pub family: String,
    pub artifact: ArtifactId,
    pub metrics: BTreeMap<String, Decimal>,
    pub parents: Vec<ModelRef>,
    pub aliases: Vec<String>,
}

/// Names that only promotions move.
const RESERVED: [Stage; 4] = [Stage::Draft, Stage::Staging, Stage::Prod, Stage::Deprecated];

fn invalid(fault: impl std::fmt::Display) -> RegistryRefusal {
    RegistryRefusal::Invalid(fault.to_string())
}

/// Refuses a name that cannot be an alias that people set.
fn settable(alias: &str) -> Result<(), RegistryRefusal> {
    check_alias(alias).map_err(invalid)?;
    match RESERVED.iter().any(|stage| stage.word() == alias) {
        true => Err(RegistryRefusal::AliasReserved(alias.to_owned())),
        false => Ok(()),
    }
}

/// The version, or why there is none.
pub(super) fn wanted<R: RowRead>(
    act: &Act<'_, '_, R>,
    model: &ModelRef,
) -> Result<ModelVersion, RegistryRefusal> {
    act.rows.read(&key::model(model)).ok_or_else(|| RegistryRefusal::NotFound {
        what: format!("model {model}"),
        list: format!("model list {}", model.family),
    })
}

/// The sealed artifact, unless it was revoked or its files went.
pub(super) fn usable<R: RowRead>(
    act: &Act<'_, '_, R>,
    artifact: ArtifactId,
) -> Result<ArtifactRow, RegistryRefusal> {
    let row = trusted(act, artifact)?;
    match retain::collected(act.rows, artifact) {
        None => Ok(row),
        Some(gone) => Err(retain::gone_refusal(artifact, &gone)),
    }
}

/// The sealed artifact, unless it was revoked.
fn trusted<R: RowRead>(
    act: &Act<'_, '_, R>,
    artifact: ArtifactId,
) -> Result<ArtifactRow, RegistryRefusal> {
    let row = act.rows.read::<ArtifactRow>(&key::artifact(artifact));
    let row = row.ok_or_else(|| RegistryRefusal::NotFound {
        what: format!("sealed artifact {artifact}"),
        list: "artifacts".into(),
    })?;
    match act.rows.read::<Revocation>(&key::revoked(artifact)) {
        None => super::signing_key::check_seal(act.rows, &row.artifact).map(|()| row),
        Some(word) => Err(RegistryRefusal::Revoked { artifact, reason: word.reason }),
    }
}

/// Refuses a version whose files went.
fn has_files<R: RowRead>(act: &Act<'_, '_, R>, model: &ModelRef) -> Result<(), RegistryRefusal> {
    let artifact = wanted(act, model)?.artifact;
    match retain::collected(act.rows, artifact) {
        None => Ok(()),
        Some(gone) => Err(retain::gone_refusal(artifact, &gone)),
    }
}

fn check_new(new: &NewVersion) -> Result<(), RegistryRefusal> {
    check_family(&new.family).map_err(invalid)?;
    new.aliases.iter().try_for_each(|alias| settable(alias))?;
    new.metrics.keys().try_for_each(|name| check_family(name).map_err(invalid))?;
    let full = |what: &str, most: usize| RegistryRefusal::Full {
        what: format!("the number of {what} of one version"),
        most: most as u64,
        remedy: "leave some out".into(),
    };
    if new.metrics.len() > limit::METRICS_MAX {
        return Err(full("metrics", limit::METRICS_MAX));
    }
    if new.parents.len() > limit::PARENTS_MAX {
        return Err(full("parents", limit::PARENTS_MAX));
    }
    Ok(())
}

impl Ledger {
    /// Makes a sealed artifact the next version of a family, with its event, in one step.
    ///
    /// The first version makes the family. A version begins as a draft: only a promotion moves it
    /// on. Its parents are versions that are there already, so lineage has no circle.
    pub(super) fn register_model<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        mut new: NewVersion,
    ) -> Result<u64, RegistryRefusal> {
        new.parents.sort_unstable();
        new.parents.dedup();
        check_new(&new)?;
        let artifact = new.artifact;
        let sealed = usable(act, artifact)?;
        let of_artifact = key::model_of(artifact, &new.family);
        if let Some(version) = act.rows.read(&of_artifact) {
            let model = ModelRef { family: new.family, version };
            return Err(RegistryRefusal::Known { artifact, model });
        }
        for parent in &new.parents {
            if act.rows.get(&key::model(parent)).is_none() {
                return Err(RegistryRefusal::Parent(parent.clone()));
            }
        }
        let mut family: FamilyRow = act.rows.read(&key::family(&new.family)).unwrap_or_default();
        family.newest += 1;
        if family.newest > limit::MODEL_VERSIONS_MAX {
            return Err(RegistryRefusal::Full {
                what: format!("the number of versions of `{}`", new.family),
                most: limit::MODEL_VERSIONS_MAX,
                remedy: "register a new family".into(),
            });
        }
        let newest = family.newest;
        for alias in &new.aliases {
            name_in(&mut family, &new.family, alias, newest)?;
        }
        let model = ModelRef { family: new.family, version: family.newest };
        let body = registered(&model, &new.metrics, &new.parents, &new.aliases, &sealed);
        let audit_seq = self.event(act, "registry.model.registered", body);
        for parent in &new.parents {
            act.rows.put_new(key::child(parent, &model), &());
        }
        let row = ModelVersion {
            model,
            artifact,
            stage: Stage::Draft,
            metrics: new.metrics,
            parents: new.parents,
            registered: act.now,
            registered_by: act.user().to_owned(),
            audit_seq,
        };
        act.rows.put(key::family(&row.model.family), &family);
        act.rows.put_new(of_artifact, &row.model.version);
        act.rows.put_new(key::model(&row.model), &row);
        self.retrain_registered(act, &row);
        Ok(row.model.version)
    }

    /// Lets a name stand for a version, or for none.
    pub(super) fn set_alias<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        name: &str,
        alias: &str,
        version: Option<u64>,
    ) -> Result<(), RegistryRefusal> {
        settable(alias)?;
        let absent = |what: String| RegistryRefusal::NotFound { what, list: "model list".into() };
        let mut family: FamilyRow = act
            .rows
            .read(&key::family(name))
            .ok_or_else(|| absent(format!("model family `{name}`")))?;
        let before = family.aliases.get(alias).copied();
        match version {
            Some(version) if version == 0 || version > family.newest => {
                return Err(absent(format!("model {name}@{version}")));
            }
            Some(version) => {
                has_files(act, &ModelRef { family: name.to_owned(), version })?;
                name_in(&mut family, name, alias, version)?;
            }
            None if family.aliases.remove(alias).is_none() => {
                return Err(absent(format!("alias `{alias}` of `{name}`")));
            }
            None => {}
        }
        let body = json!({
            "alias": alias, "family": name, "version": version, "versionBefore": before,
        });
        self.event(act, "registry.model.aliased", body);
        act.rows.put(key::family(name), &family);
        Ok(())
    }

    /// Takes a version out of use: nothing names it any more.
    pub(super) fn deprecate<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        model: &ModelRef,
        reason: String,
    ) -> Result<(), RegistryRefusal> {
        check_text("the reason", &reason)?;
        let mut version = wanted(act, model)?;
        if version.stage == Stage::Deprecated {
            return Err(RegistryRefusal::Stage {
                model: model.clone(),
                stage: version.stage,
                remedy: "nothing is left to be done".into(),
            });
        }
        let body = json!({
            "artifactId": version.artifact.to_string(), "model": model.to_string(),
            "reason": reason, "stageBefore": version.stage.word(),
        });
        self.event(act, "registry.model.deprecated", body);
        version.stage = Stage::Deprecated;
        act.rows.put(key::model(model), &version);
        let mut family: FamilyRow = act.rows.read(&key::family(&model.family)).unwrap_or_default();
        family.aliases.retain(|_, version| *version != model.version);
        act.rows.put(key::family(&model.family), &family);
        Ok(())
    }

    /// Records that an artifact is not to be used any more.
    pub(super) fn revoke<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        artifact: ArtifactId,
        reason: String,
    ) -> Result<(), RegistryRefusal> {
        check_text("the reason", &reason)?;
        let sealed = trusted(act, artifact)?;
        let body = json!({
            "artifactId": artifact.to_string(),
            "artifactRoot": sealed.artifact.ticket.output.root.to_string(),
            "reason": reason,
        });
        let audit_seq = self.event(act, "registry.artifact.revoked", body);
        let by = act.user().to_owned();
        let word = Revocation { reason, by, since: act.now, audit_seq };
        act.rows.put_new(key::revoked(artifact), &word);
        Ok(())
    }
}

/// Gives a version one more name.
fn name_in(
    family: &mut FamilyRow,
    name: &str,
    alias: &str,
    version: u64,
) -> Result<(), RegistryRefusal> {
    family.aliases.insert(alias.to_owned(), version);
    match family.aliases.len() > limit::ALIASES_MAX {
        false => Ok(()),
        true => Err(RegistryRefusal::Full {
            what: format!("the number of aliases of `{name}`"),
            most: limit::ALIASES_MAX as u64,
            remedy: "remove one: `assay model alias FAMILY NAME --remove`".into(),
        }),
    }
}

fn registered(
    model: &ModelRef,
    metrics: &BTreeMap<String, Decimal>,
    parents: &[ModelRef],
    aliases: &[String],
    sealed: &ArtifactRow,
) -> serde_json::Value {
    let ticket = &sealed.artifact.ticket;
    json!({
        "aliases": aliases,
        "artifactId": sealed.artifact.id.to_string(),
        "artifactRoot": ticket.output.root.to_string(),
        "family": model.family,
        "manifestSignature": sealed.artifact.signature.to_string(),
        "metrics": metrics,
        "parents": parents,
        "recipe": ticket.recipe.to_string(),
        "signer": sealed.artifact.signer.to_string(),
        "stage": Stage::Draft.word(),
        "version": model.version,
    })
}

/// Families after a name, ascending, each with its newest version.
#[must_use]
pub fn families(rows: &impl RowRead, after: &str, limit: usize) -> Vec<FamilyView> {
    let page = rows.range(&key::family_after(after), &key::families_end(), limit);
    let view = |(key, value): &(Vec<u8>, Vec<u8>)| {
        let family = std::str::from_utf8(key.get(1..)?).ok()?.to_owned();
        let row: FamilyRow = scratch::decode(key, value);
        let newest = version(rows, &ModelRef { family: family.clone(), version: row.newest })?;
        Some(FamilyView { family, versions: row.newest, aliases: row.aliases, newest })
    };
    page.iter().filter_map(view).collect()
}

/// Versions of a family from a number on, ascending.
#[must_use]
pub fn versions(rows: &impl RowRead, family: &str, first: u64, limit: usize) -> Vec<ModelView> {
    let from = key::model(&ModelRef { family: family.to_owned(), version: first });
    let page = rows.range(&from, &key::models_end(family), limit);
    let view = |(key, value): &(Vec<u8>, Vec<u8>)| document(rows, scratch::decode(key, value));
    page.iter().filter_map(view).collect()
}

/// One version.
#[must_use]
pub fn version(rows: &impl RowRead, model: &ModelRef) -> Option<ModelVersion> {
    let key = key::model(model);
    rows.get(&key).map(|bytes| scratch::decode(&key, &bytes))
}

/// The version that a word names: `digits@3`, `digits@prod`, or `digits` for the newest.
#[must_use]
pub fn resolve(rows: &impl RowRead, word: &str) -> Option<ModelRef> {
    let (family, which) = word.split_once('@').unwrap_or((word, ""));
    check_family(family).ok()?;
    let key = key::family(family);
    let row: FamilyRow = rows.get(&key).map(|bytes| scratch::decode(&key, &bytes))?;
    let version = match which {
        "" if !word.contains('@') => row.newest,
        alias => match row.aliases.get(alias) {
            Some(version) => *version,
            None => alias.parse().ok().filter(|number| (1..=row.newest).contains(number))?,
        },
    };
    Some(ModelRef { family: family.to_owned(), version })
}

/// One version in full.
#[must_use]
pub fn view(rows: &impl RowRead, model: &ModelRef) -> Option<ModelView> {
    document(rows, version(rows, model)?)
}

fn document(rows: &impl RowRead, version: ModelVersion) -> Option<ModelView> {
    let family_key = key::family(&version.model.family);
    let family: FamilyRow = scratch::decode(&family_key, &rows.get(&family_key)?);
    let named = family.aliases.into_iter().filter(|(_, number)| *number == version.model.version);
    let key = key::artifact(version.artifact);
    let sealed: ArtifactRow = scratch::decode(&key, &rows.get(&key)?);
    let ticket = sealed.artifact.ticket;
    let evaluations = evaluation::of_version(rows, &version.model);
    let metrics = Metrics { claimed: &version.metrics, evaluations: &evaluations };
    Some(ModelView {
        measured: metrics.all(),
        evaluations,
        aliases: named.map(|(alias, _)| alias).collect(),
        children: children(rows, &version.model, limit::PAGE_MAX),
        job: ticket.element,
        root: ticket.output.root,
        recipe: ticket.recipe,
        signature: sealed.artifact.signature,
        signer: sealed.artifact.signer,
        provenance: sealed.artifact.provenance,
        revoked: view::revocation(rows, version.artifact),
        version,
    })
}

/// Versions that were made from one.
#[must_use]
pub fn children(rows: &impl RowRead, model: &ModelRef, limit: usize) -> Vec<ModelRef> {
    let (from, to) = key::children(model);
    let page = rows.range(&from, &to, limit);
    page.iter().filter_map(|(key, _)| key::version_in(key.get(from.len()..)?)).collect()
}

/// Versions of any family that an artifact is.
#[must_use]
pub fn models_of(rows: &impl RowRead, artifact: ArtifactId, limit: usize) -> Vec<ModelRef> {
    let (from, to) = key::models_of(artifact);
    let read = |(key, value): &(Vec<u8>, Vec<u8>)| {
        let family = std::str::from_utf8(key.get(from.len()..)?).ok()?.to_owned();
        Some(ModelRef { family, version: scratch::decode(key, value) })
    };
    rows.range(&from, &to, limit).iter().filter_map(read).collect()
}
