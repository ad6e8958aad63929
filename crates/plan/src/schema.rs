//! The attributes of a service or an endpoint: a JSON Schema (draft 2020-12), compiled once.
//!
//! Stricter than JSON Schema by itself: an object takes no properties that it doesn't declare unless it
//! says `additionalProperties`, `format` is checked, keywords that don't exist are mistakes, patterns run
//! in linear time, and nothing is fetched.

mod secrets;

use jsonschema::{
    Draft, PatternOptions, ValidationError, Validator, draft202012, error::ValidationErrorKind as Kind,
};
use serde_json::{Map, Number, Value};
use turnup_core::{
    name::near_misses,
    problem::{Fault, pointer_to},
};

/// Longest value shown in a fault, in characters.
const MAX_SHOWN_CHARS: usize = 64;
/// Longest text of a fault about a value, in characters.
const MAX_DETAIL_CHARS: usize = 300;

/// Keywords with one schema, a map of schemas, a list of schemas, and those without schemas inside.
const ONE: [&str; 10] = [
    "additionalProperties",
    "items",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
];
const MAPPED: [&str; 4] = ["properties", "patternProperties", "$defs", "dependentSchemas"];
const LISTED: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
const PLAIN: [&str; 33] = [
    "type",
    "enum",
    "const",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "format",
    "multipleOf",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "maxContains",
    "minContains",
    "maxProperties",
    "minProperties",
    "required",
    "dependentRequired",
    "$schema",
    "$id",
    "$ref",
    "$anchor",
    "$comment",
];

/// A mistake in a schema: JSON pointer into it, and what is wrong.
pub(crate) type SchemaMistake = (String, String);

/// A compiled schema.
#[derive(Debug)]
pub(crate) struct Schema {
    source: Value,
    validator: Validator,
    /// Something in it is `writeOnly`.
    has_secrets: bool,
}

impl Schema {
    /// Compiles a schema of an object. An order may leave out the attributes named by `resources`,
    /// whatever `required` says: they are picked.
    ///
    /// # Errors
    /// Every mistake in it.
    pub(crate) fn compile(mut source: Value, resources: &[&str]) -> Result<Self, Vec<SchemaMistake>> {
        let mut mistakes = Vec::new();
        match &mut source {
            Value::Object(root) => {
                let kind = root.entry("type").or_insert_with(|| "object".into());
                if kind != "object" {
                    mistakes.push((
                        "/type".to_owned(),
                        "attributes are an object; leave 'type' out or set it to 'object'".to_owned(),
                    ));
                }
                root.entry("properties").or_insert_with(|| Map::new().into());
            }
            _ => {
                let text = "the attributes' schema must be a JSON Schema object".to_owned();
                return Err(vec![(String::new(), text)]);
            }
        }
        unknown_keywords(&source, "", &mut mistakes);
        for name in resources {
            if source["properties"][name].get("default").is_some() {
                mistakes.push((
                    pointer_to("/properties", name) + "/default",
                    "a resource that is left out comes from its pool, so it has no default".to_owned(),
                ));
            }
        }
        for error in draft202012::meta::validator().iter_errors(&source) {
            let at = error.instance_path().as_str();
            let message = match error.kind() {
                Kind::AnyOf { .. } if at.ends_with("/type") => format!(
                    "{} is no type; use array, boolean, integer, null, number, object or string",
                    error.instance()
                ),
                _ => error.to_string(),
            };
            mistakes.push((at.to_owned(), clip(&message)));
        }
        secrets::mistakes(&source, resources, &mut mistakes);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        close(&mut source);
        if let Some(Value::Array(required)) = source.get_mut("required") {
            required.retain(|name| !resources.iter().any(|resource| name == resource));
        }
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .should_validate_formats(true)
            .should_ignore_unknown_formats(false)
            .with_pattern_options(PatternOptions::regex())
            .offline()
            .build(&source)
            .map_err(|error| vec![(error.instance_path().as_str().to_owned(), clip(&error.to_string()))])?;
        let has_secrets = secrets::are_in(&source);
        let schema = Self { source, validator, has_secrets };
        let mut defaults = Map::new();
        add_defaults(&schema.source, &mut defaults);
        for error in schema.validator.iter_errors(&Value::Object(defaults)) {
            if let Some(name) = error.instance_path().as_str().split('/').nth(1) {
                mistakes.push((
                    format!("/properties/{name}/default"),
                    format!("the default is not allowed by the schema: {}", clip(&error.to_string())),
                ));
            }
        }
        if mistakes.is_empty() { Ok(schema) } else { Err(mistakes) }
    }

