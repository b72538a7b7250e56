//! Rows for people on a terminal, and for `cut` in a pipe.

use super::Style;

/// Lays out rows: aligned under a heading, or with tabs and no heading.
#[must_use]
pub fn table(style: Style, heading: &[&str], rows: &[Vec<String>]) -> String {
    if !style.table {
        return rows.iter().map(|row| row.join("\t") + "\n").collect();
    }
    let mut widths: Vec<_> = heading.iter().map(|cell| width(cell)).collect();
    for row in rows {
        for (have, cell) in widths.iter_mut().zip(row) {
            *have = (*have).max(width(cell));
        }
    }
    let heading: Vec<_> = heading.iter().map(|cell| style.strong(cell)).collect();
    let mut text = line(&heading, &widths);
    for row in rows {
        text.push_str(&line(row, &widths));
    }
    text
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (cell, have) in cells.iter().zip(widths) {
        text.push_str(cell);
        text.push_str(&" ".repeat(have + 2 - width(cell).min(*have)));
    }
    text.truncate(text.trim_end_matches(' ').len());
    text.push('\n');
    text
}

/// The width of a cell, colours left out.
fn width(cell: &str) -> usize {
    let (mut width, mut escape) = (0, false);
    for c in cell.chars() {
        match (escape, c) {
            (false, '\x1b') => escape = true,
            (true, 'm') => escape = false,
            (true, _) => {}
            (false, _) => width += 1,
        }
    }
    width
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_their_colour() {
        let style = Style { table: true, colour: true };
        let rows = [vec![style.good("completed"), "a".into()], vec!["x".into(), "b".into()]];
        let text = table(style, &["STATE", "N"], &rows);
        let plain: Vec<_> =
            text.lines().map(|l| l.replace("\x1b[32m", "").replace("\x1b[0m", "")).collect();
        assert_eq!(plain[1], "completed  a");
        assert_eq!(plain[2], "x          b");
    }

    #[test]
    fn a_pipe_gets_tabs_and_no_heading() {
        let rows = [vec!["j1".into(), "train".into()]];
        assert_eq!(table(Style::PLAIN, &["JOB", "NAME"], &rows), "j1\ttrain\n");
    }
}
