//! Both kinds of picture are written, with every policy in them.

use super::{Axis, Files, Panel};
use std::path::Path;

#[test]
fn a_trace_is_drawn_as_svg_with_text_and_as_png_with_ink() {
    let folder = std::env::temp_dir().join(format!("assay-plots-{}", std::process::id()));
    let panel = Panel {
        title: "jobs waiting",
        axis: Axis::Days,
        curves: vec![vec![(0.0, 1.0), (1.0, 9.0)], Vec::new()],
    };
    let policies = ["fifo".to_owned(), "assay".to_owned()];
    let files = Files::new(&folder.join("new"), Path::new("x/trace1.csv.gz"), 0, 1);
    files.write(&policies, &[panel]).unwrap();
    let svg = std::fs::read_to_string(folder.join("new/trace1.svg")).unwrap();
    assert!(svg.contains("fifo: jobs waiting") && svg.contains("assay: jobs waiting"));
    let png = std::fs::read(folder.join("new/trace1.png")).unwrap();
    assert_eq!(png[..4], *b"\x89PNG");
    // A white page of this size is some hundred bytes; letters and a line are more.
    assert!(png.len() > 3_000, "{}", png.len());
}

#[test]
fn traces_of_one_name_do_not_overwrite_each_other() {
    let name = |at| format!("{:?}", Files::new(Path::new("d"), Path::new("a/t.csv"), at, 2));
    assert_ne!(name(0), name(1));
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let files = Files::new(Path::new("/dev/null/x"), Path::new("t.csv"), 0, 1);
    let error = files.write(&["fifo".to_owned()], &[]).unwrap_err().to_string();
    assert!(error.contains("/dev/null/x"), "{error}");
}
