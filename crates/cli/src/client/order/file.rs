//! Orders from files: where each stands, what its fields mean, and which it repeats.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use turnup_core::{
    order::field_types,
    problem::{Fault, Problem},
};
use turnup_files::{Content, Delimiter, Node, typing::typed};

use crate::{
    client::{
        http::{Api, encode},
        input,
        output::items,
    },
    failure::{Failure, describe},
};

/// Questions to the intake that wait for their answers at once.
const AT_ONCE: usize = 8;

/// An order of a file.
#[derive(Debug)]
pub(super) struct FileOrder {
    /// Its file's name in messages.
    pub(super) file: Arc<str>,
    /// The line in which it begins.
    pub(super) line: u32,
    /// What it says, as the intake takes it.
    pub(super) order: Value,
    /// Why the service that it names was not found.
    unresolved: Option<Problem>,
    tree: Node,
    headings: Arc<[String]>,
}

impl FileOrder {
    /// The upstream system's own id.
    pub(super) fn external_id(&self) -> Option<&str> {
        self.order["external_id"].as_str()
    }

    /// Where it stands and what it is called: `orders.csv:77 (CRM-7)`.
    pub(super) fn label(&self) -> String {
        let id = self.external_id().map(|id| format!(" ({id})")).unwrap_or_default();
        format!("{}:{}{id}", self.file, self.line)
    }

    /// The intake's faults, by where they stand in the file.
    pub(super) fn placed(&self, mut problem: Problem) -> Problem {
        for fault in &mut problem.errors {
            if let Some(heading) = self.heading(&fault.pointer) {
                fault.pointer = format!("column {heading}");
            } else {
                let line = self.tree.line_at(&fault.pointer);
                if line != self.line && !fault.pointer.is_empty() {
                    fault.pointer = format!("line {line}, {}", fault.pointer);
                }
            }
        }
        problem
    }

    /// The same in words, with the place of the order.
    pub(super) fn refusal(&self, problem: Problem) -> String {
        format!("{}: {}", self.label(), describe(&self.placed(problem)))
    }

    /// The heading of what a JSON pointer means, or of the nearest thing around it.
    fn heading(&self, pointer: &str) -> Option<&str> {
        let steps: Vec<String> =
            pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
        (1..=steps.len()).rev().find_map(|count| {
            let name = steps[..count].join(".");
            self.headings.iter().find(|heading| **heading == name).map(String::as_str)
        })
    }
}

/// Reads the orders of files, in their order. Gives also a word about each file that has none.
pub(super) async fn read(
    api: &Api,
    files: &[PathBuf],
    delimiter: Option<Delimiter>,
) -> Result<(Vec<FileOrder>, Vec<String>), Failure> {
    let (mut orders, mut empty) = (Vec::new(), Vec::new());
    for source in input::read_all(files, delimiter)? {
        if source.document.items.is_empty() {
            let what = if source.document.headings.is_empty() { "" } else { " below its heading line" };
            empty.push(format!("{}: there are no orders in it{what}", source.name));
        }
        let file: Arc<str> = source.name.into();
        let headings: Arc<[String]> = source.document.headings.into();
        orders.extend(source.document.items.into_iter().map(|item| FileOrder {
            file: Arc::clone(&file),
            line: item.line,
            order: Value::Null,
            unresolved: None,
            tree: item.tree,
            headings: Arc::clone(&headings),
        }));
    }
    if orders.is_empty() {
        empty.push("nothing was ordered".to_owned());
        return Err(Failure::Failed(empty.join("\n")));
    }
    let services = resolved(api, &orders).await?;
    for order in &mut orders {
        let Some(named) = named_service(&order.tree) else { continue };
        match services.get(&named) {
            Some(Ok(id)) => set_service(&mut order.tree, id),
            Some(Err(problem)) => order.unresolved = Some(problem.clone()),
            None => {}
        }
    }
    let schemas = Schemas::load(api, orders.iter().map(|order| &order.tree)).await?;
    for order in &mut orders {
        order.order = value(&order.tree, schemas.of(&order.tree));
    }
    Ok((orders, empty))
}

/// The field `service_id`, if it is there and is no whole id.
fn named_service(tree: &Node) -> Option<String> {
    let named = tree.get("service_id")?.text()?;
    uuid::Uuid::parse_str(&named).is_err().then_some(named)
}

