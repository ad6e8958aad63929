//! Which YANG modules does the device have? Its hello says some (RFC 6020 §5.6.4); its YANG library
//! (RFC 7895, RFC 8525) and its list of schemas (RFC 6022) say the others.

use std::collections::BTreeMap;

use turnup_core::ask::Module;
use turnup_netconf::{
    capability::Capabilities,
    namespace::MONITORING,
    operation::{Filter, Operation},
    xml::Element,
};

use crate::{audit::cut, device::Device};

pub(crate) const LIBRARY: &str = "urn:ietf:params:xml:ns:yang:ietf-yang-library";
const LIBRARY_1_0: &str = "urn:ietf:params:netconf:capability:yang-library:1.0";
const LIBRARY_1_1: &str = "urn:ietf:params:netconf:capability:yang-library:1.1";
/// Most modules told.
const MAX_MODULES: usize = 3_000;
/// Most features of one module.
const MAX_FEATURES: usize = 200;
/// Longest name in bytes.
const MAX_NAME_BYTES: usize = 300;

/// All modules that the device says it has, and submodules where its list of schemas has them: what must be
/// fetched to understand its configuration. What it doesn't answer is left out.
pub(super) async fn of(device: &mut Device<'_>, can: &Capabilities) -> Vec<Module> {
    let mut found = Found::default();
    of_hello(can).into_iter().for_each(|module| found.add(module));
    let is_known = |name: &str, found: &Found| found.0.keys().any(|(known, _)| known == name);
    if can.has(LIBRARY_1_0) || can.has(LIBRARY_1_1) || is_known("ietf-yang-library", &found) {
        for top in ["yang-library", "modules-state"] {
            let modules = get(device, Element::new(LIBRARY, top)).await.map(|data| of_library(&data));
            let modules = modules.unwrap_or_default();
            if !modules.is_empty() {
                modules.into_iter().for_each(|module| found.add(module));
                break;
            }
        }
    }
    if can.monitoring() || is_known("ietf-netconf-monitoring", &found) {
        let schemas =
            Element::new(MONITORING, "netconf-state").with_child(Element::new(MONITORING, "schemas"));
        let modules = get(device, schemas).await.map(|data| of_monitoring(&data));
        modules.unwrap_or_default().into_iter().for_each(|module| found.add(module));
    }
    found.0.into_values().take(MAX_MODULES).collect()
}

async fn get(device: &mut Device<'_>, filter: Element) -> Option<Element> {
    let operation = Operation::get(Some(&Filter::Subtree(vec![filter])));
    let reply = device.inquire("get", true, |_| operation.clone()).await.ok()?;
    if reply.is_error() { None } else { reply.into_data() }
}

/// Modules by name and revision.
#[derive(Default)]
struct Found(BTreeMap<(String, Option<String>), Module>);

impl Found {
    /// Adds what is new: a module, or something about one that is known.
    fn add(&mut self, module: Module) {
        if module.name.is_empty() {
            return;
        }
        let mut key = (module.name.clone(), module.revision.clone());
        if let (None, Some(known)) = (&key.1, self.0.keys().find(|(name, _)| *name == key.0)) {
            key = known.clone();
        } else if key.1.is_some()
            && let Some(bare) = self.0.remove(&(key.0.clone(), None))
        {
            self.0.insert(key.clone(), Module { revision: key.1.clone(), ..bare });
        }
        let known = self.0.entry(key).or_insert_with(|| module.clone());
        known.namespace = known.namespace.take().or(module.namespace);
        if known.features.is_empty() {
            known.features = module.features;
        }
    }
}

fn short(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| cut(text, MAX_NAME_BYTES))
}

fn of_hello(can: &Capabilities) -> Vec<Module> {
    let modules = can.modules().into_iter().map(|module| Module {
        name: cut(&module.name, MAX_NAME_BYTES),
        revision: module.revision.as_deref().and_then(short),
        namespace: short(&module.namespace),
        features: module.features.iter().filter_map(|f| short(f)).take(MAX_FEATURES).collect(),
    });
    modules.collect()
}

fn entry(element: &Element, name: &str, revision: &str) -> Module {
    let leaf = |name: &str| element.own_child(name).and_then(|leaf| short(&leaf.text()));
    let features = element.children().filter(|child| child.name() == "feature");
    Module {
        name: leaf(name).unwrap_or_default(),
        revision: leaf(revision),
        namespace: leaf("namespace"),
        features: features.filter_map(|f| short(&f.text())).take(MAX_FEATURES).collect(),
    }
}

