//! Duties propose what the view asks for, once, and again only when it was lost.

use super::duties::{Duties, Duty, Event, LOST_AFTER};
use crate::state::{
    command::{Command, Effect},
    script::{Script, array, job, machine},
};
use domain::{
    LeaseId, Millis, NodeId, audit::EventSignature, job::EndCause, lease::Phase, limit,
    link::Report,
};
use std::collections::BTreeSet;

/// Duties beside the state that they look at.
struct Leader {
    script: Script,
    duties: Duties,
    now: Millis,
}

impl Leader {
    fn new(script: Script) -> Self {
        let now = Millis(50_000);
        let duties = Duties::new(now, &script.view());
        Self { script, duties, now }
    }

    /// What to do, without the look at copies: that has tests of its own.
    fn on(&mut self, event: Event) -> Vec<Duty> {
        let mut duties = self.duties.on(event, &self.script.view(), self.now, self.script.now);
        duties.retain(|duty| !matches!(duty, Duty::CheckCopies { .. }));
        duties
    }

    fn tick(&mut self, ms: u64) -> Vec<Duty> {
        self.now = self.now.plus(Millis(ms));
        self.on(Event::Tick)
    }

    /// Tells the duties what was applied since.
    fn applied(&mut self) -> Vec<Duty> {
        let effects = std::mem::take(&mut self.script.effects);
        self.on(Event::Applied(effects))
    }

    fn perform(&mut self, command: Command) {
        self.script.send(None, command);
    }
}

fn plans(duties: &[Duty]) -> usize {
    let of = |duty: &&Duty| matches!(duty, Duty::Propose(Command::Place { .. }));
    duties.iter().filter(of).count()
}

fn seals(duties: &[Duty]) -> Vec<LeaseId> {
    let of = |duty: &Duty| match duty {
        Duty::Seal { ticket } => Some(*ticket),
        Duty::Propose(_)
        | Duty::Reconnect { .. }
        | Duty::Sign { .. }
        | Duty::CheckCopies { .. }
        | Duty::DecidePromotion { .. }
        | Duty::DecideTraining { .. }
        | Duty::SignPromotion { .. } => None,
    };
    duties.iter().filter_map(of).collect()
}

fn lost(duties: &[Duty]) -> Vec<NodeId> {
    let of = |duty: &Duty| match duty {
        Duty::Propose(Command::NodeLost { node, .. }) => Some(*node),
        Duty::Propose(_)
        | Duty::Reconnect { .. }
        | Duty::Sign { .. }
        | Duty::Seal { .. }
        | Duty::CheckCopies { .. }
        | Duty::DecidePromotion { .. }
        | Duty::DecideTraining { .. }
        | Duty::SignPromotion { .. } => None,
    };
    duties.iter().filter_map(of).collect()
}

fn place(duties: &[Duty]) -> Command {
    let of = |duty: &&Duty| matches!(duty, Duty::Propose(Command::Place { .. }));
    match duties.iter().find(of) {
        Some(Duty::Propose(command)) => command.clone(),
        _ => panic!("no plan among {duties:?}"),
    }
}

#[test]
fn one_plan_is_on_its_way_at_a_time_and_the_next_takes_all_together() {
    let mut script = Script::new();
    script.register(machine("a", 4, "H100"));
    script.submit(job(1, 1));
    let mut leader = Leader::new(script);
    let first = leader.on(Event::Tick);
    assert_eq!(plans(&first), 1);
    leader.script.submit(job(1, 1));
    leader.script.submit(job(1, 1));
    assert_eq!(plans(&leader.applied()), 0, "the first is not applied yet");
    leader.perform(place(&first));
    let second = leader.applied();
    let Command::Place { plan } = place(&second) else { panic!("a plan") };
    assert_eq!(plan.placements.len(), 2);
    leader.perform(Command::Place { plan });
    assert_eq!(plans(&leader.applied()), 0, "nothing waits any more");
}

#[test]
fn a_plan_that_vanished_is_made_again() {
    let mut script = Script::new();
    script.register(machine("a", 4, "H100"));
    script.submit(job(1, 1));
    let mut leader = Leader::new(script);
    assert_eq!(plans(&leader.on(Event::Tick)), 1);
    assert_eq!(plans(&leader.tick(1_000)), 0);
    assert_eq!(plans(&leader.tick(1_000)), 1);
    leader.on(Event::PlanAnswered);
    assert_eq!(plans(&leader.tick(1_000)), 1, "and though its effect was lost");
}

