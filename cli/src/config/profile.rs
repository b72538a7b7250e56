//! The client's profile: which servers, and who is asking.

use crate::{
    document::{
        self,
        node::Node,
        reader::{Field, Reader},
    },
    fault::Fault,
};
use std::{
    env,
    path::{Path, PathBuf},
};

/// The name of a profile in its folder.
pub const FILE: &str = "profile.toml";
const KEYS: [&str; 4] = ["ca", "cert", "key", "servers"];

/// Where the servers are and with which identity to talk to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Addresses, `host:port`. Any one answers.
    pub servers: Vec<String>,
    /// The authority that signed the servers' certificates.
    pub ca: PathBuf,
    /// The user's certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// The environment that decides which profile is used.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// `--profile`.
    pub flag: Option<PathBuf>,
    /// `ASSAY_PROFILE`.
    pub variable: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`, or `~/.config`.
    pub config_home: Option<PathBuf>,
    /// `XDG_DATA_HOME`, or `~/.local/share`.
    pub data_home: Option<PathBuf>,
}

impl Places {
    /// As this process finds them.
    #[must_use]
    pub fn of_process(flag: Option<PathBuf>) -> Self {
        let variable = |name: &str| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let home = variable("HOME");
        let under = |tail: &str| home.as_ref().map(|home| home.join(tail));
        Self {
            flag,
            variable: variable("ASSAY_PROFILE"),
            config_home: variable("XDG_CONFIG_HOME").or_else(|| under(".config")),
            data_home: variable("XDG_DATA_HOME").or_else(|| under(".local/share")),
        }
    }

    /// The folder of the development cluster.
    #[must_use]
    pub fn dev_dir(&self) -> PathBuf {
        self.data_home.clone().unwrap_or_else(env::temp_dir).join("assay/dev")
    }

    /// The profile's file: what is named holds, else the first that exists.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(&self) -> Result<PathBuf, Fault> {
        if let Some(named) = self.flag.as_ref().or(self.variable.as_ref()) {
            return Ok(if named.is_dir() { named.join(FILE) } else { named.clone() });
        }
        let usual = self.config_home.as_ref().map(|home| home.join("assay").join(FILE));
        let all: Vec<_> = usual.into_iter().chain([self.dev_dir().join(FILE)]).collect();
        all.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
            let looked: Vec<_> = all.iter().map(|path| path.display().to_string()).collect();
            Fault::usage("no_profile", format!("no profile: looked at {}", looked.join(", ")))
                .hint("start a cluster on this machine: assay dev; or name one: --profile FILE")
        })
    }
}

/// Reads a profile. Its paths are relative to its folder.
///
/// # Errors
/// When it cannot be read or says what no profile may.
pub fn load(path: &Path) -> Result<Profile, Fault> {
    document::load(path, "profile", read)
}

fn read(reader: &mut Reader, node: &Node, base: &Path) -> Option<Profile> {
    let (mut servers, mut ca, mut cert, mut key) = (None, None, None, None);
    for entry in reader.table(Field { name: "profile", node }) {
        let field = Field { name: &entry.key, node: &entry.node };
        match entry.key.as_str() {
            "servers" => servers = reader.texts(field),
            "ca" => ca = reader.text(field).map(|path| base.join(path)),
            "cert" => cert = reader.text(field).map(|path| base.join(path)),
            "key" => key = reader.text(field).map(|path| base.join(path)),
            _ => reader.unknown(entry, "", &KEYS),
        }
    }
    Some(Profile {
        servers: reader.wanted("servers", servers.filter(|all| !all.is_empty()))?,
        ca: reader.wanted("ca", ca)?,
        cert: reader.wanted("cert", cert)?,
        key: reader.wanted("key", key)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn what_is_named_holds_over_what_is_found() {
        let (dir, path) = write("");
        let places = Places { flag: Some(dir.path().into()), ..Places::default() };
        assert_eq!(places.find().unwrap(), path);
        let places = Places { variable: Some("/no/such".into()), ..Places::default() };
        assert_eq!(places.find().unwrap(), Path::new("/no/such"));
        let places = Places { config_home: Some("/no".into()), ..Places::default() };
        assert_eq!(places.find().unwrap_err().reason, "no_profile");
    }

    #[test]
    fn paths_are_relative_to_the_profile() {
        let (dir, path) = write(
            "servers = [\"127.0.0.1:7601\"]\nca = \"ca.pem\"\ncert = \"u.pem\"\nkey = \"/k\"\n",
        );
        let profile = load(&path).unwrap();
        assert_eq!(profile.ca, dir.path().join("ca.pem"));
        assert_eq!(profile.key, Path::new("/k"));
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest() {
        let (_dir, path) = write("server = [\"a:1\"]\nca = \"a\"\ncert = \"b\"\nkey = \"c\"\n");
        let fault = load(&path).unwrap_err().detail;
        assert!(fault.contains("line 1: server: is not a known key; did you mean `servers`?"));
        assert!(fault.contains("servers: is missing"), "{fault}");
    }
}
