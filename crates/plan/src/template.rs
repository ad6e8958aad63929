//! Rendering: one template per platform, compiled once per definition.
//!
//! A template can neither include another nor read anything but its context. Every value it prints is
//! escaped for XML text and attributes, by the formatter and whatever the template says; time and memory
//! are bounded by fuel (about 64 bytes or one instruction each), the output by its size.
//!
//! Short texts, such as the paths of checks, are rendered without escaping; there every value is put
//! between two marks instead, so that whoever finishes the text knows what came from outside.

mod placement;

use std::{collections::BTreeMap, fmt::Write as _, io};

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, Template, UndefinedBehavior, Value,
    value::{Serde, ValueKind},
};
use serde::Serialize;
use serde_json::Map;
use turnup_core::{id::ServiceId, name::DeviceName, order::Endpoint};

/// Largest output of a template in bytes.
pub(crate) const MAX_OUTPUT_BYTES: usize = 256 << 10;
/// Instructions, or blocks of 64 bytes, that one rendering may use.
const FUEL: u64 = 50_000;

/// What values begin and end with in a rendered text: two characters that no value may have, because XML
/// can't carry them.
pub(crate) const VALUE_BEGINS: char = '\u{fffe}';
pub(crate) const VALUE_ENDS: char = '\u{ffff}';

/// Why a template gave no output.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct RenderError {
    /// Line in the template, counted from 1.
    pub line: usize,
    /// What went wrong.
    pub reason: String,
}

impl From<Error> for RenderError {
    fn from(error: Error) -> Self {
        let line = error.line().unwrap_or(1);
        let reason = match error.kind() {
            ErrorKind::OutOfFuel => {
                "the template does too much work: it loops too long or builds too large values".to_owned()
            }
            ErrorKind::WriteFailure => "the output is too large".to_owned(),
            ErrorKind::UndefinedError => format!(
                "a value is used that isn't there{}; test optional ones with 'is defined'",
                error.detail().map(|detail| format!(" ({detail})")).unwrap_or_default()
            ),
            kind => match error.detail() {
                Some(detail) => detail.to_owned(),
                None => kind.to_string(),
            },
        };
        Self { line, reason }
    }
}

/// What a template sees. `config/services/README.md` describes it.
#[derive(Serialize)]
pub(crate) struct Context<'a> {
    pub(crate) service: Service,
    pub(crate) attributes: &'a Map<String, serde_json::Value>,
    pub(crate) device: &'a DeviceName,
    /// The endpoints on this device.
    pub(crate) endpoints: Vec<&'a Endpoint>,
    /// The single endpoint on this device; absent if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<&'a Endpoint>,
    /// The endpoints on other devices.
    pub(crate) peers: Vec<&'a Endpoint>,
}

impl<'a> Context<'a> {
    /// What is seen at one device.
    pub(crate) fn new(
        service: ServiceId,
        attributes: &'a Map<String, serde_json::Value>,
        endpoints: &'a [Endpoint],
        device: &'a DeviceName,
    ) -> Self {
        let (here, peers): (Vec<_>, Vec<_>) =
            endpoints.iter().partition(|endpoint| endpoint.device == *device);
        let endpoint = match here.as_slice() {
            [one] => Some(*one),
            _ => None,
        };
        Self { service: Service { id: service }, attributes, device, endpoints: here, endpoint, peers }
    }
}

/// The service in a template's context.
#[derive(Serialize)]
pub(crate) struct Service {
    pub(crate) id: ServiceId,
}

/// A definition's templates.
pub(crate) struct Templates {
    /// Those that write XML.
    markup: Environment<'static>,
    /// Those that write text.
    texts: Environment<'static>,
}

impl Templates {
    /// Compiles templates, given as name → source: those that write XML, and those that write text.
    ///
    /// # Errors
    /// For each that has a syntax error, or prints where escaping does not work: name, line, message.
    pub(crate) fn compile(
        markup: BTreeMap<String, String>,
        texts: BTreeMap<String, String>,
    ) -> Result<Self, Vec<(String, RenderError)>> {
        let mut mistakes = Vec::new();
        for (name, source) in &markup {
            mistakes.extend(placement::mistakes(source).into_iter().map(|mistake| (name.clone(), mistake)));
        }
        let templates = Self {
            markup: environment(write_escaped, markup, &mut mistakes),
            texts: environment(write_marked, texts, &mut mistakes),
        };
        if mistakes.is_empty() { Ok(templates) } else { Err(mistakes) }
    }

    fn get(&self, name: &str) -> Result<Template<'_, '_>, Error> {
        self.markup.get_template(name).or_else(|_| self.texts.get_template(name))
    }

