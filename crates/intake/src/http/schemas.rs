//! The JSON schemas of the OpenAPI document.

use serde_json::{Value, json};
use turnup_core::{
    lifecycle::{AuditState, DeploymentState, OrderState, ServiceState},
    order::{MAX_DESCRIPTION_CHARS, MAX_ENDPOINTS, MAX_KEY_CHARS, OrderKind, Priority},
};

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

fn or_null(kind: &str) -> Value {
    json!({"type": [kind, "null"]})
}

fn page(schema: &str) -> Value {
    json!({
        "type": "object", "required": ["items", "next_cursor"],
        "properties": {"items": list(reference(schema)), "next_cursor": or_null("string")},
    })
}

/// An object that has all of `properties`, and others in later releases.
fn object(properties: Value) -> Value {
    let required: Vec<&String> = properties.as_object().into_iter().flat_map(serde_json::Map::keys).collect();
    json!({"type": "object", "required": required, "properties": properties})
}

/// All schemas by name.
pub(super) fn schemas() -> Value {
    let text = json!({"type": "string"});
    let number = json!({"type": "integer"});
    let id = json!({"type": "string", "format": "uuid"});
    let any_object = json!({"type": "object"});
    let time = json!({"type": "string", "format": "date-time"});
    let maybe_time = json!({"type": ["string", "null"], "format": "date-time"});
    let supported: Vec<OrderKind> =
        OrderKind::ALL.iter().copied().filter(|kind| kind.is_supported()).collect();
    let endpoint = json!({
        "type": "object", "required": ["role", "device"], "additionalProperties": false,
        "properties": {"role": text, "device": text, "attributes": any_object},
    });
    let mut order = object(json!({
        "id": id, "kind": {"enum": OrderKind::ALL}, "definition": text, "definition_version": number,
        "service_id": id, "region": text, "attributes": any_object, "endpoints": list(reference("Endpoint")),
        "devices": list(text.clone()), "priority": {"enum": Priority::ALL}, "external_id": or_null("string"),
        "description": or_null("string"), "requester": text, "derived_from": or_null("string"),
        "state": {"enum": OrderState::ALL}, "schedule_revision": number, "scheduled_for": maybe_time,
        "generation": number, "sequence": number, "errors": list(any_object.clone()),
        "waiting_for": list(object(json!({"device": text, "order": id}))),
        "created_at": time, "updated_at": time, "actions": list(text.clone()),
    }));
    // Left out in lists.
    order["properties"]["deployments"] = list(reference("Deployment"));
    order["properties"]["history"] = list(reference("HistoryEntry"));
    let mut service = object(json!({
        "id": id, "definition": text, "definition_version": number, "region": text, "attributes": any_object,
        "endpoints": list(reference("Endpoint")), "devices": list(text.clone()), "external_id": or_null("string"),
        "requester": text, "state": {"enum": ServiceState::ALL}, "audit_state": {"enum": AuditState::ALL},
        "audited_at": maybe_time, "audit_reason": or_null("string"), "last_order": id, "created_at": time,
        "updated_at": time,
    }));
    service["properties"]["orders"] = list(object(json!({
        "id": id, "kind": {"enum": OrderKind::ALL}, "state": {"enum": OrderState::ALL}, "created_at": time,
        "updated_at": time,
    })));
    json!({
        "Endpoint": endpoint,
        "OrderRequest": {
            "type": "object", "required": ["kind"], "additionalProperties": false,
            "properties": {
                "kind": {"enum": supported},
                "definition": {"type": "string", "description": "Needed for a provision order"},
                "service_id": {"type": "string", "format": "uuid", "description": "Needed for a decommission order"},
                "attributes": any_object,
                "endpoints": {"type": "array", "maxItems": MAX_ENDPOINTS, "items": reference("Endpoint")},
                "schedule": {"type": "string", "description": "\"now\" or an RFC 3339 time; without it the order stays requested"},
                "external_id": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARS, "description": "Unique per requester"},
                "description": {"type": "string", "minLength": 1, "maxLength": MAX_DESCRIPTION_CHARS},
                "priority": {"enum": Priority::ALL, "default": Priority::default()},
            },
        },
        "Order": order,
        "OrderPage": page("Order"),
        "Deployment": object(json!({
            "id": id, "region": text, "generation": number, "attempt": number, "state": {"enum": DeploymentState::ALL},
            "phase": or_null("string"), "worker": or_null("string"), "devices": list(any_object.clone()),
            "in_doubt_since": maybe_time, "created_at": time, "updated_at": time,
        })),
        "HistoryEntry": object(json!({
            "seq": number, "from": or_null("string"), "to": {"enum": OrderState::ALL}, "at": time,
            "why": or_null("string"), "by": text,
        })),
        "BulkResult": {
            "type": "object", "required": ["line", "status"],
            "properties": {"line": number, "status": number, "order": reference("Order"), "problem": reference("Problem")},
        },
        "ScheduleRequest": {
            "type": "object", "additionalProperties": false,
            "properties": {"at": {"type": "string", "description": "\"now\" (the default) or an RFC 3339 time"}},
        },
        "CancelRequest": {
            "type": "object", "additionalProperties": false,
            "properties": {"reason": {"type": "string", "minLength": 1, "maxLength": 1024}},
        },
        "RecreateRequest": {
            "type": "object", "required": ["changes"], "additionalProperties": false,
            "properties": {"changes": {"type": "object", "description": "Merge patch (RFC 7396) onto the order's request, which is without its external_id and schedule"}},
        },
        "Empty": {"type": "object", "additionalProperties": false},
        "Plan": object(json!({
            "kind": {"enum": OrderKind::ALL}, "definition": text, "service_id": or_null("string"),
            "region": or_null("string"),
            "devices": list(object(json!({
                "device": text, "platform": text, "edit": text, "inverse": text, "footprint": text,
                "owned": list(text.clone()),
            }))),
        })),
        "Service": service,
        "ServicePage": page("Service"),
        "ServiceConfig": object(json!({
            "service_id": id, "devices": list(object(json!({"device": text, "footprint": any_object}))),
        })),
        "DeviceRequest": {
            "type": "object", "required": ["name", "region", "platform", "address"], "additionalProperties": false,
            "properties": {
                "name": text, "region": text, "platform": text,
                "address": {"type": "string", "description": "Host name or IP address"},
                "port": {"type": "integer", "minimum": 1, "maximum": 65535, "default": 830},
                "host_key": {"type": "string", "description": "OpenSSH public key or SHA256: fingerprint; without it the device is not trusted"},
                "credential": {"type": "string", "description": "Name of credentials in the workers' configuration"},
                "description": text,
            },
        },
        "Device": object(json!({
            "name": text, "region": text, "platform": text, "address": text, "port": number,
            "host_key": or_null("string"), "credential": or_null("string"), "description": or_null("string"),
            "created_at": time, "updated_at": time,
        })),
        "DeviceResults": object(json!({
            "items": list(json!({
                "type": "object", "required": ["name", "status"],
                "properties": {"name": text, "status": number, "device": reference("Device"), "problem": reference("Problem")},
            })),
        })),
        "DevicePage": page("Device"),
        "Definition": object(json!({
            "name": text, "version": number, "title": text, "description": text, "attributes": any_object,
            "endpoints": list(any_object.clone()), "same_device": {"type": "boolean"}, "platforms": list(text.clone()),
        })),
        "DefinitionPage": page("Definition"),
        "Event": {
            "type": "object", "description": "CloudEvents 1.0",
            "required": ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "sequence", "cursor", "data"],
            "properties": {
                "specversion": {"const": "1.0"}, "id": text, "source": text, "type": text, "subject": text, "time": time,
                "datacontenttype": text, "sequence": text, "cursor": text, "correlationid": text, "data": any_object,
            },
        },
        "EventPage": page("Event"),
        "Queue": {
            "type": ["object", "null"], "required": ["ready", "readers"],
            "properties": {"ready": number, "readers": number},
        },
        "Fleet": object(json!({
            "regions": list(object(json!({
                "region": text, "workers": or_null("integer"),
                "queues": object(json!({
                    "urgent": reference("Queue"), "normal": reference("Queue"), "bulk": reference("Queue"),
                })),
            }))),
            "queues": object(json!({
                "intake": reference("Queue"), "due": reference("Queue"), "parked": reference("Queue"),
            })),
            "orders": {"type": "object", "additionalProperties": number},
        })),
        "Health": {"type": "object", "required": ["status"], "properties": {"status": text, "store": text, "broker": text}},
        "Fault": object(json!({"pointer": text, "code": text, "detail": text})),
        "Problem": {
            "type": "object", "required": ["type", "title", "status", "detail", "code"],
            "properties": {
                "type": text, "title": text, "status": number, "detail": text, "code": text,
                "errors": list(reference("Fault")),
                "legal": list(text),
            },
        },
        "Any": any_object,
    })
}
