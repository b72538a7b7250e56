//! `assay audit verify`: from the first event to the head, which must extend the one that was
//! verified before and be the same on every server.

use super::{Context, each, head::HeadFile, row, signers::Signers, tree::EventTree};
use crate::{
    args::operator::AuditVerify,
    command::artifact,
    fault::Fault,
    output::{Output, Style},
};
use domain::{Digest, Millis, audit::AuditEvent, signing::KeyPurpose, view::AuditPage};
use proto::v1::{AuditQuery, query_request::What};
use registry::seal::{
    audit::{Anchor, ChainCheck, Checked},
    keys,
    trust::Trust,
};
use serde::Serialize;
use std::{collections::BTreeMap, fs, path::Path, time::Duration};

/// What a check of the whole chain found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Events that were checked, from the first on.
    pub events: u64,
    /// Hash of the newest.
    pub head_hash: Option<Digest>,
    /// Newest event with a signature.
    pub signed: u64,
    /// Whose signatures they are.
    pub signer: String,
    /// Root of the transparency log over the events.
    pub root: Option<Digest>,
    /// Newest event under a signed head of the transparency log that was checked.
    pub logged: Option<u64>,
    /// Events of the head that was verified before and that this one extends.
    pub extends: Option<u64>,
    /// Servers that tell the same head.
    pub servers: Vec<String>,
    /// Servers that did not answer.
    pub silent: Vec<String>,
}

/// How long and how often a cluster without any key for events is asked again.
const KEYLESS: (Duration, u32) = (Duration::from_millis(200), 50);

/// Keys by signer, and the signer whose key a head file keeps.
pub(super) struct Trusted {
    keys: BTreeMap<String, String>,
    /// From when on a signer's word no longer counts, of those that were revoked.
    revoked: BTreeMap<String, Millis>,
    pub(super) signer: String,
}

impl Trusted {
    pub(super) fn of_file(path: &Path) -> Result<Self, Fault> {
        let all = Signers::load(path)?;
        let last = all.signers.last().ok_or_else(|| Fault::file(path, &"names no signer"))?;
        let revoked = BTreeMap::new();
        Ok(Self { signer: last.signer_kid.clone(), keys: all.keys(), revoked })
    }

    /// Keys of a file: those of signers, or model keys that vouch for the signers of the cluster.
    pub(super) async fn rooted(path: &Path, context: &Context) -> Result<Self, Fault> {
        let text = fs::read_to_string(path).map_err(|fault| Fault::file(path, &fault))?;
        if text.contains("\"signer_kid\"") {
            return Self::of_file(path);
        }
        let trust = Trust::parse(&text).map_err(|why| Fault::file(path, &why))?;
        let mut all = Self::of_server(context).await?;
        let known = artifact::keys(&context.client).await?;
        let vouched = known.keys.iter().filter_map(|key| {
            let (kid, public) = trust.vouched(key.delegation.as_deref()?).ok()?;
            Some((kid, keys::event_pem(&public)?))
        });
        all.keys = vouched.collect();
        Ok(all)
    }

    /// The keys that the cluster itself names. One that has just begun is given time to have any.
    pub(super) async fn of_server(context: &Context) -> Result<Self, Fault> {
        let mut known = artifact::keys(&context.client).await?;
        for _ in 0..KEYLESS.1 {
            if known.keys.iter().any(|key| key.purpose == KeyPurpose::Event) {
                break;
            }
            tokio::time::sleep(KEYLESS.0).await;
            known = artifact::keys(&context.client).await?;
        }
        let events = known.keys.iter().rev().filter(|key| key.purpose == KeyPurpose::Event);
        let mut newest = events.clone().filter(|key| key.check(known.now).is_ok()).chain(events);
        let signer = newest.next().map(|key| key.kid.clone()).unwrap_or_default();
        let revoked = known
            .keys
            .iter()
            .filter_map(|key| Some((key.kid.clone(), key.revoked.as_ref()?.since)));
        Ok(Self { keys: artifact::event_keys(&known), revoked: revoked.collect(), signer })
    }

    /// Whether an event's signature is of a key whose word still counted.
    ///
    /// # Errors
    /// When the key was revoked before.
    fn counts(&self, event: &AuditEvent) -> Result<(), Fault> {
        let signer = event.signature.as_ref().map(|signature| &signature.signer);
        match signer.and_then(|signer| self.revoked.get(signer)) {
            Some(since) if event.ts_us / 1_000 >= since.0 => {
                let why = "is signed with a key that was revoked before: assay key list --all";
                Err(broken(&format!("event {} {why}", event.seq)))
            }
            _ => Ok(()),
        }
    }

