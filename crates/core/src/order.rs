//! A service order as upstream systems write it, and the checks that need nothing but the order.
//! All faults are reported at once, each with a JSON pointer; unknown fields are refused.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{
    audit::AuditPart,
    id::{OrderId, ServiceId},
    name::{DefinitionName, DeviceName, near_misses},
    problem::{Fault, pointer_to},
    resource::ResourceKey,
    time::Time,
    words::words,
};

/// Most endpoints of one order.
pub const MAX_ENDPOINTS: usize = 64;
/// Most characters of an external id, and of an idempotency key.
pub const MAX_KEY_CHARS: usize = 128;
/// Most characters of a description.
pub const MAX_DESCRIPTION_CHARS: usize = 1024;
/// Largest body of an order in bytes, on every way in.
pub const MAX_BODY_BYTES: usize = 1 << 20;

words!(
    /// What an order asks for.
    OrderKind, "order kind" {
        /// Creates a service.
        Provision = "provision" / "Provision",
        /// Gives an existing service other attributes (the full wanted set).
        Modify = "modify" / "Modify",
        /// Pushes an existing service's configuration again.
        Redeploy = "redeploy" / "Redeploy",
        /// Audits an existing service.
        Validate = "validate" / "Validate",
        /// Removes a service.
        Decommission = "decommission" / "Decommission",
    }
);

impl OrderKind {
    /// Whether it changes configuration on devices.
    #[must_use]
    pub const fn changes_devices(self) -> bool {
        !matches!(self, Self::Validate)
    }

    /// Whether the order says itself which attributes and endpoints the service is to have.
    #[must_use]
    pub const fn has_content(self) -> bool {
        matches!(self, Self::Provision | Self::Modify)
    }
}

words!(
    /// What an order does when another unfinished order is there for its service.
    #[derive(Default)]
    IfBusy, "if_busy" {
        /// Waits for it.
        #[default]
        Wait = "wait" / "Wait",
        /// Is refused.
        Refuse = "refuse" / "Refuse",
    }
);

words!(
    /// How urgent an order is: which of its region's three queues its deployment goes through.
    #[derive(Default)]
    Priority, "priority" {
        /// Before all others.
        Urgent = "urgent" / "Urgent",
        /// As most.
        #[default]
        Normal = "normal" / "Normal",
        /// When there is nothing else to do.
        Bulk = "bulk" / "Bulk",
    }
);

/// A place where the service touches a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Role in the definition, such as `a` or `z` of a point-to-point service.
    pub role: String,
    /// The device.
    pub device: DeviceName,
    /// Attributes of this endpoint.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub attributes: Map<String, Value>,
}

/// When an order is to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// As soon as its devices are free.
    Now,
    /// Not before this time. A time that has passed means now.
    At(Timestamp),
}

impl Schedule {
    /// Reads `"now"` or an RFC 3339 time.
    ///
    /// # Errors
    /// A text for people that says what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "now" {
            return Ok(Self::Now);
        }
        match text.parse::<Time>() {
            Ok(Time(time)) => Ok(Self::At(time)),
            Err(error) if text.starts_with(|c: char| c.is_ascii_digit()) => Err(error.to_string()),
            Err(_) => Err(format!(
                "{:?} is neither \"now\" nor an RFC 3339 time such as 2030-01-31T22:00:00Z",
                text.chars().take(64).collect::<String>()
            )),
        }
    }

    /// The time at which the order is due, asked for at `now`.
    #[must_use]
    pub fn due(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Now => now,
            Self::At(time) => time,
        }
    }
}

/// What an order carries beside its content, as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderOptions {
    /// Hash of the only plan that may be deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_plan: Option<String>,
    /// What a validate order looks at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audit: Vec<AuditPart>,
    /// The values of pools that its content needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourceKey>,
    /// The order that it takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<OrderId>,
    /// Of an order that takes another back: the last order that had changed the service when this one was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rests_on: Option<OrderId>,
    /// JSON pointers of its secret values, which no output shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
}

/// An order as given, checked as far as it can be without looking anything up.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderRequest {
    /// What is asked for.
    pub kind: OrderKind,
    /// The service definition; may be left out where the service is named.
    pub definition: Option<DefinitionName>,
    /// The existing service; never for a provision order.
    pub service_id: Option<ServiceId>,
    /// Attributes of the service.
    pub attributes: Map<String, Value>,
    /// Where it touches devices.
    pub endpoints: Vec<Endpoint>,
    /// When to start; without it the order stays Requested.
    pub schedule: Option<Schedule>,
    /// The upstream system's own id.
    pub external_id: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// Urgency.
    pub priority: Priority,
    /// Version of the definition; none: the newest that is published.
    pub definition_version: Option<u32>,
    /// Hash of the only plan that may be deployed.
    pub approved_plan: Option<String>,
    /// What to do while another order of the service is unfinished.
    pub if_busy: IfBusy,
    /// What a validate order looks at; of other kinds empty.
    pub audit: Vec<AuditPart>,
    /// SHA-256 of the request in canonical JSON (sorted keys): tells a repetition from another
    /// request under the same key.
    pub digest: [u8; 32],
}

