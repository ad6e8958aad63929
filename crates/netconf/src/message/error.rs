//! `rpc-error`, RFC 6241 §4.3 and Appendix A.

use std::fmt;

use super::reply::replace_texts;
use crate::clean;
use crate::xml::Element;

/// One `rpc-error`. Servers differ in what they fill in; nothing that was sent is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcError {
    /// The layer where the error occurred, if the server says so.
    pub error_type: Option<ErrorType>,
    /// The condition; `operation-failed` if the server leaves it out.
    pub tag: ErrorTag,
    /// Error or warning; error if the server leaves it out.
    pub severity: Severity,
    /// A condition of the data model or the implementation, such as `must-violation` (RFC 7950 §15).
    pub app_tag: Option<String>,
    /// XPath of the node at fault, as sent.
    pub path: Option<String>,
    /// Text for people.
    pub message: Option<String>,
    /// The `error-info` element, raw.
    pub info: Option<Element>,
    /// Elements that RFC 6241 doesn't know, raw, such as `source-daemon`.
    pub other: Vec<Element>,
}

/// A leaf of what a server adds to an error: of `error-info` (`bad-element`, `session-id`) or beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorInfo {
    /// Local name.
    pub name: String,
    /// Value.
    pub value: String,
}

/// Most leaves of one error that are given, and most characters of a value or name.
const MAX_INFO: usize = 16;
const MAX_INFO_TEXT: usize = 256;
/// Deeper elements of `error-info` are not looked at.
const MAX_INFO_DEPTH: usize = 4;

/// Layer of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorType {
    /// Secure transport.
    Transport,
    /// Messages.
    Rpc,
    /// Operations.
    Protocol,
    /// Content, data model.
    Application,
}

/// Whether the request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Severity {
    /// It did.
    #[default]
    Error,
    /// It didn't.
    Warning,
}

macro_rules! error_tags {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Conditions of RFC 6241 Appendix A.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum ErrorTag {
            $($(#[$doc])* $variant,)*
            /// A tag that RFC 6241 doesn't know.
            Other(String),
        }

        impl ErrorTag {
            /// The tag as in the RFC.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(text) => text,
                }
            }
        }

        impl From<&str> for ErrorTag {
            fn from(text: &str) -> Self {
                match text {
                    $($text => Self::$variant,)*
                    other => Self::Other(other.to_owned()),
                }
            }
        }
    };
}

error_tags! {
    /// `in-use`: the resource is in use.
    InUse = "in-use",
    /// `invalid-value`: an unacceptable value.
    InvalidValue = "invalid-value",
    /// `too-big`: request or response too large.
    TooBig = "too-big",
    /// `missing-attribute`: an expected attribute is missing.
    MissingAttribute = "missing-attribute",
    /// `bad-attribute`: the value of an attribute is wrong.
    BadAttribute = "bad-attribute",
    /// `unknown-attribute`: an unexpected attribute.
    UnknownAttribute = "unknown-attribute",
    /// `missing-element`: an expected element is missing.
    MissingElement = "missing-element",
    /// `bad-element`: the value of an element is wrong.
    BadElement = "bad-element",
    /// `unknown-element`: an unexpected element.
    UnknownElement = "unknown-element",
    /// `unknown-namespace`: an unexpected namespace.
    UnknownNamespace = "unknown-namespace",
    /// `access-denied`: authorisation failed.
    AccessDenied = "access-denied",
    /// `lock-denied`: another session holds the lock.
    LockDenied = "lock-denied",
    /// `resource-denied`: resources are short.
    ResourceDenied = "resource-denied",
    /// `rollback-failed`: a rollback wasn't completed.
    RollbackFailed = "rollback-failed",
    /// `data-exists`: `create` of what exists.
    DataExists = "data-exists",
    /// `data-missing`: the data doesn't exist.
    DataMissing = "data-missing",
    /// `operation-not-supported`: not supported by this implementation.
    OperationNotSupported = "operation-not-supported",
    /// `operation-failed`: failed for a reason that no other tag covers.
    OperationFailed = "operation-failed",
    /// `partial-operation`: obsolete.
    PartialOperation = "partial-operation",
    /// `malformed-message`: base:1.1 only.
    MalformedMessage = "malformed-message",
}

