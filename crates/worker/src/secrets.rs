//! The secret values of what is to be done at a device: they are sent, and nothing else that leaves the worker has
//! them. A device may quote one in an error; what it quotes is taken out as soon as its answer is there.

use turnup_core::{
    audit::CheckResult,
    message::{Condition, DeviceEdit, DeviceWork},
    nodes::NodeFacts,
    secret::Redactor,
};
use turnup_netconf::{
    message::Reply,
    model::child_path,
    namespace,
    xml::{Element, Node},
};

use crate::work::parse;

/// The secret nodes and values of one device's work.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    nodes: NodeFacts,
    redactor: Redactor,
}

impl Secrets {
    /// Those of all edits, and of what is audited.
    pub(crate) fn of(work: &DeviceWork) -> Self {
        let mut found = Collector::default();
        found.work(work);
        Self { nodes: found.nodes, redactor: Redactor::new(found.values) }
    }

    /// What takes those of several devices out of the texts of a report. What a device said is clean already.
    pub(crate) fn of_all(works: &[DeviceWork]) -> Redactor {
        let mut found = Collector::default();
        works.iter().for_each(|work| found.work(work));
        Redactor::new(found.values).without_short()
    }

    /// Whether there are any.
    pub(crate) fn are_known(&self) -> bool {
        self.nodes.has_secrets()
    }

    /// Takes the values out of what a device says beside its data.
    pub(crate) fn clean_reply(&self, reply: &mut Reply) {
        if !self.redactor.is_empty() {
            reply.replace_texts(&|text| match self.redactor.text(text) {
                masked if masked == text => None,
                masked => Some(masked.into_owned()),
            });
        }
    }

    /// A text without the values.
    pub(crate) fn clean(&self, text: String) -> String {
        self.redactor.text(&text).into_owned()
    }

    /// The result of a check, whose evidence may quote a value.
    pub(crate) fn clean_check(&self, result: CheckResult) -> CheckResult {
        CheckResult { evidence: self.clean(result.evidence), ..result }
    }

    /// Masks the values in a request or an answer: by the places of configuration that hold them, and wherever one
    /// stands otherwise.
    pub(crate) fn mask(&self, element: &mut Element, mask: &str) {
        self.mask_in(element, None, mask);
    }

    /// `path`: where it is in the configuration, if it is there.
    fn mask_in(&self, element: &mut Element, path: Option<&str>, mask: &str) {
        let is_top = matches!(element.name(), "config" | "data") && element.namespace() == namespace::BASE;
        let inside = is_top && path.is_none();
        let here = path.map(|path| child_path(path, element.name()));
        let is_secret = here.as_deref().is_some_and(|here| self.nodes.is_secret(here));
        let attributes: Vec<_> = element
            .attributes()
            .iter()
            .filter(|attribute| &*attribute.namespace != namespace::BASE)
            .filter_map(|attribute| {
                let masked = self.redactor.text(&attribute.value);
                (masked != *attribute.value)
                    .then(|| (attribute.namespace.clone(), attribute.name.clone(), masked.into_owned()))
            })
            .collect();
        for (namespace, name, value) in attributes {
            element.set_attribute_ns(namespace, name, value);
        }
        let path = if inside { Some("") } else { here.as_deref() };
        for node in element.nodes_mut() {
            match node {
                Node::Element(child) => self.mask_in(child, path, mask),
                Node::Text(text) if is_secret && !text.trim().is_empty() => *text = mask.into(),
                Node::Text(text) => {
                    let masked = self.redactor.text(text);
                    if masked != **text {
                        *text = masked.into_owned().into();
                    }
                }
            }
        }
    }
}

#[derive(Default)]
struct Collector {
    nodes: NodeFacts,
    values: Vec<String>,
}

impl Collector {
    fn work(&mut self, work: &DeviceWork) {
        for edit in &work.edits {
            self.edit(edit);
        }
        if let Some(audit) = work.audit.as_ref().and_then(|audit| audit.config.as_ref()) {
            self.config(&audit.footprint, &audit.nodes);
        }
    }

    fn edit(&mut self, edit: &DeviceEdit) {
        if !edit.nodes.has_secrets() {
            return;
        }
        let whole = edit.whole.iter().flat_map(|whole| std::iter::once(&whole.before).chain(&whole.rewrite));
        for config in [&edit.edit, &edit.inverse].into_iter().chain(whole) {
            self.config(config, &edit.nodes);
        }
        for condition in [&edit.after, &edit.before] {
            self.condition(condition, &edit.nodes);
        }
    }

    fn condition(&mut self, condition: &Condition, nodes: &NodeFacts) {
        match condition {
            Condition::Contains(config) => self.config(config, nodes),
            Condition::Lacks(_) => {}
            Condition::All(all) => all.iter().for_each(|one| self.condition(one, nodes)),
        }
    }

    fn config(&mut self, config: &str, nodes: &NodeFacts) {
        self.nodes.secret.extend(nodes.secret.iter().cloned());
        self.nodes.write_only.extend(nodes.write_only.iter().cloned());
        // What can't be read is not sent either.
        if let (true, Ok(config)) = (nodes.has_secrets(), parse(config)) {
            config.children().for_each(|element| self.element(element, "", nodes));
        }
    }

    fn element(&mut self, element: &Element, parent: &str, nodes: &NodeFacts) {
        let path = child_path(parent, element.name());
        if element.is_leaf() {
            if nodes.is_secret(&path) {
                self.values.push(element.raw_text().into_owned());
            }
            return;
        }
        element.children().for_each(|child| self.element(child, &path, nodes));
    }
}
