//! What goes wrong, and when.

use crate::{chance::Chance, event::Event, world::World};

/// The source of faults.
pub struct Faults {
    chance: Chance,
}

impl Default for Faults {
    fn default() -> Self {
        Self { chance: Chance::new(0) }
    }
}

impl Faults {
    /// Faults from a branch of chance.
    #[must_use]
    pub fn new(chance: Chance) -> Self {
        Self { chance }
    }

    /// Does one fault. Gives the time to the next. Unit: ms.
    pub fn strike(&mut self, world: &mut World) -> u64 {
        let among = world.in_service();
        let server = among[self.chance.below(among.len() as u64) as usize];
        let node = self.chance.below(world.nodes.len() as u64) as usize;
        let leader = world.servers.iter().position(|server| server.leads());
        match self.chance.below(28) {
            0..=2 => self.crash(world, server),
            3 => self.crash(world, leader.unwrap_or(server)),
            4 => self.pause(world, server),
            5 | 6 => self.partition(world, server),
            7 => self.isolate(world, node),
            8 => {
                world.coverage.agent_kills += 1;
                world.nodes[node].kill_agent();
                self.restart_agent(world, node);
            }
            9 => {
                world.coverage.reboots += 1;
                world.nodes[node].reboot();
                self.restart_agent(world, node);
            }
            10 => world.loss = if world.loss > 0 { 0 } else { self.chance.between(8, 60) },
            11 | 12 => self.flicker(world),
            13 => self.power_cut(world),
            14 if self.chance.one_in(2) => self.hang(world, leader.unwrap_or(server)),
            14 => world.slow_disk = Some(server),
            15 => world.slow_disk = None,
            16 => world.raise_zombie(),
            17 => world.servers[server].next_sync_fails = Some(true),
            18 => world.servers[server].next_sync_fails = Some(false),
            19 => {
                let low = !world.servers[server].low_space;
                world.servers[server].low_space = low;
                world.coverage.low_disks += u64::from(low);
            }
            20 => self.jump(world, server),
            21 => self.jump(world, leader.unwrap_or(server)),
            22 => {
                world.coverage.clock_stops += 1;
                let now = world.now;
                world.servers[server].clock.stop(now);
            }
            23 | 24 => {
                let down = self.chance.between(50, 5_000);
                world.damage(server, false, down);
            }
            25 => world.damage(server, true, 0),
            26 => self.pause(world, leader.unwrap_or(server)),
            _ => {
                world.cut.clear();
                world.loss = 0;
            }
        }
        self.chance.between(300, 6_000)
    }

    /// A disk answers nothing for longer than an election, sometimes than a lease.
    fn hang(&mut self, world: &mut World, at: usize) {
        world.coverage.disk_hangs += 1;
        world.servers[at].disk_hangs_until = world.now + self.chance.between(1_500, 15_000);
    }

    /// A wall clock is set wrong by anything up to three days, or right again by as much.
    fn jump(&mut self, world: &mut World, at: usize) {
        world.coverage.clock_jumps += 1;
        let most = [2_000, 60_000, 3_600_000, 3 * 86_400_000][self.chance.below(4) as usize];
        let by = self.chance.below(most) as i64;
        world.servers[at].clock.jump(if self.chance.one_in(2) { by } else { -by });
        if self.chance.one_in(2) {
            // What it stamps so is answered by another.
            let (wait, down) = (self.chance.between(100, 3_000), self.chance.between(50, 5_000));
            world.after(wait, Event::Crash { server: at, down });
        }
    }

    /// The leader dies, and others with it for moments, while they vote for the next.
    fn flicker(&mut self, world: &mut World) {
        let leader = world.servers.iter().position(|server| server.leads()).unwrap_or(0);
        world.after(0, Event::Crash { server: leader, down: self.chance.between(100, 3_000) });
        for _ in 0..8 {
            let among = world.in_service();
            let server = among[self.chance.below(among.len() as u64) as usize];
            let (wait, down) = (self.chance.between(300, 1_600), self.chance.between(1, 30));
            world.after(wait, Event::Crash { server, down });
        }
    }

    /// All servers lose power at once; what was acknowledged is on their disks.
    fn power_cut(&mut self, world: &mut World) {
        for server in 0..world.servers.len() {
            let down = self.chance.between(1, 400);
            world.after(0, Event::Crash { server, down });
        }
    }

    fn crash(&mut self, world: &mut World, at: usize) {
        let down = self.chance.between(50, 20_000);
        Self::crash_for(world, at, down);
    }

    /// The process dies with what it had not synced, and comes back after `down` ms.
    pub fn crash_for(world: &mut World, at: usize, down: u64) {
        if world.servers[at].replica.is_none() {
            return;
        }
        world.coverage.crashes += 1;
        world.servers[at].crash();
        world.break_streams(at);
        world.after(down, Event::Boot { server: at });
    }

    /// The process stands still for longer than an election, sometimes than a lease.
    fn pause(&mut self, world: &mut World, at: usize) {
        if world.servers[at].replica.is_none() || world.servers[at].paused_until > world.now {
            return;
        }
        world.coverage.pauses += 1;
        let time = self.chance.between(300, 12_000);
        world.servers[at].paused_until = world.now + time;
        let life = world.servers[at].life;
        world.after(time, Event::Resume { server: at, life });
    }

    /// One or both directions between a server and another, or all others.
    fn partition(&mut self, world: &mut World, at: usize) {
        world.coverage.cuts += 1;
        let one_way = self.chance.one_in(3);
        world.coverage.one_way += u64::from(one_way);
        let me = at as u64 + 1;
        for other in 1..=world.servers.len() as u64 {
            if other == me || self.chance.one_in(3) {
                continue;
            }
            world.cut.insert((me, other));
            if !one_way {
                world.cut.insert((other, me));
            }
        }
    }

    /// A node reaches some or no servers.
    fn isolate(&mut self, world: &mut World, node: usize) {
        world.coverage.cuts += 1;
        for server in 1..=world.servers.len() as u64 {
            if !self.chance.one_in(3) {
                world.cut.insert((1_000 + node as u64, server));
                world.cut.insert((server, 1_000 + node as u64));
            }
        }
    }

    fn restart_agent(&mut self, world: &mut World, node: usize) {
        let down = self.chance.between(100, 15_000);
        world.start_agent_after(node, down);
    }
}
