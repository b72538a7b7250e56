//! Every document and every screen, as programs and people have come to rely on them.

use super::{artifact, audit, cluster, job, jobs, node, sample, sample_hardware, why};
use crate::output::{Style, stable};
use insta::{assert_json_snapshot, assert_snapshot};

fn jobs() -> jobs::Jobs {
    jobs::Jobs {
        jobs: vec![sample::array().line, sample::line(8, "waiting"), sample::line(7, "running")],
        log_index: 101,
    }
}

fn artifacts() -> artifact::Artifacts {
    artifact::Artifacts { artifacts: vec![sample::artifact()], log_index: 101 }
}

fn detail() -> artifact::Detail {
    artifact::Detail { artifact: sample::artifact(), tree: sample::tree() }
}

fn nodes() -> node::Nodes {
    node::Nodes { nodes: sample::nodes(), log_index: 101 }
}

fn node() -> node::Detail {
    let mut node = sample::nodes().pop().expect("the sample has nodes");
    node.hardware = Some(sample_hardware::hardware());
    node::Detail { node, log_index: 101 }
}

#[test]
fn documents_keep_their_form() {
    let job = job::Job { job: sample::job(), log_index: 101 };
    assert_json_snapshot!("jobs.json", stable::document("jobs", &jobs()));
    assert_json_snapshot!("job.json", stable::document("job", &job));
    assert_json_snapshot!("why.json", stable::document("why", &sample::why()));
    assert_json_snapshot!("why_seal.json", stable::document("why", &sample::why_seal()));
    assert_json_snapshot!("nodes.json", stable::document("nodes", &nodes()));
    assert_json_snapshot!("node.json", stable::document("node", &node()));
    assert_json_snapshot!("artifacts.json", stable::document("artifacts", &artifacts()));
    assert_json_snapshot!("artifact.json", stable::document("artifact", &detail()));
    assert_json_snapshot!("audit.json", stable::document("audit", &sample::audit()));
    assert_json_snapshot!("cluster.json", stable::document("cluster", &sample::cluster()));
}

#[test]
fn screens_keep_their_form() {
    let style = Style::COLUMNS;
    assert_snapshot!("jobs.txt", jobs::text(style, &jobs()));
    assert_snapshot!("job.txt", job::text(style, &sample::job()));
    assert_snapshot!("array.txt", job::text(style, &sample::array()));
    assert_snapshot!("why.txt", why::text(style, &sample::why()));
    assert_snapshot!("why_seal.txt", why::text(style, &sample::why_seal()));
    assert_snapshot!("nodes.txt", node::text(style, &nodes()));
    assert_snapshot!("node.txt", node::detail(style, &node().node));
    assert_snapshot!("artifacts.txt", artifact::list(style, &artifacts()));
    assert_snapshot!("artifact.txt", artifact::detail(style, &detail()));
    assert_snapshot!("audit.txt", audit::list(style, &sample::audit()));
    assert_snapshot!("cluster.txt", cluster::text(style, &sample::cluster()));
}

#[test]
fn a_pipe_gets_one_line_a_thing_without_heading_or_colour() {
    let text = jobs::text(Style::PLAIN, &jobs());
    assert_eq!(text.lines().count(), 3);
    assert!(text.starts_with("j9\trunning\tdigits\tada\t"), "{text}");
    assert!(!text.contains('\x1b'));
}
