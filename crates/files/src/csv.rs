//! CSV as spreadsheets write it (RFC 4180): any of three delimiters, rows that are empty. A row becomes a
//! map; dots in a heading go down into it (`attributes.vc_id`, `endpoints.0.device`), and empty cells are
//! left out. Blanks belong to a cell (RFC 4180 §2 (4)), and not to a heading.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use crate::{
    Document, Fault, Item,
    text::{breaks, line_at},
    tree::{Content, Entry, Node},
};

/// Most columns.
const MAX_COLUMNS: usize = 1_024;
/// Most entries of a list that headings make.
const MAX_ENTRIES: usize = 64;
/// Most names of a heading that follow each other with dots.
const MAX_STEPS: usize = 16;

/// What separates cells: one ASCII character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delimiter(u8);

impl Delimiter {
    /// Those that are found by the heading line.
    const KNOWN: [Self; 3] = [Self(b','), Self(b';'), Self(b'\t')];
}

impl fmt::Display for Delimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == b'\t' { f.write_str("tab") } else { write!(f, "'{}'", char::from(self.0)) }
    }
}

impl FromStr for Delimiter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.as_bytes() {
            b"tab" | b"\\t" => Ok(Self(b'\t')),
            [byte]
                if byte.is_ascii_graphic() && !byte.is_ascii_alphanumeric() && !b"\"._-".contains(byte) =>
            {
                Ok(Self(*byte))
            }
            [b'\t'] => Ok(Self(b'\t')),
            _ => Err("a delimiter is one character such as ',' or ';', or the word tab".to_owned()),
        }
    }
}

/// Reads a file: a heading line, then rows.
///
/// # Errors
/// All faults of headings, or of rows.
pub fn document(text: &str, delimiter: Option<Delimiter>) -> Result<Document, Vec<Fault>> {
    let (text, skipped, said) = without_sep_line(text);
    let delimiter = delimiter.or(said).unwrap_or_else(|| detect(text));
    if let Some(at) = unclosed_quote(text, delimiter) {
        let message = "a cell begins with a quote (\") that is never closed; close it, or double it to have it in the text";
        return Err(vec![Fault::at(line_at(text, at) + skipped, message)]);
    }
    let mut reader = ::csv::ReaderBuilder::new()
        .delimiter(delimiter.0)
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let mut lines = Lines { text, at: 0, line: 1 + skipped };
    let mut headings: Option<Headings> = None;
    let (mut items, mut faults) = (Vec::new(), Vec::new());
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => return Err(vec![Fault::whole(error.to_string())]),
        };
        let line = lines.of(&record);
        if record.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        let Some(headings) = &headings else {
            headings = Some(Headings::new(&record, delimiter, line)?);
            continue;
        };
        match headings.row(&record, line) {
            Ok(tree) => items.push(Item { line, tree }),
            Err(fault) => faults.push(fault),
        }
    }
    let Some(headings) = headings else {
        return Err(vec![Fault::whole("is empty; the first line of CSV names the fields")]);
    };
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Document { items, headings: headings.names, page: None })
}

/// Spreadsheets take the delimiter from a first line `sep=;`, and write it too. Gives the text after it, and
/// how many lines it has.
fn without_sep_line(text: &str) -> (&str, u32, Option<Delimiter>) {
    let end = text.find(['\n', '\r']).unwrap_or(text.len());
    let said = text[..end].trim_matches('"').strip_prefix("sep=").and_then(|said| said.parse().ok());
    if said.is_none() {
        return (text, 0, None);
    }
    let rest = &text[end..];
    let rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix(['\n', '\r'])).unwrap_or(rest);
    (rest, 1, said)
}

/// The delimiter that is most often in the first line that has any, outside of quotes.
fn detect(text: &str) -> Delimiter {
    let mut counts = [0_usize; Delimiter::KNOWN.len()];
    let mut quoted = false;
    for byte in text.trim_start_matches(['\n', '\r']).bytes() {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' | b'\r' if !quoted => break,
            _ if quoted => {}
            _ => {
                if let Some(at) = Delimiter::KNOWN.iter().position(|known| known.0 == byte) {
                    counts[at] += 1;
                }
            }
        }
    }
    let best = (0..counts.len()).rev().max_by_key(|at| counts[*at]).unwrap_or(0);
    Delimiter::KNOWN[best]
}