const FIELDS: [&str; 13] = [
    "kind",
    "definition",
    "service_id",
    "attributes",
    "endpoints",
    "schedule",
    "external_id",
    "description",
    "priority",
    "definition_version",
    "approved_plan",
    "if_busy",
    "audit",
];
const ENDPOINT_FIELDS: [&str; 3] = ["role", "device", "attributes"];

/// The type of each field that is no text, as JSON Schema; [`FIELDS`] has all. What reads orders from files
/// finds by it what `4711` means there.
#[must_use]
pub fn field_types() -> Value {
    let text = || json!({"type": "string"});
    let mut fields: Map<String, Value> = FIELDS.iter().map(|field| ((*field).to_owned(), text())).collect();
    fields.insert("definition_version".to_owned(), json!({"type": "integer"}));
    fields.insert("audit".to_owned(), json!({"type": "array", "items": text()}));
    fields.insert("attributes".to_owned(), json!({"type": "object"}));
    let endpoint = json!({"role": text(), "device": text(), "attributes": {"type": "object"}});
    fields.insert(
        "endpoints".to_owned(),
        json!({"type": "array", "items": {"type": "object", "properties": endpoint}}),
    );
    json!({"type": "object", "properties": fields})
}

impl OrderRequest {
    /// Checks a JSON order. `now` bounds how far ahead it may be scheduled.
    ///
    /// # Errors
    /// Every fault found, each with its JSON pointer.
    pub fn parse(value: &Value, now: Timestamp) -> Result<Self, Vec<Fault>> {
        let Value::Object(object) = value else {
            return Err(vec![Fault::new("", "wrong_type", "an order is a JSON object")]);
        };
        let mut reader = Reader { faults: Vec::new() };
        reader.unknown_fields("", object, &FIELDS);
        reader.characters("", value);

        let kind = reader.parsed::<OrderKind>(object, "kind");
        if !object.contains_key("kind") {
            let kinds: Vec<&str> = OrderKind::ALL.iter().map(|kind| kind.word()).collect();
            reader.fault("/kind", "missing", format!("say what is asked for: {}", kinds.join(", ")));
        }
        let definition = reader.parsed::<DefinitionName>(object, "definition");
        let service_id = reader.parsed::<ServiceId>(object, "service_id");
        let attributes = reader.object("", object, "attributes");
        let endpoints = reader.endpoints(object);
        let schedule = reader.schedule(object, now);
        let external_id = reader.text(object, "external_id", MAX_KEY_CHARS);
        let description = reader.text(object, "description", MAX_DESCRIPTION_CHARS);
        let priority = reader.parsed::<Priority>(object, "priority").unwrap_or_default();
        let definition_version = reader.version(object);
        let approved_plan = reader.hash(object, "approved_plan");
        let if_busy = reader.parsed::<IfBusy>(object, "if_busy").unwrap_or_default();
        let audit = reader.audit(object, kind);

        match kind {
            Some(OrderKind::Provision) => {
                if !object.contains_key("definition") {
                    reader.fault("/definition", "missing", "a provision order names a service definition");
                }
                if object.contains_key("service_id") {
                    reader.fault(
                        "/service_id",
                        "not_allowed",
                        "a new service gets its id from turnup; leave it out",
                    );
                }
            }
            Some(kind) => {
                if !object.contains_key("service_id") {
                    reader.fault(
                        "/service_id",
                        "missing",
                        format!("a {kind} order names the service; list them with 'turnup service list'"),
                    );
                }
                if !kind.has_content() {
                    for field in ["attributes", "endpoints", "definition_version"] {
                        if object.contains_key(field) {
                            reader.fault(
                                pointer_to("", field),
                                "not_allowed",
                                format!("a {kind} order takes what the service has; leave it out"),
                            );
                        }
                    }
                }
            }
            None => {}
        }
        if let (Some(OrderKind::Validate), true) = (kind, object.contains_key("approved_plan")) {
            reader.fault("/approved_plan", "not_allowed", "a validate order changes nothing; leave it out");
        }

        match (kind, reader.faults.is_empty()) {
            (Some(kind), true) => Ok(Self {
                kind,
                definition,
                service_id,
                attributes,
                endpoints,
                schedule,
                external_id,
                description,
                priority,
                definition_version,
                approved_plan,
                if_busy,
                audit,
                digest: Sha256::digest(value.to_string()).into(),
            }),
            _ => Err(reader.faults),
        }
    }
}

