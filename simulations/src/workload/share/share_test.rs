//! Laws of placement on small clusters.

use super::{
    engine,
    openb::{self, Models, Nodes},
    stream::Stream,
};
use crate::workload::{name::PolicyName, run_share::scorer};
use clap::ValueEnum;
use scheduler::planner::{mix::Mix, room::Ask};

fn ask(cpu: u64, gpus: u8, share: u16) -> Ask {
    Ask { cpu, memory: 1, gpus, share, models: 0 }
}

#[test]
fn one_seed_gives_one_result_and_nothing_is_given_twice() {
    let nodes = Nodes::alike(&[8, 8, 4, 2]);
    let pods = [ask(4_000, 1, 300), ask(8_000, 1, 1_000), ask(1_000, 0, 0), ask(9_000, 4, 1_000)];
    let mix = Mix::of(pods, 95);
    for policy in PolicyName::value_variants().iter().filter(|policy| policy.places()) {
        let scorer = scorer(*policy, &mix, &nodes.rooms);
        let run = |seed| {
            let stream = Stream::draw(&pods, nodes.capacity() * 2, seed);
            engine::run(&nodes.rooms, &stream, scorer.as_ref(), &mix, seed, &[50.0, 200.0])
        };
        assert_eq!(run(3), run(3), "{policy:?}");
        assert!(run(3)[1].unallocated_pct >= 0.0, "{policy:?}");
        assert!(run(3)[0].asked_pct <= 50.0, "{policy:?}");
    }
}

#[test]
fn lists_are_read_by_their_columns() {
    let folder = std::env::temp_dir().join(format!("assay-openb-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let list =
        write("n.csv", "sn,cpu_milli,memory_mib,gpu,model\nb,64000,9,2,T4\na,8000,9,1,P100\n");
    let mut nodes = Nodes::load(&list).unwrap();
    assert!(openb::is_node_list(&list).unwrap());
    assert_eq!((nodes.capacity(), nodes.rooms[0].cpu), (3_000, 8_000));
    let pods = write(
        "p.csv",
        "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n\
                               y,1,2,1,500,T4|A10\nx,1,2,0,0,\n",
    );
    let asks = openb::pods(&pods, &mut nodes.models).unwrap();
    assert_eq!((asks[0].gpus, asks[1].models), (0, 0b101));
    let pods = write("q.csv", "name,cpu_milli,num_gpu,gpu_milli\ny,1,1,1500\n");
    let error = openb::pods(&pods, &mut Models::default()).unwrap_err().to_string();
    assert!(error.contains("q.csv:2: `gpu_milli` is `1500`"), "{error}");
}
