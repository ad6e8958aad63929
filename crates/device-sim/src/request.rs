//! Requests as a device understands them, and what it offers (RFC 6241 §8).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use turnup_netconf::message::{ErrorTag, ErrorType, RpcError};
use turnup_netconf::namespace;
use turnup_netconf::operation::{Datastore, DefaultOperation, ErrorOption, TestOption, WithDefaultsMode};
use turnup_netconf::xml::{Element, Limits, parse_str};

use crate::datastore::{Commit, Edit, Errors, Source};
use crate::personality::{ConfirmedCommit, Persistence, Personality, mode_name};
use crate::ping::Ping;
use crate::schema;

/// What a device can do, by the kind of device it plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// All that its personality offers; by default candidate, confirmed commit with persist, validate, rollback
    /// on error, get-schema; base:1.0 and 1.1.
    #[default]
    Full,
    /// Candidate and confirmed commit without persist, base:1.0 only, as older devices are.
    ConfirmedCommit10,
    /// Candidate without confirmed commit.
    Candidate,
    /// No candidate: running is edited directly, with rollback on error.
    WritableRunning,
    /// As that, without rollback on error and validate: of an edit that fails, a part may stay.
    WritableRunningBare,
}

impl Profile {
    /// What a device of this personality offers that plays this profile.
    pub(crate) fn restrict(self, personality: &Personality) -> Personality {
        let none = Personality { confirmed_commit: ConfirmedCommit::No, ..*personality };
        match self {
            Self::Full => *personality,
            Self::ConfirmedCommit10 => {
                Personality { base_1_1: false, confirmed_commit: ConfirmedCommit::V1_0, ..*personality }
            }
            Self::Candidate => none,
            Self::WritableRunning => Personality { candidate: false, writable_running: true, ..none },
            Self::WritableRunningBare => Personality {
                candidate: false,
                writable_running: true,
                rollback_on_error: false,
                validate: false,
                ..none
            },
        }
    }
}

/// A request that is understood. `close-session` and `kill-session` are the server's.
#[derive(Debug)]
pub(crate) enum Request<'r> {
    Lock(Datastore),
    Unlock(Datastore),
    Get {
        filter: Option<&'r Element>,
        defaults: Option<WithDefaultsMode>,
    },
    GetConfig {
        source: Datastore,
        filter: Option<&'r Element>,
        defaults: Option<WithDefaultsMode>,
    },
    /// The next part of an answer.
    GetNext {
        set: u64,
    },
    /// `save-config` of cisco-ia.
    SaveConfig,
    /// `copy-config` of running to startup.
    SaveStartup,
    DeleteStartup,
    EditConfig {
        target: Datastore,
        edit: Edit<'r>,
    },
    CopyConfig {
        target: Datastore,
        source: Source<'r>,
    },
    Validate(Source<'r>),
    Commit(Commit),
    CancelCommit {
        persist_id: Option<String>,
    },
    DiscardChanges,
    Ping(Ping),
    GetSchema {
        identifier: String,
        version: Option<String>,
        format: Option<String>,
    },
}

/// Module of IOS XE that saves running.
pub(crate) const CISCO_IA: &str = "http://cisco.com/yang/cisco-ia";
/// Operations of Huawei.
const HUAWEI: &str = "http://www.huawei.com/netconf/capability/base/1.0";

/// `confirm-timeout` if it isn't given, RFC 6241 §8.4.5.1.
const CONFIRM_TIMEOUT_S: u32 = 600;

fn fault(tag: ErrorTag, element: &str, message: impl Into<String>) -> Errors {
    let error = RpcError::new(ErrorType::Protocol, tag).with_message(message);
    vec![error.with_info([Element::base("bad-element").with_text(element)])]
}

fn unsupported(what: &str) -> Errors {
    let error = RpcError::new(ErrorType::Protocol, ErrorTag::OperationNotSupported);
    vec![error.with_message(format!("{what} isn't supported by this device"))]
}

