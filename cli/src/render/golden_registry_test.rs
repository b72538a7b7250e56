//! Documents and screens of the registry, as programs and people have come to rely on them.

use super::{
    dataset, evaluation, gc, lineage, model, promotion, sample_gc, sample_registry as sample,
};
use crate::output::{Style, stable};
use domain::LogIndex;
use insta::{assert_json_snapshot, assert_snapshot};

fn families() -> model::Families {
    model::Families { families: vec![sample::family()], log_index: 101 }
}

fn versions() -> model::Versions {
    model::Versions { versions: vec![sample::model(1), sample::model(2)], log_index: 101 }
}

fn datasets() -> dataset::Datasets {
    dataset::Datasets { datasets: vec![sample::dataset()], log_index: 101 }
}

fn recorded() -> evaluation::Recorded {
    let model = sample::model(1).version.model;
    evaluation::Recorded { model, evaluation: sample::evaluation(), log_index: LogIndex(102) }
}

fn gc_plan() -> gc::Plan {
    gc::Plan::of((sample_gc::items(), 101))
}

fn gc_run() -> gc::Ran {
    let mut ran = gc::Ran { candidates: sample_gc::items(), log_index: 101, ..Default::default() };
    ran.settle(&sample_gc::items()[1..]);
    ran
}

fn promotions() -> promotion::Promotions {
    let promotions = vec![sample::promotion(), sample::refused()];
    promotion::Promotions { promotions, log_index: 101 }
}

#[test]
fn documents_keep_their_form() {
    assert_json_snapshot!("models.json", stable::document("models", &families()));
    assert_json_snapshot!("model_versions.json", stable::document("model_versions", &versions()));
    assert_json_snapshot!("model.json", stable::document("model", &sample::model(1)));
    assert_json_snapshot!("evaluation.json", stable::document("evaluation", &recorded()));
    assert_json_snapshot!("lineage.json", stable::document("lineage", &sample::lineage()));
    assert_json_snapshot!("datasets.json", stable::document("datasets", &datasets()));
    assert_json_snapshot!("dataset.json", stable::document("dataset", &sample::dataset()));
    let found = sample::comparison();
    assert_json_snapshot!("model_comparison.json", stable::document("model_comparison", &found));
    assert_json_snapshot!("promotions.json", stable::document("promotions", &promotions()));
    assert_json_snapshot!("promotion.json", stable::document("promotion", &sample::promotion()));
    assert_json_snapshot!("gc_plan.json", stable::document("gc_plan", &gc_plan()));
    assert_json_snapshot!("gc_run.json", stable::document("gc_run", &gc_run()));
    assert_json_snapshot!("approvers.json", stable::document("approvers", &sample::approvers()));
}

#[test]
fn screens_keep_their_form() {
    let style = Style::COLUMNS;
    assert_snapshot!("models.txt", model::families(style, &families()));
    assert_snapshot!("model_versions.txt", model::versions(style, &versions()));
    assert_snapshot!("model.txt", model::detail(style, &sample::model(1)));
    assert_snapshot!("evaluation.txt", evaluation::recorded(style, &recorded()));
    assert_snapshot!("datasets.txt", dataset::list(style, &datasets()));
    assert_snapshot!("dataset.txt", dataset::detail(style, &sample::dataset()));
    assert_snapshot!("lineage.txt", lineage::text(style, &sample::lineage()));
    assert_snapshot!("model_comparison.txt", model::comparison(style, &sample::comparison()));
    assert_snapshot!("promotions.txt", promotion::list(style, &promotions()));
    assert_snapshot!("promotion.txt", promotion::detail(style, &sample::promotion()));
    assert_snapshot!("promotion_history.txt", promotion::history(style, &sample::promotion()));
    assert_snapshot!("gc_plan.txt", gc::plan(style, &gc_plan()));
    assert_snapshot!("gc_run.txt", gc::ran(style, &gc_run()));
    assert_snapshot!("approvers.txt", promotion::approvers(style, &sample::approvers()));
}

#[test]
fn a_picture_holds_every_thing_once_and_its_names_are_no_markup() {
    let picture = lineage::svg(&sample::lineage()).unwrap();
    assert!(picture.trim_end().ends_with("</svg>"), "{picture}");
    for name in ["model digits@2", "artifact a1", "model small@1"] {
        assert_eq!(picture.matches(name).count(), 1, "{name} in {picture}");
    }
    assert!(!picture.contains("<b>"), "a job's name is text: {picture}");
    let mut large = sample::lineage();
    let node = large.nodes[0].clone();
    large.nodes.resize(301, node);
    assert!(lineage::svg(&large).is_err());
}
