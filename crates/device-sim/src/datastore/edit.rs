//! `edit-config` (RFC 6241 §7.2) on a draft of a configuration.

use turnup_netconf::message::{ErrorTag, ErrorType, RpcError};
use turnup_netconf::namespace;
use turnup_netconf::operation::{DefaultOperation, ErrorOption};
use turnup_netconf::xml::Element;

use crate::leaves::Draft;
use crate::pattern::Pattern;
use sha_crypt::{Algorithm, Params, PasswordHasher as _, ShaCrypt};
use sha2::{Digest, Sha256};

use crate::path::{INACTIVE, push_child, push_key, to_text};
use crate::personality::{Secrets, Spelling};
use crate::schema::{self, Kind, Leaf, Node, Type};

/// The attribute `operation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    None,
    Merge,
    Replace,
    Create,
    Delete,
    Remove,
}

/// Errors of one edit that are reported; more help nobody.
const MAX_ERRORS: usize = 32;

pub(super) fn error(tag: ErrorTag, path: &[u8], message: impl Into<String>) -> RpcError {
    let error = RpcError::new(ErrorType::Application, tag).with_message(message);
    if path.is_empty() { error } else { error.with_path(to_text(path)) }
}

/// How values are taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// A value of the wrong type is refused.
    pub(super) checks_values: bool,
    pub(super) spelling: Spelling,
    pub(super) secrets: Secrets,
    /// The attributes `inactive` and `active` mean something.
    pub(super) deactivation: bool,
}

/// Whether `config` fits the schema, whatever is configured: names, keys, values, operations. All faults.
pub(super) fn check(config: &Element, rules: Rules) -> Vec<RpcError> {
    let mut walk = Walk { draft: None, go_on: true, errors: Vec::new(), path: Vec::with_capacity(64), rules };
    walk.children(config, schema::TOP, Operation::Merge);
    walk.errors
}

/// Applies `config` to the draft. With [`ErrorOption::ContinueOnError`] all of it is tried, else what comes
/// after the first error is left out; undoing the rest is for the caller.
pub(super) fn apply(
    draft: &mut Draft<'_>,
    config: &Element,
    default: DefaultOperation,
    option: ErrorOption,
    rules: Rules,
) -> Vec<RpcError> {
    let operation = match default {
        DefaultOperation::None => Operation::None,
        DefaultOperation::Merge => Operation::Merge,
        DefaultOperation::Replace => {
            draft.clear(&[]);
            Operation::Merge
        }
    };
    let go_on = option == ErrorOption::ContinueOnError;
    let mut walk =
        Walk { draft: Some(draft), go_on, errors: Vec::new(), path: Vec::with_capacity(64), rules };
    walk.children(config, schema::TOP, operation);
    walk.errors
}

/// A walk over the content of an edit. Without draft it only checks.
struct Walk<'w, 'd> {
    draft: Option<&'w mut Draft<'d>>,
    go_on: bool,
    errors: Vec<RpcError>,
    path: Vec<u8>,
    rules: Rules,
}

impl Walk<'_, '_> {
    fn is_over(&self) -> bool {
        self.errors.len() >= MAX_ERRORS || !(self.go_on || self.errors.is_empty())
    }

    fn fail(&mut self, tag: ErrorTag, message: impl Into<String>) {
        self.errors.push(error(tag, &self.path, message));
    }

    /// As [`Walk::fail`], naming an element below the path in `error-info` (RFC 6241 Appendix A).
    fn fail_element(&mut self, tag: ErrorTag, name: &str, message: impl Into<String>) {
        let info = [Element::base("bad-element").with_text(name)];
        self.errors.push(error(tag, &self.path, message).with_info(info));
    }

    fn children(&mut self, parent: &Element, siblings: &'static [Node], operation: Operation) {
        if !parent.is_leaf() || !parent.text().is_empty() {
            self.no_text(parent);
        }
        for element in parent.children() {
            if self.is_over() {
                return;
            }
            if element.namespace() != schema::NAMESPACE {
                let info = [
                    Element::base("bad-element").with_text(element.name()),
                    Element::base("bad-namespace").with_text(element.namespace()),
                ];
                let message = format!("this device has only {}", schema::NAMESPACE);
                let fault = error(ErrorTag::UnknownNamespace, &self.path, message).with_info(info);
                self.errors.push(fault);
                continue;
            }
            let Some((at, node)) = schema::find(siblings, element.name()) else {
                let message = format!("there is no node {} here", element.name());
                self.fail_element(ErrorTag::UnknownElement, element.name(), message);
                continue;
            };
            let length = self.path.len();
            push_child(&mut self.path, at);
            self.node(element, node, operation);
            self.path.truncate(length);
        }
    }

