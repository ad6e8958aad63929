//! Lists: on a terminal as wide as it is, elsewhere with every column at its full width.
//!
//! Invariant: an identifier is never cut or broken over lines, as other commands want it whole.

use std::fmt::Write as _;

use console::{Term, measure_text_width, truncate_str};
use serde_json::Value;

use super::output::cell;

/// Between columns.
const GAP: usize = 2;
/// Marks a text that is cut.
const CUT: &str = "…";

/// A column of a list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column<'a> {
    heading: &'a str,
    /// JSON pointer to the value.
    pointer: &'a str,
    /// Columns with a high rank are left out first.
    rank: u8,
    /// The least width to which it may be cut; none: never cut.
    least: Option<usize>,
}

/// A column that is shown whole or not at all.
pub(crate) const fn whole<'a>(rank: u8, heading: &'a str, pointer: &'a str) -> Column<'a> {
    Column { heading, pointer, rank, least: None }
}

/// A column that may be cut to `least` characters.
pub(crate) const fn cut<'a>(rank: u8, least: usize, heading: &'a str, pointer: &'a str) -> Column<'a> {
    Column { heading, pointer, rank, least: Some(least) }
}

/// Width of the terminal on standard output; none: it is a pipe or a file.
pub(crate) fn width() -> Option<usize> {
    let terminal = Term::stdout();
    terminal.is_term().then(|| usize::from(terminal.size().1)).filter(|width| *width > 0)
}

/// A line of text, cut at the width of the terminal.
pub(crate) fn fitted(text: &str, width: Option<usize>) -> String {
    width.map_or_else(|| text.to_owned(), |width| truncate_str(text, width, CUT).into_owned())
}

/// The items in lines, a heading first. `width`: of the terminal; none: as wide as needed.
pub(crate) fn lines(items: &[Value], columns: &[Column<'_>], width: Option<usize>) -> Vec<String> {
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| columns.iter().map(|column| cell(item.pointer(column.pointer))).collect())
        .collect();
    let natural: Vec<usize> = (0..columns.len())
        .map(|at| {
            let cells = rows.iter().map(|row| measure_text_width(&row[at]));
            cells.chain([measure_text_width(columns[at].heading)]).max().unwrap_or(0)
        })
        .collect();
    let widths = fit(columns, &natural, width);
    let shown: Vec<(usize, usize)> =
        widths.iter().enumerate().filter_map(|(at, width)| Some((at, (*width)?))).collect();
    let line = |cells: &dyn Fn(usize) -> String| {
        let mut line = String::new();
        for (at, width) in &shown {
            let cell = cells(*at);
            let cell = if measure_text_width(&cell) > *width {
                truncate_str(&cell, *width, CUT)
            } else {
                cell.into()
            };
            let pad = width.saturating_sub(measure_text_width(&cell)) + GAP;
            // Writing to a String can't fail.
            let _ = write!(line, "{cell}{:pad$}", "");
        }
        line.trim_end().to_owned()
    };
    let mut out = vec![line(&|at| columns[at].heading.to_owned())];
    out.extend(rows.iter().map(|row| line(&|at| row[at].clone())));
    let left_out: Vec<&str> = columns
        .iter()
        .zip(&widths)
        .filter(|(_, width)| width.is_none())
        .map(|(column, _)| column.heading)
        .collect();
    if !left_out.is_empty() && !items.is_empty() {
        out.push(fitted(&format!("not shown for lack of room: {}", left_out.join(", ")), width));
    }
    out
}

/// The width of each column; none: it is left out.
fn fit(columns: &[Column<'_>], natural: &[usize], width: Option<usize>) -> Vec<Option<usize>> {
    let Some(width) = width else { return natural.iter().map(|natural| Some(*natural)).collect() };
    let mut ranked: Vec<usize> = (0..columns.len()).collect();
    ranked.sort_by_key(|at| columns[*at].rank);
    let mut widths: Vec<Option<usize>> = vec![None; columns.len()];
    let mut used = 0;
    for at in &ranked {
        let least = columns[*at].least.map_or(natural[*at], |least| least.min(natural[*at]));
        let gap = if used == 0 { 0 } else { GAP };
        // The first one is shown however narrow the terminal is.
        if used == 0 || used + gap + least <= width {
            widths[*at] = Some(least);
            used += gap + least;
        }
    }
    for at in ranked {
        if let Some(has) = widths[at] {
            let more = (natural[at] - has).min(width.saturating_sub(used));
            widths[at] = Some(has + more);
            used += more;
        }
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ID: &str = "01a22dd2-a299-76c1-beda-0123456789ab";

    fn orders() -> Vec<Value> {
        vec![
            json!({"id": ID, "state": "failed_deploy", "kind": "decommission", "external": "x".repeat(128), "devices": ["pe1", "pe2"]}),
            json!({"id": ID, "state": "completed", "kind": "modify", "external": null, "devices": []}),
        ]
    }

    const COLUMNS: [Column<'_>; 5] = [
        whole(0, "order", "/id"),
        whole(1, "state", "/state"),
        cut(2, 8, "external id", "/external"),
        whole(3, "kind", "/kind"),
        cut(4, 8, "devices", "/devices"),
    ];

    #[test]
    fn terminal_lines_fit_and_keep_identifiers_whole() {
        for width in [40, 60, 80, 100, 250] {
            let lines = lines(&orders(), &COLUMNS, Some(width));
            assert!(lines.iter().all(|line| measure_text_width(line) <= width), "{width}: {lines:#?}");
            assert!(lines[1].starts_with(ID) && lines[2].starts_with(ID), "{width}: {lines:#?}");
        }
        let at_80 = lines(&orders(), &COLUMNS, Some(80));
        assert_eq!(at_80[0], format!("{:36}  {:13}  {:13}  kind", "order", "state", "external id"));
        assert_eq!(at_80[1], format!("{ID}  failed_deploy  {}…  decommission", "x".repeat(12)));
        assert!(at_80[3].starts_with("not shown for lack of room: devices"), "{at_80:#?}");
        // Narrower than the id: the id stays whole.
        assert!(lines(&orders(), &COLUMNS, Some(20))[1].starts_with(ID));
    }

    #[test]
    fn pipe_lines_are_whole_and_one_word_per_list_or_missing_value() {
        let lines = lines(&orders(), &COLUMNS, None);
        assert_eq!(lines.len(), 3, "no rules and no hints: {lines:#?}");
        assert!(lines[1].contains(&"x".repeat(128)));
        assert_eq!(lines[1].split_whitespace().last(), Some("pe1,pe2"));
        assert_eq!(lines[2].split_whitespace().nth(2), Some("-"));
        assert_eq!(lines[1].find("decommission"), lines[2].find("modify"), "aligned");
    }

    #[test]
    fn wide_characters_and_line_breaks_keep_the_columns() {
        let items = [json!({"id": "1", "external": "電源\n2"}), json!({"id": "22", "external": "é"})];
        let columns = [whole(0, "id", "/id"), whole(1, "text", "/external"), whole(2, "end", "/id")];
        let lines = lines(&items, &columns, Some(80));
        assert_eq!(lines, ["id  text    end", "1   電源 2  1", "22  é       22"]);
    }
}
