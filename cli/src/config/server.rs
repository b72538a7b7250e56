//! A server's configuration.

use super::{
    blobs::Blobs,
    gates::{self, Gates},
    signer::{Draft, Signer},
};
use crate::{
    document::{
        self,
        node::{Node, Value},
        reader::{Field, Reader},
    },
    fault::Fault,
    quantity,
};
use domain::{Millis, ReplicaId, limit, retain::Retain};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

const KEYS: [&str; 21] = [
    "admins",
    "advertise",
    "blobs",
    "ca",
    "cert",
    "cluster",
    "collect_after",
    "dir",
    "gate_rules",
    "id",
    "join",
    "key",
    "keys",
    "listen",
    "members",
    "policy_ca",
    "policy_engine",
    "replay_window",
    "rest",
    "scrub_every",
    "signer",
];

/// What a server is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Who it is.
    pub id: ReplicaId,
    /// The cluster's identity.
    pub cluster: String,
    /// Where its data stands.
    pub dir: PathBuf,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where others reach it, `host:port`.
    pub advertise: String,
    /// The servers that the cluster begins with.
    pub members: BTreeMap<ReplicaId, String>,
    /// Whether it joins a cluster that exists (after `assay cluster add`).
    pub join: bool,
    /// The authority's certificate.
    pub ca: PathBuf,
    /// Its certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The keys that it signs with.
    pub signer: Signer,
    /// Who names approvers, and what decides.
    pub gates: Gates,
    /// Where it listens for REST, if it does.
    pub rest: Option<SocketAddr>,
    /// Time after which the files of collected results are deleted here, if not the usual one.
    pub collect_after: Option<Millis>,
    /// Time between two scrubs of its rows, if not the usual one.
    pub scrub_every: Option<Millis>,
    /// Log entries that it can go through again at least, if not as many as usual.
    pub replay_window: Option<u64>,
    /// The bucket that holds its blobs, if it is not its disk.
    pub blobs: Option<Blobs>,
}

impl Server {
    /// The file that says this.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let text = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let path = |path: &Path| text(&path.display().to_string());
        let mut out = format!("id = {}\n", self.id.0);
        let lines = [
            ("cluster", text(&self.cluster)),
            ("listen", text(&self.listen.to_string())),
            ("advertise", text(&self.advertise)),
            ("dir", path(&self.dir)),
            ("ca", path(&self.ca)),
            ("cert", path(&self.cert)),
            ("key", path(&self.key)),
        ];
        out.extend(lines.map(|(name, value)| format!("{name} = {value}\n")));
        let (keys, table) = self.signer.to_toml();
        out.push_str(&keys);
        out.push_str(&self.gates.to_toml());
        if let Some(rest) = self.rest {
            out.push_str(&format!("rest = {}\n", text(&rest.to_string())));
        }
        if let Some(time) = self.collect_after {
            out.push_str(&format!("collect_after = \"{}\"\n", Retain::For(time)));
        }
        if let Some(time) = self.scrub_every {
            out.push_str(&format!("scrub_every = \"{}\"\n", Retain::For(time)));
        }
        if let Some(entries) = self.replay_window {
            out.push_str(&format!("replay_window = {entries}\n"));
        }
        if self.join {
            out.push_str("join = true\n");
        } else {
            out.push_str("\n[members]\n");
            out.extend(self.members.iter().map(|(id, at)| format!("{id} = {}\n", text(at))));
        }
        out.push_str(&table);
        out.extend(self.blobs.iter().map(Blobs::to_toml));
        out
    }
}

/// Reads a server's configuration. Its paths are relative to its folder.
///
/// # Errors
/// When it cannot be read or says what no server may.
pub fn load(path: &Path) -> Result<Server, Fault> {
    let server: Server = document::load(path, "server configuration", read)?;
    if !server.join && !server.members.contains_key(&server.id) {
        let all: Vec<_> = server.members.keys().map(ToString::to_string).collect();
        let names = if all.is_empty() { "nobody".to_owned() } else { all.join(", ") };
        let detail = format!("{}: members: names {names}, not {}", path.display(), server.id);
        let hint =
            "correct `id`, or name it among `members`; of a server that joins: `join = true`";
        return Err(Fault::usage("config", detail).hint(hint));
    }
    Ok(server)
}

