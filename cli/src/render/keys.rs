//! The keys that sign for the cluster.

use crate::{
    output::{Style, table::table},
    quantity::show_time,
};
use domain::signing::{KeyPurpose, KeysView, SigningKey};

/// Letters of an id that a list shows: enough to name a key again.
const SHOWN: usize = 24;

/// The list as text: event keys whose time is over only where `all` are asked for.
#[must_use]
pub fn list(style: Style, keys: &KeysView, all: bool) -> String {
    let shown =
        |key: &&SigningKey| all || key.purpose == KeyPurpose::Model || key.check(keys.now).is_ok();
    let rows: Vec<_> = keys.keys.iter().filter(shown).map(|key| row(style, keys, key)).collect();
    let mut out = table(style, &["KEY", "SIGNS", "WHERE", "STATE", "FROM", "UNTIL"], &rows);
    if style.table && keys.active.is_none() {
        let note = "no key seals now: jobs wait as sealing; next: assay key rotate KEY\n";
        out.push_str(&style.bad(note));
    }
    for key in keys.keys.iter().filter(|_| style.table) {
        if let Some(word) = &key.revoked {
            let (kid, since) = (short(key), show_time(word.since));
            out.push_str(&format!(
                "{kid} does not count from {since} on: {} ({})\n",
                word.reason, word.by
            ));
        }
    }
    out
}

fn short(key: &SigningKey) -> String {
    key.kid.chars().take(SHOWN).collect()
}

fn row(style: Style, keys: &KeysView, key: &SigningKey) -> Vec<String> {
    let state = match key.state(keys.now) {
        "valid" if keys.active.as_ref() == Some(&key.kid) => style.good("seals"),
        "revoked" => style.bad("revoked"),
        "expired" => style.faint("expired"),
        word => word.to_owned(),
    };
    let signs = match key.purpose {
        KeyPurpose::Model => "models",
        KeyPurpose::Event => "events",
    };
    let time = |at: Option<domain::Millis>| at.map_or_else(|| "-".to_owned(), show_time);
    let kid = if style.table { short(key) } else { key.kid.clone() };
    vec![kid, signs.into(), key.custody.to_string(), state, time(key.from), time(key.until)]
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::output::stable;
    use domain::{
        Digest, Millis,
        signing::{Custody, KeyRevocation},
    };

    /// A key of each kind.
    pub fn sample() -> KeysView {
        let day = 86_400_000;
        let key = |kid: String, purpose, from: Option<u64>, until: Option<u64>| SigningKey {
            kid,
            purpose,
            public_pem: "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n".into(),
            custody: Custody::Kms,
            introduced: Millis(day),
            from: from.map(|days| Millis(days * day)),
            until: until.map(|days| Millis(days * day)),
            revoked: None,
            delegation: None,
        };
        let model = |name: &str| Digest::of(name.as_bytes()).to_string();
        let mut lost = key(model("lost"), KeyPurpose::Model, Some(1), None);
        lost.revoked = Some(KeyRevocation {
            since: Millis(3 * day),
            at: Millis(4 * day),
            by: "ada".into(),
            reason: "laptop stolen".into(),
        });
        let mut event =
            key("assay-ed25519:0011223344556677".into(), KeyPurpose::Event, Some(19), Some(21));
        event.delegation = Some("{}".into());
        let mut over =
            key("assay-ed25519:8899aabbccddeeff".into(), KeyPurpose::Event, Some(1), Some(3));
        over.delegation = Some("{}".into());
        KeysView {
            active: Some(model("now")),
            authority: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".into(),
            keys: vec![
                lost,
                key(model("before"), KeyPurpose::Model, Some(2), Some(25)),
                key(model("now"), KeyPurpose::Model, Some(18), None),
                key(model("next"), KeyPurpose::Model, None, None),
                over,
                event,
            ],
            now: Millis(20 * day),
        }
    }

    #[test]
    fn the_list_keeps_its_form() {
        let keys = sample();
        insta::assert_snapshot!("keys.txt", list(Style::COLUMNS, &keys, false));
        insta::assert_json_snapshot!("keys.json", stable::document("keys", &keys));
        let all = list(Style::PLAIN, &keys, true);
        assert_eq!(all.lines().count(), 6, "{all}");
        let none = KeysView { active: None, ..keys };
        assert!(list(Style::COLUMNS, &none, false).contains("no key seals now"));
    }
}