/// Where a quoted cell begins that goes on to the end of the text.
fn unclosed_quote(text: &str, delimiter: Delimiter) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut begins) = (0, true);
    while let Some(byte) = bytes.get(at) {
        if *byte == b'"' && begins {
            let begin = at;
            at += 1;
            loop {
                match bytes.get(at) {
                    None => return Some(begin),
                    Some(b'"') if bytes.get(at + 1) == Some(&b'"') => at += 2,
                    Some(b'"') => break,
                    Some(_) => at += 1,
                }
            }
        }
        begins = *byte == delimiter.0 || *byte == b'\n' || *byte == b'\r';
        at += 1;
    }
    None
}

/// Counts lines up to records, which come in order.
struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: u32,
}

impl Lines<'_> {
    /// The line in which a record begins. The reader's own count knows neither CR nor empty lines.
    fn of(&mut self, record: &::csv::StringRecord) -> u32 {
        let bytes = self.text.as_bytes();
        let place = record.position().map_or(0, ::csv::Position::byte);
        let mut at = usize::try_from(place).unwrap_or(usize::MAX).min(bytes.len());
        while matches!(bytes.get(at), Some(b'\n' | b'\r')) {
            at += 1;
        }
        let passed = &bytes[self.at.min(at)..at];
        let passed = breaks(passed, bytes.get(at) == Some(&b'\n'));
        self.line = self.line.saturating_add(u32::try_from(passed).unwrap_or(u32::MAX));
        self.at = at;
        self.line
    }
}

/// The headings, and where the cells under them go.
struct Headings {
    names: Vec<String>,
    /// By column; none: a column without heading.
    paths: Vec<Option<Vec<Step>>>,
}

/// One name of a heading.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Key(String),
    Index(usize),
}

impl Headings {
    fn new(record: &::csv::StringRecord, delimiter: Delimiter, line: u32) -> Result<Self, Vec<Fault>> {
        let names: Vec<String> = record.iter().map(|name| name.trim().to_owned()).collect();
        if names.len() > MAX_COLUMNS {
            return Err(vec![Fault::at(line, format!("has {} columns; at most {MAX_COLUMNS}", names.len()))]);
        }
        let mut faults = Vec::new();
        let mut columns: BTreeMap<&str, usize> = BTreeMap::new();
        let mut paths = Vec::with_capacity(names.len());
        for (column, name) in (1..).zip(&names) {
            if name.is_empty() {
                paths.push(None);
                continue;
            }
            if let Some(first) = columns.insert(name, column) {
                faults.push(format!("the heading {name:?} is there twice, in columns {first} and {column}"));
            }
            match steps(name) {
                Ok(path) => paths.push(Some(path)),
                Err(message) => faults.push(message),
            }
        }
        if faults.is_empty() {
            faults.extend(misfits(&names, &paths));
        }
        if let [one] = names.as_slice()
            && let Some(other) = ['|', ':', ' '].into_iter().find(|other| one.contains(*other))
        {
            faults.push(format!(
                "there is one heading, {one:?}, for the delimiter is taken to be {delimiter}; if it is {other:?}, say \
                 --delimiter '{other}'"
            ));
        }
        let faults = faults.into_iter().map(|message| Fault::at(line, message)).collect::<Vec<_>>();
        if faults.is_empty() { Ok(Self { names, paths }) } else { Err(faults) }
    }

    fn row(&self, record: &::csv::StringRecord, line: u32) -> Result<Node, Fault> {
        let filled = (1..)
            .zip(record)
            .filter(|(_, cell)| !cell.trim().is_empty())
            .map(|(at, _)| at)
            .last()
            .unwrap_or(0);
        if filled > self.paths.len() {
            return Err(Fault::at(
                line,
                format!(
                    "the row has {filled} cells and the heading line {}; a text that contains the delimiter stands \
                     in quotes",
                    self.paths.len()
                ),
            ));
        }
        if record.len() < self.paths.len() {
            return Err(Fault::at(
                line,
                format!("the row has {} cells and the heading line {}", record.len(), self.paths.len()),
            ));
        }
        let mut row = Node::new(line, Content::Map(Vec::new()));
        for ((column, cell), path) in (1..).zip(record.iter()).zip(&self.paths) {
            if cell.is_empty() {
                continue;
            }
            let Some(path) = path else {
                if cell.trim().is_empty() {
                    continue;
                }
                return Err(Fault::at(line, format!("column {column} has {cell:?} but no heading")));
            };
            put(&mut row, path, cell);
        }
        Ok(row)
    }
}