fn read(reader: &mut Reader, node: &Node, base: &Path) -> Option<Server> {
    let mut texts = BTreeMap::new();
    let (mut id, mut listen, mut members, mut join) = (None, None, None, false);
    let (mut collect_after, mut scrub_every, mut replay_window) = (None, None, None);
    let (mut gates, mut signer, mut rest, mut blobs) =
        (Gates::default(), Draft::default(), None, None);
    for entry in reader.table(Field { name: "server", node }) {
        let field = Field { name: &entry.key, node: &entry.node };
        match entry.key.as_str() {
            "id" => id = reader.whole(field, "give a whole number from 1").map(ReplicaId),
            "listen" => listen = address(reader, field),
            "rest" => rest = address(reader, field),
            "members" => members = Some(read_members(reader, field)),
            "join" => join = read_join(reader, field),
            "collect_after" => collect_after = read_time(reader, field),
            "scrub_every" => scrub_every = read_scrub(reader, field),
            "replay_window" => replay_window = read_entries(reader, field),
            "signer" => signer.read(reader, field),
            "blobs" => blobs = Blobs::read(reader, field),
            name if gates::KEYS.contains(&name) => gates.read(reader, field, base),
            name if KEYS.contains(&name) => {
                texts.extend(reader.text(field).map(|text| (entry.key.as_str(), text)));
            }
            _ => reader.unknown(entry, "", &KEYS),
        }
    }
    let mut text = |name: &str| {
        let value = texts.get(name).cloned();
        reader.wanted(name, value)
    };
    let (cluster, advertise) = (text("cluster"), text("advertise"));
    let mut path = |name: &str| text(name).map(|text| base.join(text));
    let (dir, ca, cert, key) = (path("dir"), path("ca"), path("cert"), path("key"));
    let keys = texts.get("keys").map(|text| base.join(text));
    let tls = || Some((ca.clone()?, cert.clone()?, key.clone()?));
    let signer = signer.complete(reader, base, keys, tls().unwrap_or_default());
    let (id, listen) = (reader.wanted("id", id), reader.wanted("listen", listen));
    // A server that joins learns the members from the log.
    let members = members.or_else(|| join.then(BTreeMap::new));
    let members = reader.wanted("members", members);
    Some(Server {
        id: id?,
        cluster: cluster?,
        dir: dir?,
        listen: listen?,
        advertise: advertise?,
        members: members?,
        join,
        ca: ca?,
        cert: cert?,
        key: key?,
        signer: signer?,
        gates,
        rest,
        collect_after,
        scrub_every,
        replay_window,
        blobs,
    })
}

fn read_time(reader: &mut Reader, field: Field<'_>) -> Option<Millis> {
    reader.quantity(field, quantity::duration, "give a duration such as \"24h\"")
}

fn read_entries(reader: &mut Reader, field: Field<'_>) -> Option<u64> {
    reader.whole(field, "give a number of log entries, 0 for none")
}

fn read_join(reader: &mut Reader, field: Field<'_>) -> bool {
    if let Value::Bool(value) = field.node.value {
        return value;
    }
    reader.fault(field.node.line, "join", "is no boolean".into(), "write true or false");
    false
}

fn read_scrub(reader: &mut Reader, field: Field<'_>) -> Option<Millis> {
    let (least, most) = limit::SCRUB_EVERY_BOUNDS;
    let remedy = "give a duration from \"1s\" to \"30d\", such as \"1h\"";
    let (name, line) = (field.name, field.node.line);
    let time = reader.quantity(field, quantity::duration, remedy)?;
    if !(least..=most).contains(&time) {
        reader.fault(line, name, format!("is {} ms", time.0), remedy);
        return None;
    }
    Some(time)
}

fn address(reader: &mut Reader, field: Field<'_>) -> Option<SocketAddr> {
    let text = reader.text(field)?;
    let parsed = text.parse().ok();
    if parsed.is_none() {
        let fault = format!("is \"{text}\"");
        reader.fault(field.node.line, field.name, fault, "give an address such as 0.0.0.0:7601");
    }
    parsed
}

