//! The servers.

use crate::output::{Style, table::table};
use domain::view::{ClusterView, ReplicaView};

const HEADING: [&str; 5] = ["SERVER", "ADDRESS", "ROLE", "HOLDS", "CONTACT"];

/// The cluster as text.
#[must_use]
pub fn text(style: Style, view: &ClusterView) -> String {
    let leader = view.leader.map_or_else(|| style.bad("none"), |id| style.good(&id.to_string()));
    let mut out = format!(
        "cluster {}, leader {leader}, term {}\nlog committed {}, applied {} on {}, state {}\n",
        view.cluster,
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
    ]
}