fn steps(name: &str) -> Result<Vec<Step>, String> {
    let steps: Vec<Step> = name
        .split('.')
        .map(|step| step.parse().map_or_else(|_| Step::Key(step.to_owned()), Step::Index))
        .collect();
    let empty = steps.iter().any(|step| matches!(step, Step::Key(key) if key.is_empty()));
    if empty || matches!(steps.first(), Some(Step::Index(_))) {
        return Err(format!(
            "the heading {name:?} is no name; such are endpoints.0.device and attributes.mtu"
        ));
    }
    if steps.len() > MAX_STEPS {
        return Err(format!("the heading {name:?} has more than {MAX_STEPS} names"));
    }
    match steps.iter().any(|step| matches!(step, Step::Index(at) if *at >= MAX_ENTRIES)) {
        true => {
            Err(format!("the heading {name:?}: a list has at most {MAX_ENTRIES} entries, counted from 0"))
        }
        false => Ok(steps),
    }
}

/// Headings that don't fit together: a field that is also a list or an object, and lists with gaps.
fn misfits(names: &[String], paths: &[Option<Vec<Step>>]) -> Vec<String> {
    let mut faults = Vec::new();
    let named: Vec<(&str, &[Step])> =
        names.iter().zip(paths).filter_map(|(name, path)| Some((name.as_str(), path.as_deref()?))).collect();
    let whole: BTreeMap<&[Step], &str> = named.iter().map(|(name, path)| (*path, *name)).collect();
    let mut children: BTreeMap<&[Step], (&str, BTreeSet<usize>, bool)> = BTreeMap::new();
    for (name, path) in &named {
        for at in 1..path.len() {
            let (parent, child) = (&path[..at], &path[at]);
            if let Some(other) = whole.get(parent) {
                faults.push(format!("the headings {other:?} and {name:?} exclude each other"));
            }
            let (_, indices, has_keys) =
                children.entry(parent).or_insert_with(|| (name, BTreeSet::new(), false));
            match child {
                Step::Index(index) => {
                    indices.insert(*index);
                }
                Step::Key(_) => *has_keys = true,
            }
        }
    }
    for (parent, (name, indices, has_keys)) in children {
        let at = dotted(parent);
        if has_keys && !indices.is_empty() {
            faults.push(format!("the heading {name:?}: {at} can't have both names and numbers"));
        } else if let Some(gap) = (0..indices.len()).find(|index| !indices.contains(index)) {
            faults.push(format!(
                "there is no heading {at}.{gap}, but {}; the entries of a list are counted from 0",
                indices.iter().map(|index| format!("{at}.{index}")).collect::<Vec<_>>().join(", ")
            ));
        }
    }
    faults
}

fn dotted(path: &[Step]) -> String {
    let step = |step: &Step| match step {
        Step::Key(key) => key.clone(),
        Step::Index(index) => index.to_string(),
    };
    path.iter().map(step).collect::<Vec<_>>().join(".")
}