    /// Names that the template takes from its context, dotted as far as it says, such as
    /// `attributes.mtu`; without functions.
    pub(crate) fn names_used(&self, name: &str) -> Vec<String> {
        let Ok(template) = self.get(name) else { return Vec::new() };
        let functions: Vec<&str> = self.markup.globals().map(|(name, _)| name).collect();
        let mut names: Vec<String> = template
            .undeclared_variables(true)
            .into_iter()
            .filter(|name| !functions.contains(&name.split('.').next().unwrap_or(name)))
            .collect();
        names.sort();
        names
    }

    /// Renders a template.
    ///
    /// # Errors
    /// [`RenderError`] with the line in the template; also for an output of more than `max_bytes`.
    pub(crate) fn render(
        &self,
        name: &str,
        context: &Context<'_>,
        max_bytes: usize,
    ) -> Result<String, RenderError> {
        let mut output = Capped { bytes: Vec::with_capacity(1024.min(max_bytes)), max_bytes, full: false };
        let rendered = self.get(name)?.render_captured_to(Value::from(Serde(context)), &mut output);
        match rendered {
            Err(error) if output.full => {
                let reason = format!("the output is larger than {max_bytes} bytes");
                return Err(RenderError { reason, ..error.into() });
            }
            other => other?,
        };
        String::from_utf8(output.bytes).map_err(|error| RenderError { line: 1, reason: error.to_string() })
    }
}

type Formatter = fn(&mut Output<'_>, &mut State<'_, '_>, &Value) -> Result<(), Error>;

fn environment(
    formatter: Formatter,
    sources: BTreeMap<String, String>,
    mistakes: &mut Vec<(String, RenderError)>,
) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(64);
    // Escaping is the formatter's work alone; filters must not escape a second time.
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_formatter(formatter);
    for filter in ["safe", "escape", "e"] {
        environment.remove_filter(filter);
    }
    environment.remove_global("debug");
    for (name, source) in sources {
        if let Some(at) = source.find([VALUE_BEGINS, VALUE_ENDS]) {
            let line = 1 + source[..at].matches('\n').count();
            let reason = "U+FFFE and U+FFFF are no characters; take them out".to_owned();
            mistakes.push((name, RenderError { line, reason }));
        } else if let Err(error) = environment.add_template_owned(name.clone(), source) {
            mistakes.push((name, error.into()));
        }
    }
    environment
}

/// A buffer that refuses to grow beyond the limit.
struct Capped {
    bytes: Vec<u8>,
    max_bytes: usize,
    /// More was to be written than fits.
    full: bool,
}

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.max_bytes {
            self.full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_escaped(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    write_value(out, value, escape)
}

fn write_marked(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    out.write_char(VALUE_BEGINS)?;
    write_value(out, value, |out, text| match text.chars().find(|c| is_forbidden(*c)) {
        Some(c) => Err(forbidden(c)),
        None => Ok(out.write_str(text)?),
    })?;
    Ok(out.write_char(VALUE_ENDS)?)
}

fn write_value(
    out: &mut Output<'_>,
    value: &Value,
    write_text: impl Fn(&mut Output<'_>, &str) -> Result<(), Error>,
) -> Result<(), Error> {
    let refuse = |what: &str| Err(Error::new(ErrorKind::InvalidOperation, what.to_owned()));
    match value.kind() {
        ValueKind::Undefined => return Err(ErrorKind::UndefinedError.into()),
        ValueKind::None => return refuse("null has no place in configuration; test for it first"),
        ValueKind::Bool => out.write_str(if value.is_true() { "true" } else { "false" })?,
        ValueKind::Number => write!(out, "{value}")?,
        ValueKind::String => return write_text(out, value.as_str().unwrap_or_default()),
        kind => return refuse(&format!("a {kind} can't be printed; print what is inside of it")),
    }
    Ok(())
}

/// What XML can't carry.
fn is_forbidden(c: char) -> bool {
    matches!(c, '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}') && !matches!(c, '\t' | '\n' | '\r')
}

fn forbidden(c: char) -> Error {
    let message = format!("a value contains U+{:04X}, which XML can't carry", u32::from(c));
    Error::new(ErrorKind::InvalidOperation, message)
}

/// Escapes for element content and attribute values of either quote. White space other than the blank is
/// written as reference, so that no parser normalises it.
fn escape(out: &mut Output<'_>, text: &str) -> Result<(), Error> {
    let mut from = 0;
    for (at, c) in text.char_indices() {
        let reference = match c {
            '<' => "&lt;",
            '>' => "&gt;",
            '&' => "&amp;",
            '"' => "&quot;",
            '\'' => "&#39;",
            '\t' => "&#9;",
            '\n' => "&#10;",
            '\r' => "&#13;",
            c if is_forbidden(c) => return Err(forbidden(c)),
            _ => continue,
        };
        out.write_str(&text[from..at])?;
        out.write_str(reference)?;
        from = at + c.len_utf8();
    }
    Ok(out.write_str(&text[from..])?)
}
