//! Requests: the operations of RFC 6241 §7 and §8, and `get-schema` of RFC 6022.

use crate::namespace;
use crate::xml::{Attribute, Element};

/// A request to be sent: the operation element with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    element: Element,
    rpc_attributes: Vec<Attribute>,
}

/// A configuration datastore, RFC 6241 §5.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Datastore {
    /// In force.
    Running,
    /// Being prepared; needs `:candidate`.
    Candidate,
    /// Used at the next boot; needs `:startup`.
    Startup,
}

/// `default-operation` of `edit-config`, RFC 6241 §7.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultOperation {
    /// Merged with what is there (the protocol's default).
    Merge,
    /// Replaces what is there.
    Replace,
    /// Nothing but what an `operation` attribute says.
    None,
}

/// `test-option` of `edit-config`; needs `:validate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestOption {
    /// Validated first, and set only if valid (the protocol's default).
    TestThenSet,
    /// Set without validation.
    Set,
    /// Only validated; needs `:validate:1.1`.
    TestOnly,
}

/// `error-option` of `edit-config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorOption {
    /// Stops at the first error (the protocol's default); what was done stays.
    StopOnError,
    /// Goes on after errors.
    ContinueOnError,
    /// All or nothing; needs `:rollback-on-error`.
    RollbackOnError,
}

/// Which part of the data `get` and `get-config` return, RFC 6241 §6 and §8.9.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// By subtrees: these are the children of `filter`.
    Subtree(Vec<Element>),
    /// By XPath; needs `:xpath`. The prefixes used in it with their namespaces.
    XPath {
        /// The expression.
        select: String,
        /// Prefix and namespace.
        prefixes: Vec<(String, String)>,
    },
}

/// `with-defaults` of a request, RFC 6243 §4.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithDefaultsMode {
    /// All data, defaults included.
    ReportAll,
    /// All data, defaults marked.
    ReportAllTagged,
    /// Nothing that equals its default.
    Trim,
    /// What was set, be it the default or not.
    Explicit,
}

/// Parameters of `edit-config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditConfig {
    /// What is edited.
    pub target: Datastore,
    /// Left out if `None`.
    pub default_operation: Option<DefaultOperation>,
    /// Left out if `None`.
    pub test_option: Option<TestOption>,
    /// Left out if `None`.
    pub error_option: Option<ErrorOption>,
    /// The children of `config`.
    pub config: Vec<Element>,
}

impl EditConfig {
    /// An edit with the protocol's defaults.
    pub fn new(target: Datastore, config: impl IntoIterator<Item = Element>) -> Self {
        Self {
            target,
            default_operation: None,
            test_option: None,
            error_option: None,
            config: config.into_iter().collect(),
        }
    }
}

/// Parameters of a confirmed commit, RFC 6241 §8.4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfirmedCommit {
    /// Seconds until the device goes back by itself.
    pub confirm_timeout_s: u32,
    /// A token by which any session may confirm or cancel; needs `:confirmed-commit:1.1`. Without it, the
    /// device goes back when the session ends.
    pub persist: Option<String>,
    /// The token of the pending confirmed commit that this one extends.
    pub persist_id: Option<String>,
}

impl Datastore {
    /// The name of its element.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Candidate => "candidate",
            Self::Startup => "startup",
        }
    }
}

impl Filter {
    fn to_element(&self) -> Element {
        match self {
            Self::Subtree(children) => Element::base("filter")
                .with_attribute("type", "subtree")
                .with_children(children.iter().cloned()),
            Self::XPath { select, prefixes } => {
                let filter = Element::base("filter").with_attribute("type", "xpath");
                prefixes
                    .iter()
                    .fold(filter, |filter, (prefix, uri)| filter.with_prefix(prefix.as_str(), uri.as_str()))
                    .with_attribute("select", select.as_str())
            }
        }
    }
}

/// `<name><datastore/></name>`.
fn datastore(name: &str, datastore: Datastore) -> Element {
    Element::base(name).with_child(Element::base(datastore.as_str()))
}

impl Operation {
    /// Any operation, such as one of the device's own data model.
    pub fn new(element: Element) -> Self {
        Self { element, rpc_attributes: Vec::new() }
    }

    /// With an attribute of `<rpc>` beside `message-id`, which the server repeats in its reply (RFC 6241 §4.1, §4.2).
    #[must_use]
    pub fn with_rpc_attribute(mut self, namespace: &str, name: &str, value: &str) -> Self {
        self.rpc_attributes.push(Attribute {
            namespace: namespace.into(),
            name: name.into(),
            value: value.into(),
        });
        self
    }

    /// Attributes of `<rpc>` beside `message-id`.
    pub fn rpc_attributes(&self) -> &[Attribute] {
        &self.rpc_attributes
    }

    /// The operation's local name, for logs.
    pub fn name(&self) -> &str {
        self.element.name()
    }

    /// The operation's element.
    pub fn element(&self) -> &Element {
        &self.element
    }

    /// `lock`, §7.5.
    pub fn lock(target: Datastore) -> Self {
        Self::new(Element::base("lock").with_child(datastore("target", target)))
    }

