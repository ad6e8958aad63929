//! The type of what is written comes from the field that it fills: by the field's JSON Schema, `4711` is a
//! text or a number. A value that the schema does not want is left as it is; validation reports it.

use serde_json::{Map, Number, Value, json};

use crate::{
    json,
    tree::{Content, Node},
};

/// Most references that are followed from one schema.
const MAX_REFERENCES: usize = 16;

/// The value of a tree whose schema (draft 2020-12) is known; `true` where it isn't.
#[must_use]
pub fn typed(node: &Node, schema: &Value) -> Value {
    Schema { root: schema }.value(node, schema)
}

struct Schema<'a> {
    /// What references begin at.
    root: &'a Value,
}

impl Schema<'_> {
    fn value(&self, node: &Node, schema: &Value) -> Value {
        match &node.content {
            Content::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|entry| {
                        let schema = self.below(schema, &Step::Key(&entry.key), 0);
                        (entry.key.clone(), self.value(&entry.value, &schema))
                    })
                    .collect::<Map<_, _>>(),
            ),
            Content::List(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| self.value(item, &self.below(schema, &Step::Index(index), 0)))
                .collect(),
            Content::Cell(cell) => self.cell(cell, schema),
            Content::Bool(_) | Content::Number(_) => match &node.written {
                Some(written) => self.scalar(node.to_json(), written, schema),
                None => node.to_json(),
            },
            Content::Null | Content::Text(_) => node.to_json(),
        }
    }

    /// A plain scalar of YAML that isn't a text by itself.
    fn scalar(&self, value: Value, written: &str, schema: &Value) -> Value {
        let types = self.types(schema, 0);
        let text = Value::from(written);
        match (types.allow(&value), types.string) {
            (_, false) => value,
            (false, true) => text,
            (true, true) if canonical(&value) == written => self.first_valid([value, text], schema),
            // As a number it would lose how it is written.
            (true, true) => self.first_valid([text, value], schema),
        }
    }

    fn cell(&self, cell: &str, schema: &Value) -> Value {
        let types = self.types(schema, 0);
        let text = Value::from(cell);
        let boolean = || cell.trim().to_ascii_lowercase().parse().map(Value::Bool).ok();
        let value = match json::read(cell.as_bytes()).ok() {
            Some(value @ (Value::Number(_) | Value::Array(_) | Value::Object(_) | Value::Bool(_))) => {
                Some(value)
            }
            // Of two things that a field may be, quotes say that the text is meant.
            Some(Value::String(inner)) if types.is_text_or_other() => return Value::String(inner),
            _ => boolean().filter(|_| !types.string),
        };
        let Some(value) = value.filter(|value| types.allow(value)) else { return text };
        match (&value, types.string) {
            (Value::Number(number), false) if !is_exact(cell, number, &types) => text,
            (_, false) => value,
            // A text that begins with a bracket is rather meant as one.
            (Value::Array(_) | Value::Object(_), true) if types.is_all() => text,
            (Value::Array(_) | Value::Object(_), true) => self.first_valid([value, text], schema),
            _ if canonical(&value) == cell => self.first_valid([value, text], schema),
            // As a number it would lose how it is written.
            _ => self.first_valid([text, value], schema),
        }
    }

    /// The first of two values, but the second where the schema allows only that one.
    fn first_valid(&self, candidates: [Value; 2], schema: &Value) -> Value {
        let validator = (schema != &Value::Bool(true))
            .then(|| {
                let mut whole = json!({"allOf": [schema]});
                for key in ["$defs", "definitions"] {
                    if let Some(found) = self.root.get(key) {
                        whole[key] = found.clone();
                    }
                }
                jsonschema::draft202012::options().offline().build(&whole).ok()
            })
            .flatten();
        let fits = |value: &Value| validator.as_ref().is_none_or(|validator| validator.is_valid(value));
        let [first, second] = candidates;
        if !fits(&first) && fits(&second) { second } else { first }
    }

    /// The types that a schema allows, as far as its form says.
    fn types(&self, schema: &Value, depth: usize) -> Types {
        let Value::Object(object) = schema else { return Types::ALL };
        if depth > MAX_REFERENCES {
            return Types::ALL;
        }
        let mut types = Types::ALL;
        match object.get("type") {
            Some(Value::String(name)) => types = Types::named(name),
            Some(Value::Array(names)) => {
                let names = names.iter().filter_map(Value::as_str).map(Types::named);
                types = names.fold(Types::NONE, Types::or);
            }
            _ => {}
        }
        if let Some(Value::Array(values)) = object.get("enum") {
            types = types.and(values.iter().map(Types::of).fold(Types::NONE, Types::or));
        }
        if let Some(value) = object.get("const") {
            types = types.and(Types::of(value));
        }
        if let Some(target) = self.referenced(object) {
            types = types.and(self.types(target, depth + 1));
        }
        for part in object.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            types = types.and(self.types(part, depth + 1));
        }
        for word in ["anyOf", "oneOf"] {
            if let Some(Value::Array(parts)) = object.get(word) {
                let all = parts.iter().map(|part| self.types(part, depth + 1));
                types = types.and(all.fold(Types::NONE, Types::or));
            }
        }
        types
    }

    /// The schema of a property or item.
    fn below(&self, schema: &Value, step: &Step<'_>, depth: usize) -> Value {
        let Value::Object(object) = schema else { return Value::Bool(true) };
        if depth > MAX_REFERENCES {
            return Value::Bool(true);
        }
        let mut all: Vec<Value> = step.direct(object).into_iter().cloned().collect();
        if let Some(target) = self.referenced(object) {
            all.push(self.below(target, step, depth + 1));
        }
        for part in object.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            all.push(self.below(part, step, depth + 1));
        }
        for word in ["anyOf", "oneOf"] {
            if let Some(Value::Array(parts)) = object.get(word) {
                let any: Vec<Value> = parts.iter().map(|part| self.below(part, step, depth + 1)).collect();
                all.push(json!({"anyOf": any}));
            }
        }
        all.retain(|part| part != &Value::Bool(true));
        match all.len() {
            0 => Value::Bool(true),
            1 => all.swap_remove(0),
            _ => json!({"allOf": all}),
        }
    }

    /// What `$ref` means, within the same schema.
    fn referenced(&self, object: &Map<String, Value>) -> Option<&Value> {
        let pointer = object.get("$ref")?.as_str()?.strip_prefix('#')?;
        self.root.pointer(pointer)
    }
}