impl<'r> Request<'r> {
    /// Understands a request, as far as the device of this personality does.
    pub(crate) fn parse(operation: &'r Element, offers: &Personality) -> Result<Self, Errors> {
        if operation.is(namespace::MONITORING, "get-schema") {
            let text = |name| operation.own_child(name).map(|child| child.text().into_owned());
            let identifier = text("identifier").ok_or_else(|| missing("identifier"))?;
            return Ok(Self::GetSchema { identifier, version: text("version"), format: text("format") });
        }
        if operation.is(schema::NAMESPACE, "ping") {
            return Ok(Self::Ping(Ping::parse(operation)?));
        }
        if operation.is(CISCO_IA, "save-config") && offers.persistence == Persistence::SaveConfig {
            return Ok(Self::SaveConfig);
        }
        if operation.is(HUAWEI, "get-next") && offers.entries_per_reply.is_some() {
            let set = operation.attribute("set-id").and_then(|set| set.parse().ok());
            let error = || fault(ErrorTag::MissingAttribute, "get-next", "get-next needs its set-id");
            return Ok(Self::GetNext { set: set.ok_or_else(error)? });
        }
        if operation.namespace() != namespace::BASE {
            return Err(unsupported(operation.name()));
        }
        let with_candidate = |request| match offers.candidate {
            true => Ok(request),
            false => Err(unsupported(operation.name())),
        };
        match operation.name() {
            "lock" => Ok(Self::Lock(datastore(operation, "target", offers)?)),
            "unlock" => Ok(Self::Unlock(datastore(operation, "target", offers)?)),
            "get" => Ok(Self::Get { filter: filter(operation)?, defaults: defaults(operation, offers)? }),
            "get-config" => Ok(Self::GetConfig {
                source: datastore(operation, "source", offers)?,
                filter: filter(operation)?,
                defaults: defaults(operation, offers)?,
            }),
            "edit-config" => Ok(Self::EditConfig {
                target: writable(datastore(operation, "target", offers)?, offers)?,
                edit: known_before_1_1(edit(operation)?, offers)?,
            }),
            "copy-config" => {
                let (target, source) = (datastore(operation, "target", offers)?, source(operation, offers)?);
                match (target, source) {
                    (Datastore::Startup, Source::Datastore(Datastore::Running)) => Ok(Self::SaveStartup),
                    (Datastore::Startup, _) => Err(unsupported("a copy to startup of anything but running")),
                    _ => Ok(Self::CopyConfig { target: writable(target, offers)?, source }),
                }
            }
            "delete-config" => match datastore(operation, "target", offers)? {
                Datastore::Startup => Ok(Self::DeleteStartup),
                other => Err(unsupported(&format!("delete-config of {}", other.as_str()))),
            },
            "validate" => Ok(Self::Validate(source(operation, offers)?)),
            "commit" => with_candidate(Self::Commit(commit(operation, offers)?)),
            "cancel-commit" if offers.confirmed_commit == ConfirmedCommit::V1_1 => Ok(Self::CancelCommit {
                persist_id: operation.own_child("persist-id").map(|id| id.text().into_owned()),
            }),
            "discard-changes" => with_candidate(Self::DiscardChanges),
            other => Err(unsupported(other)),
        }
    }
}

fn missing(name: &str) -> Errors {
    fault(ErrorTag::MissingElement, name, format!("{name} is missing"))
}

fn datastore_named(element: &Element, offers: &Personality) -> Result<Datastore, Errors> {
    match element.name() {
        "running" => Ok(Datastore::Running),
        "candidate" if offers.candidate => Ok(Datastore::Candidate),
        "startup" if offers.persistence == Persistence::Startup => Ok(Datastore::Startup),
        "candidate" | "startup" | "url" => Err(unsupported(element.name())),
        other => Err(fault(ErrorTag::BadElement, other, format!("{other} is no datastore"))),
    }
}

fn datastore(operation: &Element, role: &str, offers: &Personality) -> Result<Datastore, Errors> {
    let named = operation.own_child(role).and_then(|role| role.children().next());
    datastore_named(named.ok_or_else(|| missing(role))?, offers)
}

fn source<'r>(operation: &'r Element, offers: &Personality) -> Result<Source<'r>, Errors> {
    let given = operation.own_child("source").and_then(|source| source.children().next());
    let given = given.ok_or_else(|| missing("source"))?;
    match given.name() {
        "config" => Ok(Source::Config(given)),
        _ => Ok(Source::Datastore(datastore_named(given, offers)?)),
    }
}

