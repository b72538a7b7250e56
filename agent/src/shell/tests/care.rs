//! A GPU that falls ill under a running agent.

use super::*;
use crate::{
    driver::patrol::News,
    machine::health::{Gauges, HealthInput, Reading},
    shell::ward::{HEALTH_AHEAD, Node, Ward},
};
use domain::{
    hardware::{CpuSet, Disk, GpuHardware, GpuSet, Hardware, HostHardware},
    health::{Acceptance, HeldState},
    link::LINK_VERSION,
};

fn hardware() -> Hardware {
    let whole = |gpu: Gpu| GpuHardware {
        gpu,
        bus: String::new(),
        numa_node: None,
        cpus: CpuSet::default(),
        power: None,
        graphics_max: None,
        memory_max: None,
        pcie: None,
        nvlinks: Vec::new(),
        slices: None,
    };
    let all = inventory().gpus.into_iter().map(whole).collect();
    let host = HostHardware { boot_id: inventory().boot_id, ..HostHardware::default() };
    Hardware { host, gpus: GpuSet { all, ..GpuSet::default() } }
}

impl World {
    fn ward(&self) -> Ward {
        Ward::open(&self.dirs(), &hardware()).unwrap()
    }

    async fn watched(&self) -> (Agent, mpsc::Sender<News>) {
        let (tell, heard) = mpsc::channel(HEALTH_AHEAD);
        let hardware = Some(Box::new(hardware()));
        let (inventory, ward) = (inventory(), self.ward());
        let node = Node { inventory, hardware, ward, heard, supervisor: None };
        (self.agent_on(node).await, tell)
    }
}

