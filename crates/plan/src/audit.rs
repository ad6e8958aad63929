//! Functional checks: what an audit asks a device about a service, rendered for that service.
//!
//! What is asked is XML, rendered as configuration is. Paths and values to compare with are plain text in
//! which a value from an order stays a value: inside of a path it stands only in quotes, inside of a
//! regular expression it means itself.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value};
use turnup_core::{
    audit::{Check, CheckAsk, CheckCondition, Test},
    id::ServiceId,
    name::{DeviceName, PlatformName},
    order::Endpoint,
};
use turnup_netconf::{
    compare::literal,
    namespace::BASE,
    xml::{Element, Limits, Node, parse_str},
};

use crate::{
    definition::{BeforeConfirm, Definition},
    error::PlanError,
    footprint::to_xml,
    read::is_node_name,
    template::{Context, RenderError, VALUE_BEGINS, VALUE_ENDS},
};

/// Most checks in a file.
pub(crate) const MAX_CHECKS: usize = 32;
/// Most conditions of a check.
pub(crate) const MAX_CONDITIONS: usize = 32;
/// Longest question to a device in bytes.
const MAX_ASK_BYTES: usize = 16 << 10;
/// Longest path or value in bytes.
const MAX_TEXT_BYTES: usize = 2 << 10;
/// Most memory of a compiled regular expression in bytes.
const MAX_PATTERN_BYTES: usize = 1 << 20;
/// The namespace of `<edit-data>` (RFC 8526).
const NMDA: &str = "urn:ietf:params:xml:ns:yang:ietf-netconf-nmda";

/// A check as the designer wrote it.
#[derive(Debug)]
pub(crate) struct CheckTemplate {
    pub(crate) name: String,
    pub(crate) line: u32,
    /// The question is an operation of the device's own; otherwise what to `<get>`.
    pub(crate) is_rpc: bool,
    pub(crate) ask: Part,
    pub(crate) conditions: Vec<ConditionTemplate>,
}

/// A condition as the designer wrote it.
#[derive(Debug)]
pub(crate) struct ConditionTemplate {
    pub(crate) path: Part,
    pub(crate) test: Test,
    /// None where there is nothing to compare with.
    pub(crate) value: Option<Part>,
}

/// A template inside of a file of checks.
#[derive(Debug)]
pub(crate) struct Part {
    /// Name that the renderer knows it by.
    pub(crate) template: String,
    /// Line in the file where it begins.
    pub(crate) line: usize,
}

impl Definition {
    /// How often a service is audited without being asked to; none: only when it is asked for.
    #[must_use]
    pub fn audit_every(&self) -> Option<Duration> {
        self.audit_every
    }

    /// How functional checks decide whether a change of a service is confirmed; none: they don't.
    #[must_use]
    pub fn before_confirm(&self) -> Option<BeforeConfirm> {
        self.before_confirm
    }

    /// The functional checks of a service on one of its devices; none if the definition has none for the
    /// device's platform. Takes the same as [`Self::footprints`].
    ///
    /// # Errors
    /// The first check that can't be rendered with these values.
    pub fn checks(
        &self,
        service: ServiceId,
        attributes: &Map<String, Value>,
        endpoints: &[Endpoint],
        platforms: &BTreeMap<DeviceName, PlatformName>,
        device: &DeviceName,
    ) -> Result<Vec<Check>, PlanError> {
        let (_, platform) = self.platform_of(device, platforms)?;
        let Some(file) = &platform.audit else { return Ok(Vec::new()) };
        let context = Context::new(service, attributes, endpoints, device);
        let failed = |source| PlanError::Template {
            device: device.clone(),
            template: format!("{}/{file}", self.name),
            source,
        };
        let checks = self.audits.get(file).into_iter().flatten();
        checks.map(|check| self.render_check(check, &context).map_err(failed)).collect()
    }