fn writable(target: Datastore, offers: &Personality) -> Result<Datastore, Errors> {
    if target == Datastore::Startup {
        return Err(unsupported("an edit of startup"));
    }
    if target == Datastore::Running && offers.candidate && !offers.writable_running {
        return Err(unsupported("writing to running"));
    }
    Ok(target)
}

fn filter(operation: &Element) -> Result<Option<&Element>, Errors> {
    let Some(filter) = operation.own_child("filter") else { return Ok(None) };
    let attribute = |name| filter.attribute(name).or_else(|| filter.attribute_ns(namespace::BASE, name));
    match attribute("type") {
        None | Some("subtree") => Ok(Some(filter)),
        Some(_) => {
            let info = [
                Element::base("bad-attribute").with_text("type"),
                Element::base("bad-element").with_text("filter"),
            ];
            let error = RpcError::new(ErrorType::Protocol, ErrorTag::BadAttribute)
                .with_message("only filters of type subtree are supported");
            Err(vec![error.with_info(info)])
        }
    }
}

/// `with-defaults`, where the device knows it (RFC 6243 §4.5).
fn defaults(operation: &Element, offers: &Personality) -> Result<Option<WithDefaultsMode>, Errors> {
    let Some(known) = offers.defaults else { return Ok(None) };
    let Some(asked) = operation.child_text(namespace::WITH_DEFAULTS, "with-defaults") else {
        return Ok(None);
    };
    let all = [
        WithDefaultsMode::ReportAll,
        WithDefaultsMode::ReportAllTagged,
        WithDefaultsMode::Trim,
        WithDefaultsMode::Explicit,
    ];
    let mode = all.into_iter().find(|mode| mode_name(*mode) == asked && known.takes(*mode));
    match mode {
        Some(mode) => Ok(Some(mode)),
        None => {
            Err(fault(ErrorTag::InvalidValue, "with-defaults", "this mode isn't supported by this device"))
        }
    }
}

fn edit(operation: &Element) -> Result<Edit<'_>, Errors> {
    let text = |name: &'static str| operation.own_child(name).map(|child| (name, child.text()));
    let unknown =
        |name: &str, value: &str| fault(ErrorTag::InvalidValue, name, format!("{name} can't be {value:?}"));
    let default_operation = match text("default-operation") {
        None => DefaultOperation::Merge,
        Some((name, value)) => match &*value {
            "merge" => DefaultOperation::Merge,
            "replace" => DefaultOperation::Replace,
            "none" => DefaultOperation::None,
            other => return Err(unknown(name, other)),
        },
    };
    let test_option = match text("test-option") {
        None => TestOption::TestThenSet,
        Some((name, value)) => match &*value {
            "test-then-set" => TestOption::TestThenSet,
            "set" => TestOption::Set,
            "test-only" => TestOption::TestOnly,
            other => return Err(unknown(name, other)),
        },
    };
    let error_option = match text("error-option") {
        None => ErrorOption::StopOnError,
        Some((name, value)) => match &*value {
            "stop-on-error" => ErrorOption::StopOnError,
            "continue-on-error" => ErrorOption::ContinueOnError,
            "rollback-on-error" => ErrorOption::RollbackOnError,
            other => return Err(unknown(name, other)),
        },
    };
    let config = operation.own_child("config").ok_or_else(|| missing("config"))?;
    Ok(Edit { default_operation, test_option, error_option, config })
}

/// RFC 4741 knows no operation `remove`.
fn known_before_1_1<'e>(edit: Edit<'e>, offers: &Personality) -> Result<Edit<'e>, Errors> {
    fn removes(element: &Element) -> bool {
        element.attribute_ns(namespace::BASE, "operation") == Some("remove")
            || element.children().any(removes)
    }
    if !offers.base_1_1 && removes(edit.config) {
        let error = RpcError::new(ErrorType::Application, ErrorTag::BadAttribute)
            .with_message("base:1.0 knows no operation remove")
            .with_info([Element::base("bad-attribute").with_text("operation")]);
        return Err(vec![error]);
    }
    Ok(edit)
}