    fn no_text(&mut self, parent: &Element) {
        if !parent.text().is_empty() {
            self.fail_element(ErrorTag::BadElement, parent.name(), "text between elements");
        }
    }

    fn node(&mut self, element: &Element, node: &'static Node, inherited: Operation) {
        let Some(operation) = self.operation(element, inherited) else { return };
        match &node.kind {
            Kind::Leaf(leaf) => self.leaf(element, leaf, operation),
            Kind::Container(children) => self.inner(element, children, operation),
            Kind::List(children) => {
                if self.key(element, node) {
                    self.inner(element, children, operation);
                }
            }
        }
    }

    /// The operation that holds for an element; `None` if its attribute is wrong.
    fn operation(&mut self, element: &Element, inherited: Operation) -> Option<Operation> {
        if element.attribute("operation").is_some() {
            let info = [
                Element::base("bad-attribute").with_text("operation"),
                Element::base("bad-element").with_text(element.name()),
            ];
            let message = "the attribute operation must be in the namespace of NETCONF";
            let fault = error(ErrorTag::UnknownAttribute, &self.path, message).with_info(info);
            self.errors.push(fault);
            return None;
        }
        match element.attribute_ns(namespace::BASE, "operation") {
            None => Some(inherited),
            Some("merge") => Some(Operation::Merge),
            Some("replace") => Some(Operation::Replace),
            Some("create") => Some(Operation::Create),
            Some("delete") => Some(Operation::Delete),
            Some("remove") => Some(Operation::Remove),
            Some(_) => {
                let info = [
                    Element::base("bad-attribute").with_text("operation"),
                    Element::base("bad-element").with_text(element.name()),
                ];
                let message = "operation must be merge, replace, create, delete or remove";
                let fault = error(ErrorTag::BadAttribute, &self.path, message).with_info(info);
                self.errors.push(fault);
                None
            }
        }
    }

    /// Appends the key of a list entry to the path.
    fn key(&mut self, element: &Element, list: &'static Node) -> bool {
        let Some((name, value_type)) = list.key() else { return false };
        let mut given = element.children_named(schema::NAMESPACE, name);
        match (given.next(), given.next()) {
            (Some(key), None) => {
                match value_type.spelled_key(&value_of(key, value_type), self.rules.spelling) {
                    Ok(value) => {
                        push_key(&mut self.path, value_type, &value);
                        true
                    }
                    Err(reason) => {
                        self.fail_element(ErrorTag::InvalidValue, name, format!("{name} {reason}"));
                        false
                    }
                }
            }
            (Some(_), Some(_)) => {
                self.fail_element(ErrorTag::BadElement, name, format!("the key {name} comes twice"));
                false
            }
            (None, _) => {
                self.fail_element(ErrorTag::MissingElement, name, format!("the key {name} is missing"));
                false
            }
        }
    }

    /// A container or an entry of a list.
    fn inner(&mut self, element: &Element, children: &'static [Node], operation: Operation) {
        // In a list entry, the path ends with a key.
        let is_entry = self.path.last() == Some(&0);
        let mut inherited = operation;
        if let Some(draft) = self.draft.as_deref_mut() {
            let exists = draft.view().any_under(&self.path);
            match operation {
                Operation::None if is_entry && !exists => {
                    return self.fail(ErrorTag::DataMissing, "there is no such entry");
                }
                Operation::Create if exists => return self.fail(ErrorTag::DataExists, "exists already"),
                Operation::Delete if !exists => return self.fail(ErrorTag::DataMissing, "doesn't exist"),
                Operation::Delete | Operation::Remove => return draft.clear(&self.path),
                Operation::Replace => {
                    draft.clear(&self.path);
                    // All below is new now; to replace it once more would be the same as to merge it.
                    inherited = Operation::Merge;
                }
                Operation::None | Operation::Merge | Operation::Create => {}
            }
        }
        if is_entry {
            self.set_key(operation);
        }
        self.deactivate(element);
        self.children(element, children, inherited);
    }

    /// Deactivates or activates the node at the path, as the element says.
    fn deactivate(&mut self, element: &Element) {
        let mark = match (element.attribute("inactive"), element.attribute("active")) {
            _ if !self.rules.deactivation => return,
            (Some("inactive"), _) => Some("inactive"),
            (None, Some("active")) => None,
            _ => return,
        };
        let Some(draft) = self.draft.as_deref_mut() else { return };
        self.path.push(INACTIVE);
        draft.set(&self.path, mark);
        self.path.pop();
    }

