//! What a job was submitted as, and what of it is kept in memory.

use crate::state::usage::Held;
use borsh::{BorshDeserialize, BorshSerialize, io};
use domain::{
    Digest, ElementId, JobId, LogIndex, Millis, NodeId,
    after::{After, RetryRule},
    check::{CheckRun, Verify},
    interrupt::Interrupt,
    isolation::{Confinement, Isolation},
    job::{Array, JobSpec, OnDisconnect, Restart},
    queue::Order,
    resource::TaskResources,
    topology::Topology,
    trailing,
};
use registry::seal::recipe;
use std::{collections::BTreeSet, sync::Arc};

/// What a job was submitted as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The specification.
    pub spec: JobSpec,
    /// Its recipe.
    pub recipe: Digest,
    /// When.
    pub time: Millis,
    /// In which entry.
    pub at: LogIndex,
    /// Where it is to run, if it repeats another job.
    pub pin: Option<Pin>,
}

impl BorshSerialize for Submitted {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        let Self { spec, recipe, time, at, pin } = self;
        (spec, recipe, time, at, pin).serialize(writer)?;
        trailing::write(&spec.further(), writer)
    }
}

impl BorshDeserialize for Submitted {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let (mut spec, recipe, time, at, pin): (JobSpec, _, _, _, _) =
            BorshDeserialize::deserialize_reader(reader)?;
        spec.set_further(trailing::read(reader)?);
        Ok(Self { spec, recipe, time, at, pin })
    }
}

/// What of a live job is kept in memory: what decides where it runs and whether it is tried
/// again. Everything else is read from its row when it is needed, so that a long queue is small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brief {
    /// Its name.
    pub name: Box<str>,
    /// Who submitted it.
    pub user: Arc<str>,
    /// Where it waits.
    pub queue: Arc<str>,
    /// Higher goes first.
    pub priority: i32,
    /// Size of the gang.
    pub tasks: u32,
    /// What each task needs.
    pub resources: TaskResources,
    /// Further attempts after its own faults.
    pub retries: u32,
    /// When a lost attempt may be followed.
    pub restart: Restart,
    /// Many elements, if it is an array.
    pub array: Option<Array>,
    /// Where it is to run, if it repeats another job.
    pub pin: Option<Box<Pin>>,
    /// What it waits for, when it is tried again and how long it runs, where it says so.
    pub waits: Option<Box<Waits>>,
    /// When it was submitted.
    pub time: Millis,
    /// What it says of its own isolation.
    pub confinement: Confinement,
    /// What an agent out of contact does with it.
    pub on_disconnect: OnDisconnect,
    /// The least isolation that its queue demands now.
    pub least: Isolation,
    /// In which order its queue is served now.
    pub order: Order,
    /// What it says of being interrupted.
    pub interrupt: Interrupt,
    /// What part of its work is run again elsewhere, where it says so.
    pub verify: Option<Verify>,
    /// What it is a run of, if it is a run of a check.
    pub check: Option<Box<CheckRun>>,
    /// Longest time an attempt may run.
    pub time_limit: Option<Millis>,
    /// The window in which alone it runs.
    pub reservation: Option<Box<str>>,
    /// How near the parts of its gang have to be.
    pub topology: Topology,
    /// The class of hardware that it asks for.
    pub hardware_class: Option<Box<str>>,
}

/// What few jobs say: what they wait for, when they are tried again, how long they run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// Jobs that have to end first.
    pub after: Vec<After>,
    /// When it is tried again after a failure of its own.
    pub retry: RetryRule,
    /// How long an attempt is expected to run.
    pub estimate: Option<Millis>,
}

impl Waits {
    fn of(spec: &JobSpec) -> Option<Box<Self>> {
        let (after, retry) = (spec.after.clone(), spec.retry.clone());
        let waits = Self { after, retry, estimate: spec.estimate };
        (waits != Self::default()).then(|| Box::new(waits))
    }
}

impl Submitted {
    /// What of it is kept in memory.
    #[must_use]
    pub fn brief(&self) -> Brief {
        Brief {
            name: self.spec.name.as_str().into(),
            user: self.spec.user.as_str().into(),
            queue: self.spec.queue.as_str().into(),
            priority: self.spec.priority,
            tasks: self.spec.tasks,
            resources: self.spec.resources.clone(),
            retries: self.spec.retries,
            restart: self.spec.restart,
            array: self.spec.array,
            pin: self.pin.clone().map(Box::new),
            waits: Waits::of(&self.spec),
            time: self.time,
            confinement: self.spec.confinement,
            on_disconnect: self.spec.on_disconnect,
            least: Isolation::None,
            order: Order::Age,
            interrupt: self.spec.interrupt,
            verify: self.spec.verify,
            check: self.spec.check.clone().map(Box::new),
            time_limit: self.spec.time_limit,
            reservation: self.spec.reservation.as_deref().map(Into::into),
            topology: self.spec.topology,
            hardware_class: self.spec.hardware_class.as_deref().map(Into::into),
        }
    }

    /// The recipe of an element.
    #[must_use]
    pub fn recipe_of(&self, element: ElementId) -> Digest {
        match element.index {
            None => self.recipe,
            index => recipe::recipe_of_element(&self.spec, index),
        }
    }
}

impl Brief {
    /// What one element holds.
    #[must_use]
    pub fn gang(&self) -> Held {
        Held::of_gang(self.tasks, &self.resources)
    }

    /// What is owed to it: what it says of its own isolation, raised to what its queue demands.
    #[must_use]
    pub fn owed(&self) -> Confinement {
        self.confinement.at_least(self.least)
    }

    /// Whether its queue demands containers and it names no image.
    #[must_use]
    pub fn lacks_image(&self) -> bool {
        self.least == Isolation::Container && self.confinement.isolation < self.least
    }

    /// Jobs that have to end first.
    #[must_use]
    pub fn after(&self) -> &[After] {
        self.waits.as_ref().map_or(&[], |waits| &waits.after)
    }

    /// How long an attempt is expected to run.
    #[must_use]
    pub fn estimate(&self) -> Option<Millis> {
        self.waits.as_ref()?.estimate
    }

    /// Number of elements.
    #[must_use]
    pub fn elements(&self) -> u32 {
        self.array.map_or(1, |array| array.count)
    }

    /// The element at a position.
    #[must_use]
    pub fn element(&self, job: JobId, position: u32) -> ElementId {
        ElementId { job, index: self.array.map(|_| position) }
    }

    /// The position of an element, if the job has it.
    #[must_use]
    pub fn position(&self, element: ElementId) -> Option<u32> {
        match (self.array, element.index) {
            (None, None) => Some(0),
            (Some(array), Some(index)) if index < array.count => Some(index),
            (None, Some(_)) | (Some(_), None | Some(_)) => None,
        }
    }
}

/// The hardware class to repeat a job in, and the nodes to stay away from where others fit.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Pin {
    /// The class of the repeated run.
    pub class: String,
    /// Where it ran.
    pub away_from: BTreeSet<NodeId>,
}
