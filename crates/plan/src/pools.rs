//! `pools.yaml`: the pools that services take resources from. The operator's file, not the designer's.

use std::collections::BTreeMap;

use serde_json::Value;
use turnup_core::resource::{Pool, PoolScope, text_of};
use turnup_files::{Entry, yaml};

use crate::{
    mistake::Mistake,
    read::{Reader, find, is_node_name},
    schema::unknown,
};

/// Name of the file in the catalogue folder.
pub(crate) const POOLS_FILE: &str = "pools.yaml";
/// Most pools.
const MAX_POOLS: usize = 1_000;
/// Largest number: beyond it, not every program that reads JSON keeps a number as it is.
const MAX_NUMBER: i64 = 1 << 53;
const FIELDS: [&str; 6] = ["title", "scope", "from", "to", "pick_from", "format"];

/// All pools by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pools {
    pools: BTreeMap<String, PoolRule>,
}

/// A pool, and what may be given by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolRule {
    /// The pool as values are picked from it: from `pick_from` to `to`.
    pub pool: Pool,
    /// The smallest number that may be given by hand: `from`.
    pub from: i64,
}

impl PoolRule {
    /// The text for people of what may be given.
    pub(crate) fn form(&self) -> String {
        match &self.pool.format {
            None => format!("a number from {} to {}", self.from, self.pool.to),
            Some(format) => format!("{format} with a number from {} to {}", self.from, self.pool.to),
        }
    }

    /// Whether a value given by hand is this pool's.
    pub(crate) fn accepts(&self, value: &Value) -> bool {
        self.pool.number(value).is_some_and(|number| {
            // One text per number: it is by its text that a value is known to be taken.
            (self.from..=self.pool.to).contains(&number)
                && text_of(&self.pool.value(number)) == text_of(value)
        })
    }
}

impl Pools {
    /// Reads the text of a `pools.yaml`.
    ///
    /// # Errors
    /// All mistakes, by line.
    pub fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        let mut reader = Reader::new(POOLS_FILE.as_ref());
        match yaml::parse(text) {
            Ok(root) => {
                let entries = reader.map(&root, "the pools", None);
                if entries.len() > MAX_POOLS {
                    reader.mistake(root.line, format!("more than {MAX_POOLS} pools"));
                }
                let pools: Vec<_> = entries.iter().filter_map(|entry| pool(&mut reader, entry)).collect();
                reader.done(Self { pools: pools.into_iter().collect() })
            }
            Err(faults) => {
                reader.faults(faults);
                reader.done(Self::default())
            }
        }
    }

    /// The pool of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&PoolRule> {
        self.pools.get(name)
    }

    /// All of them, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &PoolRule)> {
        self.pools.iter().map(|(name, rule)| (name.as_str(), rule))
    }

    /// "There is no pool …".
    pub(crate) fn unknown(&self, name: &str) -> String {
        if self.pools.is_empty() {
            return format!("there is no pool {name:?}; pools are declared in {POOLS_FILE} of the catalogue");
        }
        let known: Vec<&str> = self.pools.keys().map(String::as_str).collect();
        unknown("pool", name, known)
    }
}

fn pool(reader: &mut Reader<'_>, Entry { line, key, value }: &Entry) -> Option<(String, PoolRule)> {
    if !is_node_name(key) {
        reader.mistake(*line, format!("{key:?} is no name of a pool; use letters, digits, '-' and '_'"));
    }
    let fields = reader.map(value, &format!("pool {key:?}"), Some(&FIELDS));
    let title = reader.required(fields, "title", *line).and_then(|node| reader.text(node, "title"));
    let scope = reader.required(fields, "scope", *line);
    let scope = scope.and_then(|node| {
        let text = reader.text(node, "scope")?;
        reader.parsed::<PoolScope>(&text, node.line)
    });
    let mut number = |key: &str, needed: bool| {
        let node = if needed { reader.required(fields, key, *line) } else { find(fields, key) };
        node.and_then(|node| reader.number(node, key, 0, MAX_NUMBER))
    };
    let (from, to, pick_from) = (number("from", true), number("to", true), number("pick_from", false));
    let format = find(fields, "format").and_then(|node| {
        let text = reader.text(node, "format")?;
        let fits = text.matches("{}").count() == 1
            && text.len() <= 64
            && !text.chars().any(|c| c.is_control() || c.is_whitespace());
        if !fits {
            let message = format!(
                "{text:?} is no format: at most 64 characters without blanks, with {{}} once, where the \
                 number goes, such as 65000:{{}}"
            );
            reader.mistake(node.line, message);
        }
        Some(text)
    });
    let (title, scope, from, to) = (title?, scope?, from?, to?);
    if from > to {
        reader.mistake(*line, format!("pool {key:?} goes from {from} to {to}; 'from' must not be larger"));
    }
    let pick_from = pick_from.unwrap_or(from);
    if from <= to && !(from..=to).contains(&pick_from) {
        reader.mistake(*line, format!("'pick_from' of pool {key:?} must lie between {from} and {to}"));
    }
    Some((key.clone(), PoolRule { pool: Pool { title, scope, from: pick_from, to, format }, from }))
}
