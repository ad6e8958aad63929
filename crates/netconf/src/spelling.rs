//! Spellings: texts that write one value differently, such as `2001:DB8:0::1` and `2001:db8::1`.
//!
//! A schema says what a value is ([`Kinds`]). Where no schema is known, text that is equal is equal, and some
//! spellings are recognised by their form alone.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::xml::{Element, is_xml_space};

/// What a value is, as far as its spelling depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// Whole numbers: `+5`, `05`.
    Integer = 1,
    /// Decimals: `1.50`.
    Decimal = 1 << 1,
    /// IPv4 and IPv6 addresses, with a zone or length if there is one (RFC 5952).
    Address = 1 << 2,
    /// IP prefixes: bits behind the prefix's length are no part of the value (RFC 6991).
    Prefix = 1 << 3,
    /// Octets in hexadecimal, such as MAC addresses: `00:AA`.
    Hex = 1 << 4,
    /// Instants (RFC 3339): `Z` and `+00:00`.
    Time = 1 << 5,
    /// Base64, in which white space means nothing.
    Binary = 1 << 6,
    /// Bits by name, in any order.
    Bits = 1 << 7,
    /// The name of an identity; its prefix stands for a namespace.
    Identity = 1 << 8,
    /// An instance-identifier or XPath: its prefixes stand for namespaces.
    Path = 1 << 9,
    /// Strings, enumerations and all else: one spelling only.
    Exact = 1 << 10,
}

/// All kinds, the narrower ones first: a value of a union is what it can be read as.
const ALL: [(Kind, &str); 11] = [
    (Kind::Integer, "integer"),
    (Kind::Decimal, "decimal"),
    (Kind::Address, "address"),
    (Kind::Prefix, "prefix"),
    (Kind::Hex, "hex"),
    (Kind::Time, "time"),
    (Kind::Binary, "binary"),
    (Kind::Bits, "bits"),
    (Kind::Identity, "identity"),
    (Kind::Path, "path"),
    (Kind::Exact, "exact"),
];

/// What the values of a node can be; several kinds for a union, none where no schema is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kinds(u16);

impl From<Kind> for Kinds {
    fn from(kind: Kind) -> Self {
        Self(kind as u16)
    }
}

impl Kinds {
    /// No schema is known.
    pub const UNKNOWN: Self = Self(0);

    /// Whether no schema is known.
    #[must_use]
    pub const fn is_unknown(self) -> bool {
        self.0 == 0
    }

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether values can be of this kind.
    #[must_use]
    pub const fn has(self, kind: Kind) -> bool {
        self.0 & kind as u16 != 0
    }

    /// The kinds by name, as [`Self::to_text`] writes them. A name of a later release makes it unknown.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut all = Self::UNKNOWN;
        for name in text.split(' ') {
            match ALL.iter().find(|(_, known)| *known == name) {
                Some((kind, _)) => all = all.with((*kind).into()),
                None => return Self::UNKNOWN,
            }
        }
        all
    }

    /// The names of the kinds, separated by blanks.
    #[must_use]
    pub fn to_text(self) -> String {
        let names: Vec<&str> =
            ALL.iter().filter(|(kind, _)| self.has(*kind)).map(|(_, name)| *name).collect();
        names.join(" ")
    }

    fn iter(self) -> impl Iterator<Item = Kind> {
        ALL.iter().map(|(kind, _)| *kind).filter(move |kind| self.has(*kind))
    }
}

/// Whether two leaves hold the same value.
///
/// Equal text is equal, except that the prefixes of a known identity or path decide. Where no schema is
/// known, prefixes are resolved only if the texts differ, and values that differ in a recognised spelling
/// are taken for the same: then nothing says that they are not numbers or addresses.
#[must_use]
pub fn same_value(a: &Element, b: &Element, kinds: Kinds) -> bool {
    let (left, right) = (a.text(), b.text());
    let by_prefix = kinds.has(Kind::Identity) || kinds.has(Kind::Path);
    if left == right {
        return !by_prefix || have_same_bindings(a, b) || a.expanded_text() == b.expanded_text();
    }
    if kinds.is_unknown() {
        return same_qualified(a, b) || same_spelling(&left, &right);
    }
    let by_text = kinds.iter().find_map(|kind| {
        let (left, right) = (written(&left, kind)?, written(&right, kind)?);
        Some(left == right)
    });
    match by_text {
        Some(same) => same,
        None if kinds.has(Kind::Identity) && same_qualified(a, b) => true,
        None => kinds.has(Kind::Path) && path_text(a) == path_text(b),
    }
}

