//! What is served at which path. A handler's own attributes are its part of the document.

use super::{
    audit, datasets, drift, eval, fault,
    guard::{self, Guard},
    models, ops, promotions, registry, train,
};
use crate::api::context::Context;
use axum::{Router, body::Bytes, middleware};
use std::sync::{Arc, OnceLock};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        self,
        security::{SecurityRequirement, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

/// The name of the one way to say who one is.
const MUTUAL_TLS: &str = "mutualTLS";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Assay",
        description = "The registry, training jobs, data sets and audit events of one cluster. \
                       Callers show a certificate of the cluster's authority. docs/REST.md tells \
                       the story behind it."
    ),
    components(schemas(fault::Envelope)),
    modifiers(&Security)
)]
struct Document;

struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let scheme = SecurityScheme::MutualTls {
            description: Some("a certificate of the cluster's authority for `user:NAME`".into()),
            deprecated: None,
            extensions: None,
        };
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(MUTUAL_TLS, scheme);
        let none: [&str; 0] = [];
        document.security = Some(vec![SecurityRequirement::new(MUTUAL_TLS, none)]);
    }
}

/// Every path with its handlers: one line for each path.
fn routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(ops::healthz))
        .routes(routes!(ops::metrics))
        .routes(routes!(ops::document))
        .routes(routes!(registry::register))
        .routes(routes!(registry::record))
        .routes(routes!(models::lineage))
        .routes(routes!(promotions::promote))
        .routes(routes!(promotions::promotions))
        .routes(routes!(promotions::promotion))
        .routes(routes!(promotions::approve))
        .routes(routes!(promotions::reject))
        .routes(routes!(models::models))
        .routes(routes!(models::register))
        .routes(routes!(models::model))
        .routes(routes!(promotions::promote_model))
        .routes(routes!(train::jobs, train::submit))
        .routes(routes!(train::job_record))
        .routes(routes!(train::cancel))
        .routes(routes!(audit::artifact))
        .routes(routes!(datasets::datasets))
        .routes(routes!(datasets::register))
        .routes(routes!(datasets::dataset))
        .routes(routes!(audit::events))
        .routes(routes!(audit::proof))
        .routes(routes!(drift::alert))
        .routes(routes!(drift::drift))
        .routes(routes!(eval::run))
        .routes(routes!(eval::evaluations, eval::record))
}

/// The document that describes all of it.
pub fn document() -> Bytes {
    static DOCUMENT: OnceLock<Bytes> = OnceLock::new();
    let make = || {
        let document = routes().into_openapi();
        document.to_json().expect("the document is plain data").into()
    };
    DOCUMENT.get_or_init(make).clone()
}

/// All paths behind their guard.
pub fn router(context: Arc<Context>) -> Router {
    let (router, _) = routes().split_for_parts();
    router
        .fallback(guard::absent)
        .method_not_allowed_fallback(guard::other_method)
        .layer(middleware::from_fn_with_state(Guard::new(context.clone()), guard::watch))
        .with_state(context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn every_path_is_in_the_document() {
        let document: serde_json::Value = serde_json::from_slice(&document()).unwrap();
        let paths = document["paths"].as_object().unwrap().iter();
        let lines = paths.flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(move |method| format!("{} {path}\n", method.to_uppercase()))
        });
        expect![[r#"
            GET /artifact/{id}
            GET /audit/events
            GET /audit/events/{seq}/proof
            GET /dataset
            POST /dataset/register
            GET /dataset/{id}
            POST /drift/alert
            GET /drift/{id}
            POST /eval/run
            GET /healthz
            GET /metrics
            GET /models
            POST /models/register
            GET /models/{id}
            GET /models/{id}/evaluations
            POST /models/{id}/evaluations
            POST /models/{id}/promote
            GET /openapi.json
            GET /registry/lineage/{id}
            GET /registry/promotions
            GET /registry/promotions/{pid}
            POST /registry/promotions/{pid}/approve
            POST /registry/promotions/{pid}/reject
            POST /registry/register
            GET /registry/{id}
            POST /registry/{id}/promote
            GET /train/jobs
            POST /train/jobs
            GET /train/jobs/{id}
            POST /train/jobs/{id}/cancel
        "#]]
        .assert_eq(&lines.collect::<String>());
    }

    /// Every name that a part of the document refers to.
    fn references(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(members) => {
                found.extend(members.get("$ref").and_then(|it| it.as_str()).map(str::to_owned));
                members.values().for_each(|value| references(value, found));
            }
            serde_json::Value::Array(items) => items.iter().for_each(|it| references(it, found)),
            _ => {}
        }
    }

    #[test]
    fn everything_that_the_document_refers_to_is_in_it() {
        let document: serde_json::Value = serde_json::from_slice(&document()).unwrap();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 100, "{}", found.len());
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn every_change_takes_a_key_and_every_body_refuses_what_it_does_not_know() {
        let document: serde_json::Value = serde_json::from_slice(&document()).unwrap();
        for (path, methods) in document["paths"].as_object().unwrap() {
            let Some(post) = methods.get("post") else { continue };
            let key = post["parameters"].as_array().into_iter().flatten();
            let key = key.filter(|it| it["name"] == "Idempotency-Key" && it["required"] == true);
            assert_eq!(key.count(), 1, "{path}");
            let body = &post["requestBody"]["content"]["application/json"]["schema"]["$ref"];
            let Some(name) = body.as_str().and_then(|it| it.rsplit('/').next()) else { continue };
            let schema = &document["components"]["schemas"][name];
            assert_eq!(schema["additionalProperties"], false, "{path}: {name}");
        }
    }
}
