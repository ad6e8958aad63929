//! `rpc-error`, RFC 6241 §4.3 and Appendix A.

use std::fmt;

use crate::namespace;
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
}

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

    pub(super) fn from_element(element: &Element) -> Self {
        let text = |name: &str| {
            let found = element.child(namespace::BASE, name)?.text();
            (!found.is_empty()).then(|| found.into_owned())
        };
        let severity = match text("error-severity").as_deref() {
            Some("warning") => Severity::Warning,
            _ => Severity::Error,
        };
        Self {
            error_type: text("error-type").as_deref().and_then(ErrorType::parse),
            tag: text("error-tag").as_deref().map_or(ErrorTag::OperationFailed, ErrorTag::from),
            severity,
            app_tag: text("error-app-tag"),
            path: text("error-path"),
            message: text("error-message"),
            info: element.child(namespace::BASE, "error-info").cloned(),
        }
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
        match &self.info {
            Some(info) => element.with_child(info.clone()),
            None => element,
        }
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
        if let Some(session) = self.session_id() {
            write!(f, " [session {session}]")?;
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
