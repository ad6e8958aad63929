//! Orders and devices from files: YAML, JSON, NDJSON and CSV, by the file's ending.

use std::path::Path;

use serde_json::{Map, Value};

use crate::failure::Failure;

/// Reads all objects of a file. `-` is standard input, read as NDJSON.
pub(crate) fn read(path: &Path) -> Result<Vec<Value>, Failure> {
    let (text, ending) = if path == Path::new("-") {
        (std::io::read_to_string(std::io::stdin())?, "ndjson".to_owned())
    } else {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
        (text, path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default())
    };
    parse(&text, &ending).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}

fn parse(text: &str, ending: &str) -> Result<Vec<Value>, String> {
    match ending {
        "json" => serde_json::from_str(text).map(one_or_many).map_err(|error| error.to_string()),
        "ndjson" | "jsonl" => text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(i, line)| serde_json::from_str(line).map_err(|error| format!("line {}: {error}", i + 1)))
            .collect(),
        "yaml" | "yml" => serde_saphyr::from_multiple::<Value>(text)
            .map(|documents| documents.into_iter().flat_map(one_or_many).collect())
            .map_err(|error| error.to_string()),
        "csv" => csv(text),
        other => Err(format!("can't tell what {other:?} is; use .yaml, .json, .ndjson or .csv")),
    }
}

fn one_or_many(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        Value::Null => Vec::new(),
        one => vec![one],
    }
}

/// A row is an object; dots in a heading go down into it (`attributes.vc_id`, `endpoints.0.device`).
/// Empty cells are left out; numbers, `true` and `false` are read as such, in quotes within the
/// cell (`"100"`) as text.
fn csv(text: &str) -> Result<Vec<Value>, String> {
    let mut reader = ::csv::ReaderBuilder::new().trim(::csv::Trim::All).from_reader(text.as_bytes());
    let headings = reader.headers().map_err(|error| error.to_string())?.clone();
    reader
        .records()
        .map(|record| {
            let record = record.map_err(|error| error.to_string())?;
            let mut row = Value::Object(Map::new());
            for (heading, cell) in headings.iter().zip(&record).filter(|(_, cell)| !cell.is_empty()) {
                put(&mut row, heading, cell_value(cell))?;
            }
            Ok(row)
        })
        .collect()
}

pub(crate) fn cell_value(cell: &str) -> Value {
    match serde_json::from_str(cell) {
        Ok(value @ (Value::Number(_) | Value::Bool(_) | Value::String(_))) => value,
        _ => Value::String(cell.to_owned()),
    }
}

fn put(at: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let slot = if let Ok(index) = first.parse::<usize>() {
        if index > 63 {
            return Err(format!("heading {path:?}: at most 64 entries"));
        }
        if !at.is_array() {
            *at = Value::Array(Vec::new());
        }
        let Value::Array(items) = at else { return Err(format!("heading {path:?} doesn't fit the others")) };
        while items.len() <= index {
            items.push(Value::Object(Map::new()));
        }
        &mut items[index]
    } else {
        let Value::Object(object) = at else {
            return Err(format!("heading {path:?} doesn't fit the others"));
        };
        object.entry(first).or_insert(Value::Object(Map::new()))
    };
    match rest {
        Some(rest) => put(slot, rest, value),
        None => {
            *slot = value;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_four_forms_say_the_same() {
        let order = json!({"kind": "provision", "attributes": {"vc_id": 7, "description": "a, b"},
                           "endpoints": [{"role": "a", "device": "sim-1"}, {"role": "z", "device": "sim-2"}]});
        let yaml = "kind: provision\nattributes: {vc_id: 7, description: 'a, b'}\nendpoints:\n- {role: a, device: sim-1}\n- {role: z, device: sim-2}\n";
        let csv = "kind,attributes.vc_id,attributes.description,endpoints.0.role,endpoints.0.device,endpoints.1.role,endpoints.1.device\n\
                   provision,7,\"a, b\",a,sim-1,z,sim-2\n";
        assert_eq!(parse(yaml, "yaml").unwrap(), std::slice::from_ref(&order));
        assert_eq!(parse(csv, "csv").unwrap(), std::slice::from_ref(&order));
        assert_eq!(parse(&order.to_string(), "json").unwrap(), std::slice::from_ref(&order));
        assert_eq!(parse(&format!("{order}\n\n{order}\n"), "ndjson").unwrap(), [order.clone(), order]);
    }

    #[test]
    fn several_yaml_documents_and_lists() {
        assert_eq!(parse("a: 1\n---\na: 2\n", "yml").unwrap(), [json!({"a": 1}), json!({"a": 2})]);
        assert_eq!(parse("- a: 1\n- a: 2\n", "yml").unwrap().len(), 2);
    }

    #[test]
    fn mistakes_are_placed() {
        assert!(parse("{}\n{", "ndjson").unwrap_err().starts_with("line 2"));
        assert!(parse("", "txt").unwrap_err().contains(".yaml"));
        assert!(parse("a,a.b\n1,2\n", "csv").is_err());
    }

    #[test]
    fn cells_keep_their_type() {
        assert_eq!(cell_value("7"), json!(7));
        assert_eq!(cell_value("\"7\""), json!("7"));
        assert_eq!(cell_value("true"), json!(true));
        assert_eq!(cell_value("ge-0/0/1"), json!("ge-0/0/1"));
    }
}
