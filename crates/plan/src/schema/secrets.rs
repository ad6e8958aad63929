//! Attributes that a schema calls secret: `writeOnly: true` (JSON Schema 2020-12, Validation §9.4).

use serde_json::{Map, Value};
use turnup_core::problem::pointer_to;

use super::{LISTED, MAPPED, ONE, SchemaMistake};

/// How deep schemas and values are followed; references may lead in circles.
const MAX_DEPTH: usize = 32;

/// Keywords whose schemas apply to the very value that their schema applies to.
const SAME: [&str; 7] = ["allOf", "anyOf", "oneOf", "if", "then", "else", "dependentSchemas"];

/// JSON pointers of the secret values in attributes that stand at `at`. A value is secret if any schema that may apply
/// to it says so.
pub(super) fn of(root: &Value, attributes: &Map<String, Value>, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in attributes {
        let property = Value::Object(Map::from_iter([(name.clone(), value.clone())]));
        walk(root, root, &property, at, 0, &mut found);
    }
    found.sort();
    found.dedup();
    // One inside of another goes with it.
    let all = found.clone();
    found.retain(|one| {
        !all.iter().any(|other| one.strip_prefix(other.as_str()).is_some_and(|rest| rest.starts_with('/')))
    });
    found
}

/// Whether a schema, or one inside of it, is `writeOnly`.
pub(super) fn are_in(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => is_write_only(schema) || map.values().any(are_in),
        Value::Array(items) => items.iter().any(are_in),
        _ => false,
    }
}

/// Whether an attribute has something secret in it, as far as its own schema says.
pub(super) fn are_in_attribute(root: &Value, name: &str) -> bool {
    let Some(property) = root.get("properties").and_then(|properties| properties.get(name)) else {
        return false;
    };
    let mut schema = property;
    for _ in 0..MAX_DEPTH {
        if are_in(schema) {
            return true;
        }
        match reference(root, schema) {
            Some(target) => schema = target,
            None => return false,
        }
    }
    true
}

fn is_write_only(schema: &Value) -> bool {
    schema.get("writeOnly") == Some(&Value::Bool(true))
}

/// What a schema's `$ref` names, where that is a place in the same document.
fn reference<'s>(root: &'s Value, schema: &Value) -> Option<&'s Value> {
    root.pointer(schema.get("$ref")?.as_str()?.strip_prefix('#')?)
}