    /// The PEM texts of all keys.
    pub(super) fn pems(&self) -> impl Iterator<Item = &str> {
        self.keys.values().map(String::as_str)
    }

    pub(super) fn pem(&self, signer: &str) -> &str {
        self.keys.get(signer).map_or("", String::as_str)
    }
}

pub(super) fn broken(why: &dyn std::fmt::Display) -> Fault {
    Fault::mismatch("audit_chain", why.to_string())
        .hint("keep a copy of the evidence: assay audit export FILE")
}

/// Runs the command.
///
/// # Errors
/// When the chain does not hold, or nobody answers.
pub async fn run(
    context: impl FnOnce() -> Result<Context, Fault>,
    output: &Output,
    args: &AuditVerify,
) -> Result<(), Fault> {
    let found = match (&args.offline, &args.keys) {
        (Some(file), Some(keys)) => offline(file, keys, args)?,
        _ => online(&context()?, args).await?,
    };
    output.show("audit_verification", &found, |style| text(style, &found, args))
}

/// Checks an exported chain with public keys and nothing else.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn offline(file: &Path, keys: &Path, args: &AuditVerify) -> Result<Verified, Fault> {
    let trusted = Trusted::of_file(keys)?;
    let (mut check, before) = begin(args, &trusted)?;
    let mut tree = match &args.proof {
        Some(proof) => EventTree::expecting(proof, &trusted)?,
        None => EventTree::default(),
    };
    row::each(file, |event| {
        check.take(event).map_err(|fault| broken(&fault))?;
        tree.push(event);
        Ok(())
    })?;
    let checked = check.finish(None).map_err(|fault| broken(&fault))?;
    // Whoever can write the file can write a chain: only a signature is somebody's word.
    if checked.signed == 0 {
        let why = match checked.seq {
            0 => format!("{} holds no event", file.display()),
            seq => format!(
                "none of its {seq} events is signed by a key of {}: anybody can have written them",
                keys.display()
            ),
        };
        return Err(broken(&why));
    }
    let logged = tree.check_proof()?;
    let found = Verified { root: Some(tree.root()), logged, ..Verified::default() };
    end(args, &trusted, checked, before, found)
}

/// Checks the chain of a cluster.
///
/// # Errors
/// The first thing that is wrong with it.
pub async fn online(context: &Context, args: &AuditVerify) -> Result<Verified, Fault> {
    let trusted = match &args.keys {
        Some(file) => Trusted::rooted(file, context).await?,
        None => Trusted::of_server(context).await?,
    };
    let (mut check, before) = begin(args, &trusted)?;
    let mut tree = EventTree::default();
    let (head, head_hash) = each(context, |event| {
        check.take(event).map_err(|fault| broken(&fault))?;
        trusted.counts(event)?;
        tree.push(event);
        Ok(())
    })
    .await?;
    let checked = check.finish(Some(head)).map_err(|fault| broken(&fault))?;
    if checked.hash != head_hash {
        return Err(broken(&"the chain's last event is not the head that the server names"));
    }
    let logged = tree.check_head(context, &trusted).await?;
    let found = compare(context, checked).await?;
    let found = Verified { root: Some(tree.root()), logged, ..found };
    end(args, &trusted, checked, before, found)
}

fn begin(args: &AuditVerify, trusted: &Trusted) -> Result<(ChainCheck, Option<Anchor>), Fault> {
    let before = args.head_file.as_deref().map(HeadFile::load).transpose()?.flatten();
    if let Some(before) = &before
        && trusted.pem(&before.signer) != before.signer_public_pem
    {
        let why = format!(
            "the chain was signed by `{}` when it was verified before; that key is none of those \
             that are trusted now",
            before.signer
        );
        return Err(broken(&why));
    }
    let anchor = before.map(|before| before.anchor());
    let check = ChainCheck::new(&trusted.keys)
        .map_err(|fault| Fault::usage("public_key", fault))?
        .extending(anchor);
    Ok((check, anchor))
}

