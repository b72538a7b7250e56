//! Documents and screens of reservations, as programs and people have come to rely on them.

use super::{node, reservation, sample};
use crate::output::{Style, stable};
use domain::{
    JobId, Millis,
    reservation::{NodeWindow, ReservationView, WindowKind},
};
use insta::{assert_json_snapshot, assert_snapshot};

/// 2026-01-31T12:00Z.
const NOON: Millis = Millis(1_769_860_800_000);

fn demo() -> ReservationView {
    ReservationView {
        name: "demo".into(),
        kind: WindowKind::Reservation,
        state: "open".into(),
        starts: Millis(NOON.0 - 3_600_000),
        ends: Millis(NOON.0 + 5_400_000),
        nodes: vec!["node-a".into(), "node-b".into()],
        users: vec!["ada".into()],
        queues: vec!["ml-a".into(), "ml-b".into()],
        reason: "the board comes".into(),
        by: "user:root".into(),
        at: 88,
        inside: vec![JobId(7).into()],
        others: Vec::new(),
    }
}

fn kernel() -> ReservationView {
    ReservationView {
        name: "kernel".into(),
        kind: WindowKind::Maintenance,
        state: "coming".into(),
        starts: Millis(NOON.0 + 7_800_000),
        ends: Millis(NOON.0 + 90_000_000),
        nodes: vec!["node-c".into()],
        users: Vec::new(),
        queues: Vec::new(),
        reason: "a new kernel".into(),
        inside: Vec::new(),
        others: vec![JobId(8).into(), JobId(9).into()],
        ..demo()
    }
}

#[test]
fn reservations_keep_their_form() {
    let (style, reservations) = (Style::COLUMNS, vec![demo(), kernel()]);
    let list = reservation::Reservations { reservations, log_index: 101 };
    let detail = reservation::Detail { reservation: demo(), log_index: 101 };
    assert_json_snapshot!("reservations.json", stable::document("reservations", &list));
    assert_json_snapshot!("reservation.json", stable::document("reservation", &detail));
    assert_snapshot!("reservations.txt", reservation::list(style, &list, NOON));
    assert_snapshot!("reservation.txt", reservation::detail(style, &kernel(), NOON));
}

#[test]
fn a_node_shows_its_windows() {
    let mut shown = sample::nodes().remove(0);
    let of = |it: ReservationView| NodeWindow {
        name: it.name,
        kind: it.kind,
        state: it.state,
        starts: it.starts,
        ends: it.ends,
    };
    shown.windows = vec![of(demo()), of(kernel())];
    let nodes = node::Nodes { nodes: vec![shown.clone()], log_index: 101 };
    assert_snapshot!("nodes_windows.txt", node::text(Style::COLUMNS, &nodes));
    assert_snapshot!("node_windows.txt", node::detail(Style::COLUMNS, &shown));
    assert_json_snapshot!("node_windows.json", stable::document("nodes", &nodes));
}