fn commit(operation: &Element, offers: &Personality) -> Result<Commit, Errors> {
    let text = |name: &str| operation.own_child(name).map(|child| child.text().into_owned());
    for child in operation.children() {
        let known = match child.name() {
            "confirmed" | "confirm-timeout" => offers.confirmed_commit != ConfirmedCommit::No,
            "persist" | "persist-id" => offers.confirmed_commit == ConfirmedCommit::V1_1,
            _ => false,
        };
        if !known {
            let message = format!("commit has no parameter {} here", child.name());
            return Err(fault(ErrorTag::UnknownElement, child.name(), message));
        }
    }
    let timeout_s = match text("confirm-timeout") {
        None => CONFIRM_TIMEOUT_S,
        Some(text) => text.parse().ok().filter(|seconds| *seconds > 0).ok_or_else(|| {
            fault(ErrorTag::InvalidValue, "confirm-timeout", "confirm-timeout must be seconds from 1 on")
        })?,
    };
    let confirmed = operation.own_child("confirmed").map(|_| Duration::from_secs(timeout_s.into()));
    if confirmed.is_none() && operation.own_child("persist").is_some() {
        return Err(fault(ErrorTag::BadElement, "persist", "persist goes only with confirmed"));
    }
    Ok(Commit { confirmed, persist: text("persist"), persist_id: text("persist-id") })
}

/// An edit that comes past NETCONF.
#[derive(Debug)]
pub(crate) struct EditByHand {
    config: Element,
    default_operation: DefaultOperation,
}

impl EditByHand {
    /// The edit, all or nothing.
    pub(crate) fn edit(&self) -> Edit<'_> {
        Edit {
            default_operation: self.default_operation,
            test_option: TestOption::TestThenSet,
            error_option: ErrorOption::RollbackOnError,
            config: &self.config,
        }
    }
}

/// Understands the text of a `<config>` or `<edit-config>` of NETCONF, or of a node of the data tree.
pub(crate) fn edit_by_hand(xml: &str) -> Result<EditByHand, String> {
    let root = parse_str(xml, &Limits::default()).map_err(|error| format!("this is no XML: {error}"))?;
    let by_hand = |config, default_operation| EditByHand { config, default_operation };
    if root.is(namespace::BASE, "config") {
        Ok(by_hand(root, DefaultOperation::Merge))
    } else if root.is(namespace::BASE, "edit-config") {
        let given =
            edit(&root).map_err(|errors| errors.iter().map(RpcError::to_string).collect::<String>())?;
        Ok(by_hand(given.config.clone(), given.default_operation))
    } else {
        Ok(by_hand(Element::base("config").with_child(root), DefaultOperation::Merge))
    }
}

/// What a device has under `netconf-state`, RFC 6022 §2.1.3: which modules it can give the text of.
pub(crate) fn monitoring_state() -> Element {
    let schema = Element::new(namespace::MONITORING, "schema")
        .with_leaf("identifier", schema::MODULE)
        .with_leaf("version", schema::REVISION)
        .with_leaf("format", "yang")
        .with_leaf("namespace", schema::NAMESPACE)
        .with_leaf("location", "NETCONF");
    let schemas = Element::new(namespace::MONITORING, "schemas").with_child(schema);
    Element::new(namespace::MONITORING, "netconf-state").with_child(schemas)
}

/// The answer to `get-schema`, RFC 6022 §3.1.
pub(crate) fn schema_text(
    identifier: &str,
    version: Option<&str>,
    format: Option<&str>,
    comment_bytes: usize,
) -> Result<Element, Errors> {
    // The format is an identity and may have a prefix.
    let format = format.map(|format| format.rsplit_once(':').map_or(format, |(_, name)| name));
    let known = identifier == schema::MODULE
        && version.is_none_or(|version| version.is_empty() || version == schema::REVISION)
        && format.is_none_or(|format| format == "yang");
    if !known {
        let error = RpcError::new(ErrorType::Application, ErrorTag::InvalidValue);
        return Err(vec![error.with_message("there is no such schema in this format")]);
    }
    let mut text = schema::YANG.to_owned();
    let end = text.len() + comment_bytes;
    while text.len() < end {
        text.push_str("// a comment with a \"quote\", an é and a tab\t.\n");
    }
    Ok(Element::new(namespace::MONITORING, "data").with_text(text))
}