    fn render_check(&self, check: &CheckTemplate, context: &Context<'_>) -> Result<Check, RenderError> {
        let asked = self.render(&check.ask, context, MAX_ASK_BYTES, |text| markup(text, check.is_rpc))?;
        let ask = if check.is_rpc { CheckAsk::Rpc(asked) } else { CheckAsk::Get(asked) };
        let conditions = check.conditions.iter().map(|condition| {
            let value_of =
                |part| self.render(part, context, MAX_TEXT_BYTES, |text| value(condition.test, text));
            Ok::<_, RenderError>(CheckCondition {
                path: self.render(&condition.path, context, MAX_TEXT_BYTES, path)?,
                test: condition.test,
                value: condition.value.as_ref().map_or_else(|| Ok(String::new()), value_of)?,
            })
        });
        Ok(Check { name: check.name.clone(), ask, conditions: conditions.collect::<Result<_, _>>()? })
    }

    /// Renders a part and finishes it; lines are those of the file.
    fn render(
        &self,
        part: &Part,
        context: &Context<'_>,
        max_bytes: usize,
        finish: impl Fn(&str) -> Result<String, String>,
    ) -> Result<String, RenderError> {
        let rendered = self.templates.render(&part.template, context, max_bytes);
        let text = rendered.map_err(|error| RenderError { line: part.line + error.line - 1, ..error })?;
        finish(&text).map_err(|reason| RenderError { line: part.line, reason })
    }
}

/// What a check asks, as canonical XML: well-formed, with namespaces, and nothing that changes a device.
pub(crate) fn markup(text: &str, is_rpc: bool) -> Result<String, String> {
    const NEEDS: &str = "what a check asks must be elements";
    let limits =
        Limits { max_bytes: MAX_ASK_BYTES + 64, max_depth: 64, max_attributes: 32, max_nodes: 5_000 };
    let root = parse_str(&format!("<ask>{text}</ask>"), &limits).map_err(|error| error.to_string())?;
    if let Some(text) = root.nodes().iter().find_map(Node::text).filter(|text| !text.trim().is_empty()) {
        return Err(format!("{NEEDS}, not text: {:?}", text.trim().chars().take(40).collect::<String>()));
    }
    let elements: Vec<Element> = root.into_children().collect();
    for element in &elements {
        let name = element.name();
        match element.namespace() {
            "" => return Err(format!("<{name}> has no namespace; declare the module's with xmlns=\"…\"")),
            BASE | NMDA => {
                return Err(format!(
                    "<{name}> is an operation of NETCONF itself, which could change the device; read with \
                     'get', or use an operation of the device's own"
                ));
            }
            _ => {}
        }
    }
    match (elements.len(), is_rpc) {
        (0, _) => Err(format!("{NEEDS}, there are none")),
        (2.., true) => Err("'rpc' has one element, the operation".to_owned()),
        _ => Ok(to_xml(&elements)),
    }
}

/// A value to compare with.
pub(crate) fn value(test: Test, rendered: &str) -> Result<String, String> {
    let plain = || rendered.replace([VALUE_BEGINS, VALUE_ENDS], "");
    match test {
        Test::Exists | Test::Absent => Ok(String::new()),
        Test::Is | Test::IsNot => Ok(plain()),
        Test::AtLeast | Test::AtMost => {
            let plain = plain().trim().to_owned();
            match is_number(&plain) {
                true => Ok(plain),
                false => Err(format!("{test} compares with a number, {plain:?} is none")),
            }
        }
        Test::Matches => pattern(rendered),
    }
}

/// A whole number or a decimal, as YANG writes them.
fn is_number(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole.strip_prefix('-').unwrap_or(whole)) && digits(fraction) && text.len() <= 32
}

