//! Changes of the registry on behalf of a user, and its documents.

use super::{
    context::{Context, keyed, wall_clock},
    datasets, drift, error, evaluations,
    identity::Identity,
    named,
    query::{absent, json, page},
    rights,
};
use crate::{
    consensus::shell::Rows,
    state::{
        command::{Command, Refusal, Reply},
        view::View,
    },
};
use domain::{Decimal, Digest, LogIndex, Millis, limit, promotion::Quorum, promotion::Risk};
use proto::{
    convert,
    v1::{self, registry_query::What, registry_request::Change},
};
use registry::ledger::{RegistryCommand, dataset, lineage::Bounds};
use std::{collections::BTreeMap, fmt, str::FromStr};
use tonic::{Request, Status};

fn invalid(fault: impl fmt::Display) -> Status {
    error::status("invalid", fault.to_string(), "correct the request", false)
}

fn parsed<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<T, Status> {
    text.parse().map_err(invalid)
}

/// Makes one change.
///
/// # Errors
/// When the request is malformed, a rule forbids it, or there is no leader.
pub async fn change(
    context: &Context,
    request: Request<v1::RegistryRequest>,
) -> Result<v1::RegistryReply, Status> {
    let user = Identity::of(&request)?.user()?;
    let v1::RegistryRequest { key, change } = request.into_inner();
    let key = convert::key(&key).map_err(invalid)?;
    let Some(change) = change else {
        return Err(error::status("invalid", "no change is named", "set `change`", false));
    };
    if takes_admin(&change) {
        rights::admin(context, &user)?;
    }
    if drift::is_drift(&change) {
        return drift::change(context, &user, key, change).await;
    }
    let command = match change {
        Change::RegisterDataset(asked) => datasets::register(context, &user, asked).await?,
        Change::Evaluate(asked) => evaluations::read(context, asked).await?,
        change => command(change)?,
    };
    let command = Command::Registry(command);
    match context.propose(keyed(key, format!("user:{user}"), command)).await? {
        Reply::Registry { number, at: LogIndex(log_index) } => {
            Ok(v1::RegistryReply { log_index, number })
        }
        other => Err(super::submit::unexpected(other)),
    }
}

/// Whoever names the approvers decides what a quorum is worth, and whoever rotates keys what a
/// seal is; whoever says what a licence allows, or ends a legal hold, decides for all.
fn takes_admin(change: &Change) -> bool {
    match change {
        Change::AddApprover(_)
        | Change::RemoveApprover(_)
        | Change::Quorum(_)
        | Change::RotateKey(_)
        | Change::RevokeKey(_)
        | Change::HoldDataset(_)
        | Change::Licence(_)
        | Change::Collect(_)
        | Change::HoldArtifact(_) => true,
        Change::Register(_)
        | Change::Alias(_)
        | Change::Deprecate(_)
        | Change::Revoke(_)
        | Change::Promote(_)
        | Change::Approve(_)
        | Change::Reject(_)
        | Change::RegisterDataset(_)
        | Change::ClearDataset(_)
        | Change::SignOff(_)
        | Change::SetMonitor(_)
        | Change::ObserveDrift(_)
        | Change::DriftAlert(_)
        | Change::Drift(_)
        | Change::Evaluate(_) => false,
    }
}

