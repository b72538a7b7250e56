//! People at the registry: they register, request, approve, and some try to get around the rules.

use super::World;
use crate::{chance::Chance, event::Event, law::Broken, session::Caller};
use domain::{
    ArtifactId, Bytes, Decimal, Digest, Millis, PromotionId,
    artifact::OutputDigests,
    dataset::{DatasetFacts, PiiScan},
    model::{ModelRef, Stage},
    promotion::{Promotion, Risk},
};
use ed25519_dalek::{Signer, SigningKey};
use registry::{
    ledger::{RegistryCommand as C, view as ledger},
    seal::manifest,
};
use scheduler::state::command::{Command, Request};
use std::collections::BTreeMap;

/// People who may approve; the first of those who may not follows.
const APPROVERS: u64 = 5;

/// Who they are.
pub(super) struct People {
    chance: Chance,
    /// What becomes of nodes.
    pub(super) nodes: Chance,
    /// Approvers that were asked for so far.
    named: u64,
    /// A word that was given before, to be given again.
    old: Option<Vec<u8>>,
}

pub(super) fn key(of: u64) -> SigningKey {
    let mut seed = [7; 32];
    seed[0] = of as u8;
    SigningKey::from_bytes(&seed)
}

fn name(of: u64) -> String {
    format!("p{of}")
}

fn facts(tree: Digest) -> DatasetFacts {
    DatasetFacts {
        tree,
        root: tree,
        files: 1,
        size: Bytes(1),
        source: "https://example.org".into(),
        transformations: Vec::new(),
        licence: "MIT".into(),
        owner: "ada".into(),
        slices: BTreeMap::new(),
        pii_declared: false,
        scan: PiiScan::default(),
    }
}

fn dataset_of(output: &OutputDigests) -> C {
    let OutputDigests { tree, root, files, size, .. } = *output;
    let facts = DatasetFacts { root, files, size, ..facts(tree) };
    C::RegisterDataset { name: "made".into(), facts }
}

/// The data of a job turns out to be personal.
fn personal(tree: Digest) -> C {
    let facts = DatasetFacts { pii_declared: true, ..facts(tree) };
    C::RegisterDataset { name: "personal".into(), facts }
}

impl People {
    pub(super) fn new(root: &Chance) -> Self {
        let (chance, nodes) = (root.branch("people", 0), root.branch("drains", 0));
        Self { chance, nodes, named: 0, old: None }
    }

    fn register(&mut self, sealed: u64, known: &[ModelRef]) -> C {
        let accuracy = Decimal(i128::from(self.chance.between(40, 99)) * 10_000_000);
        let parent = known.get(self.chance.below(known.len() as u64 + 1) as usize).cloned();
        C::RegisterModel {
            family: format!("m{}", self.chance.below(3)),
            artifact: ArtifactId(1 + self.chance.below(sealed + 1)),
            metrics: [("accuracy".to_owned(), accuracy)].into(),
            parents: parent.into_iter().collect(),
            aliases: if self.chance.one_in(4) { vec!["champion".into()] } else { Vec::new() },
        }
    }

    fn request(&mut self, model: ModelRef) -> C {
        let chance = &mut self.chance;
        C::RequestPromotion {
            model,
            to: if chance.one_in(2) { Stage::Staging } else { Stage::Prod },
            risk: if chance.one_in(2) { Risk::High } else { Risk::Low },
            emergency: chance.one_in(4),
            reason: "better".into(),
            within: Some(Millis(chance.between(500, 20_000))),
        }
    }

    /// Somebody lets files go, holds some, or makes the newest a data set.
    fn keep(&mut self, sealed: u64, newest: Option<OutputDigests>) -> C {
        let chance = &mut self.chance;
        let artifact = ArtifactId(1 + chance.below(sealed + 1));
        match (chance.below(8), newest) {
            (0, Some(output)) if chance.one_in(3) => dataset_of(&output),
            (0 | 1, _) => {
                C::HoldArtifact { artifact, held: chance.one_in(2), reason: "case".into() }
            }
            _ => {
                let all = artifact.0..artifact.0 + 1 + chance.below(12);
                C::Collect { artifacts: all.map(ArtifactId).collect() }
            }
        }
    }