/// As [`same_value`] where differences in spelling count: two writings of one number are two values.
#[must_use]
pub fn same_writing(a: &Element, b: &Element, kinds: Kinds) -> bool {
    if kinds.is_unknown() { a.text() == b.text() || same_qualified(a, b) } else { same_value(a, b, kinds) }
}

/// Prefixes of the value that either element leaves unbound, or binds alike.
fn have_same_bindings(a: &Element, b: &Element) -> bool {
    a.prefixes().all(|(prefix, namespace)| {
        b.prefixes().find(|(other, _)| *other == prefix).is_none_or(|(_, other)| other == namespace)
    })
}

/// Whether both are the same with prefixes resolved. A name without prefix equals one whose only prefix is
/// resolved away, since servers differ in whether they write the prefix of an `identityref`.
fn same_qualified(a: &Element, b: &Element) -> bool {
    let (a, b) = (a.expanded_text(), b.expanded_text());
    a == b
        || match (local_of(&a), local_of(&b)) {
            (Some(local), None) => local == b,
            (None, Some(local)) => local == a,
            _ => false,
        }
}

/// The local part of an expanded value that is a single qualified name.
fn local_of(expanded: &str) -> Option<&str> {
    let local = expanded.strip_prefix('{')?.split_once('}')?.1;
    local.chars().all(crate::xml::is_name_char).then_some(local)
}

/// One text for all spellings of the leaf's value, as far as they are known by its kinds; where no schema is
/// known, of addresses only, since names may look like numbers. Equal for equal values, except for
/// identities with and without prefix.
#[must_use]
pub fn normal(leaf: &Element, kinds: Kinds) -> Cow<'_, str> {
    let qualified = || if leaf.prefixes().next().is_some() { leaf.expanded_text() } else { leaf.raw_text() };
    if kinds.is_unknown() {
        let text = leaf.text();
        return match address(&text).filter(|normal| **normal != *text) {
            Some(normal) => normal.into(),
            None => qualified(),
        };
    }
    let text = leaf.text();
    match kinds.iter().find_map(|kind| written(&text, kind).map(Cow::into_owned)) {
        Some(normal) if normal != text => normal.into(),
        Some(_) => leaf.raw_text(),
        None if kinds.has(Kind::Path) => path_text(leaf).into(),
        None => qualified(),
    }
}

/// A text that is the same for all leaves that [`same_value`] can take for the same, and maybe for others.
#[must_use]
pub(crate) fn loose(leaf: &Element, kinds: Kinds) -> Cow<'_, str> {
    if !kinds.is_unknown() && !kinds.has(Kind::Identity) {
        return normal(leaf, kinds);
    }
    let text = leaf.text();
    if kinds.is_unknown() {
        let forms: [fn(&str) -> Option<String>; 4] = [decimal, address, time, hex];
        if let Some(normal) = forms.iter().find_map(|form| form(&text)) {
            return normal.into();
        }
    }
    let local = text.rsplit_once(':').map_or(&*text, |(_, local)| local);
    // Wrapped base64 has white space in it.
    local.chars().filter(|c| !is_xml_space(*c)).collect::<String>().into()
}

/// The one spelling of a text of a kind; none if it can't be of that kind, or needs its prefixes for that.
fn written(text: &str, kind: Kind) -> Option<Cow<'_, str>> {
    match kind {
        Kind::Integer => integer(text).map(Into::into),
        Kind::Decimal => decimal(text).map(Into::into),
        Kind::Address => address(text).map(Into::into),
        Kind::Prefix => prefix(text).map(Into::into),
        Kind::Hex => hex(text).map(Into::into),
        Kind::Time => time(text).map(Into::into),
        Kind::Binary => Some(text.chars().filter(|c| !is_xml_space(*c)).collect::<String>().into()),
        Kind::Bits => {
            let mut names: Vec<&str> = text.split(is_xml_space).filter(|name| !name.is_empty()).collect();
            names.sort_unstable();
            Some(names.join(" ").into())
        }
        Kind::Identity | Kind::Path => None,
        Kind::Exact => Some(text.into()),
    }
}

