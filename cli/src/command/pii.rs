//! `assay debug pii`: personal data in a file.

use crate::{
    exit::Exit,
    fault::Fault,
    output::{Output, Style},
};
use registry::pii::{Report, scan_all};
use std::{fs::File, io, path::Path};

/// Findings that people are shown; programs get all that are listed.
const SHOWN_MAX: usize = 20;

/// Runs the command.
///
/// # Errors
/// When the file cannot be read.
pub fn run(output: &Output, file: &Path) -> Result<Exit, Fault> {
    let failed = |fault: io::Error| Fault::file(file, &fault);
    let report = if file == Path::new("-") {
        scan_all(io::stdin().lock(), |_| ()).map_err(failed)?
    } else {
        scan_all(File::open(file).map_err(failed)?, |_| ()).map_err(failed)?
    };
    output.show("pii", &report, |style| text(style, &report))?;
    Ok(Exit::Ok)
}

fn text(style: Style, report: &Report) -> String {
    let scanned = format!(
        "{} bytes scanned by {} {}",
        report.scanned_bytes, report.detector, report.detector_version
    );
    if report.total() == 0 {
        return style.good(&format!("no personal data found; {scanned}\n"));
    }
    let mut out = style.bad(&format!("{} findings; {scanned}\n", report.total()));
    for (kind, count) in &report.counts {
        out += &format!("  {:<12} {count}\n", kind.word());
    }
    for finding in report.findings.iter().take(SHOWN_MAX) {
        let kind = finding.kind.word();
        out += &format!("at {} length {} {kind}\n", finding.offset, finding.length);
    }
    if report.total() > SHOWN_MAX as u64 {
        out += &format!("the first {SHOWN_MAX} are shown; more: --json\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::stable;
    use expect_test::expect;

    #[test]
    fn a_report_says_where_and_never_what() {
        let report =
            scan_all(&b"ask ada@example.org, 10.0.0.17 or bob@example.org"[..], |_| ()).unwrap();
        let shown = text(Style::PLAIN, &report);
        expect![[r#"
            3 findings; 49 bytes scanned by assay-pii 2
              email        2
              ip_address   1
            at 4 length 15 email
            at 21 length 9 ip_address
            at 34 length 15 email
        "#]]
        .assert_eq(&shown);
        let document = stable::document("pii", &report);
        assert!(!format!("{shown}{document}").contains("ada"));
        insta::assert_json_snapshot!("pii.json", document);
        let none = text(Style::PLAIN, &scan_all(&b"nobody"[..], |_| ()).unwrap());
        expect![[r#"
            no personal data found; 6 bytes scanned by assay-pii 2
        "#]]
        .assert_eq(&none);
    }
}