fn read_members(reader: &mut Reader, field: Field<'_>) -> BTreeMap<ReplicaId, String> {
    let mut members = BTreeMap::new();
    for entry in reader.table(field) {
        let address = reader.text(Field { name: "members", node: &entry.node });
        match (entry.key.parse::<ReplicaId>(), address) {
            (Ok(id), Some(address)) => {
                members.insert(id, address);
            }
            (Err(fault), _) => reader.fault(entry.line, "members", fault.to_string(), ""),
            (Ok(_), None) => {}
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::LockMode;

    const GOOD: &str = r#"
id = 1
cluster = "dev"
dir = "data"
listen = "127.0.0.1:7601"
advertise = "127.0.0.1:7601"
ca = "ca.pem"
cert = "s.pem"
key = "s.key"
keys = "/keys"
[members]
r1 = "127.0.0.1:7601"
"#;

    fn of(text: &str) -> Result<Server, Fault> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.toml");
        std::fs::write(&path, text).unwrap();
        load(&path)
    }

    #[test]
    fn a_servers_configuration_is_read() {
        let server = of(GOOD).unwrap();
        assert_eq!(server.id, ReplicaId(1));
        assert_eq!(server.members[&ReplicaId(1)], "127.0.0.1:7601");
        assert!(!server.join);
        assert_eq!(server.signer, Signer::local("/keys".into()));
    }

    #[test]
    fn a_server_that_joins_names_no_founders() {
        let (head, _) = GOOD.split_once("[members]").unwrap();
        let server = of(&format!("{head}join = true\n")).unwrap();
        assert!(server.join && server.members.is_empty());
        assert!(of(head).unwrap_err().detail.contains("members: is missing"));
        let stranger = GOOD.replacen("id = 1", "id = 9", 1);
        assert!(of(&stranger).unwrap_err().detail.ends_with("not r9"), "it would wait for ever");
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let founder = of(GOOD).unwrap();
        let joiner = Server { join: true, members: BTreeMap::new(), ..founder.clone() };
        let gates = Gates {
            admins: ["ada".to_owned(), "bob".to_owned()].into(),
            rules: Some("/etc/rules.json".into()),
            engine: Some("https://sentinel:7602".into()),
            ca: Some("/etc/ca.pem".into()),
        };
        let gated = Server { gates, ..founder.clone() };
        let open = Server { rest: Some(([0, 0, 0, 0], 7611).into()), ..founder.clone() };
        let hasty = Server { collect_after: Some(Millis(90_000)), ..founder.clone() };
        let careful = Server { scrub_every: Some(Millis(600_000)), ..founder.clone() };
        let brief = Server { replay_window: Some(0), ..founder.clone() };
        let blobs = |lock| Blobs {
            place: "s3://models/assay".parse().unwrap(),
            lock,
            lock_mode: LockMode::Compliance,
        };
        let away = Server { blobs: Some(blobs(None)), ..founder.clone() };
        let locked = Server { blobs: Some(blobs(Some(Millis(86_400_000)))), ..founder.clone() };
        for server in [founder, joiner, gated, open, hasty, careful, brief, away, locked] {
            assert_eq!(of(&server.to_toml()).unwrap(), server);
        }
    }

    #[test]
    fn a_scrub_that_never_ends_or_never_comes_is_refused() {
        for time in ["10ms", "31d", "soon"] {
            let detail = of(&format!("scrub_every = \"{time}\"\n{GOOD}")).unwrap_err().detail;
            assert!(detail.contains("line 1: scrub_every: is "), "{detail}");
            assert!(detail.contains("from \"1s\" to \"30d\""), "{detail}");
        }
    }

    #[test]
    fn a_bucket_that_is_none_or_a_lock_that_is_too_short_is_refused() {
        for (table, fault) in [
            ("place = \"/disk\"", "blobs.place: is \"/disk\"; write it like"),
            ("lock = \"30d\"", "blobs.place: is missing; add it"),
            ("place = \"s3://abc\"\nlock = \"1h\"", "blobs.lock: is 3600000 ms; give a duration"),
            ("place = \"s3://abc\"\nlock_mode = \"hard\"", "blobs.lock_mode: is \"hard\""),
            ("plaice = \"s3://abc\"", "did you mean `blobs.place`?"),
        ] {
            let detail = of(&format!("{GOOD}[blobs]\n{table}\n")).unwrap_err().detail;
            assert!(detail.contains(fault), "{detail}");
        }
    }

    #[test]
    fn every_fault_of_it_is_named() {
        let text = GOOD.replace("listen =", "listten =").replace("id = 1", "id = \"one\"");
        let detail = of(&text).unwrap_err().detail;
        for part in [
            "line 2: id: is \"one\"; give a whole number from 1",
            "line 5: listten: is not a known key; did you mean `listen`?",
            "listen: is missing; add it",
        ] {
            assert!(detail.contains(part), "{part} in {detail}");
        }
    }
}