/// Whether two texts of an unknown kind differ in nothing but a spelling that their form shows.
fn same_spelling(a: &str, b: &str) -> bool {
    // Addresses, numbers, octets and instants all begin with one of these.
    let may_be =
        |text: &str| text.starts_with(|c: char| c.is_ascii_hexdigit() || matches!(c, '+' | '-' | ':'));
    if may_be(a) && may_be(b) {
        let forms: [fn(&str) -> Option<String>; 4] = [decimal, address, hex, time];
        let same = |form: &fn(&str) -> Option<String>| match (form(a), form(b)) {
            (Some(a), Some(b)) => a == b,
            _ => false,
        };
        if forms.iter().any(same) {
            return true;
        }
    }
    same_base64(a, b)
}

/// Base64 of which one or both are wrapped into lines.
fn same_base64(a: &str, b: &str) -> bool {
    if !a.contains('\n') && !b.contains('\n') {
        return false;
    }
    let digits = |text: &str| -> Option<String> {
        let digits: String = text.chars().filter(|c| !is_xml_space(*c)).collect();
        let are_base64 = digits.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='));
        (are_base64 && digits.len().is_multiple_of(4)).then_some(digits)
    };
    matches!((digits(a), digits(b)), (Some(a), Some(b)) if a == b)
}

fn integer(text: &str) -> Option<String> {
    let (minus, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    match digits.trim_start_matches('0') {
        "" => Some("0".to_owned()),
        digits => Some(format!("{minus}{digits}")),
    }
}

fn decimal(text: &str) -> Option<String> {
    let Some((whole, fraction)) = text.split_once('.') else { return integer(text) };
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let is_negative = whole.starts_with('-');
    let whole = integer(whole)?;
    match fraction.trim_end_matches('0') {
        "" => Some(whole),
        fraction if is_negative && whole == "0" => Some(format!("-0.{fraction}")),
        fraction => Some(format!("{whole}.{fraction}")),
    }
}

/// An IP address with its zone and length, if it has them.
/// Whether a text is an IPv4 or IPv6 address, with a zone or length if there is one.
#[must_use]
pub fn is_address(text: &str) -> bool {
    address(text).is_some()
}

fn address(text: &str) -> Option<String> {
    if !text.contains(':') && text.matches('.').count() != 3 {
        return None;
    }
    let (text, length) = split_length(text)?;
    let (text, zone) = text.split_once('%').map_or((text, None), |(text, zone)| (text, Some(zone)));
    let mut normal = text.parse::<IpAddr>().ok()?.to_string();
    if let Some(zone) = zone {
        normal.push('%');
        normal.push_str(zone);
    }
    if let Some(length) = length {
        normal.push_str(&format!("/{length}"));
    }
    Some(normal)
}

fn split_length(text: &str) -> Option<(&str, Option<u8>)> {
    match text.split_once('/') {
        None => Some((text, None)),
        Some((text, length)) if length.bytes().all(|b| b.is_ascii_digit()) => {
            Some((text, Some(length.parse().ok()?)))
        }
        Some(_) => None,
    }
}

/// An IP prefix without the bits behind its length.
fn prefix(text: &str) -> Option<String> {
    let (text, length) = split_length(text)?;
    let length = length?;
    let base = match text.parse::<IpAddr>().ok()? {
        IpAddr::V4(base) => {
            let host = 32_u32.checked_sub(length.into())?;
            let mask = u32::MAX.checked_shl(host).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(base.to_bits() & mask))
        }
        IpAddr::V6(base) => {
            let host = 128_u32.checked_sub(length.into())?;
            let mask = u128::MAX.checked_shl(host).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(base.to_bits() & mask))
        }
    };
    Some(format!("{base}/{length}"))
}