#[test]
fn a_plan_is_cut_to_one_proposal_at_whole_gangs() {
    let mut script = Script::new();
    let mut big = machine("a", 0, "");
    big.cpu = domain::CpuMillis(1_000 * 1_000 * 1_000);
    big.memory = domain::Bytes(u64::MAX);
    script.register(big);
    for _ in 0..20 {
        script.submit(job(limit::GANG_MAX, 0));
    }
    script.submit(array(4_000, 0, 0));
    let mut leader = Leader::new(script);
    let mut running = 0;
    let mut proposals = 0;
    let mut duties = leader.on(Event::Tick);
    while plans(&duties) == 1 {
        let command = place(&duties);
        assert!(borsh::to_vec(&command).unwrap().len() < limit::PROPOSAL_MAX.0 as usize);
        leader.perform(command);
        proposals += 1;
        running = leader.script.view().all_leases().count();
        duties = leader.applied();
    }
    assert_eq!(running, 4_020);
    assert!(proposals > 1);
}

#[test]
fn a_node_is_lost_no_sooner_than_its_lease_the_drift_and_the_kill_allow() {
    let mut script = Script::new();
    let (a, b) = (script.register(machine("a", 1, "H100")), script.register(machine("b", 1, "")));
    let mut leader = Leader::new(script);
    leader.tick(LOST_AFTER.0 - 1);
    leader.on(Event::Contact { node: b });
    assert_eq!(lost(&leader.tick(0)), []);
    assert_eq!(lost(&leader.tick(1)), [a], "counted from the start of the term");
    assert_eq!(lost(&leader.tick(100)), [], "it is on its way");
    assert_eq!(lost(&leader.tick(2_000)), [a], "it was not recorded");
    leader.script.lose(a);
    assert_eq!(lost(&leader.tick(2_000)), []);
    assert_eq!(lost(&leader.tick(LOST_AFTER.0)), [b]);
}

#[test]
fn a_gang_with_a_silent_node_ends_once_that_nodes_lease_time_is_over_and_no_node_is_lost_by_it() {
    let mut script = Script::new();
    let (a, b) =
        (script.register(machine("a", 1, "H100")), script.register(machine("b", 1, "H100")));
    script.submit(job(2, 1));
    let mut leader = Leader::new(script);
    let plan = leader.on(Event::Tick);
    leader.perform(place(&plan));
    leader.applied();
    let gang = leader.script.view().all_leases().next().unwrap().id;
    leader.tick(limit::LEASE_TTL.0 - 1);
    leader.on(Event::Contact { node: a });
    assert_eq!(broken(&leader.tick(0)), []);
    let duties = leader.tick(1);
    assert_eq!(broken(&duties), [(b, gang)]);
    assert_eq!(lost(&duties), []);
    assert_eq!(broken(&leader.tick(100)), [], "it is on its way");
    assert_eq!(broken(&leader.tick(2_000)), [(b, gang)], "it was not recorded");
    for duty in duties {
        if let Duty::Propose(command @ Command::Report { .. }) = duty {
            leader.perform(command);
        }
    }
    let phase = &leader.script.view().lease(gang).unwrap().phase;
    let waits = BTreeSet::from([a, b]);
    assert_eq!(*phase, Phase::Stopping { remaining: waits, cause: EndCause::NodeLost });
    assert_eq!(broken(&leader.tick(4_000)), []);
}

fn broken(duties: &[Duty]) -> Vec<(NodeId, LeaseId)> {
    let of = |duty: &Duty| match duty {
        Duty::Propose(Command::Report { node, report }) => Some((*node, report.lease())),
        _ => None,
    };
    duties.iter().filter_map(of).collect()
}

#[test]
fn a_node_that_registers_in_the_middle_of_a_term_has_its_full_time() {
    let mut leader = Leader::new(Script::new());
    leader.tick(100_000);
    let node = leader.script.register(machine("a", 1, "H100"));
    assert_eq!(lost(&leader.tick(50)), []);
    assert_eq!(lost(&leader.tick(LOST_AFTER.0 - 1)), []);
    assert_eq!(lost(&leader.tick(1)), [node]);
}

#[test]
fn a_lost_node_that_is_in_contact_again_has_to_register() {
    let mut script = Script::new();
    let node = script.register(machine("a", 1, "H100"));
    script.lose(node);
    let mut leader = Leader::new(script);
    let duties = leader.on(Event::Contact { node });
    assert!(duties.contains(&Duty::Reconnect { node }));
    leader.script.register(machine("a", 1, "H100"));
    assert!(!leader.on(Event::Contact { node }).contains(&Duty::Reconnect { node }));
}