/// A step from a value to one in it.
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl Step<'_> {
    /// What a schema itself says of it.
    fn direct<'s>(&self, schema: &'s Map<String, Value>) -> Vec<&'s Value> {
        let member = |word: &str, key: &str| schema.get(word)?.as_object()?.get(key);
        match self {
            Self::Key(key) => {
                let mut found: Vec<&Value> = member("properties", key).into_iter().collect();
                let patterns = schema.get("patternProperties").and_then(Value::as_object);
                found.extend(patterns.into_iter().flatten().filter_map(|(pattern, schema)| {
                    regex::Regex::new(pattern).ok()?.is_match(key).then_some(schema)
                }));
                if found.is_empty() {
                    let words = ["additionalProperties", "unevaluatedProperties"];
                    found.extend(words.iter().find_map(|word| schema.get(*word)));
                }
                found
            }
            Self::Index(index) => {
                let prefix = schema.get("prefixItems").and_then(Value::as_array);
                let found = prefix.and_then(|items| items.get(*index)).or_else(|| schema.get("items"));
                found.into_iter().collect()
            }
        }
    }
}

/// How JSON writes a value.
fn canonical(value: &Value) -> String {
    value.to_string()
}

/// Whether a number is what a cell shows. Spreadsheets shorten long ones (`1.23457E+11`), and in some languages
/// `1.000` is a thousand: a whole number is written in digits.
fn is_exact(cell: &str, number: &Number, types: &Types) -> bool {
    let in_digits = cell.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    !number.is_f64() || (types.number && !in_digits)
}

/// A set of JSON types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a set, one flag a type")]
struct Types {
    null: bool,
    boolean: bool,
    integer: bool,
    /// Any number, whole ones too.
    number: bool,
    string: bool,
    array: bool,
    object: bool,
}

impl Types {
    const NONE: Self = Self {
        null: false,
        boolean: false,
        integer: false,
        number: false,
        string: false,
        array: false,
        object: false,
    };
    const ALL: Self = Self {
        null: true,
        boolean: true,
        integer: true,
        number: true,
        string: true,
        array: true,
        object: true,
    };

