//! `turnup order modify`: what a service has, with some attributes changed.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::{Map, Value, json};
use turnup_files::{Content, Entry, Node, typing::typed};

use super::{Deploy, PlanView, deploy, file::Schema, plan::Source, plan_of};
use crate::{
    client::{
        http::{Api, encode},
        output::{Format, items},
        paint::Paint,
    },
    failure::Failure,
};

#[derive(Debug, Args)]
pub(crate) struct Modify {
    /// The service: its id, at least the first 8 characters of it, or its external id
    service: String,
    /// ATTRIBUTE=VALUE, for an endpoint's ROLE:ATTRIBUTE=VALUE or endpoints.0.attributes.ATTRIBUTE=VALUE, and
    /// endpoints.0.device=NAME. The attribute's schema says whether 7 is a number or a text, as in a cell of
    /// CSV: a text is as it is written; where a number is allowed too, "7" in quotes is the text. Lists and objects
    /// are JSON; may be repeated
    #[arg(long, value_name = "ATTRIBUTE=VALUE")]
    set: Vec<String>,
    /// Leave an attribute out, so that its default or a free value of its pool is taken; named as for --set
    #[arg(long, value_name = "ATTRIBUTE")]
    unset: Vec<String>,
    /// Version of the definition that the service is to have; else it keeps its own
    #[arg(long, value_name = "N")]
    definition_version: Option<u32>,
    /// The upstream system's own id of the order
    #[arg(long)]
    external_id: Option<String>,
    /// Show the plan only; store nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    view: PlanView,
    #[command(flatten)]
    deploy: Deploy,
}

pub(crate) async fn run(api: &Api, format: Format, paint: Paint, modify: &Modify) -> Result<(), Failure> {
    if modify.set.is_empty() && modify.unset.is_empty() && modify.definition_version.is_none() {
        return Err(Failure::Usage(
            "nothing to change: give --set, --unset or --definition-version".to_owned(),
        ));
    }
    let id = api.resolve("services", &modify.service).await?;
    let service = api.get(&format!("/v1/services/{}", encode(&id))).await?;
    let schema = Schema::of_service(api, &service, modify.definition_version).await?;
    let mut order = wanted(&service, &modify.set, &modify.unset, &schema).map_err(Failure::Usage)?;
    if let Some(version) = modify.definition_version {
        order["definition_version"] = json!(version);
    }
    if let Some(id) = &modify.external_id {
        order["external_id"] = json!(id);
    }
    modify.deploy.add_to(&mut order);
    if modify.dry_run {
        return plan_of(api, format, paint, &order, None, Source::Options, &modify.view).await;
    }
    deploy(api, format, paint, order, &modify.deploy).await
}

/// The modify order: everything that the service has, with the changes.
fn wanted(service: &Value, set: &[String], unset: &[String], schema: &Schema) -> Result<Value, String> {
    let mut order = json!({
        "kind": "modify",
        "service_id": service["id"],
        "attributes": service["attributes"].as_object().cloned().unwrap_or_default(),
        "endpoints": service["endpoints"].as_array().cloned().unwrap_or_default(),
    });
    let mut given = BTreeSet::new();
    for change in set {
        let (name, value) = change
            .split_once('=')
            .ok_or_else(|| format!("--set {change:?} has no value; write ATTRIBUTE=VALUE"))?;
        if !given.insert(name.trim()) {
            return Err(format!("--set gives {} twice; give it once", name.trim()));
        }
        let types = types(&order, name.trim(), schema);
        let (object, key) = place(&mut order, name.trim())?;
        let value = value_of(&key, value, &types);
        object.insert(key, value);
    }
    for name in unset {
        let (object, key) = place(&mut order, name.trim())?;
        if object.remove(&key).is_none() {
            let known: Vec<&str> = object.keys().map(String::as_str).collect();
            return Err(format!("--unset {name}: it is not there; there are {}", known.join(", ")));
        }
    }
    Ok(order)
}

/// The JSON Schema of the object that holds a named attribute.
fn types(order: &Value, name: &str, schema: &Schema) -> Value {
    let of_role = |role: &str| schema.roles.get(role).cloned().unwrap_or(Value::Bool(true));
    match (name.strip_prefix("endpoints."), name.split_once(':')) {
        (Some(rest), _) => match rest.split_once('.') {
            Some((index, field)) if field.starts_with("attributes.") => {
                let index = index.parse::<usize>().ok();
                let role = index.and_then(|index| order["endpoints"][index]["role"].as_str());
                of_role(role.unwrap_or_default())
            }
            _ => json!({"additionalProperties": {"type": "string"}}),
        },
        (None, Some((role, _))) => of_role(role),
        (None, None) => schema.attributes.clone(),
    }
}

/// What is given for an attribute, by the schema of the object that has it: read as a cell of CSV is.
fn value_of(key: &str, given: &str, types: &Value) -> Value {
    let entry = Entry { line: 1, key: key.to_owned(), value: Node::new(1, Content::Cell(given.to_owned())) };
    let mut object = typed(&Node::new(1, Content::Map(vec![entry])), types);
    object[key].take()
}