fn with_ticket() -> (Script, LeaseId) {
    let mut script = Script::new();
    script.register(machine("a", 1, "H100"));
    script.submit(job(1, 1));
    script.plan();
    let lease = script.lease_of("j1");
    script.finish(lease, 1);
    (script, lease)
}

#[test]
fn a_ticket_is_tried_again_after_growing_pauses_until_it_is_closed() {
    let (script, ticket) = with_ticket();
    let mut leader = Leader::new(script);
    assert_eq!(seals(&leader.on(Event::Tick)), [ticket], "open tickets are found in the view");
    assert_eq!(seals(&leader.tick(50_000)), [], "it is worked on");
    for pause in [200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
        leader.on(Event::SealFailed { ticket });
        assert_eq!(seals(&leader.tick(pause - 1)), []);
        assert_eq!(seals(&leader.tick(1)), [ticket], "after {pause} ms");
    }
    leader.script.seal(ticket);
    leader.on(Event::SealFailed { ticket });
    assert_eq!(seals(&leader.tick(10_000)), []);
}

#[test]
fn a_ticket_whose_effect_was_lost_is_found() {
    let mut leader = Leader::new(Script::new());
    let (script, ticket) = with_ticket();
    leader.script = script;
    assert_eq!(seals(&leader.tick(1_000)), [ticket]);
}

#[test]
fn at_most_sixty_four_tickets_are_worked_on_at_once() {
    let mut script = Script::new();
    let mut big = machine("a", 0, "");
    big.cpu = domain::CpuMillis(1_000_000);
    big.memory = domain::Bytes(1 << 50);
    let node = script.register(big);
    script.submit(array(100, 0, 0));
    script.plan();
    let leases: Vec<_> = script.view().all_leases().map(|lease| lease.id).collect();
    for lease in leases {
        let output = crate::state::script::output(1);
        script.report(node, Report::Ended { lease, output });
    }
    let mut leader = Leader::new(script);
    let first = seals(&leader.on(Event::Tick));
    assert_eq!(first.len(), 64);
    leader.script.seal(first[0]);
    leader.script.seal(first[1]);
    assert_eq!(seals(&leader.applied()).len(), 2);
}

#[test]
fn events_gather_and_are_signed_in_order_one_batch_at_a_time() {
    let mut script = Script::new();
    script.submit(job(1, 1));
    let mut leader = Leader::new(script);
    leader.on(Event::Applied(vec![Effect::Sign]));
    assert_eq!(leader.tick(99), []);
    assert_eq!(leader.tick(1), [Duty::Sign { first: 1, count: 1 }]);
    leader.script.submit(job(1, 1));
    assert_eq!(leader.tick(500), [], "the first batch is not in the log");
    let signatures = vec![EventSignature { signer: "k".into(), bytes: vec![0; 64] }];
    leader.perform(Command::SignEvents { first: 1, signatures });
    leader.tick(0);
    assert_eq!(leader.tick(100), [Duty::Sign { first: 2, count: 1 }]);
    leader.on(Event::SignFailed);
    assert_eq!(leader.tick(199), []);
    assert_eq!(leader.tick(1), [Duty::Sign { first: 2, count: 1 }]);
    leader.on(Event::SignFailed);
    assert_eq!(leader.tick(399), []);
    assert_eq!(leader.tick(1), [Duty::Sign { first: 2, count: 1 }], "the pause grows");
}

#[test]
fn duties_that_never_hear_an_effect_leave_nothing_undone() {
    let mut script = Script::new();
    script.register(machine("a", 2, "H100"));
    let mut leader = Leader::new(script);
    let id = leader.script.submit(array(5, 0, 1));
    for _ in 0..100 {
        leader.script.effects.clear();
        for duty in leader.tick(500) {
            match duty {
                Duty::Propose(command) => leader.perform(command),
                Duty::Seal { ticket } => drop(leader.script.seal(ticket)),
                Duty::Sign { .. }
                | Duty::Reconnect { .. }
                | Duty::CheckCopies { .. }
                | Duty::DecidePromotion { .. }
                | Duty::DecideTraining { .. }
                | Duty::SignPromotion { .. } => {}
            }
        }
        leader.on(Event::Contact { node: NodeId(1) });
        let leases: Vec<_> = leader.script.view().all_leases().map(|lease| lease.id).collect();
        for lease in leases {
            leader.script.finish(lease, 1);
        }
    }
    assert_eq!(leader.script.word(id), "completed");
}
