//! The JSON schemas of the OpenAPI document.

use serde_json::{Map, Value, json};
use turnup_core::{
    audit::{AuditPart, ConfigAudit},
    drift::OnDrift,
    exam::{MAX_IDLE_S, MAX_SESSIONS, TIME_S, USUAL_SESSIONS, USUAL_TIME_S},
    inventory::MAX_ADDRESS_BYTES,
    lifecycle::{AuditState, DeploymentState, OrderState, ServiceState},
    message::{InForce, Stage},
    order::{IfBusy, MAX_DESCRIPTION_CHARS, MAX_ENDPOINTS, MAX_KEY_CHARS, OrderKind, Priority},
    resource::PoolScope,
};

use super::devices::MAX_DESCRIPTION_CHARS as MAX_DEVICE_DESCRIPTION_CHARS;

/// A name without dots, one with dots, and a text without control characters.
pub(super) const WORD: &str = "^[A-Za-z0-9][A-Za-z0-9_-]*$";
pub(super) const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9._-]*$";
pub(super) const NO_CONTROL: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$";
/// The last label has a letter, as only IPv4 addresses have none.
const HOST_NAME: &str = "^([A-Za-z0-9_-]{1,63}\\.){0,3}[0-9]{0,30}[A-Za-z_-][A-Za-z0-9_-]{0,31}\\.?$";

/// A description or reason: line breaks and tabs are its only control characters.
fn free_text(max_chars: usize) -> Value {
    json!({
        "type": "string", "minLength": 1, "maxLength": max_chars,
        "pattern": "^[^\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f]*$",
    })
}