    /// The schema as it is applied.
    pub(crate) fn source(&self) -> &Value {
        &self.source
    }

    /// Names of the attributes that the schema declares.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.source["properties"].as_object().into_iter().flat_map(Map::keys).map(String::as_str)
    }

    /// Why an attribute can't have a value; none if it can.
    pub(crate) fn refusal(&self, name: &str, value: &Value) -> Option<String> {
        let object = serde_json::json!({ name: value });
        let at = pointer_to("", name);
        let mut errors = self.validator.iter_errors(&object);
        errors.find(|error| error.instance_path().as_str() == at).map(|error| clip(&error.to_string()))
    }

    /// Whether names that it doesn't declare are allowed.
    pub(crate) fn is_open(&self) -> bool {
        self.source["additionalProperties"] != Value::Bool(false)
    }

    /// Checks attributes that stand at the JSON pointer `at` of an order. Gives them back complete:
    /// defaults filled in, and whole numbers written as such (`100.0` is an integer to JSON Schema, but
    /// not to a device).
    pub(crate) fn check(
        &self,
        attributes: &Map<String, Value>,
        at: &str,
        faults: &mut Vec<Fault>,
    ) -> Map<String, Value> {
        let mut complete = attributes.clone();
        add_defaults(&self.source, &mut complete);
        let secrets = self.secrets(&complete, "");
        let mut complete = Value::Object(complete);
        for error in self.validator.iter_errors(&complete) {
            self.report(&error, at, &secrets, faults);
        }
        whole_numbers(&mut complete);
        match complete {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }

    /// JSON pointers of the secret values in attributes that stand at the JSON pointer `at`.
    pub(crate) fn secrets(&self, attributes: &Map<String, Value>, at: &str) -> Vec<String> {
        match self.has_secrets {
            true => secrets::of(&self.source, attributes, at),
            false => Vec::new(),
        }
    }

    /// Whether an attribute is secret, or has something secret in it.
    pub(crate) fn is_secret(&self, name: &str) -> bool {
        self.has_secrets && secrets::are_in_attribute(&self.source, name)
    }

    /// `secrets`: pointers of values that are not to be shown.
    fn report(&self, error: &ValidationError<'_>, at: &str, secrets: &[String], faults: &mut Vec<Fault>) {
        let path = error.instance_path().as_str();
        let pointer = format!("{at}{path}");
        let code = match error.kind() {
            Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
                let known = self.names_at(path);
                for name in unexpected {
                    let detail = unknown("attribute", name, &known);
                    faults.push(Fault::new(pointer_to(&pointer, name), "unknown_attribute", detail));
                }
                return;
            }
            Kind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                let meaning = self.describe(path, name);
                let detail = format!("the attribute {name:?} is required{meaning}");
                faults.push(Fault::new(pointer_to(&pointer, name), "missing", detail));
                return;
            }
            Kind::Type { .. } => "wrong_type",
            Kind::MinLength { .. }
            | Kind::MaxLength { .. }
            | Kind::MinItems { .. }
            | Kind::MaxItems { .. } => "length",
            Kind::Minimum { .. }
            | Kind::Maximum { .. }
            | Kind::ExclusiveMinimum { .. }
            | Kind::ExclusiveMaximum { .. }
            | Kind::MultipleOf { .. } => "out_of_range",
            _ => "bad_value",
        };
        let is_secret = secrets.iter().any(|secret| {
            path.strip_prefix(secret.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        let short = match error.instance().as_ref() {
            _ if is_secret => false,
            Value::String(text) => text.chars().nth(MAX_SHOWN_CHARS).is_none(),
            Value::Array(_) | Value::Object(_) => false,
            Value::Null | Value::Bool(_) | Value::Number(_) => true,
        };
        let detail = if short { error.to_string() } else { error.masked_with("the value").to_string() };
        faults.push(Fault::new(pointer, code, clip(&detail)));
    }

    /// The declared names of the object at a path of plain properties; empty where the path is another.
    fn names_at(&self, path: &str) -> Vec<&str> {
        let properties = path.split('/').skip(1).try_fold(&self.source, |schema, token| {
            schema.get("properties")?.get(token.replace("~1", "/").replace("~0", "~"))
        });
        properties
            .and_then(|schema| schema.get("properties")?.as_object())
            .into_iter()
            .flat_map(Map::keys)
            .map(String::as_str)
            .collect()
    }

    fn describe(&self, path: &str, name: &str) -> String {
        let property = if path.is_empty() { self.source["properties"].get(name) } else { None };
        property
            .and_then(|property| property.get("title").or_else(|| property.get("description")))
            .and_then(Value::as_str)
            .map(|text| format!(": {text}"))
            .unwrap_or_default()
    }
}

/// "There is no … x; did you mean …": the same words for attributes, roles and keys.
pub(crate) fn unknown<'k>(what: &str, name: &str, known: impl AsRef<[&'k str]>) -> String {
    let (known, shown) = (known.as_ref(), name.chars().take(MAX_SHOWN_CHARS).collect::<String>());
    let near = near_misses(&shown, known.iter().copied());
    let hint = match (near.as_slice(), known) {
        ([], []) => "none is allowed here".to_owned(),
        ([], known) => format!("known are {}", known.join(", ")),
        (near, _) => {
            let near: Vec<String> = near.iter().map(|name| format!("{name:?}")).collect();
            format!("did you mean {}?", near.join(" or "))
        }
    };
    format!("there is no {what} {shown:?}; {hint}")
}