/// Checks the time of a schedule request.
///
/// # Errors
/// A text for people.
pub fn check_time(schedule: Schedule, now: Timestamp) -> Result<Schedule, String> {
    match schedule {
        Schedule::At(time) if time.duration_since(now) > crate::delay::MAX_AHEAD => {
            Err("orders can be scheduled at most 20 years ahead".to_owned())
        }
        other => Ok(other),
    }
}

/// Checks an idempotency key or external id.
///
/// # Errors
/// A text for people.
pub fn check_key(text: &str) -> Result<(), String> {
    let len = text.chars().count();
    if (1..=MAX_KEY_CHARS).contains(&len) && !text.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(format!("1 to {MAX_KEY_CHARS} characters, none of them a control character"))
    }
}

struct Reader {
    faults: Vec<Fault>,
}

impl Reader {
    fn fault(&mut self, pointer: impl Into<String>, code: &str, detail: impl Into<String>) {
        self.faults.push(Fault::new(pointer, code, detail));
    }

    fn unknown_fields(&mut self, at: &str, object: &Map<String, Value>, known: &[&str]) {
        for field in object.keys().filter(|field| !known.contains(&field.as_str())) {
            let near = near_misses(field, known.iter().copied());
            let hint = match near.first() {
                Some(name) => format!("did you mean {name:?}?"),
                None => format!("known are {}", known.join(", ")),
            };
            self.fault(
                pointer_to(at, field),
                "unknown_field",
                format!("there is no field {field:?}; {hint}"),
            );
        }
    }