/// A regular expression in which values stand for themselves.
fn pattern(rendered: &str) -> Result<String, String> {
    let mut out = String::with_capacity(rendered.len());
    for piece in rendered.split(VALUE_ENDS) {
        let (written, value) = piece.split_once(VALUE_BEGINS).unwrap_or((piece, ""));
        out.push_str(written);
        out.push_str(&regex::escape(value));
    }
    // As it is applied: to the value as a whole.
    regex::RegexBuilder::new(&format!("^(?:{out})$"))
        .size_limit(MAX_PATTERN_BYTES)
        .build()
        .map_err(|error| format!("{out:?} is no regular expression: {error}"))?;
    Ok(out)
}

/// A path: `/name[key='…'][.='…']/name`. Values stand only inside of quotes, which are made to fit.
pub(crate) fn path(rendered: &str) -> Result<String, String> {
    let mut out = String::with_capacity(rendered.len());
    let mut characters = rendered.trim().chars();
    while let Some(c) = characters.next() {
        match c {
            VALUE_BEGINS => {
                return Err(
                    "a value stands in a path only inside of quotes, as in [name='{{ … }}']".to_owned()
                );
            }
            '\'' | '"' => out.push_str(&rest_of_literal(&mut characters, c)?),
            other => out.push(other),
        }
    }
    check_path(&out)?;
    Ok(out)
}

/// The rest of a text in quotes, as a literal of XPath that holds it whatever quotes are in it.
fn rest_of_literal(characters: &mut std::str::Chars<'_>, quote: char) -> Result<String, String> {
    let (mut text, mut in_value) = (String::new(), false);
    for c in characters {
        match c {
            VALUE_BEGINS => in_value = true,
            VALUE_ENDS => in_value = false,
            c if c == quote && !in_value => return Ok(literal(&text)),
            c => text.push(c),
        }
    }
    Err(format!("the quote {quote} is not closed"))
}

/// What a worker understands of XPath, without prefixes, which nothing would look at.
fn check_path(path: &str) -> Result<(), String> {
    let wrong = |what: String| {
        format!("{path:?} is no path: {what}; write it like /vrfs/vrf[name='x']/state, without prefixes")
    };
    if !path.starts_with('/') {
        return Err(wrong("it must begin with '/'".to_owned()));
    }
    let mut rest = path;
    while let Some(step) = rest.strip_prefix('/') {
        let end = step.find(['/', '[']).unwrap_or(step.len());
        let (name, mut after) = step.split_at(end);
        if !is_step(name) {
            return Err(wrong(format!("{name:?} is no name of an element")));
        }
        while let Some(inside) = after.strip_prefix('[') {
            after = after_predicate(inside).map_err(wrong)?;
        }
        rest = after;
    }
    if rest.is_empty() { Ok(()) } else { Err(wrong(format!("{rest:?} doesn't belong there"))) }
}

fn is_step(name: &str) -> bool {
    name == "*" || is_node_name(name)
}

/// What comes after `name='value']`, `a/b='value']`, `.='value']` or `name]`.
fn after_predicate(inside: &str) -> Result<&str, String> {
    let end = inside.find(['=', ']']).ok_or("a bracket is not closed")?;
    let (left, right) = inside.split_at(end);
    let left = left.trim();
    let right = match right.strip_prefix('=') {
        None if left == "." => return Err("'[.]' says nothing".to_owned()),
        None => right,
        Some(value) => after_value(value.trim_start())?.trim_start(),
    };
    if left != "." && !left.split('/').all(|step| is_step(step.trim())) {
        return Err(format!("{left:?} is no name of a leaf"));
    }
    right.strip_prefix(']').ok_or_else(|| "a bracket is not closed after its value".to_owned())
}

