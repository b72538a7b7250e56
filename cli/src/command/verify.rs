//! `assay verify`: a sealed result, point by point.

use super::{Context, artifact, find};
use crate::{
    args::{Global, selector::Selector, user},
    exit::Exit,
    fault::Fault,
    output::{Output, Style},
    render::count,
};
use domain::{
    ArtifactId, Digest,
    check::{CheckView, Finding},
    limit,
    signing::KeysView,
    view::{ArtifactView, AuditPage},
};
use proto::v1::{AuditQuery, query_request::What};
use registry::seal::{
    audit::ChainCheck,
    bundle::Bundle,
    trust::Trust,
    verify::{Check, verify_export, verify_model},
};
use serde::Serialize;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// All points of a verification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was verified.
    pub subject: String,
    /// Whether every point held.
    pub ok: bool,
    /// The points, in order.
    pub checks: Vec<Check>,
    /// Other results of the same build key that have other bits.
    pub differs_from: Vec<ArtifactId>,
}

impl Report {
    fn new(subject: String, checks: Vec<Check>, differs_from: Vec<ArtifactId>) -> Self {
        let ok = checks.iter().all(|check| check.ok);
        Self { subject, ok, checks, differs_from }
    }

    /// The process's exit.
    #[must_use]
    pub fn exit(&self) -> Exit {
        if self.ok { Exit::Ok } else { Exit::Mismatch }
    }
}

/// Runs the command: exit code 7 when a point does not hold.
///
/// # Errors
/// When there is nothing to verify, or nobody answers.
pub async fn run(global: &Global, args: user::Verify) -> Result<Exit, Fault> {
    let nothing = || {
        Fault::usage("what", "one thing to verify has to be named")
            .hint("assay verify a3, or: assay verify --offline PATH --keys FILE")
    };
    let report = match (args.offline, &args.keys, args.which) {
        (Some(Some(path)), Some(keys), None) => offline(&path, keys, args.signature.as_deref())?,
        (Some(None), Some(keys), Some(path)) => {
            offline(Path::new(&path), keys, args.signature.as_deref())?
        }
        (None, _, Some(which)) => {
            let which: Selector = which.parse().map_err(|why| {
                Fault::usage("selector", format!("`{which}`: {why}"))
                    .hint("a file is checked with --offline --keys FILE")
            })?;
            online(&Context::new(global)?, &which).await?
        }
        _ => return Err(nothing()),
    };
    show(&super::output(global), &report)?;
    Ok(report.exit())
}

/// Shows a report.
///
/// # Errors
/// When standard output is gone.
pub fn show(output: &Output, report: &Report) -> Result<(), Fault> {
    output.show("verification", report, |style| text(style, report))
}

/// Verifies an exported folder, or one that another tool signed, with trusted keys and nothing
/// else. A file stands for the export that it lies in: its digest is signed with those of all.
///
/// # Errors
/// When the keys cannot be read, or there is no such folder.
pub fn offline(path: &Path, keys: &Path, signature: Option<&Path>) -> Result<Report, Fault> {
    let text = fs::read_to_string(keys).map_err(|fault| Fault::file(keys, &fault))?;
    let trust = Trust::parse(&text).map_err(|why| {
        Fault::file(keys, &why)
            .hint("write one: assay key export FILE, or give a public key in PEM")
    })?;
    let file = if path.is_dir() { None } else { Some(SignedFile::find(path, signature)?) };
    let dir = file.as_ref().map_or(path, |file| file.dir.as_path());
    let mut checks = match signature {
        Some(signature) => verify_model(dir, signature, &trust),
        None => verify_export(dir, &trust),
    };
    checks.extend(file.map(|file| file.check()));
    Ok(Report::new(path.display().to_string(), checks, Vec::new()))
}

/// A file that is verified with the folder in which it was signed.
struct SignedFile {
    /// What is verified: the export, or the folder that another tool signed.
    dir: PathBuf,
    /// The file's name in the list that is signed.
    name: String,
    signature: PathBuf,
}

impl SignedFile {
    /// The export in which a file lies among the files of the model; where another tool's
    /// signature is named, the file's folder.
    fn find(file: &Path, signature: Option<&Path>) -> Result<Self, Fault> {
        let whole = fs::canonicalize(file).map_err(|fault| Fault::file(file, &fault))?;
        let export =
            |dir: &&Path| dir.ends_with("model") && dir.with_file_name("model.sig").is_file();
        let mut above = whole.ancestors().skip(1);
        let model = if signature.is_some() { above.next() } else { above.find(export) };
        let none = || {
            let detail = format!("{} lies in no export: no `model.sig` is near", file.display());
            Fault::usage("folder", detail).hint(
                "assay artifact export ID DIR; of a folder that another tool signed: --signature \
                 FILE",
            )
        };
        let model = model.ok_or_else(none)?;
        let dir = if signature.is_some() { model } else { model.parent().ok_or_else(none)? };
        let name = whole.strip_prefix(model).map_err(|_| none())?.to_string_lossy().into_owned();
        let signature = signature.map_or_else(|| dir.join("model.sig"), Path::to_owned);
        Ok(Self { dir: dir.to_owned(), name, signature })
    }

    /// Whether the signed list names the file: a signer may leave files out, which then prove
    /// nothing though they lie in the folder.
    fn check(&self) -> Check {
        let named = self.is_named().unwrap_or(false);
        let detail = match named {
            true => format!("`{}` is in the signed list of files", self.name),
            false => format!("`{}` is not in the signed list: nobody vouches for it", self.name),
        };
        Check { name: "file", ok: named, detail }
    }

