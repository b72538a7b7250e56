//! A server: the replica, the leader's duties, and the sessions before them.

mod agents;
mod gates;

use crate::{
    chance::Chance,
    clock::Clock,
    damage::{self, Damage, Service},
    disk::{SharedRows, SimDisk},
    event,
    law::log_agreement::Tail,
    machine::Planted,
    node::DRIFT_MAX,
    read::{self, ReadOf, ReadValue},
    session::{Caller, Session, Sessions},
    world::releases,
};
use bytes::Bytes;
use domain::{
    ArtifactId, LeaseId, ReplicaId,
    audit::EventSignature,
    link::Down,
    signing::{KeyPurpose, SigningKey},
    version::Understood,
};
use scheduler::{
    consensus::{BootError, Input, MemberChange, Output, Replica, ReplicaConfig, Role, StopReason},
    leader::duties::{Duties, Duty, Event},
    state::command::{Command, Refusal, Reply, Request},
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a server asks of the world.
pub enum Ask {
    /// A write was queued on its disk.
    Write,
    /// Send a message.
    Send(ReplicaId, Bytes),
    /// Freeze the rows for another server.
    BuildSnapshot(ReplicaId),
    /// Send what was frozen.
    SendSnapshot(ReplicaId, Bytes),
    /// Answer a client.
    Answer(usize, u64, Option<Reply>),
    /// Answer a client's read with what it shows, as of which entry.
    ReadAnswer(usize, u64, Option<(u64, ReadValue)>),
    /// A plan was made.
    Planned(Box<Command>),
    /// Tell an agent on a stream.
    Tell(u64, Down),
    /// Close a stream after what was told on it.
    Close(u64),
    /// Check and sign a ticket.
    Seal(LeaseId),
    /// Look at the copies of the results after one.
    CheckCopies(ArtifactId),
    /// Carry out what was collected: it has all that was acknowledged.
    CaughtUp,
    /// It leads in a term.
    Leads(u64),
    /// Entries were applied.
    Applied,
    /// The members were changed, or not.
    Changed(bool),
    /// The replica found that it must not go on.
    Stopped(StopReason),
}

/// One server.
pub struct Server {
    /// Its id.
    pub id: ReplicaId,
    /// Its disk.
    pub disk: SimDisk,
    /// The replica, while the process is up.
    pub replica: Option<Replica<Planted, SharedRows>>,
    /// Counts lives of the process.
    pub life: u64,
    /// Paused until then: nothing happens to it.
    pub paused_until: u64,
    /// Whether it has written down that it is never to serve again.
    pub condemned: bool,
    /// What is wrong with it.
    pub damage: Option<Damage>,
    /// Where it stands with its operator.
    pub service: Service,
    /// The release that its process is started with.
    pub release: Understood,
    /// Whether it was never started with the newest release.
    pub never_new: bool,
    /// Whether that release is too old for what is on its disk.
    pub too_old: bool,
    /// Its clocks.
    pub clock: Clock,
    /// The next sync fails; whether there is room for what it writes.
    pub next_sync_fails: Option<bool>,
    /// Until when its disk answers nothing. Unit: ms.
    pub disk_hangs_until: u64,
    /// Its disk is nearly full: no new jobs, and rather no leadership.
    pub low_space: bool,
    /// Streams to it.
    pub sessions: Sessions,
    /// Its chance.
    pub chance: Chance,
    /// Its log above what it has applied.
    pub tail: Tail,
    /// What reached it while it was paused.
    pub mailbox: Vec<event::Event>,
    /// What the server itself asked of its replica while that was stepping: what one step says
    /// is performed in order before the next.
    inputs: VecDeque<Input>,
    stepping: bool,
    waiting: BTreeMap<u64, Caller>,
    next_token: u64,
    duties: Option<Duties>,
    /// The members as its duties last heard.
    members: BTreeSet<ReplicaId>,
}

impl Server {
    /// A server with a founder's disk.
    #[must_use]
    pub fn new(id: ReplicaId, disk: SimDisk, mut chance: Chance) -> Self {
        let drift = chance.below(2 * DRIFT_MAX + 1) as i64 - DRIFT_MAX as i64;
        Self {
            id,
            disk,
            replica: None,
            life: 0,
            paused_until: 0,
            condemned: false,
            damage: None,
            service: Service::In,
            release: if chance.one_in(2) { releases::OLD } else { releases::NEW },
            never_new: true,
            too_old: false,
            clock: Clock::new(chance.below(20) as i64, drift),
            next_sync_fails: None,
            disk_hangs_until: 0,
            low_space: false,
            sessions: Sessions::new(),
            chance,
            tail: Tail::default(),
            mailbox: Vec::new(),
            inputs: VecDeque::new(),
            stepping: false,
            waiting: BTreeMap::new(),
            next_token: 0,
            duties: None,
            members: BTreeSet::new(),
        }
    }

    /// Starts the process from its disk.
    ///
    /// # Errors
    /// When the disk does not fit together.
    pub fn boot(&mut self, config: ReplicaConfig) -> Result<(), String> {
        let (boot, rows) = self.disk.boot().map_err(|fault| fault.to_string())?;
        let (log, applied) = self.disk.log();
        self.tail.restart(applied, log.iter());
        self.life += 1;
        let chance = &mut self.chance;
        let start = || Replica::new(config, boot, rows, &mut || chance.draw());
        // A damaged row stops the process where it is read.
        let started = match self.damage {
            Some(Damage::Row) => damage::expect_panic(start)?,
            _ => start(),
        };
        self.too_old = matches!(started, Err(BootError::Version { .. }));
        self.replica = Some(started.map_err(|fault| fault.to_string())?);
        Ok(())
    }

    /// The process dies, and with it what was not synced.
    pub fn crash(&mut self) {
        self.replica = None;
        self.life += 1;
        self.sessions.clear();
        self.inputs.clear();
        self.stepping = false;
        self.waiting.clear();
        self.mailbox.clear();
        self.duties = None;
        self.disk.crash(&mut self.chance);
    }

    /// Where it stands, in words; none when it was removed.
    #[must_use]
    pub fn state(&self) -> Option<String> {
        let members = |set: &BTreeSet<ReplicaId>| set.iter().map(ReplicaId::to_string).collect();
        let words = match &self.replica {
            _ if self.service == Service::Gone => return None,
            Some(replica) => {
                let ((role, term, _), applied) = (replica.role(), replica.applied());
                let voters: Vec<String> = members(&replica.membership().voters);
                let outgoing: Vec<String> = members(&replica.membership().voters_outgoing);
                format!("{role:?} in {term} at {applied} of {voters:?} from {outgoing:?}")
            }
            None => format!("down, {:?}, damage {:?}", self.service, self.damage),
        };
        Some(format!("{} {words}", self.id))
    }

    /// Whether it leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.replica.as_ref().is_some_and(|replica| replica.role().0 == Role::Leader)
    }

    /// Who leads, as far as it knows.
    #[must_use]
    pub fn leader(&self) -> Option<ReplicaId> {
        self.replica.as_ref().and_then(|replica| replica.role().2)
    }

    /// Gives an input to the replica and performs what it says.
    pub fn input(&mut self, input: Input, now: u64, asks: &mut Vec<Ask>) {
        self.inputs.push_back(input);
        if self.stepping {
            return;
        }
        self.stepping = true;
        while let (Some(replica), Some(input)) = (&mut self.replica, self.inputs.pop_front()) {
            let chance = &mut self.chance;
            let wall = self.clock.wall(now);
            let outputs = replica.step(input, wall, &mut || chance.draw());
            for output in outputs {
                self.output(output, now, asks);
            }
        }
        self.inputs.clear();
        self.stepping = false;
    }

    fn output(&mut self, output: Output, now: u64, asks: &mut Vec<Ask>) {
        match output {
            Output::Write { seq, op } => {
                if let Some(install) = &op.install {
                    self.tail.skip(install.mark.applied.index);
                }
                self.tail.append(op.entries.iter().map(|entry| (entry.index, &entry.bytes)));
                self.disk.queue(seq, op);
                asks.push(Ask::Write);
            }
            Output::Send { to, bytes } => asks.push(Ask::Send(to, bytes)),
            Output::Reply { token, reply } => {
                if let Some(caller) = self.waiting.remove(&token) {
                    self.answer(caller, Some(reply), now, asks);
                }
            }
            Output::Rejected { token, .. } | Output::ReadFailed { token, .. } => {
                if let Some(caller) = self.waiting.remove(&token) {
                    self.answer(caller, None, now, asks);
                }
            }
            Output::ReadReady { token, .. } => self.read_ready(token, now, asks),
            Output::RoleChanged { role, term, .. } => {
                if role == Role::Leader {
                    asks.push(Ask::Leads(term));
                }
                if role != Role::Leader {
                    self.step_down(asks);
                } else {
                    self.duty(Event::Tick, now, asks);
                }
            }
            Output::Applied { .. } => asks.push(Ask::Applied),
            Output::Effects(effects) => self.effects(effects, now, asks),
            Output::BuildSnapshot { to } => asks.push(Ask::BuildSnapshot(to)),
            Output::SendSnapshot { to, message, .. } => asks.push(Ask::SendSnapshot(to, message)),
            Output::SnapshotSettled { family, installed } => {
                self.disk.settle(family, installed);
                // All that it knew was replaced by what another one knows.
                if installed && matches!(self.damage, Some(Damage::Memory { .. })) {
                    self.damage = None;
                }
            }
            Output::Changed { token, result } => {
                if self.waiting.remove(&token).is_some() {
                    asks.push(Ask::Changed(result.is_ok()));
                }
            }
            Output::Members(_) => {}
            Output::Stop(reason) => {
                let may_return =
                    matches!(reason, StopReason::NoMajority { .. } | StopReason::Version { .. });
                self.condemned = !may_return;
                asks.push(Ask::Stopped(reason));
            }
        }
    }

    fn read_ready(&mut self, token: u64, now: u64, asks: &mut Vec<Ask>) {
        match self.waiting.remove(&token) {
            Some(Caller::Heartbeat { link, seq }) => {
                self.contact(link, now, asks);
                asks.push(Ask::Tell(link, Down::Contact { seq }));
            }
            Some(Caller::Read { client, call, of }) => {
                let Some(replica) = &self.replica else { return };
                let (machine, rows) = replica.view();
                let value = read::read(&machine.0, rows, of);
                asks.push(Ask::ReadAnswer(client, call, Some((replica.applied().0, value))));
            }
            Some(Caller::Collecting) => asks.push(Ask::CaughtUp),
            _ => {}
        }
    }

    /// Reads on behalf of a client, whether it leads or not.
    pub fn look(&mut self, client: usize, call: u64, of: ReadOf, now: u64, asks: &mut Vec<Ask>) {
        self.next_token += 1;
        let token = self.next_token;
        self.waiting.insert(token, Caller::Read { client, call, of });
        self.input(Input::ReadIndex { token }, now, asks);
    }

    /// Asks for all that was acknowledged until now, to carry out what was collected.
    pub fn catch_up(&mut self, now: u64, asks: &mut Vec<Ask>) {
        self.next_token += 1;
        let token = self.next_token;
        self.waiting.insert(token, Caller::Collecting);
        self.input(Input::ReadIndex { token }, now, asks);
    }

    /// Changes the members on behalf of the operator.
    pub fn change(&mut self, change: MemberChange, now: u64, asks: &mut Vec<Ask>) {
        self.next_token += 1;
        let token = self.next_token;
        self.waiting.insert(token, Caller::Operator);
        self.input(Input::Change { token, change }, now, asks);
    }

    /// Callers that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn step_down(&mut self, asks: &mut Vec<Ask>) {
        self.duties = None;
        for link in self.sessions.keys() {
            asks.push(Ask::Close(*link));
        }
        self.sessions.clear();
    }

    /// Proposes on behalf of a caller.
    pub fn propose(&mut self, caller: Caller, request: Request, now: u64, asks: &mut Vec<Ask>) {
        if self.low_space && request.command.submits() {
            return self.answer(caller, None, now, asks);
        }
        self.next_token += 1;
        let token = self.next_token;
        self.waiting.insert(token, caller);
        self.input(Input::Propose { token, request }, now, asks);
    }

    fn answer(&mut self, caller: Caller, reply: Option<Reply>, now: u64, asks: &mut Vec<Ask>) {
        match caller {
            Caller::Client { client, call } => asks.push(Ask::Answer(client, call, reply)),
            Caller::Read { client, call, .. } => asks.push(Ask::ReadAnswer(client, call, None)),
            Caller::Register { node, link } => match reply {
                Some(Reply::Registered { node: id }) => {
                    let session = Session { node, id: Some(id), dirty: true, told: None };
                    self.sessions.insert(link, session);
                    asks.push(Ask::Tell(link, Down::Welcome { node: id }));
                    self.contact(link, now, asks);
                    self.send_wanted(asks);
                }
                _ => asks.push(Ask::Close(link)),
            },
            Caller::Report { link, seq } => {
                let refused = match reply {
                    // What came too early is repeated by the agent.
                    None | Some(Reply::Refused(Refusal::NotYet { .. })) => return,
                    Some(Reply::Refused(refusal)) => Some(refusal.to_string()),
                    Some(_) => None,
                };
                asks.push(Ask::Tell(link, Down::Recorded { seq, refused }));
            }
            Caller::Heartbeat { .. } | Caller::Operator | Caller::Collecting | Caller::Duty => {}
            Caller::Plan => self.duty(Event::PlanAnswered, now, asks),
            Caller::Training { undecided } => {
                self.duty(Event::TrainingDecided { undecided }, now, asks);
            }
            Caller::Seal { ticket } => {
                if !matches!(reply, Some(Reply::Sealed { .. })) {
                    self.duty(Event::SealFailed { ticket }, now, asks);
                }
            }
        }
    }

    /// Lets the leader's duties hear of something.
    pub fn duty(&mut self, event: Event, now: u64, asks: &mut Vec<Ask>) {
        if !self.leads() {
            return;
        }
        let Some(replica) = &self.replica else { return };
        let view = replica.view().0.0.view();
        let (clock, wall) = (self.clock.monotonic(now), self.clock.wall(now));
        let duties = self.duties.get_or_insert_with(|| Duties::new(clock, &view).asking(true));
        let mut todo = duties.on(event, &view, clock, wall);
        let members = replica.membership().everyone();
        if members != self.members {
            self.members = members;
            todo.extend(duties.on(Event::MembersChanged, &view, clock, wall));
        }
        for duty in todo {
            match duty {
                Duty::Propose(command) => {
                    let plan = matches!(command, Command::Place { .. } | Command::Preempt { .. });
                    if plan {
                        asks.push(Ask::Planned(Box::new(command.clone())));
                    }
                    let caller = if plan { Caller::Plan } else { Caller::Duty };
                    self.propose(caller, self.own(command), now, asks);
                }
                Duty::Reconnect { node } => {
                    let of_node = |session: &Session| session.id == Some(node);
                    let open = self.sessions.iter().filter(|(_, session)| of_node(session));
                    asks.extend(open.map(|(link, _)| Ask::Close(*link)));
                    self.sessions.retain(|_, session| !of_node(session));
                }
                Duty::Seal { ticket } => asks.push(Ask::Seal(ticket)),
                Duty::CheckCopies { after } => asks.push(Ask::CheckCopies(after)),
                duty @ (Duty::DecideTraining { .. }
                | Duty::DecidePromotion { .. }
                | Duty::SignPromotion { .. }) => self.gate(duty, now, asks),
                Duty::Sign { first, count } => match self.event_key() {
                    Some(signer) => {
                        let signature = EventSignature { signer, bytes: vec![first as u8; 64] };
                        let signatures = vec![signature; count as usize];
                        let command = Command::SignEvents { first, signatures };
                        self.propose(Caller::Duty, self.own(command), now, asks);
                    }
                    None => self.duty(Event::SignFailed, now, asks),
                },
            }
        }
    }

    /// The key that signs events: any, until the log knows of keys.
    fn event_key(&self) -> Option<String> {
        let (machine, rows) = self.replica.as_ref()?.view();
        let view = machine.0.view().keys(rows);
        if view.keys.is_empty() {
            return Some("sim".into());
        }
        let counts =
            |key: &&SigningKey| key.purpose == KeyPurpose::Event && key.check(view.now).is_ok();
        view.keys.iter().find(counts).map(|key| key.kid.clone())
    }

    /// A request of this server's own.
    #[must_use]
    pub fn own(&self, command: Command) -> Request {
        Request { key: None, actor: format!("server:{}", self.id.0), command }
    }
}