/// What comes after a literal, or `concat(…)` of some.
fn after_value(text: &str) -> Result<&str, String> {
    let quoted = |text: &str| {
        let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let length = text.get(1..)?.find(quote)?;
        Some(length + 2)
    };
    let after = |text: &'_ str| quoted(text).ok_or("a value stands in quotes, as in [name='x']");
    let Some(mut rest) = text.strip_prefix("concat(") else { return Ok(&text[after(text)?..]) };
    loop {
        let part = rest.trim_start();
        rest = part[after(part)?..].trim_start();
        if let Some(rest) = rest.strip_prefix(')') {
            return Ok(rest);
        }
        rest = rest.strip_prefix(',').ok_or("concat(…) is not closed")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(text: &str) -> String {
        text.replace('«', &VALUE_BEGINS.to_string()).replace('»', &VALUE_ENDS.to_string())
    }

    #[test]
    fn a_value_never_becomes_a_step_of_a_path() {
        let path = |text: &str| path(&marked(text));
        assert_eq!(path(" /a/b[name='«x/y»']/c\n"), Ok("/a/b[name='x/y']/c".to_owned()));
        assert_eq!(path("/a/b[name=\"p-«it's»\"]"), Ok("/a/b[name=\"p-it's\"]".to_owned()));
        assert_eq!(path("/a/b[name='«x']/c[d='»']"), Ok("/a/b[name=\"x']/c[d='\"]".to_owned()));
        assert_eq!(path("/a/b[.='1'][k='«]»']"), Ok("/a/b[.='1'][k=']']".to_owned()));
        assert_eq!(path("/a[k='«it's \"b\"»']"), Ok("/a[k=concat('it',\"'\",'s \"b\"')]".to_owned()));
        for good in ["/a/*/b[c][d/e = 'x']", "/a[k=concat('x', \"'\")]/b", "/a[b='=]/[']"] {
            assert_eq!(path(good), Ok(good.to_owned()));
        }
        for bad in [
            "/a/«b»",
            "/a[k=«1»]",
            "/a[«k»='1']",
            "/a[k=concat('«'\"»', 'x')]",
            "/a[k=concat('x'",
            "/a[.]",
            "a/b",
            "/a//b",
            "/a/",
            "",
            "/",
            "/sim:a",
            "/a[k='1'",
            "/a[k='1]",
            "/a[]",
            "/a[1]",
            "/a[k='1']b",
            "/a b",
            "/**",
        ] {
            assert!(path(bad).is_err(), "{bad:?} gave {:?}", path(bad));
        }
    }

    #[test]
    fn a_value_stands_for_itself_in_a_regular_expression() {
        assert_eq!(pattern(&marked("ge-«0/0/1.*»|x+")), Ok(r"ge-0/0/1\.\*|x+".to_owned()));
        assert!(pattern("(").is_err());
        assert!(pattern(r"(a)\1").is_err(), "no back-references");
        assert!(pattern("a{1000}{1000}").is_err(), "bounded in size");
        assert_eq!(value(Test::Is, &marked("a.«b»")), Ok("a.b".to_owned()));
        assert_eq!(value(Test::AtLeast, &marked("«3»\n")), Ok("3".to_owned()));
        assert!(value(Test::AtMost, "many").is_err());
        for number in ["3", "-3", "0.25", "007"] {
            assert!(value(Test::AtMost, number).is_ok(), "{number}");
        }
        for other in ["inf", "1e3", "+1", ".5", "5.", "", "-", "0x10"] {
            assert!(value(Test::AtMost, other).is_err(), "{other}");
        }
    }

    #[test]
    fn what_is_asked_reads() {
        let good = "\n<a xmlns='urn:x'>\n <b/></a>\n";
        assert_eq!(markup(good, true).unwrap(), "<a xmlns=\"urn:x\"><b/></a>");
        assert!(markup("<a xmlns='urn:x'/><b xmlns='urn:x'/>", false).is_ok());
        for (bad, expected) in [
            ("", "there are none"),
            ("x", "not text"),
            ("<a/>", "no namespace"),
            ("<a xmlns='urn:x'/><b xmlns='urn:x'/>", "one element"),
            ("<a xmlns='urn:x'>", "malformed"),
            ("</ask><ask>", "malformed"),
            ("<commit xmlns='urn:ietf:params:xml:ns:netconf:base:1.0'/>", "could change the device"),
        ] {
            let error = markup(bad, true).unwrap_err();
            assert!(error.contains(expected), "{bad}: {error}");
        }
    }
}