/// The ids of the services that orders name by the beginning of an id or an external id, as commands take them; or why
/// one is not found.
async fn resolved(
    api: &Api,
    orders: &[FileOrder],
) -> Result<BTreeMap<String, Result<String, Problem>>, Failure> {
    let named: BTreeSet<String> = orders.iter().filter_map(|order| named_service(&order.tree)).collect();
    stream::iter(named)
        .map(|named| async move {
            match api.resolve("services", &named).await {
                Ok(id) => Ok((named, Ok(id))),
                Err(Failure::Problem(problem)) if matches!(problem.status, 404 | 409 | 422) => {
                    let fault = Fault::new("/service_id", problem.code.as_str(), problem.detail.as_str());
                    Ok((named, Err(Problem::invalid(vec![fault]))))
                }
                Err(Failure::Refused(ambiguous)) => {
                    let fault = Fault::new("/service_id", "ambiguous_id", ambiguous);
                    Ok((named, Err(Problem::invalid(vec![fault]))))
                }
                Err(failure) => Err(failure),
            }
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// Puts the whole id in the place of what the file says.
fn set_service(tree: &mut Node, id: &str) {
    let Content::Map(entries) = &mut tree.content else { return };
    if let Some(entry) = entries.iter_mut().find(|entry| entry.key == "service_id") {
        entry.value = Node::new(entry.line, Content::Text(id.to_owned()));
    }
}

/// What the attributes of orders are by their definitions.
#[derive(Debug, Default)]
struct Schemas {
    /// By service: its definition and the version of it that it has.
    services: BTreeMap<String, Wanted>,
    definitions: BTreeMap<Wanted, Schema>,
}

/// A definition and its version; none: the newest.
type Wanted = (String, Option<u64>);

/// The JSON Schemas of one definition.
#[derive(Debug, Default)]
pub(super) struct Schema {
    pub(super) attributes: Value,
    pub(super) roles: BTreeMap<String, Value>,
}

impl Schema {
    /// The definition of a service, in this version or in the one that the service has. Empty if the intake
    /// doesn't give it.
    pub(super) async fn of_service(
        api: &Api,
        service: &Value,
        version: Option<u32>,
    ) -> Result<Self, Failure> {
        let Some(name) = service["definition"].as_str() else { return Ok(Self::default()) };
        let version = version.map(u64::from).or(service["definition_version"].as_u64());
        let found = ask(api, [(name.to_owned(), version)], definition_path).await?;
        Ok(found.into_iter().find_map(|(_, found)| found).map(Self::of).unwrap_or_default())
    }

    fn of(definition: Value) -> Self {
        Self {
            attributes: definition["attributes"].clone(),
            roles: items(&definition["endpoints"])
                .iter()
                .filter_map(|role| Some((role["role"].as_str()?.to_owned(), role["attributes"].clone())))
                .collect(),
        }
    }
}

fn definition_path((name, version): &Wanted) -> String {
    let version = version.map(|version| format!("?version={version}")).unwrap_or_default();
    format!("/v1/definitions/{}{version}", encode(name))
}

impl Schemas {
    /// Asks for the definitions that orders need. One that isn't there is left out: the intake says so when
    /// it gets the order.
    async fn load<'a>(api: &Api, trees: impl Iterator<Item = &'a Node> + Clone) -> Result<Self, Failure> {
        let trees = trees.filter(|tree| needs_schema(tree));
        let services: BTreeSet<String> = trees.clone().filter_map(service_of).collect();
        let services: Vec<(String, Option<Value>)> =
            ask(api, services, |id| format!("/v1/services/{}", encode(id))).await?;
        let services: BTreeMap<String, Wanted> = services
            .into_iter()
            .filter_map(|(id, service)| {
                let service = service?;
                Some((
                    id,
                    (service["definition"].as_str()?.to_owned(), service["definition_version"].as_u64()),
                ))
            })
            .collect();
        let mut schemas = Self { services, definitions: BTreeMap::new() };
        let wanted: BTreeSet<Wanted> = trees.filter_map(|tree| schemas.wanted(tree)).collect();
        let found = ask(api, wanted, definition_path).await?;
        schemas.definitions =
            found.into_iter().filter_map(|(wanted, found)| Some((wanted, Schema::of(found?)))).collect();
        Ok(schemas)
    }

    /// The definition that an order is of.
    fn wanted(&self, tree: &Node) -> Option<Wanted> {
        let version = tree.get("definition_version").and_then(Node::text).and_then(|text| text.parse().ok());
        match service_of(tree) {
            Some(service) => {
                let (name, own) = self.services.get(&service)?;
                Some((name.clone(), version.or(*own)))
            }
            None => Some((tree.get("definition")?.text()?, version)),
        }
    }

    fn of(&self, tree: &Node) -> Option<&Schema> {
        self.definitions.get(&self.wanted(tree)?)
    }
}

/// The service whose definition counts: only a modify order has content and a service.
fn service_of(tree: &Node) -> Option<String> {
    let kind = tree.get("kind")?.text()?;
    if kind == "modify" { tree.get("service_id")?.text() } else { None }
}

/// Whether an order has attributes whose type only their field says.
fn needs_schema(node: &Node) -> bool {
    match &node.content {
        Content::Cell(_) => true,
        Content::Map(entries) => entries
            .iter()
            .filter(|entry| !["kind", "definition_version"].contains(&entry.key.as_str()))
            .any(|entry| needs_schema(&entry.value)),
        Content::List(items) => items.iter().any(needs_schema),
        Content::Null | Content::Bool(_) | Content::Number(_) | Content::Text(_) => node.written.is_some(),
    }
}

/// Asks for many things; one that the intake doesn't give is none.
async fn ask<K>(
    api: &Api,
    wanted: impl IntoIterator<Item = K>,
    path: impl Fn(&K) -> String,
) -> Result<Vec<(K, Option<Value>)>, Failure> {
    stream::iter(wanted)
        .map(|key| {
            let path = path(&key);
            async move {
                match api.get(&path).await {
                    Ok(found) => Ok((key, Some(found))),
                    Err(Failure::Problem(problem)) if problem.status < 500 && problem.status != 401 => {
                        Ok((key, None))
                    }
                    Err(failure) => Err(failure),
                }
            }
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// The order that a tree says.
fn value(tree: &Node, schema: Option<&Schema>) -> Value {
    let Content::Map(entries) = &tree.content else { return tree.to_json() };
    let open = Value::Bool(true);
    let types = field_types();
    let field = |name: &str| types["properties"].get(name).unwrap_or(&open);
    let attributes =
        |schema: Option<&Value>, node: &Node| typed(node, schema.unwrap_or_else(|| field("attributes")));
    let endpoint = |node: &Node| -> Value {
        let Content::Map(entries) = &node.content else { return node.to_json() };
        let role = node.get("role").and_then(Node::text).unwrap_or_default();
        let own = schema.and_then(|schema| schema.roles.get(&role));
        let types = &field("endpoints")["items"]["properties"];
        entries
            .iter()
            .map(|entry| {
                let value = match entry.key.as_str() {
                    "attributes" => attributes(own, &entry.value),
                    key => typed(&entry.value, types.get(key).unwrap_or(&open)),
                };
                (entry.key.clone(), value)
            })
            .collect::<Map<_, _>>()
            .into()
    };
    entries
        .iter()
        .map(|entry| {
            let value = match (entry.key.as_str(), &entry.value.content) {
                ("attributes", _) => attributes(schema.map(|schema| &schema.attributes), &entry.value),
                ("endpoints", Content::List(items)) => items.iter().map(endpoint).collect(),
                (key, _) => typed(&entry.value, field(key)),
            };
            (entry.key.clone(), value)
        })
        .collect::<Map<_, _>>()
        .into()
}

/// For each order what keeps it from being submitted at all, if something does: the service that it names is not
/// found, or an earlier one has its external id.
pub(super) fn faults(orders: &[FileOrder]) -> Vec<Option<Problem>> {
    let unresolved = orders.iter().map(|order| order.unresolved.clone());
    unresolved.zip(twins(orders)).map(|(unresolved, twin)| unresolved.or(twin)).collect()
}

/// For each order the earlier one with the same external id, if there is one.
fn twins(orders: &[FileOrder]) -> Vec<Option<Problem>> {
    let mut first: HashMap<&str, &FileOrder> = HashMap::new();
    orders
        .iter()
        .map(|order| {
            let id = order.external_id()?;
            let Some(before) = first.get(id) else {
                first.insert(id, order);
                return None;
            };
            let detail = format!(
                "the external id {id} is that of {}:{} too; one external id names one order",
                before.file, before.line
            );
            let fault = Fault::new("/external_id", "external_id_twice", detail.as_str());
            let problem = Problem::new(409, "external_id_twice", "The external id is there twice", detail);
            Some(Problem { errors: vec![fault], ..problem })
        })
        .collect()
}

/// For each provision order without external id a key made from what it says, so that a file that is
/// submitted again makes no second service. Orders that say the same in one submission are numbered: each is
/// meant. Orders about a service have none: to submit them again is to ask for the same again, later.
pub(super) fn keys(orders: &[FileOrder]) -> Vec<Option<String>> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    orders
        .iter()
        .map(|order| {
            if order.order["kind"] != "provision" || order.order.get("external_id").is_some() {
                return None;
            }
            let digest = Sha256::digest(order.order.to_string());
            let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            let count = seen.entry(digest.clone()).or_default();
            *count += 1;
            Some(if *count == 1 { format!("content/{digest}") } else { format!("content/{digest}/{count}") })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use turnup_files::Syntax;

    fn schema() -> Schema {
        Schema {
            attributes: json!({"properties": {
                "description": {"type": "string"}, "mtu": {"type": "integer"}, "control_word": {"type": "boolean"}}}),
            roles: BTreeMap::from([(
                "a".to_owned(),
                json!({"properties": {"port": {"type": "string"}, "vlan": {"type": "integer"}}}),
            )]),
        }
    }

    /// The orders of a text, with the definition's schema if one is given.
    fn orders(text: &str, syntax: Syntax, schema: Option<&Schema>) -> Vec<FileOrder> {
        let document = turnup_files::read(text, syntax, None).unwrap();
        let headings: Arc<[String]> = document.headings.into();
        document
            .items
            .into_iter()
            .map(|item| FileOrder {
                file: "o".into(),
                line: item.line,
                order: value(&item.tree, schema),
                unresolved: None,
                tree: item.tree,
                headings: Arc::clone(&headings),
            })
            .collect()
    }

    #[test]
    fn every_syntax_gives_the_same_order() {
        let wanted = json!({
            "kind": "provision", "definition": "eline", "definition_version": 2, "external_id": "0815",
            "attributes": {"description": "2024", "mtu": 9000, "control_word": true},
            "endpoints": [{"role": "a", "device": "7e12", "attributes": {"port": "1.10", "vlan": 7}}],
        });
        let csv = "kind;definition;definition_version;external_id;attributes.description;attributes.mtu;\
                   attributes.control_word;endpoints.0.role;endpoints.0.device;endpoints.0.attributes.port;\
                   endpoints.0.attributes.vlan\n\
                   provision;eline;2;0815;2024;9000;TRUE;a;7e12;1.10;7\n";
        let yaml = "kind: provision\ndefinition: eline\ndefinition_version: 2\nexternal_id: 0815\n\
                    attributes: {description: 2024, mtu: 9000, control_word: true}\n\
                    endpoints: [{role: a, device: 7e12, attributes: {port: 1.10, vlan: 7}}]\n";
        let json = wanted.to_string();
        for (text, syntax) in
            [(csv, Syntax::Csv), (yaml, Syntax::Yaml), (&json, Syntax::Json), (&json, Syntax::Ndjson)]
        {
            assert_eq!(orders(text, syntax, Some(&schema()))[0].order, wanted, "{syntax:?}");
        }
        let unknown = orders(yaml, Syntax::Yaml, None);
        assert_eq!(unknown[0].order["attributes"]["description"], 2024, "without a schema as YAML says");
        assert_eq!(unknown[0].order["external_id"], "0815");
    }

    #[test]
    fn faults_are_placed_in_the_file() {
        let problem = |pointer: &str| Problem::invalid(vec![Fault::new(pointer, "x", "is wrong")]);
        let csv = "kind,external_id,attributes.mtu,attributes.routes\n\"provision\",4711,x,[]\n";
        let order = &orders(csv, Syntax::Csv, None)[0];
        assert_eq!(order.label(), "o:2 (4711)");
        for (pointer, wanted) in [
            ("/attributes/mtu", "\n  column attributes.mtu: is wrong"),
            ("/attributes/routes/0/prefix", "\n  column attributes.routes: is wrong"),
            ("/attributes/vc_id", "\n  /attributes/vc_id: is wrong"),
        ] {
            let said = order.refusal(problem(pointer));
            assert!(said.starts_with("o:2 (4711): ") && said.contains(wanted), "{said}");
        }
        let yaml = &orders("kind: provision\nattributes:\n  mtu: x\n", Syntax::Yaml, None)[0];
        let said = yaml.refusal(problem("/attributes/mtu"));
        assert!(said.starts_with("o:1: ") && said.contains("line 3, /attributes/mtu: is wrong"), "{said}");
    }

    #[test]
    fn external_ids_that_are_there_twice_are_found() {
        let found = twins(&orders(
            "{\"external_id\": \"A\"}\n{}\n{}\n{\"external_id\": \"A\"}\n",
            Syntax::Ndjson,
            None,
        ));
        assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [false, false, false, true]);
        assert!(found[3].as_ref().unwrap().detail.contains("o:1 too"), "{found:?}");
    }

    #[test]
    fn keys_tell_contents_apart_and_count_what_is_the_same() {
        let text = "{\"kind\":\"provision\",\"a\":1}\n{\"a\":1,\"kind\":\"provision\"}\n{\"kind\":\"provision\",\"a\":2}\n\
                    {\"kind\":\"provision\",\"external_id\":\"A\"}\n{\"kind\":\"redeploy\"}\n";
        let all = orders(text, Syntax::Ndjson, None);
        let found = keys(&all);
        let first = found[0].clone().unwrap();
        assert_eq!(found[1], Some(format!("{first}/2")), "two that say the same are two orders");
        assert!(found[2].is_some() && found[2] != found[0]);
        assert_eq!(found[3..], [None, None]);
        assert_eq!(keys(&all), found, "the same file gives the same keys");
        assert!(turnup_core::order::check_key(found[1].as_ref().unwrap()).is_ok());
    }
}