impl fmt::Display for ErrorTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ErrorType {
    /// The type as in the RFC.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transport => "transport",
            Self::Rpc => "rpc",
            Self::Protocol => "protocol",
            Self::Application => "application",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Transport, Self::Rpc, Self::Protocol, Self::Application]
            .into_iter()
            .find(|error_type| error_type.as_str() == text)
    }
}

impl RpcError {
    /// An error of severity error.
    pub fn new(error_type: ErrorType, tag: ErrorTag) -> Self {
        Self {
            error_type: Some(error_type),
            tag,
            severity: Severity::Error,
            app_tag: None,
            path: None,
            message: None,
            info: None,
            other: Vec::new(),
        }
    }

    /// With a text for people.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// With the path of the node at fault.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// With an application tag.
    #[must_use]
    pub fn with_app_tag(mut self, app_tag: impl Into<String>) -> Self {
        self.app_tag = Some(app_tag.into());
        self
    }

    /// With these elements as `error-info`.
    #[must_use]
    pub fn with_info(mut self, info: impl IntoIterator<Item = Element>) -> Self {
        self.info = Some(Element::base("error-info").with_children(info));
        self
    }

    /// As a warning.
    #[must_use]
    pub fn as_warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Replaces its texts.
    pub(super) fn replace_texts(&mut self, with: &dyn Fn(&str) -> Option<String>) {
        for text in [&mut self.app_tag, &mut self.path, &mut self.message].into_iter().flatten() {
            if let Some(new) = with(text) {
                *text = new;
            }
        }
        if let ErrorTag::Other(tag) = &mut self.tag
            && let Some(new) = with(tag)
        {
            *tag = new;
        }
        let elements = self.info.iter_mut().chain(&mut self.other);
        elements.for_each(|element| replace_texts(element, with));
    }

    /// `lock-denied` with the session that holds the lock (0: not a NETCONF session), RFC 6241 §7.5.
    pub fn lock_denied(holder: u32) -> Self {
        Self::new(ErrorType::Protocol, ErrorTag::LockDenied)
            .with_message(format!("lock held by session {holder}"))
            .with_info([Element::base("session-id").with_text(holder.to_string())])
    }

    /// The session that `error-info` names, as `lock-denied` has it.
    pub fn session_id(&self) -> Option<u32> {
        let id = self.info.as_ref()?.children().find(|child| child.name() == "session-id")?;
        id.text().parse().ok()
    }

    /// The leaves of `error-info` and of what the server adds beside it, in the order sent; at most 16.
    pub fn error_info(&self) -> Vec<ErrorInfo> {
        let mut leaves = Vec::new();
        for element in self.info.iter().flat_map(Element::children).chain(&self.other) {
            add_leaves(element, 0, &mut leaves);
        }
        leaves
    }

    /// The value of the first leaf of [`RpcError::error_info`] with this name.
    fn info_of(&self, name: &str) -> Option<String> {
        self.error_info().into_iter().find(|leaf| leaf.name == name).map(|leaf| leaf.value)
    }

    /// `bad-element` of `error-info`: the name of the element at fault (RFC 6241 Appendix A).
    pub fn bad_element(&self) -> Option<String> {
        self.info_of("bad-element")
    }

