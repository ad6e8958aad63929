//! Secret values: how they are shown, and how they are kept out of texts.
//!
//! A definition says which attributes are secret (`writeOnly`) and which nodes of a device's configuration. The value
//! itself stays in the order and in the footprint, as a later order needs it; whatever is shown goes through here.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::{failure::Failure, order::Endpoint};

/// Stands for a secret value wherever one is shown.
pub const MASK: &str = "(secret)";
/// Stands for a text that may hold a secret too short to be taken out of it.
pub const WITHHELD: &str = "(text not shown: it may hold a secret of few characters)";

/// A secret with fewer characters is a part of too many words to be looked for inside of them.
const SHORTEST_INSIDE: usize = 4;
/// Length of the beginning of a longer secret that is masked like the whole, in characters: peers cut long values.
const PREFIX: usize = 8;

/// Masks what stands at these JSON pointers of an order: `/attributes/…` and `/endpoints/<index>/attributes/…`.
pub fn mask(attributes: &mut Value, endpoints: &mut [Endpoint], secrets: &[String]) {
    for pointer in secrets {
        if let Some(value) = at(attributes, endpoints, pointer) {
            *value = MASK.into();
        }
    }
}

/// The value at a JSON pointer of an order's content.
pub fn at<'v>(
    attributes: &'v mut Value,
    endpoints: &'v mut [Endpoint],
    pointer: &str,
) -> Option<&'v mut Value> {
    match Place::of(pointer)? {
        Place { endpoint: None, inside } => attributes.pointer_mut(inside),
        Place { endpoint: Some(index), inside } => within(&mut endpoints.get_mut(index)?.attributes, inside),
    }
}

/// What a JSON pointer of an order's content names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place<'p> {
    /// The endpoint; none: the attributes of the service.
    endpoint: Option<usize>,
    /// The pointer inside of the attributes.
    inside: &'p str,
}

impl<'p> Place<'p> {
    fn of(pointer: &'p str) -> Option<Self> {
        if let Some(inside) = pointer.strip_prefix("/attributes") {
            return Some(Self { endpoint: None, inside });
        }
        let (index, inside) = pointer.strip_prefix("/endpoints/")?.split_once('/')?;
        let inside = inside.strip_prefix("attributes")?;
        Some(Self { endpoint: Some(index.parse().ok()?), inside })
    }
}

fn within<'v>(map: &'v mut Map<String, Value>, pointer: &str) -> Option<&'v mut Value> {
    let (name, rest) = match pointer.strip_prefix('/')?.split_once('/') {
        Some((name, _)) => (name, &pointer[1 + name.len()..]),
        None => (&pointer[1..], ""),
    };
    let value = map.get_mut(&name.replace("~1", "/").replace("~0", "~"))?;
    value.pointer_mut(rest)
}

/// Whether a value is what stands for a secret one.
#[must_use]
pub fn is_masked(value: &Value) -> bool {
    value.as_str() == Some(MASK)
}

/// Puts the values of `known` where `secrets` of them are masked: a client sends back what it was shown. Gives the
/// pointers, of all those in `secrets`, for which nothing is known.
pub fn unmask(
    attributes: &mut Map<String, Value>,
    endpoints: &mut [Endpoint],
    secrets: &[String],
    known: Option<(&Map<String, Value>, &[Endpoint])>,
) -> Vec<String> {
    let mut missing = Vec::new();
    for pointer in secrets {
        let Some(place) = Place::of(pointer) else { continue };
        let value = known.and_then(|(attributes, others)| match place.endpoint {
            None => look_up(attributes, place.inside),
            Some(index) => {
                let like = others.get(counterpart(endpoints.get(index)?, index, others)?)?;
                look_up(&like.attributes, place.inside)
            }
        });
        let target = match place.endpoint {
            None => within(attributes, place.inside),
            Some(index) => {
                endpoints.get_mut(index).and_then(|endpoint| within(&mut endpoint.attributes, place.inside))
            }
        };
        let Some(target) = target.filter(|target| is_masked(target)) else { continue };
        match value {
            Some(value) => *target = value,
            None => missing.push(pointer.clone()),
        }
    }
    missing
}

fn look_up(map: &Map<String, Value>, pointer: &str) -> Option<Value> {
    within(&mut map.clone(), pointer).map(|value| value.clone())
}

/// The endpoint that was at a place before: the one with its role and device, or the one at the same place with its
/// role where the device is another.
fn counterpart(endpoint: &Endpoint, index: usize, others: &[Endpoint]) -> Option<usize> {
    let same = |other: &Endpoint| other.role == endpoint.role && other.device == endpoint.device;
    if others.get(index).is_some_and(same) {
        return Some(index);
    }
    let found = others.iter().position(same);
    found.or_else(|| others.get(index).filter(|other| other.role == endpoint.role).map(|_| index))
}

/// Takes known secret values out of texts that others wrote.
///
/// A value of four characters and more is masked wherever it stands, also escaped for XML, JSON or a debug text, and
/// also if only its first eight characters are there. A shorter one would turn every text into masks: a text that
/// holds one as a word of its own is withheld as a whole, and inside of words it is left.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Redactor {
    /// The longest first.
    values: Vec<Box<str>>,
    short: Vec<Box<str>>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor of {} values", self.values.len() + self.short.len())
    }
}