fn schedule(description: &str) -> Value {
    json!({"type": "string", "anyOf": [{"const": "now"}, {"format": "date-time"}], "description": description})
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

fn or_null(kind: &str) -> Value {
    json!({"type": [kind, "null"]})
}

fn region() -> Value {
    json!({"type": "string", "description": "Of all its devices; multi: they are in several"})
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
    let mut all = Map::new();
    for part in [of_orders(), of_services(), of_devices(), of_the_catalogue(), of_the_intake()] {
        all.extend(part.as_object().cloned().unwrap_or_default());
    }
    Value::Object(all)
}

fn of_orders() -> Value {
    let text = json!({"type": "string"});
    let number = json!({"type": "integer"});
    let id = json!({"type": "string", "format": "uuid"});
    let any_object = json!({"type": "object"});
    let time = json!({"type": "string", "format": "date-time"});
    let maybe_time = json!({"type": ["string", "null"], "format": "date-time"});
    let endpoint = json!({
        "type": "object", "required": ["role", "device"], "additionalProperties": false,
        "properties": {
            "role": {"type": "string", "minLength": 1},
            "device": {"type": "string", "pattern": NAME, "maxLength": 128},
            "attributes": any_object,
        },
    });
    // Where the order is in its attempts, once it was tried again by itself; `at`: when that begins, until it has.
    let mut retry = object(json!({"attempt": number, "of": number, "at": maybe_time}));
    retry["type"] = json!(["object", "null"]);
    let mut order = object(json!({
        "id": id, "kind": {"enum": OrderKind::ALL}, "definition": text, "definition_version": number,
        "service_id": id, "region": region(), "attributes": any_object, "endpoints": list(reference("Endpoint")),
        "devices": list(text.clone()), "priority": {"enum": Priority::ALL}, "external_id": or_null("string"),
        "description": or_null("string"), "requester": text, "derived_from": or_null("string"), "superseded_by": or_null("string"),
        "state": {"enum": OrderState::ALL}, "schedule_revision": number, "scheduled_for": maybe_time,
        "generation": number, "retry": retry, "sequence": number, "errors": list(any_object.clone()),
        "waiting_for": list(object(json!({"device": text, "order": id, "is_exam": {"type": "boolean"}}))),
        "created_at": time, "updated_at": time, "actions": list(text.clone()),
    }));
    // Left out in lists.
    order["properties"]["deployments"] = list(reference("Deployment"));
    order["properties"]["history"] = list(reference("HistoryEntry"));
    // Left out where they are empty.
    order["properties"]["approved_plan"] = text.clone();
    order["properties"]["undoes"] = json!({
        "type": "string", "format": "uuid", "description": "The order that this one takes back",
    });
    order["properties"]["rests_on"] = json!({
        "type": "string", "format": "uuid",
        "description": "Of an order that takes another back: the last order that had changed the service when this one was accepted",
    });
    let secrets = json!({
        "type": "array", "items": {"type": "string"},
        "description": "JSON pointers of its secret values; each is shown as \"(secret)\", and stands for itself when it is sent back so",
    });
    order["properties"]["secrets"] = secrets;
    order["properties"]["undo"] = json!({
        "type": "object",
        "description": "Of a Completed order, where it is shown alone: whether it can be taken back now (possible), by an \
                        order of which kind and with the content of which order (as_of), or which later orders rest on it",
    });
    order["properties"]["audit"] = list(json!({"enum": AuditPart::ALL}));
    order["properties"]["resources"] = list(object(json!({"pool": text, "scope": text, "value": text})));
    let mut deployment = object(json!({
        "id": id, "region": text, "generation": number, "attempt": number,
        "transaction_id": {
            "type": ["string", "null"], "format": "uuid",
            "description": "Of an order over several regions: the same for the parts that go together",
        },
        "stage": {"enum": Stage::ALL}, "state": {"enum": DeploymentState::ALL},
        "phase": or_null("string"), "worker": or_null("string"), "devices": list(any_object.clone()),
        "in_doubt_since": maybe_time, "confirm_by": maybe_time, "reasons": list(any_object.clone()),
        "created_at": time, "updated_at": time,
    }));
    // Left out in orders.
    deployment["properties"]["orders"] = list(id.clone());
    json!({
        "Endpoint": endpoint,
        "OrderRequest": {
            "type": "object", "required": ["kind"], "additionalProperties": false,
            "properties": {
                "kind": {"enum": OrderKind::ALL},
                "definition": {"type": "string", "pattern": WORD, "maxLength": 64, "description": "Needed for a provision order"},
                "service_id": {"type": "string", "format": "uuid", "description": "Needed for all kinds but provision"},
                "attributes": any_object,
                "endpoints": {"type": "array", "maxItems": MAX_ENDPOINTS, "items": reference("Endpoint")},
                "schedule": schedule("\"now\" or an RFC 3339 time; without it the order stays requested"),
                "external_id": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARS, "pattern": NO_CONTROL, "description": "Unique per requester; a request that differs from that of an Invalid order with this id corrects it"},
                "description": free_text(MAX_DESCRIPTION_CHARS),
                "priority": {"enum": Priority::ALL, "default": Priority::default()},
                "definition_version": {"type": "integer", "minimum": 1, "description": "For provision and modify; without it the newest version, or the service's own"},
                "approved_plan": {"type": "string", "pattern": "^[0-9a-fA-F]{64}$", "description": "The hash of a plan: nothing else is deployed, or the order becomes invalid"},
                "if_busy": {"enum": IfBusy::ALL, "default": IfBusy::default(), "description": "What to do while another order of the service is unfinished"},
                "audit": {"type": "array", "minItems": 1, "items": {"enum": AuditPart::ALL}, "description": "What a validate order looks at; both if it is left out"},
            },
        },
        "Order": order,
        "OrderPage": page("Order"),
        "Deployment": deployment,
        "Transcript": transcript(),
        "Explanation": object(json!({
            "order": id, "state": {"enum": OrderState::ALL}, "since": time, "actions": list(text.clone()),
            "explanation": {"type": "string", "description": "One sentence for people; its words may change with any release"},
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
            "properties": {"at": schedule("\"now\" (the default) or an RFC 3339 time")},
        },
        "CancelRequest": {
            "type": "object", "additionalProperties": false,
            "properties": {"reason": free_text(1024)},
        },
        "RecreateRequest": {
            "type": "object", "required": ["changes"], "additionalProperties": false,
            "properties": {"changes": {"type": "object", "minProperties": 1, "description": "Merge patch (RFC 7396) onto the order's request; the external id stays"}},
        },
        "UndoRequest": {
            "type": "object", "additionalProperties": false,
            "properties": {
                "schedule": {"type": "string", "description": "\"now\" or an RFC 3339 time; without it the order stays requested"},
                "external_id": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARS, "description": "Unique per requester"},
                "description": {"type": "string", "minLength": 1, "maxLength": MAX_DESCRIPTION_CHARS},
                "priority": {"enum": Priority::ALL, "default": Priority::default()},
                "approved_plan": {"type": "string", "pattern": "^[0-9a-fA-F]{64}$", "description": "The hash of a plan: nothing else is deployed, or the order becomes invalid"},
            },
        },
        "Empty": {"type": "object", "additionalProperties": false},
        "Plan": plan(),
    })
}

/// What was said to the devices of a deployment.
fn transcript() -> Value {
    let text = json!({"type": "string"});
    let number = json!({"type": "integer"});
    let time = json!({"type": "string", "format": "date-time"});
    let rpc = json!({
        "type": "object", "required": ["request"],
        "properties": {
            "request": text,
            "reply": {"type": "string", "description": "Missing if none came"},
        },
    });
    let exchange = json!({
        "type": "object", "required": ["step", "at", "took_us"],
        "properties": {
            "step": text, "at": time, "took_us": number, "rpcs": list(rpc), "note": text,
            "left_out_before": {"type": "integer", "description": "So many exchanges before this one are left out"},
        },
    });
    object(json!({
        "deployment": {"type": "string", "format": "uuid"},
        "state": {"enum": DeploymentState::ALL},
        "items": list(object(json!({
            "attempt": number, "device": text, "worker": text, "at": time, "left_out": number,
            "exchanges": list(exchange),
        }))),
    }))
}

fn of_services() -> Value {
    let text = json!({"type": "string"});
    let number = json!({"type": "integer"});
    let id = json!({"type": "string", "format": "uuid"});
    let any_object = json!({"type": "object"});
    let time = json!({"type": "string", "format": "date-time"});
    let maybe_time = json!({"type": ["string", "null"], "format": "date-time"});
    let mut service = object(json!({
        "id": id, "definition": text, "definition_version": number, "region": region(), "attributes": any_object,
        "endpoints": list(reference("Endpoint")), "devices": list(text.clone()), "external_id": or_null("string"),
        "requester": text, "state": {"enum": ServiceState::ALL}, "audit_state": {"enum": AuditState::ALL},
        "config_audit": {"enum": ConfigAudit::ALL}, "audited_at": maybe_time, "audit_reason": or_null("string"),
        "next_audit_at": maybe_time, "last_order": id, "wanted_by": id, "created_at": time, "updated_at": time,
    }));
    service["properties"]["secrets"] = json!({
        "type": "array", "items": {"type": "string"},
        "description": "JSON pointers of its secret values; each is shown as \"(secret)\", and stands for itself in a modify order",
    });
    // Left out in lists.
    service["properties"]["in_force"] =
        list(object(json!({"device": text, "in_force": {"enum": InForce::ALL}})));
    service["properties"]["orders"] = list(object(json!({
        "id": id, "kind": {"enum": OrderKind::ALL}, "state": {"enum": OrderState::ALL}, "created_at": time,
        "updated_at": time,
    })));
    json!({
        "Service": service,
        "ServicePage": page("Service"),
        "ServiceConfig": object(json!({
            "service_id": id, "devices": list(object(json!({
                "device": text, "footprint": or_null("object"), "in_force": {"enum": InForce::ALL},
                "strays": list(any_object.clone()),
            }))),
        })),
        "Audit": object(json!({
            "order": id, "at": time, "state": {"enum": AuditState::ALL}, "config": {"enum": ConfigAudit::ALL},
            "reason": or_null("string"), "devices": list(any_object.clone()), "proposed": or_null("object"),
        })),
    })
}

fn of_devices() -> Value {
    let text = json!({"type": "string"});
    let number = json!({"type": "integer"});
    let any_object = json!({"type": "object"});
    let time = json!({"type": "string", "format": "date-time"});
    let mut device = object(json!({
        "name": text, "region": text, "platform": text, "address": text, "port": number,
        "host_key": or_null("string"), "fingerprint": or_null("string"), "credential": or_null("string"),
        "description": or_null("string"), "created_at": time, "updated_at": time,
    }));
    // Left out in lists.
    device["properties"]["same_host_key"] = json!({
        "type": "array", "items": text, "description": "Other devices with the same host key",
    });
    json!({
        "DeviceRequest": {
            "type": "object", "required": ["name", "region", "platform", "address"], "additionalProperties": false,
            "properties": device_fields(false),
        },
        "DevicePatch": {
            "type": "object", "additionalProperties": false, "properties": device_fields(true),
            "description": "Merge patch (RFC 7396): null removes a field that a device need not have",
        },
        "Device": device,
        "DeviceResults": object(json!({
            "items": list(json!({
                "type": "object", "required": ["name", "status"],
                "properties": {"name": text, "status": number, "device": reference("Device"), "problem": reference("Problem")},
            })),
        })),
        "DevicePage": page("Device"),
        "CheckRequest": {
            "type": "object", "additionalProperties": false,
            "properties": {"fetch_yang": {"type": "boolean", "default": false, "description": "Also fetch the YANG modules that aren't known of the device's platform"},
                "ignore_modules": {"type": "array", "maxItems": 200, "items": text, "description": "With fetch_yang: leave these modules, and what needs them, out of the platform's set; stored until they are used again"},
                "use_modules": {"type": "array", "maxItems": 200, "items": text, "description": "With fetch_yang: take the decision to leave these modules out back"}},
        },
        "ExamRequest": {
            "type": "object", "additionalProperties": false,
            "properties": {
                "candidate_only": {"type": "boolean", "default": false, "description": "Commit nothing, and never edit running"},
                "careful": {"type": "boolean", "default": false, "description": "Leave out what could harm a badly behaved server"},
                "dangerous": {"type": "boolean", "default": false, "description": "Also try what is known to harm servers that behave as this one does"},
                "idle_s": {"type": "integer", "minimum": 0, "maximum": MAX_IDLE_S, "default": 0, "description": "Watch an idle session for this many seconds"},
                "sessions": {"type": "integer", "minimum": 1, "maximum": MAX_SESSIONS, "default": USUAL_SESSIONS, "description": "Most sessions at once"},
                "time_s": {"type": "integer", "minimum": TIME_S.start(), "maximum": TIME_S.end(), "default": USUAL_TIME_S, "description": "How long the exam may take, in seconds"},
                "scratch": {
                    "type": "object", "additionalProperties": false, "required": ["entry", "create", "changed"],
                    "description": "Where the exam works; without it, the scratch of the device's platform",
                    "properties": {
                        "name": {"type": "string"},
                        "entry": {"type": "string", "description": "Path of a list entry by local names, with slashes"},
                        "keys": {"type": "integer", "minimum": 0, "maximum": 255, "description": "How many of its first leaves are its keys; 0 and 1: one"},
                        "create": {"type": "string", "description": "XML of the entry; one of its values has the text turnup-exam"},
                        "changed": {"type": "string", "description": "The same with at least one other value"},
                        "respelled": {"type": "string", "description": "The same with values in other spellings"},
                        "invalid": {"type": "string", "description": "The same with a value that its type forbids"},
                        "incomplete": {"type": "string", "description": "The same without something mandatory"},
                        "secret": {"type": "string", "description": "The same with a secret as its last leaf"},
                        "ordered": {"type": "string", "description": "The same with entries of a list ordered by the user as its last children"},
                        "default_leaf": {"type": "string", "description": "A leaf of the entry that has a default and is not in 'create'"},
                    },
                },
            },
        },
        "Exam": object(json!({
            "device": text, "platform": text, "at": time, "worker": text, "exam": text,
            "failures": list(any_object.clone()), "scratch": or_null("string"), "findings": list(any_object.clone()),
            "deviations": list(any_object.clone()), "profile": text, "keys": list(any_object.clone()),
            "differences": list(any_object.clone()), "left": list(text.clone()),
            "is_clean": {"type": "boolean"}, "running_compared": {"type": "boolean"}, "stopped": or_null("string"),
            "took_ms": or_null("integer"),
        })),
        "Check": object(json!({
            "same_host_key": list(text.clone()), "device": text, "at": time, "worker": text, "check": or_null("object"),
            "failures": list(any_object.clone()), "schemas": list(text.clone()),
            "left_out": list(text.clone()),
        })),
    })
}

/// The fields of a device as it is added, or as it is changed.
fn device_fields(patch: bool) -> Value {
    let or_removed = |mut schema: Value| {
        if patch {
            schema["type"] = json!([schema["type"], "null"]);
        }
        schema
    };
    let mut fields = json!({
        "region": {"type": "string", "pattern": WORD, "maxLength": 40, "description": "A configured region"},
        "platform": {
            "type": "string", "pattern": WORD, "maxLength": 64,
            "description": "A platform that turnup ships or a published definition has a template for",
        },
        "address": {
            "type": "string", "minLength": 1, "maxLength": MAX_ADDRESS_BYTES,
            "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}, {"pattern": HOST_NAME}],
            "description": "Host name or IP address; with the port it belongs to one device",
        },
        "port": or_removed(json!({"type": "integer", "minimum": 1, "maximum": 65535, "default": 830})),
        "host_key": or_removed(json!({
            "type": "string", "maxLength": 4096,
            "pattern": "^(SHA256:[A-Za-z0-9+/]{43}|(ssh-|ecdsa-sha2-)[a-z0-9-]+ [A-Za-z0-9+/=]+( [ -~]+)?)$",
            "description": "OpenSSH public key or SHA256: fingerprint; without it the device is not trusted",
        })),
        "credential": or_removed(json!({
            "type": "string", "pattern": NAME, "maxLength": 64,
            "description": "Name of credentials in the workers' configuration",
        })),
        "description": or_removed(free_text(MAX_DEVICE_DESCRIPTION_CHARS)),
    });
    if !patch {
        fields["name"] = json!({"type": "string", "pattern": NAME, "maxLength": 128});
    }
    fields
}

fn of_the_catalogue() -> Value {
    let text = json!({"type": "string"});
    let number = json!({"type": "integer"});
    let id = json!({"type": "string", "format": "uuid"});
    let time = json!({"type": "string", "format": "date-time"});
    json!({
        "Bundle": {
            "type": "object", "required": ["files"], "additionalProperties": false,
            "properties": {"files": {"type": "object", "required": ["definition.yaml"], "additionalProperties": text, "description": "File name → content: definition.yaml and the files that it names"}},
        },
        "Definition": definition(),
        "DefinitionFiles": {
            "allOf": [reference("Definition"), object(json!({"files": {"type": "object", "additionalProperties": text}}))],
        },
        "DefinitionPage": page("Definition"),
        "Pool": object(json!({
            "name": text, "title": text, "scope": {"enum": PoolScope::ALL}, "from": number, "to": number,
            "pick_from": number, "format": or_null("string"), "taken": number,
        })),
        "PoolPage": page("Pool"),
        "Resource": object(json!({
            "pool": text, "scope": text, "value": text, "service_id": id, "orders": list(id.clone()), "since": time,
        })),
        "ResourcePage": page("Resource"),
    })
}

fn of_the_intake() -> Value {
    let text = json!({"type": "string"});
    let number = json!({"type": "integer"});
    let any_object = json!({"type": "object"});
    let time = json!({"type": "string", "format": "date-time"});
    json!({
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

fn definition() -> Value {
    let (text, number) = (json!({"type": "string"}), json!({"type": "integer"}));
    let any_object = json!({"type": "object"});
    let mut definition = object(json!({
        "name": text, "version": number, "title": text, "description": text, "attributes": any_object,
        "endpoints": list(any_object.clone()), "same_device": {"type": "boolean"}, "platforms": list(text.clone()),
        "versions": list(number.clone()),
        "drift": object(json!({
            "found": {"enum": OnDrift::ALL}, "untouched_devices": {"type": "boolean"},
        })),
    }));
    // Left out where there is nothing.
    definition["properties"]["resources"] = json!({"type": "object", "additionalProperties": text});
    definition["properties"]["retry"] = json!({
        "type": "object", "properties": {"attempts": number, "first_ms": number, "max_ms": number, "total_ms": number},
    });
    definition["properties"]["audit_every_s"] = number;
    definition
}

fn plan() -> Value {
    let (text, id) = (json!({"type": "string"}), json!({"type": "string", "format": "uuid"}));
    let (number, truth) = (json!({"type": "integer"}), json!({"type": "boolean"}));
    let maybe = or_null("string");
    let mut plan = object(json!({
        "kind": {"enum": OrderKind::ALL}, "definition": text, "definition_version": number, "service_id": maybe,
        "region": text, "hash": text, "empty": truth,
        "devices": list(object(json!({
            "device": text, "platform": text,
            "does": {"enum": ["adds", "changes", "removes", "writes_again", "nothing"]},
            "edit": maybe, "inverse": maybe, "diff": maybe, "footprint": maybe, "owned": list(text.clone()),
            "shared": list(text.clone()),
        }))),
        "resources": list(object(json!({
            "pool": text, "scope": text, "value": text, "picked": truth, "pointer": text,
        }))),
        "collisions": list(object(json!({
            "order": id, "kind": {"enum": OrderKind::ALL}, "state": {"enum": OrderState::ALL},
            "scheduled_for": maybe, "device": maybe, "service_id": id, "why": {"enum": ["device", "service"]},
        }))),
        "yang": list(object(json!({
            "platform": text, "checked": truth, "modules": number, "left_out": list(text.clone()),
            "unchecked": list(text.clone()),
        }))),
    }));
    // Only where they apply, and where devices were asked.
    plan["properties"]["repeats"] = object(json!({"order": id, "state": {"enum": OrderState::ALL}}));
    plan["properties"]["repeats"]["description"] =
        json!("The order that the same request made before: submitted again, it makes no other");
    plan["properties"]["corrects"] = id.clone();
    plan["properties"]["corrects"]["description"] = json!("The Invalid order that the new one would correct");
    plan["properties"]["on_device"] = list(object(json!({
        "device": text, "ok": truth, "worker": maybe, "failures": list(json!({"type": "object"})),
        "notes": list(text.clone()),
    })));
    plan
}