fn command(change: Change) -> Result<RegistryCommand, Status> {
    use RegistryCommand as C;
    Ok(match change {
        Change::Register(asked) => register(asked)?,
        Change::Alias(v1::SetAlias { family, alias, version }) => {
            C::SetAlias { family, alias, version: (version > 0).then_some(version) }
        }
        Change::Deprecate(v1::DeprecateModel { model, reason }) => {
            C::DeprecateModel { model: parsed(&model)?, reason }
        }
        Change::Revoke(v1::RevokeArtifact { artifact, reason }) => {
            C::RevokeArtifact { artifact: parsed(&artifact)?, reason }
        }
        Change::Promote(asked) => C::RequestPromotion {
            model: parsed(&asked.model)?,
            to: parsed(&asked.to)?,
            risk: if asked.high_risk { Risk::High } else { Risk::Low },
            emergency: asked.emergency,
            reason: asked.reason,
            within: (asked.within_ms > 0).then_some(Millis(asked.within_ms)),
        },
        Change::Approve(v1::ApprovePromotion { promotion, signature }) => {
            if signature.len() > 64 {
                return Err(invalid("the signature is no Ed25519 signature of 64 bytes"));
            }
            C::Approve { promotion: parsed(&promotion)?, signature: signature.to_vec() }
        }
        Change::Reject(v1::RejectPromotion { promotion, reason }) => {
            C::Reject { promotion: parsed(&promotion)?, reason }
        }
        Change::AddApprover(v1::AddApprover { name, public_key }) => {
            let key = public_key.as_ref().try_into();
            let key = key.map_err(|_| invalid("the key is no Ed25519 public key of 32 bytes"))?;
            C::AddApprover { name, key }
        }
        Change::RemoveApprover(name) => C::RemoveApprover { name },
        Change::Quorum(v1::SetQuorum { required, of }) => {
            C::SetQuorum { quorum: Quorum { required, of } }
        }
        Change::RegisterDataset(_)
        | Change::ClearDataset(_)
        | Change::HoldDataset(_)
        | Change::Licence(_) => of_dataset(change)?,
        Change::SignOff(asked) => sign_off(asked)?,
        Change::RotateKey(v1::RotateKey { to, overlap_ms }) => {
            C::RotateKey { to, overlap: Millis(overlap_ms) }
        }
        Change::RevokeKey(v1::RevokeKey { kid, since_ms, reason }) => {
            C::RevokeKey { kid, since: (since_ms > 0).then_some(Millis(since_ms)), reason }
        }
        Change::Collect(_) | Change::HoldArtifact(_) => of_files(change)?,
        Change::SetMonitor(_)
        | Change::ObserveDrift(_)
        | Change::DriftAlert(_)
        | Change::Drift(_) => return Err(invalid("windows are scored first")),
        Change::Evaluate(_) => return Err(invalid("metrics are read first")),
    })
}

fn sign_off(asked: v1::SignOff) -> Result<RegistryCommand, Status> {
    let v1::SignOff { document, sha256, reason, signature } = asked;
    if signature.len() > 64 {
        return Err(invalid("the signature is no Ed25519 signature of 64 bytes"));
    }
    let sha256 = sha256.as_ref().try_into().map(Digest);
    let sha256 = sha256.map_err(|_| invalid("the digest is no SHA-256 of 32 bytes"))?;
    Ok(RegistryCommand::SignOff { document, sha256, reason, signature: signature.to_vec() })
}

fn of_files(change: Change) -> Result<RegistryCommand, Status> {
    use RegistryCommand as C;
    Ok(match change {
        Change::Collect(v1::CollectArtifacts { artifacts }) => {
            if artifacts.len() > limit::COLLECT_MAX {
                let most = limit::COLLECT_MAX;
                return Err(invalid(format!("the request names more than {most} artifacts")));
            }
            let artifacts = artifacts.iter().map(|id| parsed(id)).collect::<Result<_, _>>()?;
            C::Collect { artifacts }
        }
        Change::HoldArtifact(v1::HoldArtifact { artifact, held, reason }) => {
            C::HoldArtifact { artifact: parsed(&artifact)?, held, reason }
        }
        _ => return Err(invalid("no files of a result are named")),
    })
}