impl Agent {
    /// Waits until the agent ends its stream, and gives what it registers with on the next.
    async fn registers_anew(&mut self) -> Vec<u32> {
        while let Some(up) = tokio::time::timeout(PATIENCE, self.ups.recv()).await.unwrap() {
            match up {
                Up::Heartbeat { seq, .. } => self.say(Down::Contact { seq }).await,
                Up::Health { gpus } => self.held_back = gpus,
                _ => {}
            }
        }
        self.events.send(LinkEvent::Lost).await.unwrap();
        let (up, ups) = mpsc::channel(4_096);
        self.ups = ups;
        self.events.send(LinkEvent::Opened { server: "s".into(), up }).await.unwrap();
        let Some(Up::Register { inventory, held }) = self.ups.recv().await else {
            panic!("no register")
        };
        self.held = held;
        self.say(Down::Welcome { node: NodeId(1) }).await;
        inventory.gpus.into_iter().map(|gpu| gpu.index).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sick_gpu_is_withdrawn_and_only_what_runs_on_it_ends_where_bits_are_in_doubt() {
    let mut world = World::new().await;
    let (mut agent, tell) = world.watched().await;
    let read = async |uuid: &str, reading| {
        let input = HealthInput::Read { uuid: uuid.into(), reading };
        tell.send(News::Health(input)).await.unwrap();
    };
    let mut wanted = job("sleep 100");
    world.want(&agent, std::slice::from_ref(&wanted)).await;
    assert!(matches!(agent.report().await, Report::Prepared { .. }));
    wanted.lease.phase = Phase::Started { done: [].into() };
    world.want(&agent, std::slice::from_ref(&wanted)).await;

    read("GPU-1", Reading::Answered(Gauges::default())).await;
    read("GPU-1", Reading::Xid(31)).await;
    read("GPU-1", Reading::Xid(63)).await;
    assert_eq!(agent.registers_anew().await, [0], "GPU 1 takes nothing new");
    assert_eq!(agent.held, [LEASE], "and finishes what it runs");
    world.want(&agent, std::slice::from_ref(&wanted)).await;

    read("GPU-0", Reading::Xid(48)).await;
    assert_eq!(agent.registers_anew().await, [0u32; 0]);
    assert_eq!(agent.held, [LEASE], "nothing ran on GPU 0");
    world.want(&agent, std::slice::from_ref(&wanted)).await;

    read("GPU-1", Reading::Lost).await;
    let Report::Failed { lease, cause } = agent.report().await else { panic!("not failed") };
    assert_eq!(lease, LEASE);
    let text = cause.to_string();
    assert!(!cause.is_jobs_fault() && text.starts_with("its GPU is sick: GPU-1, lost"), "{text}");
    agent.stop().await;

    let offers = world.ward().offers(&inventory());
    assert_eq!(offers.gpus, [], "a restart of the agent cures nothing");
}

impl Agent {
    /// Waits until the agent tells of held back GPUs what `is` looks for.
    async fn tells(&mut self, is: impl Fn(&[HeldGpu]) -> bool) -> Vec<HeldGpu> {
        while let Some(up) = tokio::time::timeout(PATIENCE, self.ups.recv()).await.unwrap() {
            match up {
                Up::Heartbeat { seq, .. } => self.say(Down::Contact { seq }).await,
                Up::Health { gpus } if is(&gpus) => return gpus,
                _ => {}
            }
        }
        panic!("the stream ended")
    }
}

impl Agent {
    /// Waits until the agent tells of its whole machine.
    async fn describes(&mut self) -> Hardware {
        while let Some(up) = tokio::time::timeout(PATIENCE, self.ups.recv()).await.unwrap() {
            match up {
                Up::Heartbeat { seq, .. } => self.say(Down::Contact { seq }).await,
                Up::Hardware { hardware } => return *hardware,
                _ => {}
            }
        }
        panic!("the stream ended")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_machine_is_told_when_it_changes_to_servers_that_understand_it() {
    let world = World::new().await;
    let (mut agent, tell) = world.watched().await;
    let changed = async |hardware: &Hardware| {
        tell.send(News::Changed(Box::new(hardware.clone()))).await.unwrap();
    };
    changed(&hardware()).await;
    assert_eq!(agent.registers_anew().await, [0, 1]);
    let early = tokio::time::timeout(Duration::from_secs(2), agent.describes()).await;
    assert!(early.is_err(), "a server of before cannot read it: {early:?}");

    agent.events.send(LinkEvent::Speaks(LINK_VERSION)).await.unwrap();
    assert_eq!(agent.describes().await, hardware());

    let disk = Disk { name: "sda".into(), size: Bytes(1 << 40), rotates: true };
    let host = HostHardware { disks: vec![disk], ..hardware().host };
    let now = Hardware { host, ..hardware() };
    changed(&now).await;
    assert_eq!(agent.describes().await, now, "what it offers is the same, so the stream goes on");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_accepted_gpu_serves_again_if_it_answers_and_is_as_the_operator_saw_it() {
    let world = World::new().await;
    let (mut agent, tell) = world.watched().await;
    let read = async |reading| {
        let input = HealthInput::Read { uuid: "GPU-1".into(), reading };
        tell.send(News::Health(input)).await.unwrap();
    };
    assert_eq!(agent.tells(|_| true).await, [], "also that there are none");
    read(Reading::Lost).await;
    assert_eq!(agent.registers_anew().await, [0]);
    let held = agent.tells(|gpus| !gpus.is_empty()).await;
    assert_eq!((held[0].index, held[0].state), (1, HeldState::Quarantined));
    assert_eq!(held[0].symptom, "lost: the driver cannot reach it");
    assert_eq!(held[0].advice, "boot the machine");
    assert_eq!(held[0].offers.len(), 1);
    let accept = |at, since| Down::Accept {
        acceptance: Acceptance { uuid: "GPU-1".into(), at: LogIndex(at), since },
    };

    agent.say(accept(7, held[0].since)).await;
    let refused = agent.tells(|gpus| gpus[0].refused == LogIndex(7)).await;
    assert_eq!(refused[0].since, held[0].since, "it does not answer");

    read(Reading::Answered(Gauges::default())).await;
    agent.say(accept(8, held[0].since.plus(domain::Millis(1)))).await;
    agent.tells(|gpus| gpus[0].refused == LogIndex(8)).await;

    agent.say(accept(9, held[0].since)).await;
    assert_eq!(agent.registers_anew().await, [0, 1]);
    assert_eq!(agent.tells(|_| true).await, []);
    agent.stop().await;
    assert_eq!(world.ward().offers(&inventory()).gpus.len(), 2, "also after a restart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_machine_registers_anew_unless_an_index_in_use_means_another_gpu() {
    let mut world = World::new().await;
    let (mut agent, tell) = world.watched().await;
    let changed = async |hardware: &Hardware| {
        tell.send(News::Changed(Box::new(hardware.clone()))).await.unwrap();
    };
    let mut now =
        Hardware { host: HostHardware { cpu: CpuMillis(9), ..hardware().host }, ..hardware() };
    let mut third = now.gpus.all[0].clone();
    (third.gpu.index, third.gpu.uuid) = (2, "GPU-2".into());
    now.gpus.all.push(third);
    changed(&now).await;
    assert_eq!(agent.registers_anew().await, [0, 1, 2]);
    changed(&now).await;

    let mut wanted = job("sleep 100");
    world.want(&agent, std::slice::from_ref(&wanted)).await;
    assert!(matches!(agent.report().await, Report::Prepared { .. }));
    wanted.lease.phase = Phase::Started { done: [].into() };
    world.want(&agent, std::slice::from_ref(&wanted)).await;
    let mut moved = now.clone();
    moved.gpus.all.remove(0);
    for gpu in &mut moved.gpus.all {
        gpu.gpu.index -= 1;
    }
    changed(&moved).await;
    now.gpus.all.remove(0);
    changed(&now).await;
    assert_eq!(agent.registers_anew().await, [1, 2], "the job on GPU 1 goes on");
    assert_eq!(agent.held, [LEASE]);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_record_of_sick_gpus_keeps_the_agent_from_offering_any() {
    let world = World::new().await;
    assert_eq!(world.ward().offers(&inventory()).gpus.len(), 2);
    fs::write(world.dirs().records().join("health"), b"torn").unwrap();
    assert!(Ward::open(&world.dirs(), &hardware()).is_err());
}
