//! What clients do: they ask, repeat, read, and compare what they are told.

use super::World;
use crate::{
    client,
    event::Event,
    law::Broken,
    read::{ReadOf, ReadValue},
    session::Caller,
};
use domain::Digest;
use scheduler::state::command::{Command, Reply, Request, Submission};

/// What the jobs of a request are given.
fn data_of(request: &Request) -> Vec<Digest> {
    let (Command::Submit { jobs } | Command::SubmitFurther(Submission { jobs, .. })) =
        &request.command
    else {
        return Vec::new();
    };
    let all = jobs.iter().flat_map(|job| job.spec.datasets.values());
    all.map(|set| set.tree).collect()
}

impl World {
    /// A client asks for something new, or again.
    pub(super) fn client(&mut self, at: usize, call: u64) {
        let waits = self.clients[at].asked.as_ref().map(|(newest, _)| *newest);
        match (waits, call) {
            // Answered meanwhile, or asked again.
            (Some(newest), call) if call != 0 && call != newest => return,
            (None, call) if call != 0 => return,
            (None, _) if self.healing => return,
            _ => {}
        }
        if let Some(back) = self.clients[at].wants_data()
            && let Some(tree) = self.some_tree(back)
        {
            self.clients[at].give(tree);
        }
        let (call, request) = self.clients[at].ask();
        self.send_data(&data_of(&request));
        self.laws.calls(request.key.unwrap_or_default());
        let among = self.in_service();
        let server = self.clients[at].server(&among);
        let wait = 1 + self.net.below(5);
        let request = Box::new(request);
        self.after(wait, Event::Ask { server, client: at, call, request });
        self.after(client::PATIENCE, Event::Client { client: at, call });
    }

    pub(super) fn ask(
        &mut self,
        server: usize,
        client: usize,
        call: u64,
        request: Request,
    ) -> Result<(), Broken> {
        self.with_server(server, |server, now, asks| {
            server.propose(Caller::Client { client, call }, request, now, asks);
        })
    }

    /// A client hears an answer. It looks at once whether others show what it was told.
    pub(super) fn answer(
        &mut self,
        at: usize,
        call: u64,
        reply: Option<Reply>,
    ) -> Result<(), Broken> {
        let Some((_, request)) = &self.clients[at].asked else { return Ok(()) };
        let key = request.key.unwrap_or_default();
        self.clients[at].hear(call, reply).map_err(Broken::new)?;
        if self.clients[at].asked.is_some() {
            return Ok(());
        }
        if let Some(reply) = self.clients[at].replies.get(&key) {
            self.coverage.writes += 1;
            self.laws.written(key, reply)?;
        }
        let pause = self.clients[at].pause();
        self.after(pause, Event::Client { client: at, call: 0 });
        for _ in 0..2 {
            self.look(at);
        }
        Ok(())
    }

    /// A client reads something from some server.
    pub(super) fn look(&mut self, at: usize) {
        let among = self.in_service();
        let (call, of, server) = self.clients[at].read(&among);
        self.laws.reads(at, call, of);
        let wait = 1 + self.net.below(5);
        self.after(wait, Event::AskRead { server, client: at, call, of });
    }

    /// Reads go on for as long as the world does.
    pub(super) fn keep_looking(&mut self, at: usize) {
        self.look(at);
        let pause = self.clients[at].read_pause();
        self.after(pause, Event::Look { client: at });
    }

    pub(super) fn ask_read(
        &mut self,
        server: usize,
        client: usize,
        call: u64,
        of: ReadOf,
    ) -> Result<(), Broken> {
        self.with_server(server, |server, now, asks| server.look(client, call, of, now, asks))
    }

    pub(super) fn read_answer(
        &mut self,
        client: usize,
        call: u64,
        answer: Option<(u64, ReadValue)>,
    ) -> Result<(), Broken> {
        self.coverage.reads += u64::from(answer.is_some());
        self.laws.read(client, call, answer.as_ref().map(|(at, value)| (*at, value)))
    }
}