    /// `unlock`, §7.6.
    pub fn unlock(target: Datastore) -> Self {
        Self::new(Element::base("unlock").with_child(datastore("target", target)))
    }

    /// `get`, §7.7.
    pub fn get(filter: Option<&Filter>) -> Self {
        Self::new(Element::base("get").with_children(filter.map(Filter::to_element)))
    }

    /// `get-config`, §7.1.
    pub fn get_config(source: Datastore, filter: Option<&Filter>) -> Self {
        let get_config = Element::base("get-config").with_child(datastore("source", source));
        Self::new(get_config.with_children(filter.map(Filter::to_element)))
    }

    /// Adds `with-defaults` (RFC 6243) to `get`, `get-config` or `copy-config`.
    #[must_use]
    pub fn with_defaults(mut self, mode: WithDefaultsMode) -> Self {
        let mode = match mode {
            WithDefaultsMode::ReportAll => "report-all",
            WithDefaultsMode::ReportAllTagged => "report-all-tagged",
            WithDefaultsMode::Trim => "trim",
            WithDefaultsMode::Explicit => "explicit",
        };
        self.element.push(Element::new(namespace::WITH_DEFAULTS, "with-defaults").with_text(mode));
        self
    }

    /// `edit-config`, §7.2.
    pub fn edit_config(edit: EditConfig) -> Self {
        let mut element = Element::base("edit-config").with_child(datastore("target", edit.target));
        if let Some(operation) = edit.default_operation {
            let text = match operation {
                DefaultOperation::Merge => "merge",
                DefaultOperation::Replace => "replace",
                DefaultOperation::None => "none",
            };
            element = element.with_leaf("default-operation", text);
        }
        if let Some(option) = edit.test_option {
            let text = match option {
                TestOption::TestThenSet => "test-then-set",
                TestOption::Set => "set",
                TestOption::TestOnly => "test-only",
            };
            element = element.with_leaf("test-option", text);
        }
        if let Some(option) = edit.error_option {
            let text = match option {
                ErrorOption::StopOnError => "stop-on-error",
                ErrorOption::ContinueOnError => "continue-on-error",
                ErrorOption::RollbackOnError => "rollback-on-error",
            };
            element = element.with_leaf("error-option", text);
        }
        Self::new(element.with_child(Element::base("config").with_children(edit.config)))
    }

    /// `validate` of a datastore, §8.6.
    pub fn validate(source: Datastore) -> Self {
        Self::new(Element::base("validate").with_child(datastore("source", source)))
    }

    /// `commit` of the candidate, §8.3; also confirms a confirmed commit of this session that had no
    /// `persist`.
    pub fn commit() -> Self {
        Self::new(Element::base("commit"))
    }

    /// `commit` that goes back by itself unless confirmed, §8.4.
    pub fn commit_confirmed(commit: &ConfirmedCommit) -> Self {
        let mut element = Element::base("commit")
            .with_child(Element::base("confirmed"))
            .with_leaf("confirm-timeout", commit.confirm_timeout_s.to_string());
        if let Some(persist) = &commit.persist {
            element = element.with_leaf("persist", persist.as_str());
        }
        if let Some(persist_id) = &commit.persist_id {
            element = element.with_leaf("persist-id", persist_id.as_str());
        }
        Self::new(element)
    }

    /// `commit` that confirms the confirmed commit with this `persist` token, from any session, §8.4.
    pub fn commit_confirming(persist_id: &str) -> Self {
        Self::new(Element::base("commit").with_leaf("persist-id", persist_id))
    }

    /// `cancel-commit`, §8.4.4.1: of the session's own confirmed commit, or of that with this token.
    pub fn cancel_commit(persist_id: Option<&str>) -> Self {
        let element = Element::base("cancel-commit");
        Self::new(match persist_id {
            Some(persist_id) => element.with_leaf("persist-id", persist_id),
            None => element,
        })
    }

    /// `discard-changes` of the candidate, §8.3.4.2.
    pub fn discard_changes() -> Self {
        Self::new(Element::base("discard-changes"))
    }

    /// `copy-config`, §7.3.
    pub fn copy_config(target: Datastore, source: Datastore) -> Self {
        Self::new(
            Element::base("copy-config")
                .with_child(datastore("target", target))
                .with_child(datastore("source", source)),
        )
    }

    /// `close-session`, §7.8.
    pub fn close_session() -> Self {
        Self::new(Element::base("close-session"))
    }

    /// `kill-session`, §7.9.
    pub fn kill_session(session_id: u32) -> Self {
        Self::new(Element::base("kill-session").with_leaf("session-id", session_id.to_string()))
    }

    /// `get-schema`, RFC 6022 §3.1, in YANG. The answer's [`data`](crate::message::Reply::data) holds the
    /// text of the module.
    pub fn get_schema(identifier: &str, version: Option<&str>) -> Self {
        let mut element =
            Element::new(namespace::MONITORING, "get-schema").with_leaf("identifier", identifier);
        if let Some(version) = version {
            element = element.with_leaf("version", version);
        }
        Self::new(element.with_leaf("format", "yang"))
    }
}

#[cfg(test)]
mod tests;