    /// Characters that XML 1.0 can't carry would make every device refuse the order.
    fn characters(&mut self, at: &str, value: &Value) {
        match value {
            Value::String(text) => {
                if let Some(bad) = text.chars().find(|c| !is_xml_char(*c)) {
                    self.fault(
                        at,
                        "bad_character",
                        format!("contains U+{:04X}, which configuration can't carry", u32::from(bad)),
                    );
                }
            }
            Value::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    self.characters(&format!("{at}/{i}"), item);
                }
            }
            Value::Object(object) => {
                for (key, item) in object {
                    self.characters(&pointer_to(at, key), item);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn text(&mut self, object: &Map<String, Value>, field: &str, max_chars: usize) -> Option<String> {
        match object.get(field)? {
            Value::String(text) if (1..=max_chars).contains(&text.chars().count()) => Some(text.clone()),
            Value::String(_) => {
                self.fault(pointer_to("", field), "length", format!("1 to {max_chars} characters"));
                None
            }
            _ => {
                self.fault(pointer_to("", field), "wrong_type", "must be a text");
                None
            }
        }
    }

    fn parsed<T>(&mut self, object: &Map<String, Value>, field: &str) -> Option<T>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        let text = self.text(object, field, 256)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(pointer_to("", field), "bad_value", error.to_string());
                None
            }
        }
    }

    fn version(&mut self, object: &Map<String, Value>) -> Option<u32> {
        let value = object.get("definition_version")?;
        let version = value.as_u64().and_then(|version| u32::try_from(version).ok()).filter(|v| *v > 0);
        if version.is_none() {
            let detail = "must be a whole number from 1; leave it out for the newest version";
            self.fault("/definition_version", "bad_value", detail);
        }
        version
    }

    /// A SHA-256 as 64 hexadecimal digits.
    fn hash(&mut self, object: &Map<String, Value>, field: &str) -> Option<String> {
        let text = self.text(object, field, 64)?;
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Some(text.to_ascii_lowercase());
        }
        let detail = "must be the 'hash' of a plan, 64 hexadecimal digits; 'turnup order plan' shows it";
        self.fault(pointer_to("", field), "bad_value", detail);
        None
    }

    fn audit(&mut self, object: &Map<String, Value>, kind: Option<OrderKind>) -> Vec<AuditPart> {
        let is_validate = kind == Some(OrderKind::Validate);
        let Some(value) = object.get("audit") else {
            return if is_validate { AuditPart::ALL.to_vec() } else { Vec::new() };
        };
        if kind.is_some() && !is_validate {
            self.fault("/audit", "not_allowed", "only a validate order has it; leave it out");
            return Vec::new();
        }
        let parts: Option<Vec<AuditPart>> = value
            .as_array()
            .filter(|parts| !parts.is_empty())
            .and_then(|parts| parts.iter().map(|part| part.as_str()?.parse().ok()).collect());
        let Some(mut parts) = parts else {
            self.fault("/audit", "bad_value", "must be a list of \"config\", \"functional\" or both");
            return Vec::new();
        };
        parts.sort_unstable();
        parts.dedup();
        parts
    }

    fn object(&mut self, at: &str, object: &Map<String, Value>, field: &str) -> Map<String, Value> {
        match object.get(field) {
            None => Map::new(),
            Some(Value::Object(map)) => map.clone(),
            Some(_) => {
                self.fault(
                    pointer_to(at, field),
                    "wrong_type",
                    "must be an object of attribute names and values",
                );
                Map::new()
            }
        }
    }

    fn schedule(&mut self, object: &Map<String, Value>, now: Timestamp) -> Option<Schedule> {
        if object.get("schedule")?.is_null() {
            let detail = "must be \"now\" or a time; an order without time leaves it out";
            self.fault("/schedule", "wrong_type", detail);
            return None;
        }
        let text = self.text(object, "schedule", 128)?;
        match Schedule::parse(&text).and_then(|schedule| check_time(schedule, now)) {
            Ok(schedule) => Some(schedule),
            Err(detail) => {
                self.fault("/schedule", "bad_value", detail);
                None
            }
        }
    }

    fn endpoints(&mut self, object: &Map<String, Value>) -> Vec<Endpoint> {
        let items = match object.get("endpoints") {
            None => return Vec::new(),
            Some(Value::Array(items)) if items.len() <= MAX_ENDPOINTS => items,
            Some(Value::Array(_)) => {
                self.fault("/endpoints", "length", format!("at most {MAX_ENDPOINTS} endpoints"));
                return Vec::new();
            }
            Some(_) => {
                self.fault("/endpoints", "wrong_type", "must be an array of endpoints");
                return Vec::new();
            }
        };
        items
            .iter()
            .enumerate()
            .filter_map(|(i, item)| self.endpoint(&format!("/endpoints/{i}"), item))
            .collect()
    }

    fn endpoint(&mut self, at: &str, item: &Value) -> Option<Endpoint> {
        let Value::Object(object) = item else {
            self.fault(at, "wrong_type", "an endpoint is an object {role, device, attributes}");
            return None;
        };
        self.unknown_fields(at, object, &ENDPOINT_FIELDS);
        let mut text = |field: &str| match object.get(field) {
            Some(Value::String(text)) if (1..=128).contains(&text.chars().count()) => Some(text.clone()),
            Some(Value::String(_)) => {
                self.fault(pointer_to(at, field), "length", "1 to 128 characters");
                None
            }
            Some(_) => {
                self.fault(pointer_to(at, field), "wrong_type", "must be a text");
                None
            }
            None => {
                self.fault(pointer_to(at, field), "missing", format!("an endpoint has a {field}"));
                None
            }
        };
        let role = text("role");
        let device = text("device").and_then(|text| match text.parse() {
            Ok(device) => Some(device),
            Err(error) => {
                self.fault(pointer_to(at, "device"), "bad_value", format!("{error}"));
                None
            }
        });
        let attributes = self.object(at, object, "attributes");
        Some(Endpoint { role: role?, device: device?, attributes })
    }
}