    /// Reads an `rpc-error` whose children are in whatever namespace: servers leave it out or inherit a
    /// wrong one.
    pub(super) fn from_element(element: &Element) -> Self {
        let mut error = Self {
            error_type: None,
            tag: ErrorTag::OperationFailed,
            severity: Severity::Error,
            app_tag: None,
            path: None,
            message: None,
            info: None,
            other: Vec::new(),
        };
        for child in element.children() {
            let text = child.text();
            let known = match child.name() {
                "error-info" if error.info.is_none() => {
                    error.info = Some(child.clone());
                    continue;
                }
                "error-type" | "error-tag" | "error-severity" => true,
                "error-app-tag" => error.app_tag.is_none(),
                "error-path" => error.path.is_none(),
                "error-message" => error.message.is_none(),
                _ => false,
            };
            if !known {
                error.other.push(child.clone());
                continue;
            }
            if text.is_empty() {
                continue;
            }
            match child.name() {
                "error-type" => error.error_type = ErrorType::parse(&text),
                "error-tag" => error.tag = ErrorTag::from(&*text),
                "error-severity" if text == "warning" => error.severity = Severity::Warning,
                "error-app-tag" => error.app_tag = Some(text.into_owned()),
                "error-path" => error.path = Some(text.into_owned()),
                "error-message" => error.message = Some(text.into_owned()),
                _ => {}
            }
        }
        error
    }

    /// Reads `error` or `warning` of the Junos XML protocol, which Junos uses in some results instead of
    /// `rpc-error`.
    pub(super) fn from_junos(element: &Element) -> Self {
        let mut error = Self::from_element(element);
        if element.name() == "warning" {
            error.severity = Severity::Warning;
        }
        let other = std::mem::take(&mut error.other);
        for child in other {
            let place = match child.name() {
                "message" => &mut error.message,
                "edit-path" => &mut error.path,
                _ => {
                    error.other.push(child);
                    continue;
                }
            };
            match place {
                None if !child.text().is_empty() => *place = Some(child.text().into_owned()),
                _ => error.other.push(child),
            }
        }
        error
    }

    /// The error as XML.
    pub fn to_element(&self) -> Element {
        let error_type = self.error_type.unwrap_or(ErrorType::Application);
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let mut element = Element::base("rpc-error")
            .with_leaf("error-type", error_type.as_str())
            .with_leaf("error-tag", self.tag.as_str())
            .with_leaf("error-severity", severity);
        for (name, value) in
            [("error-app-tag", &self.app_tag), ("error-path", &self.path), ("error-message", &self.message)]
        {
            if let Some(value) = value {
                element.push(Element::base(name).with_text(value.as_str()));
            }
        }
        let element = match &self.info {
            Some(info) => element.with_child(info.clone()),
            None => element,
        };
        element.with_children(self.other.iter().cloned())
    }
}

fn add_leaves(element: &Element, depth: usize, leaves: &mut Vec<ErrorInfo>) {
    if leaves.len() >= MAX_INFO || depth > MAX_INFO_DEPTH {
        return;
    }
    if element.is_leaf() {
        let name = clean::line(element.name(), MAX_INFO_TEXT);
        leaves.push(ErrorInfo { name, value: clean::line(&element.text(), MAX_INFO_TEXT) });
    }
    for child in element.children() {
        add_leaves(child, depth + 1, leaves);
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        write!(f, "{}", self.tag)?;
        if let Some(app_tag) = &self.app_tag {
            write!(f, " ({app_tag})")?;
        }
        if let Some(path) = &self.path {
            write!(f, " at {path}")?;
        }
        if let Some(message) = &self.message {
            write!(f, ": {message}")?;
        }
        for ErrorInfo { name, value } in self.error_info() {
            match name.as_str() {
                "session-id" => write!(f, " [session {value}]")?,
                _ if value.is_empty() => write!(f, " [{name}]")?,
                _ => write!(f, " [{name} {value}]")?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for RpcError {}

/// All `rpc-error` of a reply whose request failed; warnings are among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcErrors(pub Vec<RpcError>);

impl RpcErrors {
    /// Those that aren't warnings, in the order sent.
    pub fn errors(&self) -> impl Iterator<Item = &RpcError> {
        self.0.iter().filter(|error| error.severity == Severity::Error)
    }
}

impl fmt::Display for RpcErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for RpcErrors {}
