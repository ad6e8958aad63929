//! The OpenAPI 3.1 document, made from the route table and the schemas of [`super::schemas`].

use serde_json::{Map, Value, json};

use turnup_core::{
    audit::ConfigAudit,
    event,
    lifecycle::{AuditState, OrderState, ServiceState},
    order::OrderKind,
};

use super::{
    answer::PROBLEM,
    schemas::{NAME, NO_CONTROL, schemas},
    table::{Access, Gives, Route, Takes},
};

/// The document.
pub(crate) fn describe(routes: &[Route]) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "turnup",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Service orders in, state out. Times are RFC 3339 UTC with milliseconds, ids UUIDv7. \
                            Every error is a problem (RFC 9457) with all faults at once.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {
                "type": "http", "scheme": "bearer", "description": "An API token, tu_…, from 'turnup token create'.",
            }},
            "schemas": schemas(),
        },
    })
}

fn operation(route: &Route) -> Value {
    let mut parameters: Vec<Value> = path_parameters(route.path)
        .map(|name| {
            let mut parameter =
                json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}});
            if name == "id" {
                parameter["description"] = json!(
                    "The id, a unique beginning of it of at least 8 characters, or external:<external id>"
                );
            }
            parameter
        })
        .collect();
    parameters.extend(route.query.iter().map(|name| query_parameter(route.path, name)));
    if route.path.starts_with("/v1/orders") && matches!(route.takes, Takes::Json(_) | Takes::Lines(_)) {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 128},
            "description": "The same key with the same body gives the same order (200), with another body 409. \
                            For bulk orders (at most 108 characters) each line has the key '<key>/<line>'.",
        }));
    }
    if matches!(route.gives, Gives::Events(_)) {
        parameters.push(json!({
            "name": "Last-Event-ID", "in": "header", "schema": {"type": "string"},
            "description": "With Accept: text/event-stream: resume after this event. Without it and without 'after' \
                            the stream begins with what comes from now on.",
        }));
    }
    let mut responses = Map::new();
    responses.insert(route.status.to_string(), success(route));
    if route.status == 201 && route.path.starts_with("/v1/orders") {
        responses
            .insert("200".to_owned(), described(route, "It was accepted before; or, with dry_run, the plan"));
    }
    if route.path == "/v1/definitions" && route.status == 201 {
        responses
            .insert("200".to_owned(), described(route, "This version is published with the same content"));
    }
    if route.path == "/v1/devices" && route.status == 201 {
        let either = json!({"anyOf": [reference("DeviceResults"), reference("Device")]});
        let content = json!({"application/json": {"schema": either}});
        let description = "An array was given; or, with dry_run, the device as it would be added";
        responses.insert("200".to_owned(), json!({"description": description, "content": content}));
    }
    responses.insert(
        "default".to_owned(),
        json!({"description": "A problem", "content": {PROBLEM: {"schema": reference("Problem")}}}),
    );
    let mut operation = json!({
        "summary": route.summary,
        "operationId": operation_id(route),
        "parameters": parameters,
        "responses": responses,
    });
    match route.access {
        Access::Open => operation["security"] = json!([]),
        Access::Needs(permission) => operation["x-turnup-permission"] = json!(permission),
    }
    if let Some(body) = request_body(route.takes) {
        operation["requestBody"] = body;
    }
    operation
}

fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn operation_id(route: &Route) -> String {
    let words: Vec<&str> = route
        .path
        .split(['/', ':', '.'])
        .filter(|word| !word.is_empty() && *word != "v1" && !word.starts_with('{'))
        .collect();
    let one = if route.path.ends_with('}') { "_one" } else { "" };
    format!("{}_{}{one}", route.method.as_str().to_ascii_lowercase(), words.join("_"))
}

