//! The servers.

use crate::output::{Style, table::table};
use domain::{
    version::Understood,
    view::{ClusterView, ReplicaView},
};

const HEADING: [&str; 6] = ["SERVER", "ADDRESS", "ROLE", "HOLDS", "CONTACT", "UNDERSTANDS"];

/// The cluster as text.
#[must_use]
pub fn text(style: Style, view: &ClusterView) -> String {
    let leader = view.leader.map_or_else(|| style.bad("none"), |id| style.good(&id.to_string()));
    let mut out = format!(
        "cluster {}, version {}, leader {leader}, term {}\nlog committed {}, applied {} on {}, state {}\n",
        view.cluster,
        view.version,
        view.term,
        view.commit,
        view.applied,
        view.answered_by,
        view.state_digest.short()
    );
    let rows: Vec<_> = view.replicas.iter().map(|replica| row(style, replica)).collect();
    out.push_str(&table(style, &HEADING, &rows));
    out
}

fn row(style: Style, replica: &ReplicaView) -> Vec<String> {
    let contact = if replica.active { style.good("yes") } else { style.bad("no") };
    vec![
        replica.id.to_string(),
        replica.address.clone(),
        replica.role.clone(),
        replica.matched.to_string(),
        contact,
        understands(replica.understands),
    ]
}

/// The versions that a server understands, in words.
fn understands(said: Option<Understood>) -> String {
    match said {
        None => "not said".into(),
        Some(Understood { oldest, newest }) if oldest == newest => format!("version {newest}"),
        Some(Understood { oldest, newest }) => format!("versions {oldest} to {newest}"),
    }
}