impl Redactor {
    /// Knows these values.
    pub fn new<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> Self {
        let mut redactor = Self::default();
        for value in values {
            redactor.add(value.as_ref());
        }
        redactor.values.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        redactor.values.dedup();
        redactor.short.sort();
        redactor.short.dedup();
        redactor
    }

    /// Knows the texts and numbers in these JSON values.
    pub fn of_json<'v>(values: impl IntoIterator<Item = &'v Value>) -> Self {
        let mut texts = Vec::new();
        for value in values {
            collect(value, &mut texts);
        }
        Self::new(texts)
    }

    fn add(&mut self, value: &str) {
        let value = value.trim();
        // RFC 7317 writes clear text as "$0$" and the text, which may be repeated without.
        let bare = value.strip_prefix("$0$").unwrap_or_default();
        for text in [value, bare].into_iter().filter(|text| !text.is_empty() && *text != MASK) {
            if text.chars().nth(SHORTEST_INSIDE - 1).is_none() {
                self.short.push(text.into());
                continue;
            }
            let json = Value::from(text).to_string();
            let debug = format!("{text:?}");
            let inside = |quoted: &str| quoted[1..quoted.len() - 1].to_owned();
            let line = crate::clean::line(text, usize::MAX);
            let written = [text.to_owned(), xml(text), xml(&xml(text)), inside(&json), inside(&debug), line];
            self.values.extend(written.into_iter().map(String::into_boxed_str));
        }
    }

    /// Knows only the values that are looked for inside of texts: for texts that are mostly turnup's own, which a short
    /// value would withhold for nothing.
    #[must_use]
    pub fn without_short(self) -> Self {
        Self { short: Vec::new(), ..self }
    }

    /// Whether no value is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.short.is_empty()
    }

    /// The text without the values.
    #[must_use]
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let out = without(text, &self.values).map_or(Cow::Borrowed(text), Cow::Owned);
        if self.short.is_empty() {
            return out;
        }
        // What is masked already holds nothing.
        let rest = out.replace(MASK, " ");
        if self.short.iter().any(|value| **value == *rest.trim()) {
            return MASK.into();
        }
        if self.short.iter().any(|value| has_word(&rest, value)) {
            return WITHHELD.into();
        }
        out
    }

    /// Takes the values out of a text in place.
    pub fn clean(&self, text: &mut String) {
        let masked = match self.text(text) {
            Cow::Borrowed(same) if same.len() == text.len() => return,
            masked => masked.into_owned(),
        };
        *text = masked;
    }

    /// Takes the values out of all texts of a failure.
    pub fn failure(&self, failure: &mut Failure) {
        if self.is_empty() {
            return;
        }
        self.clean(&mut failure.message);
        let optional = [&mut failure.error_tag, &mut failure.error_app_tag, &mut failure.path];
        optional.into_iter().flatten().for_each(|text| self.clean(text));
        for info in &mut failure.error_info {
            self.clean(&mut info.value);
        }
        for detail in &mut failure.details {
            self.clean(&mut detail.text);
        }
    }

    /// The same of several.
    #[must_use]
    pub fn failures(&self, mut failures: Vec<Failure>) -> Vec<Failure> {
        failures.iter_mut().for_each(|failure| self.failure(failure));
        failures
    }
}

fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Number(number) => texts.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(map) => map.values().for_each(|item| collect(item, texts)),
        Value::Null | Value::Bool(_) => {}
    }
}

fn xml(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&#39;")
}

/// The text with each place masked where one of `values` stands, or a beginning of it; none if there is none.
fn without(text: &str, values: &[Box<str>]) -> Option<String> {
    let head = |value: &'_ str| value.char_indices().nth(PREFIX).map_or(value.len(), |(at, _)| at);
    let mut next: Vec<(&str, &str, Option<usize>)> = values
        .iter()
        .map(|value| (&**value, &value[..head(value)]))
        .map(|(value, head)| (value, head, text.find(head)))
        .filter(|(.., at)| at.is_some())
        .collect();
    if next.is_empty() {
        return None;
    }
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    while let Some(at) = next.iter().filter_map(|(.., at)| *at).min() {
        // Of several that begin here, as one is the beginning of another or is escaped, the longest counts.
        let here = next.iter().filter(|(.., place)| *place == Some(at)).map(|(value, ..)| {
            let same = text[at..].chars().zip(value.chars()).take_while(|(a, b)| a == b);
            same.map(|(a, _)| a.len_utf8()).sum::<usize>()
        });
        let length = here.max().unwrap_or_default();
        out.push_str(&text[from..at]);
        out.push_str(MASK);
        from = at + length;
        for (_, head, place) in next.iter_mut().filter(|(.., place)| place.is_some_and(|place| place < from))
        {
            *place = text[from..].find(*head).map(|found| from + found);
        }
    }
    out.push_str(&text[from..]);
    Some(out)
}

/// Whether `value` stands in the text where no word goes on before or after it.
fn has_word(text: &str, value: &str) -> bool {
    let goes_on = |inner: Option<char>, outer: Option<char>| {
        inner.is_some_and(char::is_alphanumeric) && outer.is_some_and(char::is_alphanumeric)
    };
    text.match_indices(value).any(|(at, _)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + value.len()..].chars().next());
        !goes_on(value.chars().next(), before) && !goes_on(value.chars().next_back(), after)
    })
}

#[cfg(test)]
mod tests;