/// The object that holds a named attribute, and its name in there.
fn place<'a>(order: &'a mut Value, name: &str) -> Result<(&'a mut Map<String, Value>, String), String> {
    let object = |value: &'a mut Value| -> Result<&'a mut Map<String, Value>, String> {
        if value.is_null() {
            *value = json!({});
        }
        value.as_object_mut().ok_or_else(|| format!("{name}: the service's attributes can't be read"))
    };
    let (at, key) = if let Some(rest) = name.strip_prefix("endpoints.") {
        let (index, field) = rest
            .split_once('.')
            .ok_or_else(|| format!("{name}: write endpoints.0.attributes.NAME or endpoints.0.device"))?;
        let count = items(&order["endpoints"]).len();
        let index = index
            .parse::<usize>()
            .ok()
            .filter(|index| *index < count)
            .ok_or_else(|| format!("{name}: the service has {count} endpoints, counted from 0"))?;
        let endpoint = &mut order["endpoints"][index];
        match field.strip_prefix("attributes.") {
            Some(key) => (&mut endpoint["attributes"], key),
            None if field == "device" || field == "role" => (endpoint, field),
            None => return Err(format!("{name}: an endpoint has attributes.NAME, device and role")),
        }
    } else if let Some((role, key)) = name.split_once(':') {
        let endpoints = items(&order["endpoints"]);
        let mut with_role = endpoints.iter().enumerate().filter(|(_, endpoint)| endpoint["role"] == role);
        let index = match (with_role.next(), with_role.next()) {
            (Some((index, _)), None) => index,
            (Some(_), Some(_)) => {
                return Err(format!(
                    "{name}: several endpoints have the role {role}; write endpoints.0.attributes.{key} with the \
                     number of the one that you mean"
                ));
            }
            (None, _) => {
                let roles: Vec<&str> = endpoints.iter().filter_map(|end| end["role"].as_str()).collect();
                return Err(format!(
                    "{name}: no endpoint has the role {role}; there are {}",
                    roles.join(", ")
                ));
            }
        };
        (&mut order["endpoints"][index]["attributes"], key)
    } else {
        (&mut order["attributes"], name.strip_prefix("attributes.").unwrap_or(name))
    };
    if key.is_empty() {
        return Err(format!("{name:?} names no attribute"));
    }
    Ok((object(at)?, key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Value {
        json!({
            "id": "S", "definition": "eline", "attributes": {"vc_id": 7, "mtu": 1500},
            "endpoints": [
                {"role": "a", "device": "pe1", "attributes": {"vlan": 100}},
                {"role": "z", "device": "pe2"},
            ],
        })
    }

    fn schema() -> Schema {
        let role =
            json!({"properties": {"vlan": {"type": ["integer", "string"]}, "label": {"type": "string"}}});
        Schema {
            attributes: json!({"properties": {
                "description": {"type": "string"}, "mtu": {"type": "integer"}, "policy": {"type": "object"},
                "tag": {"type": "string"}}}),
            roles: [("a".to_owned(), role.clone()), ("z".to_owned(), role)].into(),
        }
    }

    #[test]
    fn the_schema_says_what_a_value_is() {
        let set = [
            "description=2024",
            "mtu=9000",
            "a:label=007",
            "endpoints.1.attributes.label=1E5",
            "endpoints.0.device=7",
        ];
        let order = wanted(&service(), &texts(&set), &[], &schema()).unwrap();
        assert_eq!(order["attributes"], json!({"vc_id": 7, "mtu": 9000, "description": "2024"}));
        assert_eq!(
            order["endpoints"][0],
            json!({"role": "a", "device": "7", "attributes": {"vlan": 100, "label": "007"}})
        );
        assert_eq!(order["endpoints"][1]["attributes"], json!({"label": "1E5"}));
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn what_is_not_named_stays() {
        let set = [
            "mtu=9000",
            "description=7 bells",
            "a:vlan=101",
            "endpoints.1.attributes.vlan=\"8\"",
            "tag=\"5\"",
        ];
        let order = wanted(&service(), &texts(&set), &[], &schema()).unwrap();
        assert_eq!(
            order,
            json!({
                "kind": "modify", "service_id": "S",
                "attributes": {"vc_id": 7, "mtu": 9000, "description": "7 bells", "tag": "\"5\""},
                "endpoints": [
                    {"role": "a", "device": "pe1", "attributes": {"vlan": 101}},
                    {"role": "z", "device": "pe2", "attributes": {"vlan": "8"}},
                ],
            })
        );
    }

    #[test]
    fn an_endpoint_moves_and_attributes_go() {
        let order = wanted(
            &service(),
            &texts(&["endpoints.0.device=pe9", "policy={\"in\": [1, 2]}"]),
            &texts(&["mtu", "a:vlan"]),
            &schema(),
        )
        .unwrap();
        assert_eq!(order["endpoints"][0], json!({"role": "a", "device": "pe9", "attributes": {}}));
        assert_eq!(order["attributes"], json!({"vc_id": 7, "policy": {"in": [1, 2]}}));
    }

    #[test]
    fn what_is_meant_must_be_clear() {
        let refused = |set: &str| wanted(&service(), &texts(&[set]), &[], &schema()).unwrap_err();
        assert!(refused("mtu").contains("ATTRIBUTE=VALUE"));
        assert!(refused("b:vlan=1").contains("there are a, z"));
        assert!(refused("endpoints.2.attributes.vlan=1").contains("2 endpoints"));
        assert!(refused("endpoints.0=1").contains("endpoints.0.attributes.NAME"));
        assert!(refused("endpoints.0.colour=1").contains("device and role"));
        assert!(refused("=1").contains("names no attribute"));
        let twice = wanted(&service(), &texts(&["mtu=1", "mtu=2"]), &[], &schema()).unwrap_err();
        assert_eq!(twice, "--set gives mtu twice; give it once");
        let mut twins = service();
        twins["endpoints"][1]["role"] = json!("a");
        assert!(
            wanted(&twins, &texts(&["a:vlan=1"]), &[], &schema()).unwrap_err().contains("several endpoints")
        );
        assert!(wanted(&service(), &[], &texts(&["colour"]), &schema()).unwrap_err().contains("mtu, vc_id"));
    }
}
