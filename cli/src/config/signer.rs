//! What a server's configuration says of the keys that it signs with: the table `[signer]`.

use crate::{
    document::{
        node::Value,
        reader::{Field, Reader},
    },
    quantity,
};
use custody::{Custody, Dialect, Kms, Module, Proxy};
use domain::Millis;
use std::path::{Path, PathBuf};

/// Keys of the table.
const KEYS: [&str; 14] = [
    "ca",
    "dialect",
    "endpoint",
    "keys",
    "kind",
    "module",
    "pin_file",
    "public_keys",
    "region",
    "require_kms",
    "rotate_events",
    "token",
    "token_file",
    "url",
];
/// Time after which a key for events is replaced. Source: rulings, 10.
const EVENT_PERIOD: Millis = Millis(24 * 3_600_000);
/// The shortest and the longest such time.
const EVENT_PERIODS: (Millis, Millis) = (Millis(2_000), EVENT_PERIOD);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Local,
    Pkcs11,
    Kms,
    Proxy,
}

/// The keys that a server signs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// Where they are.
    pub custody: Custody,
    /// Whether keys in files are refused.
    pub require_kms: bool,
    /// Time after which a key for events is replaced.
    pub rotate_events: Millis,
}

impl Signer {
    /// Keys in files of a folder.
    #[must_use]
    pub fn local(dir: PathBuf) -> Self {
        let custody = Custody::Local { dir };
        Self { custody, require_kms: false, rotate_events: EVENT_PERIOD }
    }

    /// The lines that say this; those of a table come last.
    #[must_use]
    pub fn to_toml(&self) -> (String, String) {
        let text = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let path = |path: &Path| text(&path.display().to_string());
        let list = |all: Vec<String>| format!("[{}]", all.join(", "));
        let texts = |all: &[String]| list(all.iter().map(|it| text(it)).collect());
        let (mut top, mut lines) = (String::new(), Vec::new());
        match &self.custody {
            Custody::Local { dir } => top = format!("keys = {}\n", path(dir)),
            Custody::Kms(kms) => {
                lines.push(("kind", text("kms")));
                lines.push(("keys", texts(&kms.keys)));
                lines.extend(kms.region.as_ref().map(|it| ("region", text(it))));
                lines.extend(kms.endpoint.as_ref().map(|it| ("endpoint", text(it))));
            }
            Custody::Pkcs11(module) => {
                lines.push(("kind", text("pkcs11")));
                lines.push(("module", path(&module.module)));
                lines.push(("token", text(&module.token)));
                lines.push(("keys", texts(&module.keys)));
                lines.extend(module.pin_file.as_ref().map(|it| ("pin_file", path(it))));
            }
            Custody::Proxy(proxy) => {
                let dialect = match proxy.dialect {
                    Dialect::Hash => "hash",
                    Dialect::Kernel => "kernel",
                    Dialect::Payload => "payload",
                };
                lines.push(("kind", text("proxy")));
                lines.push(("url", text(&proxy.url)));
                lines.push(("dialect", text(dialect)));
                lines.push(("keys", list(proxy.keys.iter().map(|(id, _)| text(id)).collect())));
                let files = proxy.keys.iter().map(|(_, file)| path(file)).collect();
                lines.push(("public_keys", list(files)));
                lines.push(("ca", path(&proxy.ca)));
                lines.extend(proxy.token_file.as_ref().map(|it| ("token_file", path(it))));
            }
        }
        if self.require_kms {
            lines.push(("require_kms", "true".into()));
        }
        if self.rotate_events != EVENT_PERIOD {
            lines.push(("rotate_events", text(&format!("{}s", self.rotate_events.0 / 1_000))));
        }
        let mut table = String::new();
        if !lines.is_empty() {
            table.push_str("\n[signer]\n");
            table.extend(lines.into_iter().map(|(name, value)| format!("{name} = {value}\n")));
        }
        (top, table)
    }

