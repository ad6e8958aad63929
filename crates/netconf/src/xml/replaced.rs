//! Characters in values that XML forbids, and their replacement by U+FFFD.

use std::borrow::Cow;
use std::fmt;

use super::XmlError;
use super::serialize::is_xml_char;

/// Most replacements in one document: one with more is no text.
pub(super) const MAX_REPLACED: usize = 10_000;

/// Longest reference to a character that is looked at; one without leading zeros has eight bytes.
const MAX_REFERENCE_BYTES: usize = 16;

/// An element or attribute whose value holds characters that were replaced by U+FFFD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// Names of the elements down to it, with the first leaf of each list entry:
    /// `interfaces/interface[name='eth1']/description`; `/@name` at the end for an attribute.
    pub path: String,
    /// Byte sequences that aren't UTF-8.
    pub not_utf8: usize,
    /// Characters, or references to characters, that XML 1.0 forbids (§2.2): control characters.
    pub forbidden: usize,
}

impl fmt::Display for Replaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match (self.not_utf8, self.forbidden) {
            (_, 0) => "bytes that are not UTF-8",
            (0, _) => "control characters that XML forbids",
            _ => "bytes that are not UTF-8 and control characters",
        };
        write!(f, "{} holds {what} ({} replaced by U+FFFD)", self.path, self.not_utf8 + self.forbidden)
    }
}

/// Bytes that aren't UTF-8: where U+FFFD stands for them in the text, and where they were received.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub(super) in_text: usize,
    pub(super) in_bytes: usize,
}

/// A document as text.
pub(super) struct Decoded<'d> {
    pub(super) text: Cow<'d, str>,
    /// Ascending.
    pub(super) faults: Vec<Fault>,
}

impl<'d> Decoded<'d> {
    pub(super) fn valid(text: &'d str) -> Self {
        Self { text: Cow::Borrowed(text), faults: Vec::new() }
    }
}

/// Decodes UTF-8; each maximal sequence of wrong bytes becomes one U+FFFD.
pub(super) fn decode(document: &[u8]) -> Result<Decoded<'_>, XmlError> {
    if let Ok(text) = std::str::from_utf8(document) {
        return Ok(Decoded::valid(text));
    }
    let mut text = String::with_capacity(document.len() + 64);
    let (mut faults, mut in_bytes) = (Vec::new(), 0);
    for chunk in document.utf8_chunks() {
        text.push_str(chunk.valid());
        in_bytes += chunk.valid().len();
        if !chunk.invalid().is_empty() {
            if faults.len() >= MAX_REPLACED {
                return Err(XmlError::NotUtf8 { at: in_bytes });
            }
            faults.push(Fault { in_text: text.len(), in_bytes });
            text.push(char::REPLACEMENT_CHARACTER);
            in_bytes += chunk.invalid().len();
        }
    }
    Ok(Decoded { text: Cow::Owned(text), faults })
}

/// The character of a reference like `#8` or `#x8`; an error if XML forbids it, `None` if it is no number.
pub(super) fn character(reference: &str) -> Option<Result<char, ()>> {
    let number = reference.strip_prefix('#')?;
    let (digits, radix) = match number.strip_prefix('x') {
        Some(hex) => (hex, 16),
        None => (number, 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let c = u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
    Some(c.filter(|c| is_xml_char(*c)).ok_or(()))
}

/// The raw value of an attribute with each reference to a forbidden character replaced; gives their number.
pub(super) fn without_forbidden_references(raw: &str) -> (Cow<'_, str>, usize) {
    let (mut out, mut from, mut count) = (String::new(), 0, 0);
    for (at, _) in raw.match_indices("&#") {
        let rest = raw.as_bytes().get(at + 1..).unwrap_or_default();
        let end = rest.iter().take(MAX_REFERENCE_BYTES).position(|byte| *byte == b';');
        let Some(reference) = end.and_then(|end| raw.get(at + 1..at + 1 + end)) else { continue };
        if character(reference) == Some(Err(())) {
            out.push_str(raw.get(from..at).unwrap_or_default());
            out.push(char::REPLACEMENT_CHARACTER);
            from = at + 1 + reference.len() + 1;
            count += 1;
        }
    }
    if count == 0 {
        return (Cow::Borrowed(raw), 0);
    }
    out.push_str(raw.get(from..).unwrap_or_default());
    (Cow::Owned(out), count)
}
