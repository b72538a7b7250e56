//! What keeps results from their seals, in words: which key, what went wrong, and what to do.

use domain::{
    Millis,
    seal_wait::{SealTrouble, SealWait},
    signing::{Custody, KeyPurpose, KeysView},
    view::ReasonView,
};
use std::collections::BTreeMap;

/// Letters of a key's id that name it.
const KID_SHOWN: usize = 12;

/// One reason for each thing that went wrong with each key, the most results first.
pub(super) fn of(waits: &[SealWait], keys: &KeysView) -> Vec<ReasonView> {
    let mut groups: BTreeMap<(SealTrouble, Option<&str>), Vec<&SealWait>> = BTreeMap::new();
    for wait in waits {
        groups.entry((wait.fault, wait.signer.as_deref())).or_default().push(wait);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    groups.iter().filter_map(|group| one(group, keys)).collect()
}

/// That whoever seals could not be asked.
pub(super) fn nobody() -> ReasonView {
    ReasonView {
        kind: "servers".into(),
        detail: "the leader seals results, and does not answer just now".into(),
        remedy: "`assay cluster status` shows the servers; ask again in a moment".into(),
        never: false,
    }
}

fn one(group: &[&SealWait], keys: &KeysView) -> Option<ReasonView> {
    // What was said last is what counts now.
    let newest = group.iter().max_by_key(|wait| wait.last_try)?;
    let results = match group.len() {
        1 => String::new(),
        count => format!("{count} results: "),
    };
    let said = phrase(newest.fault, newest.signer.as_deref(), newest.custody, &newest.said);
    let kind = match newest.fault {
        SealTrouble::Servers => "servers",
        _ => "key",
    };
    Some(ReasonView {
        kind: kind.into(),
        detail: format!("{results}{said}; {}", times(group, newest)),
        remedy: remedy(newest, keys),
        never: false,
    })
}

/// What went wrong, as one sentence.
pub(super) fn phrase(
    fault: SealTrouble,
    signer: Option<&str>,
    custody: Option<Custody>,
    said: &str,
) -> String {
    let key = signer.map_or_else(|| "the key".to_owned(), |name| named(name, custody));
    match fault {
        SealTrouble::NoKey => format!("no key seals: {said}"),
        SealTrouble::Revoked => format!("{key} counts no more: {said}"),
        SealTrouble::Down => format!("{key} is out of reach: {said}"),
        SealTrouble::Slow => format!("{key} is too slow: {said}"),
        SealTrouble::Throttled => format!("{key} is throttled: {said}"),
        SealTrouble::Refused => format!("{key} is refused: {said}"),
        SealTrouble::Wrong => format!("{key} is not what it should be: {said}"),
        SealTrouble::Servers => said.to_owned(),
    }
}

/// A key with its place: ``AWS KMS key `alias/models` ``.
fn named(name: &str, custody: Option<Custody>) -> String {
    // A configured key is `kms:ID`; one that only its id tells of is 64 digits.
    let (prefix, rest) = name.split_once(':').unwrap_or(("", name));
    let is_id = name.len() == 64 && name.bytes().all(|it| it.is_ascii_hexdigit());
    let shown = match is_id {
        true => format!("`{}`", &name[..KID_SHOWN]),
        false if ["kms", "pkcs11", "proxy"].contains(&prefix) => format!("`{rest}`"),
        false => format!("`{name}`"),
    };
    match custody {
        Some(Custody::Kms) => format!("AWS KMS key {shown}"),
        Some(Custody::Pkcs11) => format!("PKCS#11 key {shown}"),
        Some(Custody::Proxy) => format!("key {shown} of the platform's signing proxy"),
        Some(Custody::Local) => format!("local key {shown}"),
        None => format!("key {shown}"),
    }
}

/// How often, since when, and when again, by the clock of the server that seals.
fn times(group: &[&SealWait], newest: &SealWait) -> String {
    let told = newest.told;
    let since = group.iter().map(|wait| wait.since).min().unwrap_or(told);
    let tries = group.iter().map(|wait| wait.tries).max().unwrap_or(0);
    let next = match group.iter().filter_map(|wait| wait.next_try).min() {
        Some(next) if next > told => format!("the next in {}", span(next.minus(told))),
        Some(_) => "the next is being made".to_owned(),
        None => "the next follows".to_owned(),
    };
    let count = if tries == 1 { "1 try".to_owned() } else { format!("{tries} tries") };
    let (first, last) = (span(told.minus(since)), span(told.minus(newest.last_try)));
    format!("{count} by server {} in {first}, the last {last} ago, {next}", newest.server)
}

fn span(time: Millis) -> String {
    match time.0.div_ceil(1_000) {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7_200 => format!("{} min", s / 60),
        s => format!("{} h", s / 3_600),
    }
}

/// What to do. All of it ends with the result being sealed: nothing is to be submitted again.
fn remedy(wait: &SealWait, keys: &KeysView) -> String {
    let mend = match (wait.fault, wait.custody) {
        (SealTrouble::NoKey, _) => {
            "check `[signer]` in the servers' configuration; their logs say `signing keys are not \
             in order` and why"
        }
        (SealTrouble::Revoked, _) => "put another key into use",
        (SealTrouble::Servers, _) => "bring servers up: `assay cluster status`",
        (SealTrouble::Throttled, Some(Custody::Kms)) => {
            "have the account's request quota of KMS raised, or wait"
        }
        (SealTrouble::Throttled, _) => "lower the load of the key store, or wait",
        (SealTrouble::Down | SealTrouble::Slow, Some(Custody::Kms)) => {
            "check the way from the servers to KMS (`region`, `endpoint`, network) and AWS's state"
        }
        (SealTrouble::Down | SealTrouble::Slow, Some(Custody::Pkcs11)) => {
            "check the device, its module and the token's label on that server"
        }
        (SealTrouble::Down | SealTrouble::Slow, Some(Custody::Proxy)) => {
            "check that the signing proxy runs, and the way to its `url`"
        }
        (SealTrouble::Refused, Some(Custody::Kms)) => {
            "enable the key, or give the servers the rights kms:Sign and kms:GetPublicKey on it"
        }
        (SealTrouble::Refused, Some(Custody::Pkcs11)) => {
            "correct the PIN or the key's attributes, then restart that server"
        }
        (SealTrouble::Refused, Some(Custody::Proxy)) => {
            "check the servers' certificate and token at the signing proxy"
        }
        (SealTrouble::Wrong, _) => "correct `[signer]` in that server's configuration",
        (_, Some(Custody::Local)) => "check the key's file on that server",
        (SealTrouble::Down | SealTrouble::Slow | SealTrouble::Refused, None) => {
            "check `[signer]` in that server's configuration"
        }
    };
    let other = match (wait.fault, standby(keys)) {
        (SealTrouble::Servers | SealTrouble::NoKey, _) => String::new(),
        (SealTrouble::Revoked, Some(kid)) => format!(": `assay key rotate {kid}`"),
        (SealTrouble::Revoked, None) => {
            ": add one to the servers' `[signer]`, then `assay key rotate KEY`".to_owned()
        }
        (_, Some(kid)) => {
            format!("; or seal with one that stands by: `assay key rotate {kid}`")
        }
        (_, None) => String::new(),
    };
    format!("{mend}{other}; it is sealed by itself then")
}

/// A model key that could take over, if its store is well.
fn standby(keys: &KeysView) -> Option<String> {
    let mut others = keys.keys.iter().filter(|key| {
        key.purpose == KeyPurpose::Model
            && key.revoked.is_none()
            && Some(&key.kid) != keys.active.as_ref()
            && (key.from.is_none() || key.check(keys.now).is_ok())
    });
    others.next().map(|key| key.kid.chars().take(KID_SHOWN).collect())
}