/// Whether XML 1.0 §2.2 allows the character in a document.
const fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn pointers(value: &Value) -> Vec<String> {
        OrderRequest::parse(value, now()).unwrap_err().into_iter().map(|fault| fault.pointer).collect()
    }

    fn good() -> Value {
        json!({
            "kind": "provision", "definition": "eline", "attributes": {"vlan": 100},
            "endpoints": [
                {"role": "a", "device": "sim-1", "attributes": {"port": "ge-0/0/1"}},
                {"role": "z", "device": "sim-2", "attributes": {"port": "ge-0/0/2"}}],
            "schedule": "now", "external_id": "CRM-7", "description": "R&D <lab>", "priority": "urgent"
        })
    }

    #[test]
    fn a_good_order_is_read_whole() {
        let order = OrderRequest::parse(&good(), now()).unwrap();
        assert_eq!(order.kind, OrderKind::Provision);
        assert_eq!(order.endpoints.len(), 2);
        assert_eq!(order.schedule, Some(Schedule::Now));
        assert_eq!(order.priority, Priority::Urgent);
    }

    #[test]
    fn all_faults_at_once_with_pointers() {
        let faults = pointers(&json!({
            "knid": "provision", "kind": "make", "definition": "a b", "attributes": 3,
            "endpoints": [{"role": "a"}, 5, {"role": "z", "device": "d", "attributes": [], "x/y": 1}],
            "schedule": "tomorrow", "external_id": "", "priority": "high",
            "description": "bell\u{7}"
        }));
        for pointer in [
            "/knid",
            "/kind",
            "/definition",
            "/attributes",
            "/endpoints/0/device",
            "/endpoints/1",
            "/endpoints/2/attributes",
            "/endpoints/2/x~1y",
            "/schedule",
            "/external_id",
            "/priority",
            "/description",
        ] {
            assert!(faults.contains(&pointer.to_owned()), "{pointer} in {faults:?}");
        }
    }

    #[test]
    fn kinds_need_what_they_need() {
        assert_eq!(pointers(&json!({"kind": "provision"})), ["/definition"]);
        assert_eq!(pointers(&json!({"kind": "decommission"})), ["/service_id"]);
        assert_eq!(pointers(&json!({})), ["/kind"]);
        let id = "01890000-0000-7000-8000-000000000000";
        assert_eq!(
            pointers(&json!({"kind": "provision", "definition": "eline", "service_id": id})),
            ["/service_id"]
        );
        assert_eq!(
            pointers(&json!({"kind": "decommission", "service_id": id, "attributes": {}})),
            ["/attributes"]
        );
        let order = |value: Value| OrderRequest::parse(&value, now()).unwrap();
        let validate = order(json!({"kind": "validate", "service_id": id}));
        assert_eq!(validate.audit, [AuditPart::Config, AuditPart::Functional]);
        assert_eq!(order(json!({"kind": "validate", "service_id": id, "audit": ["config"]})).audit.len(), 1);
        assert_eq!(
            order(json!({"kind": "modify", "service_id": id, "attributes": {}})).if_busy,
            IfBusy::Wait
        );
        assert_eq!(
            pointers(&json!({"kind": "redeploy", "service_id": id, "endpoints": [], "audit": ["config"]})),
            ["/audit", "/endpoints"]
        );
        assert_eq!(
            pointers(&json!({
                "kind": "validate", "service_id": id, "audit": [], "approved_plan": "12",
                "definition_version": 0, "if_busy": "maybe"
            })),
            [
                "/definition_version",
                "/approved_plan",
                "/if_busy",
                "/audit",
                "/definition_version",
                "/approved_plan"
            ]
        );
    }

    #[test]
    fn far_times_are_refused() {
        let mut order = good();
        order["schedule"] = json!("2999-01-01T00:00:00Z");
        assert_eq!(pointers(&order), ["/schedule"]);
        order["schedule"] = json!("2030-01-01T00:00:00+02:00");
        assert!(OrderRequest::parse(&order, now()).is_ok());
    }

    #[test]
    fn schedules_are_read_or_refused_with_the_reason() {
        assert_eq!(Schedule::parse("now"), Ok(Schedule::Now));
        for (text, wanted) in [
            ("2027-01-31T22:00:00", "the offset is missing"),
            ("tomorrow", "is neither \"now\" nor an RFC 3339 time"),
            ("2030-07-01T22:00:00+01:00[!Europe/Berlin]", "which has +02:00 then"),
        ] {
            let why = Schedule::parse(text).unwrap_err();
            assert!(why.contains(wanted), "{why}");
        }
        let mut order = good();
        order["schedule"] = Value::Null;
        let faults = OrderRequest::parse(&order, now()).unwrap_err();
        assert!(faults[0].detail.contains("leaves it out"), "{faults:?}");
    }

    #[test]
    fn the_digest_ignores_the_order_of_fields() {
        let a: Value = serde_json::from_str(r#"{"kind":"provision","definition":"eline"}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{"definition":"eline","kind":"provision"}"#).unwrap();
        let c: Value = serde_json::from_str(r#"{"definition":"elan","kind":"provision"}"#).unwrap();
        let digest = |v: &Value| OrderRequest::parse(v, now()).unwrap().digest;
        assert_eq!(digest(&a), digest(&b));
        assert_ne!(digest(&a), digest(&c));
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(
                    prop_oneof![
                        proptest::sample::select(FIELDS.to_vec()).prop_map(str::to_owned),
                        ".{0,6}".prop_map(String::from)
                    ],
                    inner,
                    0..6
                )
                .prop_map(|m| Value::Object(m.into_iter().collect()))
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_is_accepted_or_refused_with_reasons(value in json()) {
            if let Err(faults) = OrderRequest::parse(&value, now()) { prop_assert!(!faults.is_empty()); }
        }
    }
}