    fn named(name: &str) -> Self {
        let none = Self::NONE;
        match name {
            "null" => Self { null: true, ..none },
            "boolean" => Self { boolean: true, ..none },
            "integer" => Self { integer: true, ..none },
            "number" => Self { number: true, integer: true, ..none },
            "string" => Self { string: true, ..none },
            "array" => Self { array: true, ..none },
            "object" => Self { object: true, ..none },
            _ => none,
        }
    }

    fn of(value: &Value) -> Self {
        Self::named(match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        })
    }

    fn or(self, other: Self) -> Self {
        Self {
            null: self.null || other.null,
            boolean: self.boolean || other.boolean,
            integer: self.integer || other.integer,
            number: self.number || other.number,
            string: self.string || other.string,
            array: self.array || other.array,
            object: self.object || other.object,
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            null: self.null && other.null,
            boolean: self.boolean && other.boolean,
            integer: self.integer && other.integer,
            number: self.number && other.number,
            string: self.string && other.string,
            array: self.array && other.array,
            object: self.object && other.object,
        }
    }

    /// Whether a text and a value of another type are allowed.
    const fn is_text_or_other(self) -> bool {
        self.string && (self.boolean || self.integer || self.number || self.array || self.object)
    }

    fn is_all(self) -> bool {
        self == Self::ALL
    }

    fn allow(self, value: &Value) -> bool {
        match value {
            Value::Null => self.null,
            Value::Bool(_) => self.boolean,
            Value::Number(number) => {
                self.number || (self.integer && number.as_f64().is_none_or(|float| float.fract() == 0.0))
            }
            Value::String(_) => self.string,
            Value::Array(_) => self.array,
            Value::Object(_) => self.object,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    fn cell(cell: &str, schema: Value) -> Value {
        typed(&Node::new(1, Content::Cell(cell.to_owned())), &schema)
    }

    fn scalar(text: &str, schema: Value) -> Value {
        typed(&yaml::parse(&format!("a: {text}\n")).unwrap(), &json!({"properties": {"a": schema}}))["a"]
            .take()
    }

    #[test]
    fn texts_stay_as_they_are_written() {
        let long = "12345678901234567890123";
        for text in [
            "4711", "2024", "true", "TRUE", "1E5", "10.10", "007", long, "[1]", "{}", "null", "\"x\"", "-1",
            "1_000",
        ] {
            for schema in
                [json!({"type": "string"}), json!({"type": ["string", "null"]}), json!({"enum": ["a"]})]
            {
                assert_eq!(cell(text, schema), json!(text));
            }
        }
        for text in
            ["4711", "007", "0755", "7e12", "1_000", "1.10", "true", "no", long, ".inf", "0o17", "0x1F"]
        {
            assert_eq!(scalar(text, json!({"type": "string"})), json!(text));
        }
        assert_eq!(scalar("~", json!({"type": "string"})), json!(null), "nothing is no text");
    }

    #[test]
    fn other_types_are_read_where_they_are_wanted() {
        for (text, schema, value) in [
            ("4711", json!({"type": "integer"}), json!(4711)),
            ("-5", json!({"type": "integer"}), json!(-5)),
            ("1.5", json!({"type": "number"}), json!(1.5)),
            ("1E5", json!({"type": "number"}), json!(1e5)),
            ("true", json!({"type": "boolean"}), json!(true)),
            ("FALSE", json!({"type": "boolean"}), json!(false)),
            ("[1, 2]", json!({"type": "array"}), json!([1, 2])),
            ("{\"a\": 1}", json!({"type": "object"}), json!({"a": 1})),
            ("7", json!({"enum": [7, 8]}), json!(7)),
            ("7", json!({"const": 7}), json!(7)),
        ] {
            assert_eq!(cell(text, schema.clone()), value, "{text}: {schema}");
        }
    }

    #[test]
    fn blanks_stay_in_texts_and_count_for_nothing_else() {
        for text in [" 7 ", " x", "y ", "  ", " true"] {
            assert_eq!(cell(text, json!({"type": "string"})), json!(text));
        }
        assert_eq!(cell(" 7 ", json!({"type": "integer"})), json!(7));
        assert_eq!(cell(" TRUE ", json!({"type": "boolean"})), json!(true));
        assert_eq!(cell(" 7", json!({"type": ["integer", "string"]})), json!(" 7"), "as it is written");
        assert_eq!(cell(" ", json!({"type": "integer"})), json!(" "), "left to the check");
    }

    #[test]
    fn quotes_say_text_where_something_else_is_allowed_too() {
        for schema in [
            json!({"type": ["string", "integer"]}),
            json!(true),
            json!({"anyOf": [{"type": "string"}, {"type": "object"}]}),
        ] {
            assert_eq!(cell("\"7\"", schema), json!("7"));
        }
        for schema in [json!({"type": "string"}), json!({"type": ["string", "null"]})] {
            assert_eq!(cell("\"7\"", schema), json!("\"7\""), "a text is as it is written");
        }
    }

    #[test]
    fn what_a_field_does_not_want_is_left_to_the_check() {
        for (text, name) in [
            ("WAHR", "boolean"),
            ("1,5", "number"),
            ("1.23457E+11", "integer"),
            ("12345678901234567890123", "integer"),
            ("007", "integer"),
            ("1.5", "integer"),
            ("1.000", "integer"),
            ("{\"a\": 1, \"a\": 2}", "object"),
            ("1;2", "array"),
        ] {
            assert_eq!(cell(text, json!({"type": name})), json!(text));
        }
        assert_eq!(scalar("7", json!({"type": "boolean"})), json!(7));
    }

    #[test]
    fn several_types_keep_what_is_written() {
        let both = json!({"type": ["string", "integer"]});
        for text in ["4711", "auto", "007", "1.10", "true"] {
            let wanted = if text == "4711" { json!(4711) } else { json!(text) };
            assert_eq!(cell(text, both.clone()), wanted);
            assert_eq!(scalar(text, both.clone()), wanted);
        }
        let year = json!({"anyOf": [{"type": "string", "pattern": "^[0-9]{4}$"}, {"type": "integer", "maximum": 10}]});
        for text in ["2024", "7"] {
            let wanted = if text == "7" { json!(7) } else { json!(text) };
            assert_eq!(cell(text, year.clone()), wanted);
            assert_eq!(scalar(text, year.clone()), wanted);
        }
        for (text, value) in [
            ("7", json!(7)),
            ("1E5", json!("1E5")),
            ("\"7\"", json!("7")),
            ("true", json!(true)),
            ("[1]", json!("[1]")),
        ] {
            assert_eq!(cell(text, Value::Bool(true)), value, "a field of which nothing is known");
        }
    }

    #[test]
    fn schemas_are_followed_into_the_tree() {
        let schema = json!({
            "$defs": {"name": {"type": "string"}, "more": {"properties": {"deep": {"$ref": "#/$defs/name"}}}},
            "properties": {
                "name": {"$ref": "#/$defs/name"},
                "list": {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "integer"}},
                "nested": {"allOf": [{"$ref": "#/$defs/more"}, {"properties": {"n": {"type": "integer"}}}]},
                "one": {"oneOf": [{"properties": {"x": {"type": "string"}}}, {"type": "boolean"}]},
            },
            "patternProperties": {"^p_": {"type": "string"}},
            "additionalProperties": {"type": "integer"},
        });
        let text = "name: 1\nlist: [1, 2]\nnested: {deep: 7, n: 7}\none: {x: 1.10}\np_a: 5\nother: 5\n";
        assert_eq!(
            typed(&yaml::parse(text).unwrap(), &schema),
            json!({"name": "1", "list": ["1", 2], "nested": {"deep": "7", "n": 7}, "one": {"x": "1.10"}, "p_a": "5", "other": 5})
        );
    }

    #[test]
    fn references_in_circles_end() {
        let schema =
            json!({"$defs": {"a": {"$ref": "#/$defs/a"}}, "properties": {"x": {"$ref": "#/$defs/a"}}});
        assert_eq!(typed(&yaml::parse("x: {y: 7}\n").unwrap(), &schema), json!({"x": {"y": 7}}));
        let tree = json!({"properties": {"child": {"$ref": "#"}, "id": {"type": "string"}}});
        let text = "child: {child: {child: {id: 7}}}\n";
        assert_eq!(typed(&yaml::parse(text).unwrap(), &tree)["child"]["child"]["child"]["id"], "7");
    }
}