fn of_dataset(change: Change) -> Result<RegistryCommand, Status> {
    use RegistryCommand as C;
    Ok(match change {
        Change::ClearDataset(v1::ClearDataset { dataset, reason, signature }) => {
            if signature.len() > 64 {
                return Err(invalid("the signature is no Ed25519 signature of 64 bytes"));
            }
            let signature = signature.to_vec();
            C::ClearDataset { dataset: parsed(&dataset)?, reason, signature }
        }
        Change::HoldDataset(v1::HoldDataset { dataset, held, reason }) => {
            C::HoldDataset { dataset: parsed(&dataset)?, held, reason }
        }
        Change::Licence(v1::SetLicence { licence, allowed }) => {
            datasets::check_licence(&licence)?;
            C::SetLicence { licence, allowed }
        }
        _ => return Err(invalid("a data set's files are looked through first")),
    })
}

fn register(asked: v1::RegisterModel) -> Result<RegistryCommand, Status> {
    let most = limit::PARENTS_MAX.max(limit::ALIASES_MAX).max(limit::METRICS_MAX);
    let lists = [asked.parents.len(), asked.aliases.len(), asked.metrics.len()];
    if lists.iter().any(|length| *length > most) {
        return Err(invalid(format!("a list of the request has more than {most} members")));
    }
    let metric = |(name, text): (String, String)| {
        let value: Decimal =
            text.parse().map_err(|fault| invalid(format!("metric `{name}`: {fault}")))?;
        Ok((name, value))
    };
    let metrics: Result<BTreeMap<_, _>, Status> = asked.metrics.into_iter().map(metric).collect();
    let parents: Result<_, Status> = asked.parents.iter().map(|it| parsed(it)).collect();
    Ok(RegistryCommand::RegisterModel {
        family: asked.family,
        artifact: parsed(&asked.artifact)?,
        metrics: metrics?,
        parents: parents?,
        aliases: asked.aliases,
    })
}

/// One document of the registry.
///
/// # Errors
/// When what is asked for is not there.
pub fn document(view: &View<'_>, rows: &Rows, query: v1::RegistryQuery) -> Result<Vec<u8>, Status> {
    let Some(what) = query.what else {
        return Err(error::status("invalid", "the query asks for nothing", "set `what`", false));
    };
    let named = |word: &str| {
        let found = view.model(rows, word);
        found.ok_or_else(|| absent(&format!("model `{word}`"), "model list"))
    };
    match what {
        What::Families(asked) => json(&view.families(rows, &asked.after, page(asked.limit))),
        What::Versions(asked) => {
            json(&view.versions(rows, &asked.family, asked.first.max(1), page(asked.limit)))
        }
        What::Model(word) => json(&named(&word)?),
        What::Lineage(asked) => {
            let of = named(&asked.model)?.version.model;
            json(&view.lineage(rows, &of, Bounds::asked(asked.depth, asked.nodes)))
        }
        What::Promotions(asked) => {
            let before = domain::PromotionId(asked.before);
            json(&view.promotions(rows, before, page(asked.limit)))
        }
        What::Promotion(id) => match view.promotion(rows, parsed(&id)?) {
            Some(promotion) => json(&promotion),
            None => Err(absent(&format!("promotion {id}"), "promotion list")),
        },
        What::Approvers(_) => json(&view.approvers(rows)),
        What::Datasets(asked) => json(&dataset::datasets(rows, &asked.after, page(asked.limit))),
        What::DatasetVersions(asked) => {
            json(&dataset::versions(rows, &asked.family, asked.first.max(1), page(asked.limit)))
        }
        What::Dataset(word) => {
            let found = named::find(rows, &word);
            let found = found.map_err(|it| error::refused(&Refusal::Registry(it)))?;
            json(&dataset::view(rows, &found.dataset))
        }
        What::Licences(_) => json(&dataset::licences(rows)),
        What::Gc(asked) => {
            let from = (domain::ArtifactId(asked.after), page(asked.limit));
            json(&view.gc_page(rows, from, wall_clock()))
        }
        What::Monitors(_) | What::Monitor(_) | What::Episodes(_) | What::Episode(_) => {
            drift::document(view, rows, what)
        }
    }
}
