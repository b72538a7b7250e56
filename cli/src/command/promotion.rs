//! `assay promotion` and `assay approver`.

use super::{Context, live, model};
use crate::{
    args::{
        registry::{Approver, Promotion as Args, Request, Stake, Target},
        user::Live,
    },
    client::{Answer, follow::Documents},
    exit::Exit,
    fault::{Fault, Kind},
    render::{self, promotion::Promotions},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::{
    PromotionId, limit,
    promotion::{ApproversView, Promotion, PromotionState},
};
use proto::v1::{self, query_request, registry_query::What, registry_request::Change};
use registry::{
    seal::{dsse, manifest},
    sign::{approver, local::KeyError},
};
use serde_json::json;
use std::{path::Path, time::Duration};

/// `assay promotion`.
///
/// # Errors
/// When something is not there, a rule forbids it, or nobody answers.
pub async fn run(context: &Context, what: Args) -> Result<Exit, Fault> {
    match what {
        Args::Request(args) => request(context, args).await,
        Args::List { limit, live } => list(context, limit, live).await,
        Args::Show { id } => {
            let promotion = one(context, id).await?.value;
            context.output.show("promotion", &promotion, |style| {
                render::promotion::detail(style, &promotion)
            })?;
            Ok(Exit::Ok)
        }
        Args::Approve { id, key } => approve(context, id, &key).await,
        Args::Reject { id, reason } => {
            let asked = v1::RejectPromotion { promotion: id.to_string(), reason };
            let done = context.client.registry(Change::Reject(asked)).await?;
            let state = one(context, id).await?.value.state;
            super::change::done(context, done.at, &format!("{id} is {}", state.word()))
        }
        Args::History { id } => {
            let promotion = one(context, id).await?.value;
            let document = json!({ "promotion": id, "steps": promotion.history });
            context.output.show("promotion_history", &document, |style| {
                render::promotion::history(style, &promotion)
            })?;
            Ok(Exit::Ok)
        }
        Args::Export { id, file } => export(context, id, &file).await,
    }
}

async fn one(context: &Context, id: PromotionId) -> Result<Answer<Promotion>, Fault> {
    let answer = context.client.registry_query(What::Promotion(id.to_string())).await;
    answer.map_err(|fault| fault.hint_if_none("assay promotion list"))
}

async fn list(context: &Context, limit: u32, live: Live) -> Result<Exit, Fault> {
    let query = v1::PromotionsQuery { before: 0, limit };
    live::show(context, live, live::registry(What::Promotions(query)), |answer| {
        let list = Promotions { promotions: answer.value, log_index: answer.log_index };
        context.output.show("promotions", &list, |style| render::promotion::list(style, &list))
    })
    .await
}

async fn request(context: &Context, args: Request) -> Result<Exit, Fault> {
    let model = model::one(context, &args.model).await?.value.version.model;
    let asked = v1::RequestPromotion {
        model: model.to_string(),
        to: match args.to {
            Target::Staging => "staging".into(),
            Target::Prod => "prod".into(),
        },
        high_risk: args.risk == Stake::High,
        emergency: args.emergency,
        reason: args.reason,
        within_ms: args.expires.map_or(0, |time| time.0.max(1)),
    };
    let done = context.client.registry(Change::Promote(asked)).await?;
    let id = PromotionId(done.number);
    let promotion = match args.no_wait {
        true => one(context, id).await?.value,
        false => decided(context, id).await?,
    };
    context
        .output
        .show("promotion", &promotion, |style| render::promotion::detail(style, &promotion))?;
    match promotion.state {
        PromotionState::Refused { why } => {
            let hint = format!("assay promotion show {id}");
            Err(Fault::new(Kind::Refused, "gate", format!("{id} was refused: {why}")).hint(hint))
        }
        _ => Ok(Exit::Ok),
    }
}

/// The promotion once gates and policy have decided and its manifest is signed, or after the
/// longest time that takes.
async fn decided(context: &Context, id: PromotionId) -> Result<Promotion, Fault> {
    let asked = v1::RegistryQuery { what: Some(What::Promotion(id.to_string())) };
    let mut documents = Documents::new(&context.client, query_request::What::Registry(asked));
    let decision = async {
        loop {
            let promotion: Promotion = documents.next().await?.value;
            if !matches!(promotion.state, PromotionState::Gated | PromotionState::Signing) {
                return Ok(promotion);
            }
        }
    };
    let patience = Duration::from_millis(limit::GATE_PATIENCE.0);
    match tokio::time::timeout(patience, decision).await {
        Ok(decided) => decided,
        Err(_) => Ok(one(context, id).await?.value),
    }
}

fn key_fault(fault: &KeyError) -> Fault {
    Fault::usage("key", fault.to_string()).hint("make one: assay approver new-key FILE")
}

async fn approve(context: &Context, id: PromotionId, key: &Path) -> Result<Exit, Fault> {
    let promotion = one(context, id).await?.value;
    // What is signed is what is shown: both are made here, of the same document.
    let digest = manifest::digest(&promotion);
    let signed = promotion.manifest.as_ref().map(|signed| signed.manifest);
    if signed.is_some_and(|signed| signed != digest) {
        let detail = format!("{id} does not have the manifest that its signature is for");
        return Err(Fault::mismatch("manifest", detail).hint("assay audit verify"));
    }
    context.output.note(&render::promotion::asked(&promotion));
    let signature = approver::sign(key, &promotion).map_err(|fault| key_fault(&fault))?;
    let asked =
        v1::ApprovePromotion { promotion: id.to_string(), signature: signature.to_vec().into() };
    let done = context.client.registry(Change::Approve(asked)).await?;
    let after = one(context, id).await?.value;
    let (have, required) = (after.approvals.len(), after.required);
    let said =
        format!("{id} is approved by you, {have} of {required}; it is {}", after.state.word());
    super::change::done(context, done.at, &said)
}

async fn export(context: &Context, id: PromotionId, file: &Path) -> Result<Exit, Fault> {
    let promotion = one(context, id).await?.value;
    let signature = |text: &str| STANDARD.encode(hex::decode(text).unwrap_or_default());
    let signatures: Vec<_> = promotion
        .approvals
        .iter()
        .map(|it| json!({ "keyid": it.key, "sig": signature(&it.signature) }))
        .collect();
    let envelope = json!({
        "payload": STANDARD.encode(manifest::approval_statement(&promotion)),
        "payloadType": dsse::PAYLOAD_TYPE,
        "signatures": signatures,
    });
    std::fs::write(file, envelope.to_string()).map_err(|fault| Fault::file(file, &fault))?;
    let said = format!("{} approvals of {id} are in {}", signatures.len(), file.display());
    let document = json!({ "approvals": signatures.len(), "file": file, "promotion": id });
    context.output.show("promotion_export", &document, |_| format!("{said}\n"))?;
    Ok(Exit::Ok)
}

/// `assay approver`.
///
/// # Errors
/// When the caller is no admin, a rule forbids it, or nobody answers.
pub async fn approver(context: &Context, what: Approver) -> Result<Exit, Fault> {
    let (change, said) = match what {
        Approver::Add { name, key } => {
            let public = approver::public_key(&key).map_err(|fault| key_fault(&fault))?;
            let said = format!("{name} is an approver");
            let public_key = public.to_vec().into();
            (Change::AddApprover(v1::AddApprover { name, public_key }), said)
        }
        Approver::Remove { name } => {
            let said = format!("{name} is no approver any more");
            (Change::RemoveApprover(name), said)
        }
        Approver::Quorum { required, of } => {
            let said = format!("{required} of {of} approvers have to agree");
            (Change::Quorum(v1::SetQuorum { required, of }), said)
        }
        Approver::List(live) => return approvers(context, live).await,
        // Answered without a cluster.
        Approver::NewKey { file } => return new_key(&context.output, &file),
    };
    let done = context.client.registry(change).await?;
    super::change::done(context, done.at, &said)
}

async fn approvers(context: &Context, live: Live) -> Result<Exit, Fault> {
    let query = What::Approvers(v1::ApproversQuery {});
    live::show(context, live, live::registry(query), |answer| {
        let all: ApproversView = answer.value;
        context.output.show("approvers", &all, |style| render::promotion::approvers(style, &all))
    })
    .await
}

/// `assay approver new-key`.
///
/// # Errors
/// When a file is there already or cannot be written.
pub fn new_key(output: &crate::output::Output, file: &Path) -> Result<Exit, Fault> {
    let public = approver::create(file).map_err(|fault| {
        Fault::usage("key", fault.to_string()).hint("name a file that is not there yet")
    })?;
    let document = json!({ "private_key": file, "public_key": public });
    output.show("approver_key", &document, |_| {
        format!(
            "{} is your key: keep it; {} is for the admin\n\
             next: assay approver add NAME --key {}\n",
            file.display(),
            public.display(),
            public.display()
        )
    })?;
    Ok(Exit::Ok)
}