fn end(
    args: &AuditVerify,
    trusted: &Trusted,
    checked: Checked,
    before: Option<Anchor>,
    found: Verified,
) -> Result<Verified, Fault> {
    if let (Some(path), Some(hash)) = (&args.head_file, checked.hash) {
        let anchor = Anchor { seq: checked.seq, hash, signed: checked.signed };
        HeadFile::new(anchor, &trusted.signer, trusted.pem(&trusted.signer)).save(path)?;
    }
    Ok(Verified {
        events: checked.seq,
        head_hash: checked.hash,
        signed: checked.signed,
        signer: trusted.signer.clone(),
        extends: before.map(|anchor| anchor.seq),
        ..found
    })
}

/// Asks every server of the profile for the newest event that was checked.
async fn compare(context: &Context, checked: Checked) -> Result<Verified, Fault> {
    let mut found = Verified::default();
    let Some(hash) = checked.hash else { return Ok(found) };
    let what = What::Audit(AuditQuery { from: checked.seq, limit: 1 });
    for (address, answer) in context.client.query_each::<AuditPage>(what).await {
        let Ok(page) = answer else {
            found.silent.push(address);
            continue;
        };
        match page.value.events.first() {
            Some(event) if event.seq == checked.seq && event.hash == hash => {
                found.servers.push(address);
            }
            Some(event) if event.seq == checked.seq => {
                let why = format!(
                    "event {} is {hash} on others, on server {address} it is {}",
                    checked.seq, event.hash
                );
                return Err(broken(&why));
            }
            Some(_) | None => {
                let why = format!(
                    "event {} is missing on server {address}, whose chain ends at {}",
                    checked.seq, page.value.head
                );
                return Err(broken(&why));
            }
        }
    }
    Ok(found)
}

fn text(style: Style, found: &Verified, args: &AuditVerify) -> String {
    let mut out = style.good(&format!(
        "chain holds from event 1 to its head {}; signed by {} up to event {}\n",
        found.events, found.signer, found.signed
    ));
    if found.signed < found.events {
        let first = found.signed + 1;
        out += &format!("not signed yet: events {first} to {}\n", found.events);
    }
    if args.offline.is_some() && found.logged.is_none() && found.extends.is_none() {
        out += "that nothing is cut off its end, no signature shows: --proof FILE does\n";
    }
    if let (Some(logged), Some(root)) = (found.logged, found.root) {
        out += &format!("in the transparency log up to event {logged}, root {root}\n");
    }
    match (found.extends, &args.head_file) {
        (Some(events), Some(file)) => {
            out += &format!("it extends the {events} events of {}\n", file.display());
        }
        (None, Some(file)) => {
            let file = file.display();
            out += &format!("{file} is new: from now on the chain must extend this head\n");
        }
        (_, None) => {
            out += "next: keep the head where no server can change it: \
                    assay audit verify --head-file FILE\n";
        }
    }
    if !found.servers.is_empty() {
        out += &format!("the same head on {}\n", found.servers.join(", "));
    }
    if !found.silent.is_empty() {
        out += &style.bad(&format!("no answer from {}\n", found.silent.join(", ")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::stable;
    use expect_test::expect;

    fn found() -> Verified {
        Verified {
            events: 41,
            head_hash: Some(Digest::of(b"head")),
            signed: 40,
            signer: "assay-audit-1".into(),
            root: Some(Digest::of(b"root")),
            logged: Some(41),
            extends: Some(12),
            servers: vec!["127.0.0.1:7601".into(), "127.0.0.1:7602".into()],
            silent: vec!["127.0.0.1:7603".into()],
        }
    }

    #[test]
    fn a_verification_says_what_holds_since_when_and_where() {
        let args = AuditVerify { head_file: Some("head.json".into()), ..AuditVerify::default() };
        expect![[r#"
            chain holds from event 1 to its head 41; signed by assay-audit-1 up to event 40
            not signed yet: events 41 to 41
            in the transparency log up to event 41, root 4813494d137e1631bba301d5acab6e7bb7aa74ce1185d456565ef51d737677b2
            it extends the 12 events of head.json
            the same head on 127.0.0.1:7601, 127.0.0.1:7602
            no answer from 127.0.0.1:7603
        "#]]
        .assert_eq(&text(Style::PLAIN, &found(), &args));
        let document = stable::document("audit_verification", &found());
        insta::assert_json_snapshot!("audit_verification.json", document);
    }
}
