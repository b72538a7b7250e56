//! The document and the screen of `assay top`.

use super::{
    queue_test, sample,
    top::{Top, text},
};
use crate::output::{Style, stable};
use insta::{assert_json_snapshot, assert_snapshot};

fn top(limit: usize) -> Top {
    let jobs = vec![sample::line(7, "running"), sample::line(8, "waiting")];
    Top::new(queue_test::queues(), sample::nodes(), jobs, limit, 101)
}

#[test]
fn the_screen_and_its_document_keep_their_form() {
    assert_json_snapshot!("top.json", stable::document("top", &top(20)));
    assert_snapshot!("top.txt", text(Style::COLUMNS, &top(20)));
    assert!(text(Style::COLUMNS, &top(1)).contains("more nodes: --limit shows them"));
}