    /// None where the signature cannot be read, of which other points tell.
    fn is_named(&self) -> Option<bool> {
        let bundle: Bundle = serde_json::from_slice(&fs::read(&self.signature).ok()?).ok()?;
        let (payload, _) = bundle.dsse_envelope.open().ok()?;
        let statement: serde_json::Value = serde_json::from_slice(&payload).ok()?;
        let files = statement.pointer("/predicate/resources")?.as_array()?;
        Some(files.iter().any(|file| file["name"] == self.name.as_str()))
    }
}

/// Verifies an artifact of the registry: all of its bytes, and its place in the record.
///
/// # Errors
/// When there is none, or its bytes cannot be had.
pub async fn online(context: &Context, which: &Selector) -> Result<Report, Fault> {
    let view = find::artifact(context, which).await?;
    super::gc::check_has_files(&view)?;
    let mut keys = artifact::keys(&context.client).await?;
    let scratch = tempfile::tempdir()
        .map_err(|fault| Fault::internal("scratch", format!("no temporary folder: {fault}")))?;
    let dir = scratch.path().join("export");
    let mut checks = Vec::new();
    match artifact::export(&context.client, &view, &dir).await {
        Ok(export) => {
            keys = export.known.clone();
            checks.extend(verify_export(&dir, &Trust::of(export.known)));
        }
        Err(fault) if fault.exit() == Exit::Mismatch => {
            checks.push(Check { name: "bytes", ok: false, detail: fault.detail });
        }
        Err(fault) => return Err(fault),
    }
    checks.push(copies(&view));
    checks.push(record(context, &view, &keys).await?);
    checks.extend(view.replays.iter().map(replay));
    let subject = format!("{} ({}, {})", view.artifact.id, view.name, view.artifact.ticket.element);
    Ok(Report::new(subject, checks, view.differs_from))
}

/// What was run again of the work behind a result. What was given up proves nothing either way.
fn replay(view: &CheckView) -> Check {
    let own = view.check.outvoted().is_some_and(|it| view.check.ballots.first() == Some(it));
    let ok = !own && view.check.finding() != Some(&Finding::Undecided);
    Check { name: "replay", ok, detail: view.says.clone() }
}

fn copies(view: &ArtifactView) -> Check {
    let copies = &view.artifact.copies;
    let names: Vec<_> = copies.iter().map(ToString::to_string).collect();
    let ok = copies.len() >= limit::BLOB_COPIES;
    let detail = format!("every byte is recorded on {}", names.join(" and "));
    Check { name: "copies", ok, detail }
}

/// The event of the audit chain that records the artifact.
async fn record(context: &Context, view: &ArtifactView, keys: &KeysView) -> Result<Check, Fault> {
    let seq = view.artifact.audit_seq;
    let what = What::Audit(AuditQuery { from: seq, limit: 1 });
    let page: AuditPage = context.client.query(what).await?.value;
    let root = view.artifact.ticket.output.root;
    let (ok, detail) = match judge(&page, seq, root, keys) {
        Ok(detail) => (true, detail),
        Err(detail) => (false, detail),
    };
    Ok(Check { name: "audit event", ok, detail })
}

fn judge(page: &AuditPage, seq: u64, root: Digest, keys: &KeysView) -> Result<String, String> {
    let event = page.events.iter().find(|event| event.seq == seq);
    let event = event.ok_or_else(|| format!("event {seq} is not in the chain"))?;
    if !event.payload.contains(&root.to_string()) {
        return Err(format!("event {seq} does not record root {root}"));
    }
    let keys = artifact::event_keys(keys);
    let mut check = ChainCheck::resume(&keys, seq, event.prev)?;
    check.next(event).map_err(|fault| fault.to_string())?;
    match event.signature {
        Some(_) => Ok(format!("event {seq} records this root and is signed")),
        None => Ok(format!("event {seq} records this root; its signature is due")),
    }
}

/// The report as text.
#[must_use]
pub fn text(style: Style, report: &Report) -> String {
    let width = report.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut out = format!("{}\n", style.strong(&report.subject));
    for check in &report.checks {
        let mark = if check.ok { style.good("ok  ") } else { style.bad("FAIL") };
        out.push_str(&format!("  {mark}  {:<width$}  {}\n", check.name, check.detail));
    }
    let failed = report.checks.iter().filter(|check| !check.ok).count() as u64;
    let points = count(report.checks.len() as u64, "point");
    out.push_str(&match failed {
        0 => style.good(&format!("verified: all {points} hold\n")),
        _ => style.bad(&format!("NOT verified: {failed} of {points} failed\n")),
    });
    for other in &report.differs_from {
        let note = format!("note: {other} has the same build key and other bits\n");
        out.push_str(&style.bad(&note));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::stable;
    use expect_test::expect;

    fn report() -> Report {
        let check = |name, ok, detail: &str| Check { name, ok, detail: detail.into() };
        let checks = vec![
            check("signature", true, "ECDSA P-256 over the statement"),
            check("files", false, "`model.bin`: signed aa, the file is bb"),
        ];
        Report::new("a3 (digits, j7)".into(), checks, vec![ArtifactId(4)])
    }

    #[test]
    fn each_point_is_shown_and_one_that_fails_decides_the_exit_code() {
        assert_eq!(report().exit(), Exit::Mismatch);
        expect![[r#"
            a3 (digits, j7)
              ok    signature  ECDSA P-256 over the statement
              FAIL  files      `model.bin`: signed aa, the file is bb
            NOT verified: 1 of 2 points failed
            note: a4 has the same build key and other bits
        "#]]
        .assert_eq(&text(Style::PLAIN, &report()));
        let document = stable::document("verification", &report());
        insta::assert_json_snapshot!("verification.json", document);
    }
}