    /// What opens them.
    #[must_use]
    pub fn config(self) -> custody::Config {
        custody::Config {
            custody: self.custody,
            require_kms: self.require_kms || custody::environment_requires_kms(),
            event_period: self.rotate_events,
        }
    }
}

/// The table as it was read, not yet complete.
#[derive(Clone, Default)]
pub struct Draft {
    kind: Option<Kind>,
    keys: Vec<String>,
    public_keys: Vec<String>,
    dialect: Option<Dialect>,
    texts: std::collections::BTreeMap<String, String>,
    require_kms: bool,
    rotate_events: Option<Millis>,
}

impl Draft {
    /// Reads the table.
    pub fn read(&mut self, reader: &mut Reader, field: Field<'_>) {
        for entry in reader.table(field) {
            let field = Field { name: &entry.key, node: &entry.node };
            match entry.key.as_str() {
                "kind" => {
                    let words = [
                        ("kms", Kind::Kms),
                        ("local", Kind::Local),
                        ("pkcs11", Kind::Pkcs11),
                        ("proxy", Kind::Proxy),
                    ];
                    self.kind = reader.word(field, &words);
                }
                "dialect" => {
                    let words = [
                        ("hash", Dialect::Hash),
                        ("kernel", Dialect::Kernel),
                        ("payload", Dialect::Payload),
                    ];
                    self.dialect = reader.word(field, &words);
                }
                "keys" => self.keys = reader.texts(field).unwrap_or_default(),
                "public_keys" => self.public_keys = reader.texts(field).unwrap_or_default(),
                "require_kms" => match field.node.value {
                    Value::Bool(value) => self.require_kms = value,
                    _ => reader.fault(
                        entry.line,
                        "signer.require_kms",
                        "is no boolean".into(),
                        "write true or false",
                    ),
                },
                "rotate_events" => self.rotate_events = period(reader, field),
                name if KEYS.contains(&name) => {
                    if let Some(text) = reader.text(field) {
                        self.texts.insert(name.to_owned(), text);
                    }
                }
                _ => reader.unknown(entry, "signer.", &KEYS),
            }
        }
    }

    /// The whole of it. `keys` is the folder that the server's configuration names beside it.
    pub fn complete(
        self,
        reader: &mut Reader,
        base: &Path,
        keys: Option<PathBuf>,
        tls: (PathBuf, PathBuf, PathBuf),
    ) -> Option<Signer> {
        let path = |name: &str| self.texts.get(name).map(|text| base.join(text));
        let text = |name: &str| self.texts.get(name).cloned();
        let kind = self.kind.unwrap_or(Kind::Local);
        let many = |reader: &mut Reader| {
            reader.wanted("signer.keys", Some(self.keys.clone()).filter(|keys| !keys.is_empty()))
        };
        let custody = match kind {
            Kind::Local => Custody::Local { dir: reader.wanted("keys", keys)? },
            Kind::Kms => Custody::Kms(Kms {
                keys: many(reader)?,
                region: text("region"),
                endpoint: text("endpoint"),
            }),
            Kind::Pkcs11 => {
                let module = reader.wanted("signer.module", path("module"));
                let token = reader.wanted("signer.token", text("token"));
                let keys = many(reader);
                Custody::Pkcs11(Module {
                    module: module?,
                    token: token?,
                    pin_file: path("pin_file"),
                    keys: keys?,
                })
            }
            Kind::Proxy => {
                let url = reader.wanted("signer.url", text("url"));
                let (ids, publics) = (many(reader)?, &self.public_keys);
                if ids.len() != publics.len() {
                    let fault = format!("names {} files for {} keys", publics.len(), ids.len());
                    reader.fault(None, "signer.public_keys", fault, "name one for each key");
                    return None;
                }
                let (ca, cert, key) = tls;
                Custody::Proxy(Proxy {
                    url: url?,
                    dialect: self.dialect.unwrap_or(Dialect::Payload),
                    keys: ids.into_iter().zip(publics.iter().map(|it| base.join(it))).collect(),
                    ca: path("ca").unwrap_or(ca),
                    identity: (cert, key),
                    token_file: path("token_file"),
                })
            }
        };
        let rotate_events = self.rotate_events.unwrap_or(EVENT_PERIOD);
        Some(Signer { custody, require_kms: self.require_kms, rotate_events })
    }
}