fn walk(root: &Value, schema: &Value, value: &Value, at: &str, depth: usize, found: &mut Vec<String>) {
    if depth > MAX_DEPTH || !schema.is_object() {
        return;
    }
    if is_write_only(schema) {
        found.push(at.to_owned());
        return;
    }
    let mut go = |schema: &Value, value: &Value, at: &str| walk(root, schema, value, at, depth + 1, found);
    if let Some(target) = reference(root, schema) {
        go(target, value, at);
    }
    for keyword in SAME {
        match schema.get(keyword) {
            Some(Value::Array(schemas)) => schemas.iter().for_each(|schema| go(schema, value, at)),
            Some(Value::Object(schemas)) if keyword == "dependentSchemas" => {
                schemas.values().for_each(|schema| go(schema, value, at));
            }
            Some(schema) => go(schema, value, at),
            None => {}
        }
    }
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let here = pointer_to(at, name);
                let declared = schema.get("properties").and_then(|properties| properties.get(name));
                declared.iter().for_each(|schema| go(schema, value, &here));
                // Which patterns fit doesn't matter: rather one more is secret than one less.
                let patterns = schema.get("patternProperties").and_then(Value::as_object);
                patterns.into_iter().flat_map(Map::values).for_each(|schema| go(schema, value, &here));
                for keyword in ["additionalProperties", "unevaluatedProperties"] {
                    if let (None, Some(schema)) = (declared, schema.get(keyword)) {
                        go(schema, value, &here);
                    }
                }
            }
        }
        Value::Array(items) => {
            for (i, value) in items.iter().enumerate() {
                let here = format!("{at}/{i}");
                let own = schema.get("prefixItems").and_then(|schemas| schemas.get(i));
                own.iter().for_each(|schema| go(schema, value, &here));
                for keyword in ["items", "contains", "unevaluatedItems"] {
                    schema.get(keyword).iter().for_each(|schema| go(schema, value, &here));
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What is wrong about the secrets of a schema.
pub(super) fn mistakes(root: &Value, resources: &[&str], found: &mut Vec<SchemaMistake>) {
    if !are_in(root) {
        return;
    }
    if is_write_only(root) {
        let message = "mark the attributes that are secret, one by one".to_owned();
        found.push(("/writeOnly".to_owned(), message));
    }
    for name in resources.iter().filter(|name| are_in_attribute(root, name)) {
        let message = "a value of a pool is shown, so it can be no secret".to_owned();
        found.push((pointer_to("/properties", name), message));
    }
    inside(root, root, "", false, found);
}

/// `around`: the schema is inside of one that is secret.
fn inside(root: &Value, schema: &Value, at: &str, around: bool, found: &mut Vec<SchemaMistake>) {
    let Value::Object(map) = schema else { return };
    let is_secret = around || is_write_only(schema);
    let mut mistake = |keyword: &str, message: &str| {
        found.push((pointer_to(at, keyword), message.to_owned()));
    };
    if is_write_only(schema) && map.get("type").is_some_and(|kind| kind == "boolean" || kind == "null") {
        mistake("type", "a secret with one or two values is none; use a text or a number");
    }
    if let Some(Value::String(target)) = map.get("$ref")
        && reference(root, schema).is_none()
    {
        let message = format!(
            "beside secrets a '$ref' must name a place in this schema, like '#/$defs/x', not {target}"
        );
        mistake("$ref", &message);
    }
    for keyword in ["default", "const", "enum", "examples"] {
        let values: Vec<&Value> = match map.get(keyword) {
            Some(Value::Array(items)) if keyword != "default" && keyword != "const" => items.iter().collect(),
            Some(value) => vec![value],
            None => Vec::new(),
        };
        let shows = |value: &&Value| {
            let mut secrets = Vec::new();
            walk(root, schema, value, "", 0, &mut secrets);
            is_secret || !secrets.is_empty()
        };
        if values.iter().any(shows) {
            mistake(keyword, "a definition is shown to everybody, so it holds no value of a secret");
        }
    }
    for (keyword, value) in map {
        let here = pointer_to(at, keyword);
        let word = keyword.as_str();
        if ONE.contains(&word) {
            inside(root, value, &here, is_secret, found);
        } else if MAPPED.contains(&word) {
            for (name, sub) in value.as_object().into_iter().flatten() {
                inside(root, sub, &pointer_to(&here, name), is_secret, found);
            }
        } else if LISTED.contains(&word) {
            for (i, sub) in value.as_array().into_iter().flatten().enumerate() {
                inside(root, sub, &format!("{here}/{i}"), is_secret, found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Schema;

    fn secrets(schema: serde_json::Value, attributes: serde_json::Value) -> Vec<String> {
        let schema = Schema::compile(schema, &[]).unwrap();
        schema.secrets(attributes.as_object().unwrap(), "/attributes")
    }

    #[test]
    fn secrets_are_found_at_every_level() {
        let schema = json!({
            "$defs": {"password": {"type": "string", "writeOnly": true}},
            "properties": {
                "name": {"type": "string"},
                "password": {"$ref": "#/$defs/password"},
                "a/b": {"properties": {"key": {"writeOnly": true}, "id": {}}},
                "users": {"type": "array", "items": {"properties": {"name": {}, "pw": {"writeOnly": true}}}},
                "pair": {"type": "array", "prefixItems": [{}, {"writeOnly": true}]},
                "either": {"oneOf": [{"type": "integer"}, {"type": "string", "writeOnly": true}]},
                "open": {"type": "object", "additionalProperties": {"type": "string", "writeOnly": true}},
            },
        });
        let found = secrets(
            schema,
            json!({
                "name": "n", "password": "p", "a/b": {"key": "k", "id": 1},
                "users": [{"name": "x", "pw": "1"}, {"name": "y"}, {"pw": "2"}],
                "pair": ["id", "k"], "either": "e", "open": {"x": "1"},
            }),
        );
        assert_eq!(
            found,
            [
                "/attributes/a~1b/key",
                "/attributes/either",
                "/attributes/open/x",
                "/attributes/pair/1",
                "/attributes/password",
                "/attributes/users/0/pw",
                "/attributes/users/2/pw",
            ]
        );
        assert!(secrets(json!({"properties": {"a": {}}}), json!({"a": 1})).is_empty());
    }

    #[test]
    fn references_in_a_circle_end() {
        let tree = json!({"properties": {"next": {"$ref": "#/$defs/t"}, "pw": {"writeOnly": true}}});
        let schema = json!({"$defs": {"t": tree}, "properties": {"t": {"$ref": "#/$defs/t"}}});
        let found = secrets(schema, json!({"t": {"next": {"next": {"pw": 1}}}}));
        assert_eq!(found, ["/attributes/t/next/next/pw"]);
    }

    #[test]
    fn faults_quote_no_secret() {
        let schema = Schema::compile(
            json!({"properties": {
                "pw": {"type": "string", "writeOnly": true, "minLength": 12, "pattern": "^[A-Z]+$", "format": "ipv4"},
                "pin": {"type": "integer", "writeOnly": true, "maximum": 9},
                "deep": {"type": "object", "writeOnly": true, "properties": {"key": {"enum": ["x1", "x2"]}}},
            }}),
            &[],
        );
        assert!(schema.is_err(), "an enum inside of a secret shows its values");
        let schema = Schema::compile(
            json!({"properties": {
                "pw": {"type": "string", "writeOnly": true, "minLength": 12, "pattern": "^[A-Z]+$", "format": "ipv4"},
                "pin": {"type": "integer", "writeOnly": true, "maximum": 9},
                "deep": {"type": "object", "writeOnly": true, "properties": {"key": {"maxLength": 2}}},
            }}),
            &[],
        )
        .unwrap();
        let mut faults = Vec::new();
        let given = json!({"pw": "hunter2", "pin": 1234, "deep": {"key": "xyzzy"}});
        schema.check(given.as_object().unwrap(), "/attributes", &mut faults);
        assert_eq!(faults.len(), 5, "{faults:?}");
        let text = format!("{faults:?}");
        for secret in ["hunter2", "1234", "xyzzy"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert!(text.contains("the value"), "{text}");
    }

    #[test]
    fn schema_that_shows_a_secret_is_a_mistake() {
        let places = |schema, resources: &[&str]| -> Vec<String> {
            Schema::compile(schema, resources).unwrap_err().into_iter().map(|(at, _)| at).collect()
        };
        let secret = |more: serde_json::Value| {
            let mut schema = json!({"writeOnly": true});
            schema.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"properties": {"pw": schema}})
        };
        for keyword in ["default", "const"] {
            assert_eq!(places(secret(json!({keyword: "x"})), &[]), [format!("/properties/pw/{keyword}")]);
        }
        for keyword in ["enum", "examples"] {
            assert_eq!(places(secret(json!({keyword: ["x"]})), &[]), [format!("/properties/pw/{keyword}")]);
        }
        assert_eq!(places(secret(json!({"type": "boolean"})), &[]), ["/properties/pw/type"]);
        assert_eq!(places(secret(json!({})), &["pw"]), ["/properties/pw"]);
        assert_eq!(places(json!({"writeOnly": true}), &[]), ["/writeOnly"]);
        let outer = json!({"properties": {"auth": {
            "type": "object", "properties": {"pw": {"writeOnly": true}}, "default": {"pw": "x"},
        }}});
        assert_eq!(places(outer, &[]), ["/properties/auth/default"]);
        let anchor = json!({"$defs": {"p": {"$anchor": "p", "writeOnly": true}}, "properties": {"pw": {"$ref": "#p"}}});
        assert_eq!(places(anchor, &[]), ["/properties/pw/$ref"]);
    }
}