fn clip(text: &str) -> String {
    text.chars().take(MAX_DETAIL_CHARS).collect()
}

fn unknown_keywords(schema: &Value, at: &str, mistakes: &mut Vec<SchemaMistake>) {
    let Value::Object(schema) = schema else { return };
    for (keyword, value) in schema {
        let here = pointer_to(at, keyword);
        let word = keyword.as_str();
        if ONE.contains(&word) {
            unknown_keywords(value, &here, mistakes);
        } else if MAPPED.contains(&word) {
            for (name, sub) in value.as_object().into_iter().flatten() {
                unknown_keywords(sub, &pointer_to(&here, name), mistakes);
            }
        } else if LISTED.contains(&word) {
            for (i, sub) in value.as_array().into_iter().flatten().enumerate() {
                unknown_keywords(sub, &format!("{here}/{i}"), mistakes);
            }
        } else if !PLAIN.contains(&word) {
            let known: Vec<&str> = [&ONE[..], &MAPPED, &LISTED, &PLAIN].concat();
            let message = match near_misses(word, known).first() {
                Some(near) => format!("JSON Schema has no keyword {word:?}; did you mean {near:?}?"),
                None => format!("JSON Schema has no keyword {word:?}"),
            };
            mistakes.push((here, message));
        }
    }
}

/// Refuses properties that aren't declared, in every object that declares some and doesn't say otherwise.
fn close(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    let says = ["additionalProperties", "unevaluatedProperties", "patternProperties"];
    if object.contains_key("properties") && !says.iter().any(|keyword| object.contains_key(*keyword)) {
        object.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.values_mut().for_each(close);
    }
    if let Some(items) = object.get_mut("items") {
        close(items);
    }
}

/// Fills in the defaults of properties that are absent, also inside of objects that are there.
fn add_defaults(schema: &Value, object: &mut Map<String, Value>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if let (false, Some(default)) = (object.contains_key(name), property.get("default")) {
            object.insert(name.clone(), default.clone());
        }
        if let Some(Value::Object(inner)) = object.get_mut(name) {
            add_defaults(property, inner);
        }
    }
}

fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(float) = number.as_f64().filter(|_| number.is_f64()) {
                // Beyond 2^53 a float no longer says which integer is meant.
                if float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0 {
                    #[expect(clippy::cast_possible_truncation, reason = "whole and in range, see above")]
                    let whole = float as i64;
                    *number = Number::from(whole);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema(source: Value) -> Schema {
        Schema::compile(source, &[]).unwrap()
    }

    fn check(schema: &Schema, attributes: Value) -> Result<Value, Vec<(String, String)>> {
        let mut faults = Vec::new();
        let complete = schema.check(attributes.as_object().unwrap(), "/attributes", &mut faults);
        if faults.is_empty() {
            Ok(complete.into())
        } else {
            Err(faults.into_iter().map(|fault| (fault.pointer, fault.code)).collect())
        }
    }

    #[test]
    fn defaults_are_filled_in_at_every_level() {
        let schema = schema(json!({"properties": {
            "mtu": {"type": "integer", "default": 1500},
            "qos": {"type": "object", "properties": {"class": {"type": "string", "default": "gold"}}},
            "none": {"type": "object", "properties": {"x": {"default": 1}}},
        }}));
        assert_eq!(check(&schema, json!({"qos": {}})), Ok(json!({"mtu": 1500, "qos": {"class": "gold"}})));
    }

    #[test]
    fn every_fault_has_its_place() {
        let schema = schema(json!({
            "properties": {
                "mtu": {"type": "integer", "maximum": 9600},
                "a/b": {"type": "object", "properties": {"deep": {"type": "string"}}},
                "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
                "address": {"type": "string", "format": "ipv4"},
            },
            "required": ["mtu", "vc_id"],
        }));
        let mut faults = check(
            &schema,
            json!({"mut": 1, "mtu": 9999.0, "a/b": {"depe": 1, "deep": 2}, "name": "UPPERCASE", "address": "x"}),
        )
        .unwrap_err();
        faults.sort();
        let faults: Vec<_> = faults.iter().map(|(pointer, code)| (pointer.as_str(), code.as_str())).collect();
        assert_eq!(
            faults,
            [
                ("/attributes/address", "bad_value"),
                ("/attributes/a~1b/deep", "wrong_type"),
                ("/attributes/a~1b/depe", "unknown_attribute"),
                ("/attributes/mtu", "out_of_range"),
                ("/attributes/mut", "unknown_attribute"),
                ("/attributes/name", "bad_value"),
                ("/attributes/name", "length"),
                ("/attributes/vc_id", "missing"),
            ]
        );
    }

    #[test]
    fn near_misses_are_named_where_the_name_stands() {
        let schema = schema(json!({"properties": {"qos": {"type": "object", "properties": {"burst": {}}}}}));
        let mut faults = Vec::new();
        let given = json!({"qos": {"brust": 1}});
        schema.check(given.as_object().unwrap(), "/attributes", &mut faults);
        assert_eq!(faults[0].detail, "there is no attribute \"brust\"; did you mean \"burst\"?");
    }

    #[test]
    fn whole_numbers_become_integers() {
        let schema = schema(json!({"properties": {"vc": {"type": "integer"}, "rate": {"type": "number"}}}));
        let complete = check(&schema, json!({"vc": 100.0, "rate": 1.5})).unwrap();
        assert_eq!(complete.to_string(), r#"{"rate":1.5,"vc":100}"#);
    }

    #[test]
    fn long_values_are_not_repeated() {
        let schema = schema(json!({"properties": {"name": {"type": "integer"}}}));
        let mut faults = Vec::new();
        let given = json!({"name": "x".repeat(100_000), "y".repeat(100_000): 1});
        schema.check(given.as_object().unwrap(), "", &mut faults);
        assert_eq!(faults.len(), 2);
        assert!(faults.iter().all(|fault| fault.detail.len() < 500));
    }

    #[test]
    fn mistakes_in_schemas_are_all_reported() {
        let mistakes = |source| Schema::compile(source, &[]).unwrap_err();
        let found = mistakes(json!({"properties": {
            "a": {"type": "integr"},
            "b": {"maximun": 3},
            "c": {"items": {"minLenght": 1}},
        }}));
        let places: Vec<_> = found.iter().map(|(at, _)| at.as_str()).collect();
        for place in ["/properties/a/type", "/properties/b/maximun", "/properties/c/items/minLenght"] {
            assert!(places.contains(&place), "{place} is not among {found:?}");
        }
        let found =
            mistakes(json!({"properties": {"mtu": {"type": "integer", "maximum": 9, "default": 10}}}));
        assert_eq!(found[0].0, "/properties/mtu/default");
        assert!(mistakes(json!({"properties": {"x": {"pattern": "("}}}))[0].0.starts_with("/properties/x"));
        assert!(!mistakes(json!({"properties": {"x": {"format": "ipv5"}}})).is_empty());
        assert!(!mistakes(json!({"properties": {"x": {"$ref": "file:///etc/passwd"}}})).is_empty());
        assert_eq!(mistakes(json!({"type": "array"}))[0].0, "/type");
        assert_eq!(mistakes(json!([]))[0].0, "");
    }
}
