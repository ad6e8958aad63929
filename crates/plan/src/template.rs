//! Rendering: one template per platform, compiled once per definition.
//!
//! A template can neither include another nor read anything but its context. Every value it prints is
//! escaped for XML text and attributes, by the formatter and whatever the template says; time and memory
//! are bounded by fuel (about 64 bytes or one instruction each), the output by its size.

use std::{collections::BTreeMap, io};

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value,
    value::{Serde, ValueKind},
};
use serde::Serialize;
use serde_json::Map;
use turnup_core::{id::ServiceId, name::DeviceName, order::Endpoint};

/// Largest output of a template in bytes.
pub(crate) const MAX_OUTPUT_BYTES: usize = 256 << 10;
/// Instructions, or blocks of 64 bytes, that one rendering may use.
const FUEL: u64 = 50_000;

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
            ErrorKind::WriteFailure => format!("the output is larger than {MAX_OUTPUT_BYTES} bytes"),
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

/// The service in a template's context.
#[derive(Serialize)]
pub(crate) struct Service {
    pub(crate) id: ServiceId,
}

/// A definition's templates.
pub(crate) struct Templates {
    environment: Environment<'static>,
}

impl Templates {
    /// Compiles templates, given as file name → source.
    ///
    /// # Errors
    /// For each that has a syntax error: file name, line, message.
    pub(crate) fn compile(sources: BTreeMap<String, String>) -> Result<Self, Vec<(String, RenderError)>> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(64);
        // Escaping is the formatter's work alone; filters must not escape a second time.
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_formatter(write_value);
        for filter in ["safe", "escape", "e"] {
            environment.remove_filter(filter);
        }
        environment.remove_global("debug");
        let mut mistakes = Vec::new();
        for (file, source) in sources {
            if let Err(error) = environment.add_template_owned(file.clone(), source) {
                mistakes.push((file, error.into()));
            }
        }
        if mistakes.is_empty() { Ok(Self { environment }) } else { Err(mistakes) }
    }

    /// Names that the template takes from its context, dotted as far as it says, such as
    /// `attributes.mtu`; without functions.
    pub(crate) fn names_used(&self, file: &str) -> Vec<String> {
        let Ok(template) = self.environment.get_template(file) else { return Vec::new() };
        let functions: Vec<&str> = self.environment.globals().map(|(name, _)| name).collect();
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
    /// [`RenderError`] with the line in the template.
    pub(crate) fn render(&self, file: &str, context: &Context<'_>) -> Result<String, RenderError> {
        let mut output = Capped(Vec::with_capacity(1024));
        self.environment.get_template(file)?.render_captured_to(Value::from(Serde(context)), &mut output)?;
        String::from_utf8(output.0).map_err(|error| RenderError { line: 1, reason: error.to_string() })
    }
}

/// A buffer that refuses to grow beyond the limit.
struct Capped(Vec<u8>);

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_value(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let refuse = |what: &str| Err(Error::new(ErrorKind::InvalidOperation, what.to_owned()));
    match value.kind() {
        ValueKind::Undefined => return Err(ErrorKind::UndefinedError.into()),
        ValueKind::None => return refuse("null has no place in configuration; test for it first"),
        ValueKind::Bool => out.write_str(if value.is_true() { "true" } else { "false" })?,
        ValueKind::Number => write!(out, "{value}")?,
        ValueKind::String => return escape(out, value.as_str().unwrap_or_default()),
        kind => return refuse(&format!("a {kind} can't be printed; print what is inside of it")),
    }
    Ok(())
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
            '\0'..=' ' | '\u{fffe}' | '\u{ffff}' if c != ' ' => {
                let message = format!("a value contains U+{:04X}, which XML can't carry", u32::from(c));
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
            _ => continue,
        };
        out.write_str(&text[from..at])?;
        out.write_str(reference)?;
        from = at + c.len_utf8();
    }
    Ok(out.write_str(&text[from..])?)
}
