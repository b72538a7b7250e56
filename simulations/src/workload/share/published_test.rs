//! The published figures of FGD, which the simulator must give again.

use crate::workload::{given, name::PolicyName, run_share::at_loads};

const LOADS: [(&str, f64); 3] = [("95", 95.0), ("100", 100.0), ("130", 130.0)];
/// A policy, its published name, and percentage points by which it may be off. Where ties
/// decide, which is where tasks without GPUs go by name alone, the gap is wider.
const POLICIES: [(PolicyName, &str, f64); 6] = [
    (PolicyName::Random, "01-Random", 0.35),
    (PolicyName::DotProduct, "02-DotProd", 0.35),
    (PolicyName::BestFit, "05-BestFit", 0.35),
    (PolicyName::Clustering, "03-GpuClustering", 1.6),
    (PolicyName::Packing, "04-GpuPacking", 1.6),
    (PolicyName::Fgd, "06-FGD", 1.0),
];
const LISTS: [&str; 6] = ["default", "cpu050", "cpu200", "gpushare40", "gpuspec10", "multigpu20"];

#[test]
fn unallocated_gpus_are_as_published() {
    let (Some(traces), Some(published)) =
        (given::traces(), given::published("fgd_unallocated.json"))
    else {
        return;
    };
    let loads = LOADS.map(|(_, load)| load);
    for list in LISTS {
        let pods = traces.join(format!("openb/openb_pod_list_{list}.csv"));
        let nodes = traces.join("openb/openb_node_list_gpu_node.csv");
        for (policy, name, within) in POLICIES {
            let ours = at_loads(&pods, &nodes, policy, &loads);
            for ((load, _), (ours, sd)) in LOADS.iter().zip(ours) {
                let mean = published["table"][list][name][load]["mean"].as_f64().unwrap();
                println!("{list} {name} {load} %: {ours:.3} ± {sd:.3}, published {mean:.3}");
                assert!((ours - mean).abs() <= within, "{list} {name}: {ours}, not {mean}");
            }
        }
    }
}

#[test]
fn our_own_leaves_less_than_fgd_by_more_than_two_deviations() {
    let (Some(traces), Some(published)) =
        (given::traces(), given::published("fgd_unallocated.json"))
    else {
        return;
    };
    for list in LISTS {
        let pods = traces.join(format!("openb/openb_pod_list_{list}.csv"));
        let nodes = traces.join("openb/openb_node_list_gpu_node.csv");
        let (ours, sd) = at_loads(&pods, &nodes, PolicyName::Assay, &[130.0])[0];
        let fgd = &published["table"][list]["06-FGD"]["130"];
        let (mean, fgd_sd) = (fgd["mean"].as_f64().unwrap(), fgd["sd"].as_f64().unwrap());
        println!("{list}: {ours:.3} ± {sd:.3}, FGD {mean:.3} ± {fgd_sd:.3}");
        assert!(ours + 2.0 * sd.max(fgd_sd) < mean, "{list}: {ours} against {mean}");
    }
}