fn period(reader: &mut Reader, field: Field<'_>) -> Option<Millis> {
    let text = reader.text(field)?;
    let (least, most) = EVENT_PERIODS;
    match quantity::duration(&text) {
        Ok(period) if (least..=most).contains(&period) => Some(period),
        Ok(_) => {
            let fault = format!("is {text}");
            reader.fault(field.node.line, "signer.rotate_events", fault, "give 2s to 24h");
            None
        }
        Err(why) => {
            let why = why.to_string();
            reader.fault(field.node.line, "signer.rotate_events", why, "write it like 24h");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::server::{self, Server};
    use custody::Custody;

    const HEAD: &str = r#"
id = 1
cluster = "dev"
dir = "data"
listen = "127.0.0.1:7601"
advertise = "127.0.0.1:7601"
ca = "/ca.pem"
cert = "/s.pem"
key = "/s.key"
join = true
"#;

    fn of(text: &str) -> Result<Server, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.toml");
        std::fs::write(&path, format!("{HEAD}{text}")).unwrap();
        server::load(&path).map_err(|fault| fault.detail)
    }

    #[test]
    fn each_kind_of_signer_is_written_as_it_is_read() {
        for text in [
            "keys = \"/keys\"\n[signer]\nrotate_events = \"1h\"\n",
            "[signer]\nkind = \"kms\"\nkeys = [\"alias/a\", \"b\"]\nregion = \"eu-central-1\"\n",
            "[signer]\nkind = \"pkcs11\"\nmodule = \"/m.so\"\ntoken = \"assay\"\nkeys = [\"m1\"]\n\
             pin_file = \"/pin\"\nrequire_kms = true\n",
            "[signer]\nkind = \"proxy\"\nurl = \"https://p:1\"\nkeys = [\"k\"]\npublic_keys = \
             [\"/k.pem\"]\nca = \"/ca\"\ndialect = \"hash\"\n",
        ] {
            let server = of(text).unwrap();
            let (top, table) = server.signer.to_toml();
            assert_eq!(of(&format!("{top}{table}")).unwrap().signer, server.signer, "{text}");
        }
    }

    #[test]
    fn a_key_store_needs_no_folder_of_keys_and_files_do() {
        let kms = of("[signer]\nkind = \"kms\"\nkeys = [\"alias/a\"]\n").unwrap();
        assert!(matches!(kms.signer.custody, Custody::Kms(_)));
        assert!(of("").unwrap_err().contains("keys: is missing"));
    }

    #[test]
    fn every_fault_of_a_signer_is_named() {
        for (text, told) in [
            ("[signer]\nkind = \"vault\"\n", "use \"kms\" or \"local\" or \"pkcs11\""),
            ("[signer]\nkind = \"kms\"\n", "signer.keys: is missing"),
            ("[signer]\nkind = \"pkcs11\"\nkeys = [\"a\"]\n", "signer.module: is missing"),
            ("keys = \"k\"\n[signer]\npin = \"1\"\n", "signer.pin: is not a known key"),
            ("keys = \"k\"\n[signer]\nrotate_events = \"2d\"\n", "give 2s to 24h"),
            (
                "[signer]\nkind = \"proxy\"\nurl = \"https://p\"\nkeys = [\"a\"]\n",
                "signer.public_keys: names 0 files for 1 keys",
            ),
        ] {
            let detail = of(text).unwrap_err();
            assert!(detail.contains(told), "{told} in {detail}");
        }
    }
}