    /// Makes the entry at the path exist.
    fn set_key(&mut self, operation: Operation) {
        let Some(draft) = self.draft.as_deref_mut() else { return };
        if operation == Operation::None {
            return;
        }
        let key = crate::path::steps(&self.path).last().and_then(|step| step.key).map(str::to_owned);
        let length = self.path.len();
        push_child(&mut self.path, 0);
        draft.set(&self.path, key.as_deref());
        self.path.truncate(length);
    }

    fn leaf(&mut self, element: &Element, leaf: &Leaf, operation: Operation) {
        if !leaf.config {
            let message = format!("{} is state and can't be configured", element.name());
            return self.fail_element(ErrorTag::UnknownElement, element.name(), message);
        }
        if !element.is_leaf() {
            return self.fail_element(ErrorTag::BadElement, element.name(), "a leaf holds no elements");
        }
        // The parent has made the entry; here only what can't be done to a key alone is refused.
        if self.path.len() > 1 && self.path[self.path.len() - 2] == 0 && self.path.last() == Some(&1) {
            let of_its_own = element.attribute_ns(namespace::BASE, "operation").is_some();
            if of_its_own && matches!(operation, Operation::Delete | Operation::Remove) {
                self.fail_element(ErrorTag::BadElement, element.name(), "a key can't be removed by itself");
            }
            return;
        }
        let removed = matches!(operation, Operation::Delete | Operation::Remove);
        let value = match removed {
            true => None,
            false => match leaf.value.spelled(&value_of(element, &leaf.value), self.rules.spelling) {
                Ok(value) => Some(value),
                Err(_) if !self.rules.checks_values => Some(value_of(element, &leaf.value).into()),
                Err(reason) => {
                    return self.fail(ErrorTag::InvalidValue, format!("{} {reason}", element.name()));
                }
            },
        };
        let value = match (value, leaf.secret) {
            (Some(clear), true) if leaf.value == Type::Pattern(Pattern::CryptHash) => Some(hashed(&clear)),
            (Some(clear), true) => Some(kept_secret(&clear, self.rules.secrets)),
            (Some(text), false) if leaf.rewritten && self.rules.secrets != Secrets::Kept => {
                Some(text.to_uppercase().into())
            }
            (value, _) => value,
        };
        let Some(draft) = self.draft.as_deref_mut() else { return };
        let exists = draft.view().get(&self.path).is_some();
        match operation {
            Operation::None if exists => {}
            Operation::None | Operation::Delete if !exists => {
                self.fail(ErrorTag::DataMissing, "doesn't exist");
            }
            Operation::Create if exists => self.fail(ErrorTag::DataExists, "exists already"),
            // With it goes the mark below it.
            _ if removed => draft.clear(&self.path),
            _ => {
                draft.set(&self.path, value.as_deref());
                self.deactivate(element);
            }
        }
    }
}

/// A password as RFC 7317 has it kept: clear text is replaced by a hash with a salt that is new each time.
fn hashed(text: &str) -> Box<str> {
    let Some(clear) = text.strip_prefix("$0$") else { return text.into() };
    let salt = uuid::Uuid::new_v4();
    let hasher = ShaCrypt::new(Algorithm::Sha512Crypt, Params::new(1_000).unwrap_or_default());
    let salt = salt.as_bytes().get(..12).unwrap_or_default();
    match hasher.hash_password_with_salt(clear.as_bytes(), salt) {
        Ok(hash) => hash.to_string().into(),
        Err(_) => text.into(),
    }
}

/// A secret as the device keeps it. What has this form already stays as it is.
fn kept_secret(clear: &str, secrets: Secrets) -> Box<str> {
    let digest = || {
        use std::fmt::Write as _;
        let mut text = String::new();
        for byte in Sha256::digest(clear.as_bytes()).iter().take(12) {
            let _ = write!(text, "{byte:02X}");
        }
        text
    };
    match secrets {
        Secrets::Dollar9 if !clear.starts_with("$9$") => format!("$9${}", digest()).into(),
        Secrets::Type7 if !clear.starts_with("7 ") => format!("7 {}", digest()).into(),
        _ => clear.into(),
    }
}

/// The text of a leaf: white space counts in a text and is ignored around everything else.
fn value_of<'e>(element: &'e Element, value_type: &Type) -> std::borrow::Cow<'e, str> {
    match value_type {
        Type::Text { .. } | Type::Pattern(_) => element.raw_text(),
        Type::Uint { .. } | Type::Boolean | Type::Enumeration(_) => element.text(),
    }
}