/// Puts a cell where its heading says. The headings are known to fit together.
fn put(at: &mut Node, path: &[Step], cell: &str) {
    let line = at.line;
    let empty = || Node::new(line, Content::Map(Vec::new()));
    let slot = match path.first() {
        None => {
            at.content = Content::Cell(cell.to_owned());
            return;
        }
        Some(Step::Index(index)) => {
            if !matches!(at.content, Content::List(_)) {
                at.content = Content::List(Vec::new());
            }
            let Content::List(items) = &mut at.content else { return };
            while items.len() <= *index {
                items.push(empty());
            }
            &mut items[*index]
        }
        Some(Step::Key(key)) => {
            let Content::Map(entries) = &mut at.content else { return };
            let found = entries.iter().position(|entry| entry.key == *key).unwrap_or_else(|| {
                entries.push(Entry { line, key: key.clone(), value: empty() });
                entries.len() - 1
            });
            &mut entries[found].value
        }
    };
    put(slot, &path[1..], cell);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(text: &str) -> Vec<(u32, Value)> {
        let document = document(text, None).unwrap();
        document.items.iter().map(|item| (item.line, item.tree.to_json())).collect()
    }

    fn faults(text: &str) -> Vec<String> {
        let faults = document(text, None).unwrap_err();
        faults
            .iter()
            .map(|fault| format!("{}: {}", fault.line.map_or(0, |line| line), fault.message))
            .collect()
    }

    #[test]
    fn headings_go_down_into_the_row() {
        assert_eq!(
            read(
                "kind,endpoints.0.device,endpoints.1.device,endpoints.0.attributes.vlan\nprovision,a,b,007\n"
            ),
            [(
                2,
                json!({"kind": "provision", "endpoints": [{"device": "a", "attributes": {"vlan": "007"}}, {"device": "b"}]})
            )]
        );
        assert_eq!(read("a,b\n,x\n"), [(2, json!({"b": "x"}))], "empty cells are left out");
    }

    #[test]
    fn the_delimiter_is_that_of_the_heading_line() {
        let wanted = [(2, json!({"a": "x, y; z", "b": "1"}))];
        for text in [
            "a,b\n\"x, y; z\",1\n",
            "a;b\n\"x, y; z\";1\n",
            "a\tb\nx, y; z\t1\n",
            "\"a\";\"b\"\n\"x, y; z\";\"1\"\n",
        ] {
            assert_eq!(read(text), wanted, "{text:?}");
        }
        assert_eq!(read("sep=|\na|b\nx|1\n"), [(3, json!({"a": "x", "b": "1"}))]);
        assert_eq!(read("a\nx\n"), [(2, json!({"a": "x"}))]);
        let piped = document("a|b\nx|1\n", Some("|".parse().unwrap())).unwrap();
        assert_eq!(piped.items[0].tree.to_json(), json!({"a": "x", "b": "1"}));
        assert!(faults("a|b\nx|1\n")[0].contains("--delimiter '|'"));
        for bad in ["", ",,", "a", "\"", "."] {
            assert!(bad.parse::<Delimiter>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lines_are_those_of_the_file() {
        let lf = "a,b\n\"x\ny\",1\n\n,\nz,2\n";
        for text in [lf.to_owned(), lf.replace('\n', "\r\n"), lf.replace('\n', "\r")] {
            let lines: Vec<u32> = read(&text).iter().map(|(line, _)| *line).collect();
            assert_eq!(lines, [2, 6], "{text:?}");
        }
        assert_eq!(read("\n\na\nx\n\ny")[1].0, 6);
    }

    #[test]
    fn empty_rows_are_passed_over() {
        assert_eq!(read("a,b\n,\n,,,,\n , \nx,y\n,\n").len(), 1);
        assert_eq!(read("a,b,\nx,y,\n"), [(2, json!({"a": "x", "b": "y"}))], "a delimiter at the end");
        assert_eq!(read("a,b\n"), []);
    }

    #[test]
    fn blanks_belong_to_cells_and_not_to_headings() {
        assert_eq!(read(" a , b\n x ,\" y\"\n"), [(2, json!({"a": " x ", "b": " y"}))], "as RFC 4180 has it");
        assert_eq!(read("a,b,\n1, , \n"), [(2, json!({"a": "1", "b": " "}))], "a blank is no empty cell");
        assert_eq!(faults("a,b,a \n")[0], "1: the heading \"a\" is there twice, in columns 1 and 3");
    }

    #[test]
    fn headings_must_fit_together() {
        for (text, wanted) in [
            ("a,b,a\n1,2,3\n", "1: the heading \"a\" is there twice, in columns 1 and 3"),
            ("a,a.b\n1,2\n", "1: the headings \"a\" and \"a.b\" exclude each other"),
            ("a.0,a.b\n1,2\n", "1: the heading \"a.0\": a can't have both names and numbers"),
            (
                "e.1.r,e.2.r\n1,2\n",
                "1: there is no heading e.0, but e.1, e.2; the entries of a list are counted from 0",
            ),
            ("e.64\n1\n", "1: the heading \"e.64\": a list has at most 64 entries, counted from 0"),
            (
                "a..b\n1\n",
                "1: the heading \"a..b\" is no name; such are endpoints.0.device and attributes.mtu",
            ),
            ("\n0\n1\n", "2: the heading \"0\" is no name; such are endpoints.0.device and attributes.mtu"),
        ] {
            assert_eq!(faults(text), [wanted], "{text:?}");
        }
        assert_eq!(faults("a,b,a,b\n").len(), 2, "all at once");
        assert_eq!(faults(""), ["0: is empty; the first line of CSV names the fields"]);
        assert_eq!(faults("\n,,\n"), ["0: is empty; the first line of CSV names the fields"]);
    }

    #[test]
    fn every_row_that_does_not_fit_is_named() {
        assert_eq!(
            faults("a,b,\n1\n1,2,3\n1,2,,4\n1,2,\n"),
            [
                "2: the row has 1 cells and the heading line 3",
                "3: column 3 has \"3\" but no heading",
                "4: the row has 4 cells and the heading line 3; a text that contains the delimiter stands in quotes",
            ]
        );
    }

    #[test]
    fn a_quote_that_is_never_closed_is_placed() {
        let text = "a,b\nx,1\ny,\"2\nz,3\n";
        assert!(faults(text)[0].starts_with("3: a cell begins with a quote"), "{:?}", faults(text));
        assert_eq!(
            read("a,b\n5\" rack,\"say \"\"hi\"\"\"\n"),
            [(2, json!({"a": "5\" rack", "b": "say \"hi\""}))]
        );
    }
}
