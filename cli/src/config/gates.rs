//! What a server's configuration says of gates: who names approvers, and what decides.

use crate::document::reader::{Field, Reader};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// The keys of a server's configuration that stand here.
pub const KEYS: [&str; 4] = ["admins", "gate_rules", "policy_ca", "policy_engine"];

/// Who names approvers, and what decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gates {
    /// Users who say who may approve promotions.
    pub admins: BTreeSet<String>,
    /// Embedded policies and evaluation gates (docs/GATES.md).
    pub rules: Option<PathBuf>,
    /// The policy engine's address, in place of embedded policies: `https://sentinel:7602`.
    pub engine: Option<String>,
    /// Authorities that vouch for the policy engine, in PEM; by default the cluster's own.
    pub ca: Option<PathBuf>,
}

impl Gates {
    /// The lines that say this.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let text = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let path = |path: &Path| text(&path.display().to_string());
        let mut out = String::new();
        if !self.admins.is_empty() {
            let names: Vec<_> = self.admins.iter().map(|name| text(name)).collect();
            out.push_str(&format!("admins = [{}]\n", names.join(", ")));
        }
        let lines = [
            ("gate_rules", self.rules.as_deref().map(path)),
            ("policy_engine", self.engine.as_deref().map(text)),
            ("policy_ca", self.ca.as_deref().map(path)),
        ];
        for (name, value) in lines {
            if let Some(value) = value {
                out.push_str(&format!("{name} = {value}\n"));
            }
        }
        out
    }

    /// Reads one of [`KEYS`]. Paths are relative to `base`.
    pub fn read(&mut self, reader: &mut Reader, field: Field<'_>, base: &Path) {
        match field.name {
            "admins" => self.admins.extend(reader.texts(field).into_iter().flatten()),
            "gate_rules" => self.rules = reader.text(field).map(|text| base.join(text)),
            "policy_ca" => self.ca = reader.text(field).map(|text| base.join(text)),
            _ => self.engine = reader.text(field),
        }
    }
}