    /// Somebody's word for a promotion: mostly their own, else another's or an old one.
    fn word(&mut self, promotion: &Promotion) -> (u64, C) {
        let who = self.chance.below(APPROVERS + 1);
        let by = if self.chance.one_in(6) { who + 1 } else { who };
        let own = key(by).sign(&manifest::approval_bytes(promotion)).to_bytes().to_vec();
        let replayed = self.old.take().filter(|_| self.chance.one_in(6));
        self.old = Some(own.clone());
        (who, C::Approve { promotion: promotion.id, signature: replayed.unwrap_or(own) })
    }
}

impl World {
    /// Somebody does something at the registry, and somebody else comes later.
    pub(super) fn people(&mut self) -> Result<(), Broken> {
        let wait = self.people.chance.between(100, 900);
        self.after(wait, Event::People);
        let Some(at) = self.leader() else { return Ok(()) };
        let clears = self.healing || self.people.chance.one_in(8);
        let act = match clears.then(|| self.clear_data(at)).flatten() {
            Some(act) => Some(act),
            None if let Some(act) = self.tend_nodes(at) => Some(act),
            None if self.healing => None,
            None => self.think(at).map(|(who, command)| (name(who), Command::Registry(command))),
        };
        let Some((who, command)) = act else { return Ok(()) };
        self.coverage.registry += 1;
        let actor = format!("user:{who}");
        self.with_server(at, |server, now, asks| {
            server.propose(Caller::Duty, Request { key: None, actor, command }, now, asks);
        })
    }

    fn think(&mut self, at: usize) -> Option<(u64, C)> {
        let (machine, rows) = self.servers[at].replica.as_ref()?.view();
        let view = machine.0.view();
        let results = view.artifacts(rows, ArtifactId(0), 1_000);
        let sealed = results.len() as u64;
        let data = results.last().map(|found| found.artifact.ticket.output.clone());
        let families = view.families(rows, "", 10);
        let of = |family: &domain::model::FamilyView| {
            let name = family.family.clone();
            (1..=family.versions).map(move |version| ModelRef { family: name.clone(), version })
        };
        let known: Vec<ModelRef> = families.iter().flat_map(of).collect();
        let open = view.open_promotions().filter_map(|(id, _)| view.promotion(rows, id));
        let open: Vec<Promotion> = open.collect();
        let clearable = view.approvers(rows).approvers.len() > 1;
        let waiting = open.iter().filter(|_| clearable).map(|promotion| promotion.artifact);
        let mut made_by = waiting.filter_map(|artifact| ledger::made_by(rows, artifact));
        let given = made_by.find_map(|element| {
            let spec = view.job(rows, element.job)?.spec;
            spec.datasets.into_values().next().map(|captured| captured.tree)
        });
        let people = &mut self.people;
        let who = people.chance.below(APPROVERS + 1);
        if people.named < APPROVERS {
            people.named += 1;
            let (name, key) = (name(people.named - 1), key(people.named - 1));
            return Some((who, C::AddApprover { name, key: key.verifying_key().to_bytes() }));
        }
        let one = (!known.is_empty())
            .then(|| known[people.chance.below(known.len() as u64) as usize].clone());
        if let Some(tree) = given.filter(|_| people.chance.one_in(8)) {
            return Some((who, personal(tree)));
        }
        match (people.chance.below(16), one) {
            (0, Some(model)) if people.chance.one_in(3) => {
                Some((who, C::DeprecateModel { model, reason: "old".into() }))
            }
            (1, _) if people.chance.one_in(6) => {
                let artifact = ArtifactId(1 + people.chance.below(sealed + 1));
                Some((who, C::RevokeArtifact { artifact, reason: "leak".into() }))
            }
            (2 | 3, Some(model)) => Some((who, people.request(model))),
            (4, _) if !open.is_empty() && people.chance.one_in(3) => {
                let promotion = open[people.chance.below(open.len() as u64) as usize].id;
                Some((who, C::Reject { promotion, reason: "no".into() }))
            }
            (5, _) => {
                let promotion = PromotionId(1 + people.chance.below(20));
                Some((who, C::SettlePromotion { promotion }))
            }
            (6..=10, _) if !open.is_empty() => {
                let at = people.chance.below(open.len() as u64) as usize;
                Some(people.word(&open[at]))
            }
            (11..=13, _) => Some((who, people.keep(sealed, data))),
            _ => Some((who, people.register(sealed, &known))),
        }
    }
}
