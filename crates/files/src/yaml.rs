//! YAML 1.2 with its core schema (§10.3.2) and merge keys (`<<`): `no`, `on` and `y` are texts, `0o17` is 15,
//! `1_000` is a text. A plain scalar that is no text keeps how it is written, see [`Node::written`].

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::Number;
use serde_saphyr::{
    Error, MessageFormatter, Spanned, UserMessageFormatter,
    options::{DuplicateKeyPolicy, NonFiniteFloatPolicy},
};
use std::borrow::Cow;

use crate::{
    Fault, Item,
    tree::{Content, Entry, Node},
};

/// Most lists and maps in each other.
const MAX_DEPTH: usize = 64;
/// Most nodes that aliases may add to those of the text.
const MAX_ALIASED: usize = 100_000;

/// Parses one document.
///
/// # Errors
/// All faults: one for syntax that isn't YAML or aliases that expand beyond reason, or every key that is
/// there twice.
pub fn parse(text: &str) -> Result<Node, Vec<Fault>> {
    let parsed: Result<Parsed, Error> = serde_saphyr::from_str_with_options(text, options(text));
    let node = parsed.map_err(|error| vec![fault(&error)])?;
    let mut faults = Vec::new();
    let node = node.resolved(text, &mut faults);
    if faults.is_empty() { Ok(node) } else { Err(faults) }
}

/// Parses all documents; those that are a list stand for its items. Empty documents count for nothing.
///
/// # Errors
/// As [`parse`].
pub fn items(text: &str) -> Result<Vec<Item>, Vec<Fault>> {
    let parsed: Result<Vec<Parsed>, Error> = serde_saphyr::from_multiple_with_options(text, options(text));
    let mut faults = Vec::new();
    let mut items = Vec::new();
    for document in parsed.map_err(|error| vec![fault(&error)])? {
        let node = document.resolved(text, &mut faults);
        match node.content {
            Content::List(list) => {
                items.extend(list.into_iter().map(|tree| Item { line: tree.line, tree }));
            }
            Content::Null => {}
            _ => items.push(Item { line: node.line, tree: node }),
        }
    }
    if faults.is_empty() { Ok(items) } else { Err(faults) }
}

fn options(text: &str) -> serde_saphyr::Options {
    // Every node and every document takes a byte at least, so the size of the text bounds them.
    let most = text.len().saturating_add(1_000);
    serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        emit_comments: false,
        // Found afterwards, all of them and with both lines.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        // A name may look like one; whether it is meant as a number is known later.
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_ALIASED },
        budget: serde_saphyr::budget! {
            max_events: most.saturating_mul(2).saturating_add(MAX_ALIASED),
            max_nodes: most.saturating_add(MAX_ALIASED),
            max_documents: most,
            max_depth: MAX_DEPTH,
            max_total_scalar_bytes: most.saturating_add(MAX_ALIASED),
            enforce_alias_anchor_ratio: false,
        },
    }
}

fn fault(error: &Error) -> Fault {
    let message = Words.format_message(error.without_snippet()).into_owned();
    match error.location() {
        Some(at) => Fault::at(line_of(at.line()), message),
        None => Fault::whole(message),
    }
}

/// The library's messages, without advice for those who call it.
struct Words;

impl MessageFormatter for Words {
    fn format_message<'a>(&self, error: &'a Error) -> Cow<'a, str> {
        match error {
            Error::NullIntoString { .. } => Cow::Borrowed("a key must be a text; this one is empty"),
            Error::MultipleDocuments { .. } => {
                Cow::Borrowed("a second document begins here ('---'); the file must be one document")
            }
            Error::UnknownAnchor { .. } => Cow::Borrowed("the alias has no anchor before it"),
            Error::AliasReplayLimitExceeded { .. } => {
                Cow::Owned(format!("the aliases expand to more than {MAX_ALIASED} nodes"))
            }
            _ => UserMessageFormatter.format_message(error),
        }
    }
}

fn line_of(line: u64) -> u32 {
    u32::try_from(line.max(1)).unwrap_or(u32::MAX)
}

/// A node before its scalars are known to follow the core schema.
struct Parsed {
    line: u32,
    /// Where a scalar stands in the text.
    from: usize,
    to: usize,
    content: ParsedContent,
}

enum ParsedContent {
    Null,
    Bool(bool),
    Number(Option<Number>),
    Text(String),
    List(Vec<Parsed>),
    Map(Vec<(u32, String, Parsed)>),
}

