//! A window of nodes and time on the wire.

use super::WireError;
use crate::v1;
use domain::{
    Millis,
    reservation::{Reservation, WantedNodes, WindowKind},
};

impl From<&Reservation> for v1::Reservation {
    fn from(asked: &Reservation) -> Self {
        let (nodes, count, gpu_model) = match &asked.nodes {
            WantedNodes::Named(names) => (names.iter().cloned().collect(), 0, String::new()),
            WantedNodes::Count { count, gpu_model } => {
                (Vec::new(), *count, gpu_model.clone().unwrap_or_default())
            }
        };
        Self {
            name: asked.name.clone(),
            nodes,
            count,
            gpu_model,
            start_ms: asked.start.0,
            duration_ms: asked.duration.0,
            users: asked.users.iter().cloned().collect(),
            queues: asked.queues.iter().cloned().collect(),
            maintenance: asked.kind == WindowKind::Maintenance,
            reason: asked.reason.clone(),
        }
    }
}

impl TryFrom<v1::Reservation> for Reservation {
    type Error = WireError;

    fn try_from(wire: v1::Reservation) -> Result<Self, WireError> {
        let named = !wire.nodes.is_empty();
        if named && (wire.count > 0 || !wire.gpu_model.is_empty()) {
            return Err(WireError {
                field: "nodes",
                fault: "are named, and a count or a model of GPU is given too".into(),
                remedy: "give one of the two",
            });
        }
        let nodes = match named {
            true => WantedNodes::Named(wire.nodes.into_iter().collect()),
            false => WantedNodes::Count {
                count: wire.count,
                gpu_model: (!wire.gpu_model.is_empty()).then_some(wire.gpu_model),
            },
        };
        Ok(Self {
            name: wire.name,
            nodes,
            start: Millis(wire.start_ms),
            duration: Millis(wire.duration_ms),
            users: wire.users.into_iter().collect(),
            queues: wire.queues.into_iter().collect(),
            kind: match wire.maintenance {
                true => WindowKind::Maintenance,
                false => WindowKind::Reservation,
            },
            reason: wire.reason,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_survives_the_wire_and_names_nodes_or_their_count() {
        let asked = Reservation {
            name: "demo".into(),
            nodes: WantedNodes::Count { count: 2, gpu_model: Some("H100".into()) },
            start: Millis(5),
            duration: Millis(60_000),
            users: ["ada".to_owned()].into(),
            queues: ["ml".to_owned()].into(),
            kind: WindowKind::Reservation,
            reason: "a demonstration".into(),
        };
        assert_eq!(Reservation::try_from(v1::Reservation::from(&asked)), Ok(asked.clone()));
        let named = Reservation {
            nodes: WantedNodes::Named(["a".to_owned(), "b".to_owned()].into()),
            kind: WindowKind::Maintenance,
            ..asked
        };
        let wire = v1::Reservation::from(&named);
        assert_eq!(Reservation::try_from(wire.clone()), Ok(named));
        let both = v1::Reservation { count: 1, ..wire };
        assert!(Reservation::try_from(both).unwrap_err().to_string().contains("one of the two"));
    }
}
