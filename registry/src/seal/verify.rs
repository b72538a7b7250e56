//! Checking an exported artifact point by point, with a public key and nothing else.

use super::{
    bundle, bundle::Bundle, canonical, dsse, dsse::Envelope, logged, node, place::Place,
    statement::is_under, tensors, trust::Trust,
};
use domain::{Digest, node::build_key, tree::Tree};
use p256::{
    ecdsa::{Signature, VerifyingKey, signature::Verifier},
    pkcs8::DecodePublicKey,
};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// One point of a verification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// Whether it held.
    pub ok: bool,
    /// What was found: the exact mismatch where it did not hold.
    pub detail: String,
}

/// Runs the checks in order; one that fails does not hide those after it.
#[derive(Default)]
pub(super) struct Report(Vec<Check>);

impl Report {
    pub(super) fn add<T>(
        &mut self,
        name: &'static str,
        result: Result<(T, String), String>,
    ) -> Option<T> {
        let (value, ok, detail) = match result {
            Ok((value, detail)) => (Some(value), true, detail),
            Err(detail) => (None, false, detail),
        };
        self.0.push(Check { name, ok, detail });
        value
    }
}

/// Checks a signed folder: every file, the signature, and that its key is trusted.
///
/// Accepts what other tools of the OpenSSF format have signed.
#[must_use]
pub fn verify_model(
    model: &(impl Place + ?Sized),
    signature: &(impl Place + ?Sized),
    trust: &Trust,
) -> Vec<Check> {
    let mut report = Report::default();
    if let Some(found) = model_checks(&mut report, (model, ""), (signature, ""), trust)
        && trust.is_timed()
    {
        let checked = trust.check(&found.kid, None);
        report.add("time of key", checked.map(|detail| ((), detail)));
    }
    report.0
}

/// Checks an export: `model/`, `model.sig`, `model.pub.pem`, `provenance.dsse.json`, and the proof
/// that the log has its seal.
#[must_use]
pub fn verify_export(dir: &(impl Place + ?Sized), trust: &Trust) -> Vec<Check> {
    let mut report = Report::default();
    let found = model_checks(&mut report, (dir, "model"), (dir, "model.sig"), trust);
    let provenance = provenance_checks(&mut report, dir, found.as_ref());
    if let Some(provenance) = &provenance {
        let signed = node::check(provenance, trust.authorities());
        report.add("node's own statement", signed.map(|detail| ((), detail)));
        let told = dir.tensors("model").and_then(|marks| tensors::check(provenance, &marks));
        report.add("safetensors", told.map(|detail| ((), detail)));
    }
    report.add("copies", copies(dir, found.as_ref(), provenance.as_ref()));
    let sealed = report.add("audit proof", logged::check(dir, trust, found.as_ref()));
    if trust.is_timed()
        && let Some(found) = &found
    {
        let checked = trust.check(&found.kid, sealed);
        report.add("time of key", checked.map(|detail| ((), detail)));
    }
    report.0
}

/// Files for other tools hold again what the signed ones hold: whoever goes on with them is not to
/// go on with something else. One that is not there misleads nobody.
fn copies(
    dir: &(impl Place + ?Sized),
    found: Option<&Found>,
    provenance: Option<&Value>,
) -> Result<((), String), String> {
    let own = provenance.and_then(|provenance| node::extract(provenance).ok());
    let (statement, certificate) = own.unzip();
    let mut same = Vec::new();
    for (name, wanted) in
        [("node.dsse.json", statement), ("node.cert.pem", certificate.map(String::into_bytes))]
    {
        match dir.read(name) {
            Ok(bytes) if Some(&bytes) != wanted.as_ref() => {
                return Err(format!("{name} is not what the provenance holds"));
            }
            Ok(_) => same.push(name),
            Err(_) => {}
        }
    }
    if let Ok(pem) = dir.read(PUBLIC_KEY) {
        let key = std::str::from_utf8(&pem).ok();
        let key = key.and_then(|pem| VerifyingKey::from_public_key_pem(pem).ok());
        if key.is_none() || key != found.map(|found| found.key) {
            return Err(format!("{PUBLIC_KEY} is not the key that signed the model"));
        }
        same.push(PUBLIC_KEY);
    }
    match same.is_empty() {
        true => Ok(((), "none".into())),
        false => Ok(((), format!("{} are what the signed files hold", same.join(", ")))),
    }
}

/// The public key of the model's signature, for other tools.
const PUBLIC_KEY: &str = "model.pub.pem";