impl Parsed {
    fn resolved(self, text: &str, faults: &mut Vec<Fault>) -> Node {
        let line = self.line;
        let source = || text.get(self.from..self.to).map(str::trim).filter(|source| is_plain(source));
        let (content, written) = match self.content {
            ParsedContent::Text(text) => (Content::Text(text), None),
            ParsedContent::Null => (Content::Null, source()),
            ParsedContent::Bool(value) => (Content::Bool(value), source()),
            ParsedContent::Number(number) => match (number, source()) {
                (Some(number), None) => (Content::Number(number), None),
                (Some(number), Some(source)) if is_core_number(source, &number) => {
                    (Content::Number(number), Some(source))
                }
                // YAML 1.1's and the library's other numbers, and those that would lose digits.
                (_, Some(source)) => (Content::Text(source.to_owned()), None),
                (None, None) => (Content::Null, None),
            },
            ParsedContent::List(items) => {
                (Content::List(items.into_iter().map(|item| item.resolved(text, faults)).collect()), None)
            }
            ParsedContent::Map(entries) => (Content::Map(unique(entries, text, faults)), None),
        };
        Node { line, content, written: written.map(str::to_owned) }
    }
}

/// The entries of a map; a fault for each key that is there again.
fn unique(entries: Vec<(u32, String, Parsed)>, text: &str, faults: &mut Vec<Fault>) -> Vec<Entry> {
    let mut first: BTreeMap<String, u32> = BTreeMap::new();
    let mut kept = Vec::with_capacity(entries.len());
    for (line, key, value) in entries {
        if let Some(before) = first.get(&key) {
            let shown: String = key.chars().take(64).collect();
            let place = if *before == line { "this line".to_owned() } else { format!("line {before}") };
            faults.push(Fault::at(line, format!("the key {shown:?} is there twice, first in {place}")));
            continue;
        }
        first.insert(key.clone(), line);
        kept.push(Entry { line, key, value: value.resolved(text, faults) });
    }
    kept
}

/// Whether a scalar is written without quotes and tag.
fn is_plain(source: &str) -> bool {
    !source.starts_with(['"', '\'', '!', '|', '>', '&', '*'])
}

/// Whether the core schema takes the scalar for a number, and this number is exactly it.
fn is_core_number(source: &str, number: &Number) -> bool {
    let radix = |prefix: &str, digits: fn(&u8) -> bool| {
        source.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.as_bytes().iter().all(digits))
    };
    if radix("0o", |byte| (b'0'..=b'7').contains(byte)) || radix("0x", u8::is_ascii_hexdigit) {
        return !number.is_f64();
    }
    let unsigned = source.strip_prefix(['-', '+']).unwrap_or(source);
    if !unsigned.is_empty() && unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        let zeros = unsigned.trim_start_matches('0');
        let digits = if zeros.is_empty() { "0" } else { zeros };
        // A float here has lost digits, if it has more of them than an integer may have.
        return !number.is_f64() || digits.len() <= 15;
    }
    let (mantissa, exponent) =
        unsigned.split_once(['e', 'E']).map_or((unsigned, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(w, f)| (w, Some(f)));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa_fits = match fraction {
        None => !whole.is_empty() && digits(whole),
        Some(fraction) => (!whole.is_empty() || !fraction.is_empty()) && digits(whole) && digits(fraction),
    };
    let exponent_fits = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    mantissa_fits && exponent_fits
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { defined, value: content, .. } = Spanned::<ParsedContent>::deserialize(deserializer)?;
        let span = defined.span();
        let place = |at: Option<u64>| at.and_then(|at| usize::try_from(at).ok()).unwrap_or_default();
        let from = place(span.byte_offset());
        Ok(Self {
            line: line_of(defined.line()),
            from,
            to: from.saturating_add(place(span.byte_len())),
            content,
        })
    }
}

