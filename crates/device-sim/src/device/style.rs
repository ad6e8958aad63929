//! How the answers of a device look.

use jiff::Timestamp;
use turnup_netconf::message::{ErrorTag, ErrorType, Reply, RpcError, Severity};
use turnup_netconf::namespace;
use turnup_netconf::xml::Element;

use crate::datastore::Errors;
use crate::personality::ErrorStyle;
use crate::schema;

/// How the answer to one request looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) errors: ErrorStyle,
    pub(super) is_commit: bool,
}

const JUNOS: &str = "http://xml.juniper.net/junos/23.4R1/junos";

impl Style {
    /// The answer to a request that was carried out.
    pub(super) fn success(self, reply: Reply) -> Reply {
        if self.errors != ErrorStyle::Junos {
            return reply;
        }
        if !self.is_commit {
            return Reply::with_content(reply.content().iter().map(annotated));
        }
        let mut engine = Element::base("routing-engine")
            .with_leaf("name", "re0")
            .with_child(Element::base("commit-success"));
        engine.set_prefix("junos", JUNOS);
        engine.set_attribute_ns(JUNOS, "style", "normal");
        let results = Element::base("commit-results").with_child(engine);
        Reply::with_content([results].into_iter().chain(reply.content().iter().cloned()))
    }

    /// The answer to a request that was refused.
    pub(super) fn refusal(self, errors: Errors) -> Reply {
        match self.errors {
            ErrorStyle::Standard => Reply::with_errors(errors),
            ErrorStyle::NoPath => {
                Reply::with_errors(errors.into_iter().map(|error| RpcError { path: None, ..error }))
            }
            ErrorStyle::Junos if self.is_commit => {
                let warning =
                    RpcError { severity: Severity::Warning, ..failed("commit failed for 1 routing engine") };
                let errors = [warning].into_iter().chain(errors.into_iter().map(as_junos));
                Reply::with_content([
                    Element::base("commit-results").with_children(errors.map(|e| element(&e)))
                ])
            }
            ErrorStyle::Junos => {
                Reply::with_content(errors.into_iter().map(as_junos).map(|error| element(&error)))
            }
        }
    }
}

/// The content of an answer with what Junos says of the configuration at its top.
fn annotated(content: &Element) -> Element {
    if !content.is(namespace::BASE, "data") {
        return content.clone();
    }
    let now = Timestamp::now();
    let mut data = content.clone();
    for top in data.children_mut().filter(|top| top.namespace() == schema::NAMESPACE) {
        top.set_prefix("junos", JUNOS);
        top.set_attribute_ns(JUNOS, "commit-seconds", now.as_second().to_string());
        top.set_attribute_ns(JUNOS, "commit-localtime", format!("{now:.0}"));
        top.set_attribute_ns(JUNOS, "commit-user", "operator");
    }
    data
}

fn failed(message: &str) -> RpcError {
    RpcError::new(ErrorType::Protocol, ErrorTag::OperationFailed).with_message(message)
}

/// The error as Junos says it: lock-denied is kept, all else is `operation-failed` of the protocol.
fn as_junos(error: RpcError) -> RpcError {
    if error.error_type.is_none() || error.tag == ErrorTag::LockDenied {
        return error;
    }
    let (place, last) = error.path.as_deref().map_or((None, None), hierarchy);
    let named = error.info.as_ref().and_then(|info| info.child(namespace::BASE, "bad-element"));
    let bad_element = named.map(|element| element.text().into_owned()).or(last);
    RpcError {
        error_type: Some(ErrorType::Protocol),
        tag: ErrorTag::OperationFailed,
        app_tag: None,
        path: place,
        info: bad_element
            .map(|name| Element::base("error-info").with_child(Element::base("bad-element").with_text(name))),
        ..error
    }
}

/// The place of a path in the hierarchy, `[edit interfaces interface ge-0]`, and the node at its end, unless that is
/// a list entry.
fn hierarchy(path: &str) -> (Option<String>, Option<String>) {
    let mut words = vec!["edit".to_owned()];
    let mut last = None;
    let mut rest = path;
    while let Some(step) = rest.strip_prefix('/') {
        let end = step.find(['/', '[']).unwrap_or(step.len());
        words.extend(last.take());
        last = Some(step[..end].to_owned());
        rest = &step[end..];
        if let Some((key, after)) = rest.strip_prefix('[').and_then(|key| key.split_once("']")) {
            words.extend(last.take());
            words.extend(key.split_once("='").map(|(_, value)| value.to_owned()));
            rest = after;
        }
    }
    (Some(format!("[{}]", words.join(" "))), last)
}

/// The error as XML; one without type has no tag either.
fn element(error: &RpcError) -> Element {
    let whole = error.to_element();
    let bare = error.error_type.is_none();
    let kept = whole.children().filter(|child| !bare || !matches!(child.name(), "error-type" | "error-tag"));
    Element::base("rpc-error").with_children(kept.cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn junos_error_names_hierarchy_and_element() {
        let error = RpcError::new(ErrorType::Application, ErrorTag::InvalidValue)
            .with_path("/interfaces/interface[name='ge-0/0/1']/mtu")
            .with_message("mtu must be a number");
        let error = as_junos(error);
        assert_eq!(error.path.as_deref(), Some("[edit interfaces interface ge-0/0/1]"));
        assert_eq!((error.error_type, &error.tag), (Some(ErrorType::Protocol), &ErrorTag::OperationFailed));
        assert!(element(&error).to_xml().contains("<bad-element>mtu</bad-element>"));
        let entry = as_junos(failed("x").with_path("/vrfs/vrf[name='red']"));
        assert_eq!((entry.path.as_deref(), entry.info), (Some("[edit vrfs vrf red]"), None));
    }
}