/// Either form of the library: `modules-state/module`, or the modules of every `module-set`.
pub(crate) fn of_library(data: &Element) -> Vec<Module> {
    let modules = |holder: &Element| -> Vec<Module> {
        let entries =
            holder.children().filter(|child| matches!(child.name(), "module" | "import-only-module"));
        entries.map(|module| entry(module, "name", "revision")).collect()
    };
    let tops = data.children().filter(|top| top.namespace() == LIBRARY);
    let mut found = Vec::new();
    for top in tops {
        match top.name() {
            "modules-state" => found.extend(modules(top)),
            "yang-library" => {
                let sets = top.children().filter(|child| child.name() == "module-set");
                sets.for_each(|set| found.extend(modules(set)));
            }
            _ => {}
        }
    }
    found
}

/// The schemas that can be had as YANG.
pub(crate) fn of_monitoring(data: &Element) -> Vec<Module> {
    let schemas = data.child(MONITORING, "netconf-state").and_then(|state| state.own_child("schemas"));
    let schemas = schemas.map(|schemas| schemas.children().filter(|child| child.name() == "schema"));
    let is_yang = |schema: &&Element| {
        // The format is an identity and may have a prefix.
        schema.own_child("format").is_none_or(|f| f.text().rsplit(':').next() == Some("yang"))
    };
    schemas
        .into_iter()
        .flatten()
        .filter(is_yang)
        .map(|schema| entry(schema, "identifier", "version"))
        .collect()
}

#[cfg(test)]
mod tests {
    use turnup_netconf::xml::{Limits, parse_str};

    use super::*;

    fn module(name: &str, revision: Option<&str>, features: &[&str]) -> Module {
        Module {
            name: name.to_owned(),
            revision: revision.map(str::to_owned),
            namespace: Some(format!("urn:{name}")),
            features: features.iter().map(|f| (*f).to_owned()).collect(),
        }
    }

    fn parse(text: &str) -> Element {
        parse_str(text, &Limits::default()).unwrap()
    }

    #[test]
    fn all_sources_are_read() {
        let can =
            Capabilities::new(["urn:a?module=a&revision=2020-01-01&features=x,y", "urn:b?module=b", "urn:c"]);
        assert_eq!(of_hello(&can), [module("a", Some("2020-01-01"), &["x", "y"]), module("b", None, &[])]);
        let old = format!(
            r#"<data><modules-state xmlns="{LIBRARY}"><module-set-id>1</module-set-id><module><name>a</name><revision>2020-01-01</revision><namespace>urn:a</namespace><feature>x</feature></module><module><name>b</name><revision/><namespace>urn:b</namespace></module></modules-state></data>"#
        );
        assert_eq!(
            of_library(&parse(&old)),
            [module("a", Some("2020-01-01"), &["x"]), module("b", None, &[])]
        );
        let new = format!(
            r#"<data><yang-library xmlns="{LIBRARY}"><module-set><name>all</name><module><name>a</name><namespace>urn:a</namespace></module><import-only-module><name>b</name><revision>2021-01-01</revision><namespace>urn:b</namespace></import-only-module></module-set></yang-library></data>"#
        );
        assert_eq!(of_library(&parse(&new)), [module("a", None, &[]), module("b", Some("2021-01-01"), &[])]);
        let schemas = format!(
            r#"<data><netconf-state xmlns="{MONITORING}"><schemas><schema><identifier>a</identifier><version>2020-01-01</version><format>m:yang</format><namespace>urn:a</namespace></schema><schema><identifier>a</identifier><version>2020-01-01</version><format>yin</format></schema></schemas></netconf-state></data>"#
        );
        assert_eq!(of_monitoring(&parse(&schemas)), [module("a", Some("2020-01-01"), &[])]);
    }

    #[test]
    fn what_is_said_twice_is_told_once() {
        let mut found = Found::default();
        let said = [
            module("a", None, &["x"]),
            module("a", Some("2020-01-01"), &[]),
            module("a", None, &[]),
            module("b", Some("2020-01-01"), &[]),
            module("b", Some("2021-01-01"), &["y"]),
            module("", None, &[]),
        ];
        said.into_iter().for_each(|module| found.add(module));
        let all: Vec<Module> = found.0.into_values().collect();
        assert_eq!(
            all,
            [
                module("a", Some("2020-01-01"), &["x"]),
                module("b", Some("2020-01-01"), &[]),
                module("b", Some("2021-01-01"), &["y"]),
            ]
        );
    }
}