fn query_parameter(path: &str, name: &str) -> Value {
    let text = || json!({"type": "string", "pattern": NO_CONTROL});
    let truth = || json!({"type": "boolean"});
    let time = || json!({"type": "string", "format": "date-time"});
    let (schema, description) = match name {
        "dry_run" if path == "/v1/orders" => (truth(), "Check and plan only; nothing is stored"),
        "dry_run" => (truth(), "Check only; nothing is stored"),
        "on_device" => (
            truth(),
            "Also have the devices check it: into the candidate, validate, discard. Needs the right to order",
        ),
        "version" => (
            json!({"type": "integer", "minimum": 1, "maximum": u32::MAX}),
            "This version; the newest if it is left out",
        ),
        "limit" => {
            (json!({"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}), "Items of a page")
        }
        "cursor" => (cursor(path), "next_cursor of the page before"),
        "state" if path == "/v1/orders" => {
            let states: Vec<&str> = OrderState::ALL.iter().map(|state| state.word()).collect();
            let states = states.join("|");
            let pattern = format!("^({states})(,({states}))*$");
            (json!({"type": "string", "pattern": pattern}), "One state, or several with commas")
        }
        "state" => (json!({"enum": ServiceState::ALL}), "Only in this state"),
        "kind" => (json!({"enum": OrderKind::ALL}), "Only of this kind"),
        "audit_state" => (json!({"enum": AuditState::ALL}), "Only with this functional audit"),
        "config_audit" => (json!({"enum": ConfigAudit::ALL}), "Only with this audit of the configuration"),
        "device" => (json!({"type": "string", "pattern": NAME, "maxLength": 128}), "Only on this device"),
        "scope" => (json!({"type": "string", "pattern": NO_CONTROL, "maxLength": 1024}), "Only within this"),
        "after" => (
            json!({"type": "integer", "minimum": 0, "maximum": i64::MAX}),
            "Only events after this cursor; one beyond the end of the log is refused (409)",
        ),
        "type" => {
            let kinds = event::kinds().join("|").replace('.', "\\.");
            let pattern = format!("^(dev\\.turnup\\.)?((order|service|device)\\.?|({kinds})(\\.v1)?)$");
            (
                json!({"type": "string", "pattern": pattern}),
                "The event's type, or how it begins, such as order. or service.audited",
            )
        }
        "undoes" => {
            (text(), "Taking this order back: its id, a unique beginning of it, or external:<external id>")
        }
        "subject" => (
            text(),
            "The event's subject, such as orders/<id>; the id of an order, a service or a deployment may be given as in a path",
        ),
        "since" => (time(), "Only events of this time or later"),
        "newest" => (truth(), "The last 'limit' events instead of the first; the oldest of them first"),
        "created_after" | "created_before" => (time(), "RFC 3339 time"),
        "service_id" => {
            (text(), "Of this service: its id, a unique beginning of it, or external:<external id>")
        }
        _ => (text(), "Only with exactly this"),
    };
    json!({"name": name, "in": "query", "schema": schema, "description": description})
}

/// What a cursor of this list looks like.
fn cursor(path: &str) -> Value {
    match path {
        "/v1/orders" | "/v1/services" => json!({"type": "string", "format": "uuid"}),
        "/v1/pools/{name}" => {
            let part = r#""[^"\\\u0000-\u001f\u007f-\u009f]*""#;
            json!({"type": "string", "pattern": format!(r"^\[{part},{part},{part}\]$")})
        }
        _ => json!({"type": "string", "pattern": NO_CONTROL}),
    }
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn success(route: &Route) -> Value {
    let mut success = described(route, "Done");
    if route.status == 201 {
        success["headers"] = json!({"Location": {"schema": {"type": "string"}}});
    }
    success
}

fn described(route: &Route, description: &str) -> Value {
    let content = match route.gives {
        Gives::Nothing => return json!({"description": description}),
        Gives::Json(schema) if route.query.contains(&"dry_run") && description != "Done" => {
            json!({"application/json": {"schema": {"anyOf": [reference(schema), reference("Plan")]}}})
        }
        Gives::Json(schema) => json!({"application/json": {"schema": reference(schema)}}),
        Gives::Lines(schema) => json!({"application/x-ndjson": {"schema": reference(schema)}}),
        Gives::Events(schema) => json!({
            "application/json": {"schema": reference(schema)},
            "text/event-stream": {"schema": {"type": "string"}},
        }),
        Gives::Metrics => json!({"text/plain": {"schema": {"type": "string"}}}),
    };
    json!({"description": description, "content": content})
}

fn request_body(takes: Takes) -> Option<Value> {
    let (media_types, schema, required): (&[&str], _, _) = match takes {
        Takes::Nothing => return None,
        Takes::Json(schema) => (&["application/json"], schema, true),
        Takes::MaybeJson(schema) => (&["application/json"], schema, false),
        Takes::MergePatch(schema) => (&["application/merge-patch+json", "application/json"], schema, true),
        Takes::Lines(schema) => (&["application/x-ndjson", "application/ndjson"], schema, true),
    };
    let content: Map<String, Value> = media_types
        .iter()
        .map(|media_type| ((*media_type).to_owned(), json!({"schema": reference(schema)})))
        .collect();
    Some(json!({"required": required, "content": content}))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::routes;

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(to)) = object.get("$ref") {
                    found.insert(to.clone());
                }
                object.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn it_has_exactly_the_tables_paths_and_methods() {
        let routes = routes(false);
        let document = describe(&routes);
        let described: BTreeSet<(String, String)> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().keys().map(|method| (path.clone(), method.to_uppercase()))
            })
            .collect();
        let wanted: BTreeSet<(String, String)> =
            routes.iter().map(|route| (route.path.to_owned(), route.method.to_string())).collect();
        assert_eq!(described, wanted);
        assert_eq!(routes.len(), wanted.len(), "no route is there twice");
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_schema_is_used() {
        let document = describe(&routes(true));
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for reference in &found {
            assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
        }
        for schema in document["components"]["schemas"].as_object().unwrap().keys() {
            assert!(found.contains(&format!("#/components/schemas/{schema}")), "{schema}");
        }
    }

    #[test]
    fn operation_ids_are_unique_and_open_routes_are_marked() {
        let routes = routes(false);
        let ids: BTreeSet<String> = routes.iter().map(operation_id).collect();
        assert_eq!(ids.len(), routes.len(), "{ids:?}");
        let document = describe(&routes);
        assert_eq!(document["paths"]["/healthz"]["get"]["security"], json!([]));
        assert!(document["paths"]["/metrics"]["get"].get("security").is_none());
    }
}