/// Octets in hexadecimal with `:` or `-` between them, in lower case.
fn hex(text: &str) -> Option<String> {
    let separator = text.chars().nth(2).filter(|c| matches!(c, ':' | '-'))?;
    let is_octet = |octet: &str| octet.len() == 2 && octet.bytes().all(|b| b.is_ascii_hexdigit());
    text.split(separator).all(is_octet).then(|| text.to_ascii_lowercase())
}

/// An instant, whatever the offset it is written with.
fn time(text: &str) -> Option<String> {
    let has_form =
        text.is_ascii() && text.len() >= 20 && matches!(text.as_bytes().get(10), Some(b'T' | b't'));
    has_form.then(|| text.parse::<jiff::Timestamp>().ok())?.map(|time| time.to_string())
}

/// A path with its prefixes replaced by their namespaces, outside of literals only, which are written with
/// the same quotes.
fn path_text(leaf: &Element) -> String {
    let text = leaf.text();
    let mut out = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(at) = rest.find(['\'', '"']) {
        let (before, from) = rest.split_at(at);
        out.push_str(&expanded_steps(leaf, before));
        let quote = if from.starts_with('"') { '"' } else { '\'' };
        let inside = from.get(1..).unwrap_or_default();
        let end = inside.find(quote).unwrap_or(inside.len());
        out.push_str(&crate::compare::literal(inside.get(..end).unwrap_or_default()));
        rest = inside.get(end + 1..).unwrap_or_default();
    }
    out.push_str(&expanded_steps(leaf, rest));
    out
}

fn expanded_steps(leaf: &Element, text: &str) -> String {
    let bare: String = text.chars().filter(|c| !is_xml_space(*c)).collect();
    leaf.expand(&bare).into_owned()
}

/// Another spelling of the same value, if it is of this kind: for asking a schema whether it takes both for
/// one value.
#[must_use]
pub fn respelled(text: &str, kind: Kind) -> Option<String> {
    let other = match kind {
        Kind::Integer => {
            integer(text)?;
            match text.strip_prefix('-') {
                Some(digits) => format!("-0{digits}"),
                None => match text.strip_prefix('+') {
                    Some(digits) => format!("+0{digits}"),
                    None => format!("+{text}"),
                },
            }
        }
        Kind::Decimal => {
            decimal(text)?;
            if text.contains('.') { format!("{text}0") } else { format!("{text}.0") }
        }
        Kind::Address => {
            let normal = address(text)?;
            let (address, rest) = normal.split_at(normal.find(['%', '/']).unwrap_or(normal.len()));
            let address: Ipv6Addr = address.parse().ok()?;
            let groups: Vec<String> = address.segments().iter().map(|group| format!("{group:04X}")).collect();
            groups.join(":") + rest
        }
        Kind::Prefix => {
            let normal = prefix(text)?;
            let (base, length) = normal.split_once('/')?;
            let (given, base) = (split_length(text)?.0.parse::<IpAddr>().ok()?, base.parse::<IpAddr>().ok()?);
            // With other bits behind the length: without those that it has, or with one.
            match base {
                _ if given != base => normal,
                IpAddr::V4(base) if length != "32" => {
                    format!("{}/{length}", Ipv4Addr::from_bits(base.to_bits() | 1))
                }
                IpAddr::V6(base) if length != "128" => {
                    format!("{}/{length}", Ipv6Addr::from_bits(base.to_bits() | 1))
                }
                _ => return None,
            }
        }
        Kind::Hex => {
            hex(text)?;
            if text.bytes().any(|b| b.is_ascii_lowercase()) {
                text.to_ascii_uppercase()
            } else {
                text.to_ascii_lowercase()
            }
        }
        Kind::Time => {
            let time: jiff::Timestamp = time(text)?.parse().ok()?;
            let with_offset = |hours| {
                let offset = jiff::tz::Offset::from_hours(hours).ok()?;
                Some(time.display_with_offset(offset).to_string())
            };
            with_offset(1).filter(|other| other != text).or_else(|| with_offset(2))?
        }
        _ => return None,
    };
    (other != text).then_some(other)
}

#[cfg(test)]
mod tests;