/// What a signed folder was found to be.
pub(super) struct Found {
    /// The key's id.
    pub kid: String,
    key: VerifyingKey,
    /// Root over the files that are there.
    pub root: Digest,
}

fn model_checks(
    report: &mut Report,
    model: (&(impl Place + ?Sized), &str),
    signature: (&(impl Place + ?Sized), &str),
    trust: &Trust,
) -> Option<Found> {
    let opened = report.add("signature file", open_bundle(signature.0, signature.1))?;
    let (hint, payload, sig) = opened;
    let key = report.add("trusted key", trusted(&hint, trust))?;
    report.add("signature", check_signature(&key, &payload, &sig));
    let listed = report.add("statement", parse_statement(&payload))?;
    let tree = report.add("files readable", hash(model.0.tree(model.1), &listed.ignored))?;
    report.add("files", compare(&listed.files, &tree));
    let root = tree.root();
    report.add(
        "root digest",
        match listed.root == root.to_string() {
            true => Ok(((), root.to_string())),
            false => Err(format!("signed {}, the files give {root}", listed.root)),
        },
    );
    Some(Found { kid: hint, key, root })
}

type Opened = (String, Vec<u8>, Vec<u8>);

fn open_bundle(place: &(impl Place + ?Sized), name: &str) -> Result<(Opened, String), String> {
    let bundle: Bundle = serde_json::from_slice(&place.read(name)?)
        .map_err(|fault| format!("{} is no sigstore bundle: {fault}", place.shown(name)))?;
    if bundle.media_type != bundle::MEDIA_TYPE {
        return Err(format!(
            "media type `{}`, expected `{}`",
            bundle.media_type,
            bundle::MEDIA_TYPE
        ));
    }
    let (payload, sig) = bundle.dsse_envelope.open().map_err(|fault| fault.to_string())?;
    Ok((
        (bundle.verification_material.public_key.hint, payload, sig),
        "sigstore bundle v0.3".into(),
    ))
}

fn trusted(hint: &str, trust: &Trust) -> Result<(VerifyingKey, String), String> {
    let key = VerifyingKey::from_public_key_pem(trust.model(hint)?)
        .map_err(|fault| format!("key {hint} is not ECDSA P-256: {fault}"))?;
    Ok((key, hint.to_owned()))
}

fn check_signature(key: &VerifyingKey, payload: &[u8], sig: &[u8]) -> Result<((), String), String> {
    let signature = Signature::from_der(sig).map_err(|fault| format!("not DER: {fault}"))?;
    key.verify(&dsse::pae(payload), &signature).map_err(|_| {
        "the key did not sign these bytes: statement or signature was changed".to_owned()
    })?;
    Ok(((), "ECDSA P-256 over the statement".into()))
}

struct Listed {
    root: String,
    files: BTreeMap<String, String>,
    /// Paths in the folder that the signer left out.
    ignored: Vec<String>,
}

fn parse_statement(payload: &[u8]) -> Result<(Listed, String), String> {
    let value: Value = serde_json::from_slice(payload).map_err(|fault| fault.to_string())?;
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let kind = text("/predicateType");
    if kind != "https://model_signing/signature/v1.0" {
        return Err(format!("predicate type `{kind}` is no model signature"));
    }
    let resources = value.pointer("/predicate/resources").and_then(Value::as_array);
    let mut files = BTreeMap::new();
    for resource in resources.ok_or("no list of files")? {
        let field = |name: &str| resource.get(name).and_then(Value::as_str).unwrap_or_default();
        if field("algorithm") != "sha256" {
            return Err(format!("file `{}` is not listed by SHA-256", field("name")));
        }
        files.insert(field("name").to_owned(), field("digest").to_owned());
    }
    let root = text("/subject/0/digest/sha256").to_owned();
    let ignored = value.pointer("/predicate/serialization/ignore_paths").and_then(Value::as_array);
    let ignored = ignored.into_iter().flatten().filter_map(Value::as_str);
    let ignored = ignored.filter(|path| !path.is_empty()).map(str::to_owned).collect();
    let detail = format!("{} files of `{}`", files.len(), text("/subject/0/name"));
    Ok((Listed { root, files, ignored }, detail))
}

/// The folder's files without those that the signed statement says it leaves out.
fn hash(tree: Result<Tree, String>, ignored: &[String]) -> Result<(Tree, String), String> {
    let mut tree = tree?;
    let all = tree.files.len();
    tree.files.retain(|file| !is_under(&file.path, ignored.iter().map(String::as_str)));
    let mut detail = format!("{} files, {}", tree.files.len(), tree.size());
    if let skipped @ 1.. = all - tree.files.len() {
        detail += &format!("; {skipped} left out as signed: {}", ignored.join(" "));
    }
    Ok((tree, detail))
}