impl<'de> Deserialize<'de> for ParsedContent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = ParsedContent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<ParsedContent, E> {
        Ok(ParsedContent::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<ParsedContent, E> {
        Ok(ParsedContent::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<ParsedContent, E> {
        Ok(ParsedContent::Number(Some(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<ParsedContent, E> {
        Ok(ParsedContent::Number(Some(value.into())))
    }

    fn visit_i128<E>(self, value: i128) -> Result<ParsedContent, E> {
        Ok(ParsedContent::Number(Number::from_i128(value)))
    }

    fn visit_u128<E>(self, value: u128) -> Result<ParsedContent, E> {
        Ok(ParsedContent::Number(Number::from_u128(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<ParsedContent, E> {
        Ok(ParsedContent::Number(Number::from_f64(value)))
    }

    fn visit_str<E>(self, text: &str) -> Result<ParsedContent, E> {
        Ok(ParsedContent::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ParsedContent, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(ParsedContent::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ParsedContent, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let line = line_of(key.defined.line());
            entries.push((line, key.value, map.next_value()?));
        }
        Ok(ParsedContent::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// What a scalar is, and how it is written if it is no text.
    fn scalar(text: &str) -> (Value, Option<String>) {
        let node = parse(&format!("a: {text}\n")).unwrap();
        let value = node.get("a").unwrap();
        (value.to_json(), value.written.clone())
    }

    #[test]
    fn lines_of_keys_values_and_aliases() {
        let text = "# comment\na: 1\nb:\n  c: [x, y]\n  d: &d {e: true}\nf: *d\n\"null\": ~\n";
        let node = parse(text).unwrap();
        assert_eq!(
            node.to_json(),
            json!({"a": 1, "b": {"c": ["x", "y"], "d": {"e": true}}, "f": {"e": true}, "null": null})
        );
        assert_eq!(node.line_at("/a"), 2);
        assert_eq!(node.line_at("/b/c/1"), 4);
        assert_eq!(node.line_at("/b/c/7/x"), 4);
        assert_eq!(node.line_at("/f"), 6);
        assert_eq!(node.line_at("/f/e"), 5);
    }

    #[test]
    fn scalars_follow_the_core_schema() {
        for text in
            ["no", "on", "y", "Yes", "off", "1_000", "0b11", "1:30", "nan", "inf", "-0x1F", "0o18", "1e", "."]
        {
            assert_eq!(scalar(text), (json!(text), None));
        }
        for (text, value) in [
            ("7", json!(7)),
            ("007", json!(7)),
            ("0755", json!(755)),
            ("+5", json!(5)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("1.10", json!(1.1)),
            ("7e12", json!(7e12)),
            (".5", json!(0.5)),
            ("5.", json!(5.0)),
            ("true", json!(true)),
            ("FALSE", json!(false)),
            ("~", json!(null)),
            ("null", json!(null)),
        ] {
            let (found, written) = scalar(text);
            let same = found == value || found.as_f64().is_some_and(|found| Some(found) == value.as_f64());
            assert!(same, "{text}: {found}");
            assert_eq!(written.as_deref(), Some(text));
        }
        for (text, value) in [("\"7\"", "7"), ("'no'", "no"), ("!!str 007", "007")] {
            assert_eq!(scalar(text), (json!(value), None));
        }
    }

    #[test]
    fn numbers_that_json_cannot_hold_are_texts() {
        for text in ["12345678901234567890123", "-99999999999999999999", ".inf", "-.INF", ".nan", "1e999"] {
            assert_eq!(scalar(text), (json!(text), None));
        }
        assert_eq!(scalar("18446744073709551615").0, json!(u64::MAX));
    }

    #[test]
    fn the_written_form_survives_anchors_comments_and_other_documents() {
        let text = "# Straße\na: &x 007 # seven\nb: *x\nc: [0755 , 1.10]\n---\n- 7e12\n";
        let found = items(text).unwrap();
        let written = |node: &Node| node.written.clone().unwrap();
        assert_eq!(written(found[0].tree.get("a").unwrap()), "007");
        assert_eq!(written(found[0].tree.get("b").unwrap()), "007");
        let Content::List(list) = &found[0].tree.get("c").unwrap().content else { panic!("a list") };
        assert_eq!(list.iter().map(written).collect::<Vec<_>>(), ["0755", "1.10"]);
        assert_eq!((written(&found[1].tree).as_str(), found[1].line), ("7e12", 6));
    }

    #[test]
    fn merge_keys_are_expanded() {
        let node = parse("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n").unwrap();
        assert_eq!(node.to_json()["b"], json!({"x": 1, "y": 3}));
    }

    #[test]
    fn all_keys_that_are_there_twice_are_named() {
        let faults = parse("a: 1\nb: {c: 1, c: 2}\na: 3\n").unwrap_err();
        assert_eq!(
            faults,
            [
                Fault::at(2, "the key \"c\" is there twice, first in this line"),
                Fault::at(3, "the key \"a\" is there twice, first in line 1"),
            ]
        );
    }

    #[test]
    fn what_is_no_yaml_is_named_with_its_line() {
        for text in ["a: 1\nb: [1\nc: 2\n", "a: 1\n? ~\n: 2\n", "a: 1\nb: *x\n", "a: 1\n---\nb: 2\n"] {
            let faults = parse(text).unwrap_err();
            assert!(faults[0].line >= Some(2), "{faults:?}");
            for word in ["Options", "Option<", "line ", "column"] {
                assert!(!faults[0].message.contains(word), "{faults:?}");
            }
        }
    }

    #[test]
    fn alias_bombs_are_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..12 {
            let p = n - 1;
            text.push_str(&format!("a{n}: &a{n} [{}]\n", vec![format!("*a{p}"); 10].join(", ")));
        }
        assert!(parse(&text).is_err());
        assert!(parse(&"[".repeat(100_000)).is_err(), "depth is bounded");
    }

    #[test]
    fn large_lists_of_documents_are_read() {
        let text = "---\nkind: provision\nattributes: {a: 1, b: x}\n".repeat(3_000);
        assert_eq!(items(&text).unwrap().len(), 3_000);
        let list = "- {kind: provision, attributes: {a: 1, b: x, c: [1, 2, 3]}}\n".repeat(10_000);
        let found = items(&list).unwrap();
        assert_eq!((found.len(), found[9_999].line), (10_000, 10_000));
        let shared = format!("- {{a: &s {{x: 1}}}}\n{}", "- {a: *s}\n".repeat(5_000));
        assert_eq!(items(&shared).unwrap().len(), 5_001);
    }
}