fn compare(listed: &BTreeMap<String, String>, tree: &Tree) -> Result<((), String), String> {
    let found: BTreeMap<_, _> =
        tree.files.iter().map(|file| (file.path.as_str(), file.digest.to_string())).collect();
    for (name, digest) in listed {
        match found.get(name.as_str()) {
            None => return Err(format!("`{name}` is signed but not in the folder")),
            Some(other) if other != digest => {
                return Err(format!("`{name}`: signed {digest}, the file is {other}"));
            }
            Some(_) => {}
        }
    }
    if let Some(extra) = found.keys().find(|name| !listed.contains_key(**name)) {
        return Err(format!("`{extra}` is in the folder but not signed"));
    }
    Ok(((), format!("all {} as signed", listed.len())))
}

fn provenance_checks(
    report: &mut Report,
    dir: &(impl Place + ?Sized),
    found: Option<&Found>,
) -> Option<Value> {
    let opened = open_envelope(dir, "provenance.dsse.json");
    let (payload, sig) = report.add("provenance file", opened)?;
    match found {
        Some(it) => report.add("provenance signature", check_signature(&it.key, &payload, &sig)),
        None => report.add("provenance signature", Err("no trusted key to check with".into())),
    };
    let value = report.add("provenance statement", parse_provenance(&payload))?;
    report.add("provenance subject", check_subject(&value, found.map(|it| it.root)));
    report.add("recipe", check_recipe(&value));
    report.add("build key", check_build_key(&value));
    Some(value)
}

/// A payload and its signature, with what was found.
type Enveloped = ((Vec<u8>, Vec<u8>), String);

fn open_envelope(place: &(impl Place + ?Sized), name: &str) -> Result<Enveloped, String> {
    let envelope: Envelope = serde_json::from_slice(&place.read(name)?)
        .map_err(|fault| format!("{} is no DSSE envelope: {fault}", place.shown(name)))?;
    let opened = envelope.open().map_err(|fault| fault.to_string())?;
    Ok((opened, "DSSE envelope".into()))
}

fn parse_provenance(payload: &[u8]) -> Result<(Value, String), String> {
    let text = std::str::from_utf8(payload).map_err(|fault| fault.to_string())?;
    let value = canonical::parse(text).map_err(|fault| fault.to_string())?;
    match value.pointer("/predicateType").and_then(Value::as_str) {
        Some("https://slsa.dev/provenance/v1") => Ok((value, "SLSA provenance v1".into())),
        other => Err(format!("predicate type {other:?} is not SLSA provenance v1")),
    }
}

fn check_subject(value: &Value, root: Option<Digest>) -> Result<((), String), String> {
    let subject = value.pointer("/subject/0/digest/sha256").and_then(Value::as_str);
    let root = root.map(|root| root.to_string()).unwrap_or_else(|| "unknown".into());
    match subject {
        Some(subject) if subject == root => Ok(((), root)),
        other => Err(format!("tells of {}, the model is {root}", other.unwrap_or("nothing"))),
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    let pointer = format!("/predicate/buildDefinition/internalParameters/{field}");
    value.pointer(&pointer).and_then(Value::as_str).unwrap_or("nothing")
}

fn check_recipe(value: &Value) -> Result<((), String), String> {
    let recipe = value.pointer("/predicate/buildDefinition/externalParameters/recipe");
    let recipe = recipe.ok_or("no recipe in the external parameters")?;
    let json = canonical::to_string(recipe).map_err(|fault| fault.to_string())?;
    let (computed, stated) = (Digest::of(json.as_bytes()).to_string(), text(value, "recipe"));
    if computed == stated {
        Ok(((), computed))
    } else {
        Err(format!("states {stated}, its parameters give {computed}"))
    }
}

fn check_build_key(value: &Value) -> Result<((), String), String> {
    let digest = |field: &str| {
        text(value, field).parse::<Digest>().map_err(|fault| format!("{field}: {fault}"))
    };
    let computed = build_key(digest("recipe")?, digest("contract")?, text(value, "hardwareClass"));
    let stated = digest("buildKey")?;
    if computed == stated {
        Ok(((), computed.to_string()))
    } else {
        Err(format!("states {stated}, recipe, contract and class give {computed}"))
    }
}
