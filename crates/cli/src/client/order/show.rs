//! One order for people to read.

use serde_json::Value;
use turnup_core::{
    lifecycle::{DeploymentState, OrderState},
    message::{Guarantee, Stage},
};

use crate::client::{
    output::{field, fields, items, text},
    paint::Paint,
};

/// The title of the order's state.
pub(crate) fn title(order: &Value) -> String {
    let word = order["state"].as_str().unwrap_or_default();
    word.parse::<OrderState>().map_or_else(|_| word.to_owned(), |state| state.title().to_owned())
}

/// The order in one line.
pub(crate) fn one_line(order: &Value) -> String {
    let mut parts = vec![text(order.get("id")), title(order)];
    parts.extend(order["external_id"].as_str().map(str::to_owned));
    parts.push(format!("{} {}", text(order.get("kind")), text(order.get("definition"))));
    parts.extend(order["undoes"].as_str().map(|undone| format!("undoes {undone}")));
    if order["state"] == "scheduled" {
        parts.push(format!("at {}", text(order.get("scheduled_for"))));
    }
    parts.extend(retry(&order["retry"]).map(|retry| format!("attempt {retry}")));
    if let Some(error) = order["errors"].get(0) {
        let device = error["device"].as_str().map(|device| format!("{device}: ")).unwrap_or_default();
        parts.push(format!("{device}{}", text(error.get("message"))));
    }
    parts.join("  ")
}

/// The whole order, line by line.
pub(crate) fn lines(order: &Value, paint: Paint) -> Vec<String> {
    let mut out = vec![field("order", text(order.get("id"))), field("state", state(order, paint))];
    fields(
        &mut out,
        order,
        &[
            ("kind", "/kind"),
            ("definition", "/definition"),
            ("version", "/definition_version"),
            ("service", "/service_id"),
            ("external id", "/external_id"),
            ("description", "/description"),
            ("requester", "/requester"),
            ("region", "/region"),
            ("devices", "/devices"),
            ("priority", "/priority"),
            ("scheduled", "/scheduled_for"),
            ("approved", "/approved_plan"),
            ("audit", "/audit"),
            ("corrects", "/derived_from"),
            ("corrected by", "/superseded_by"),
            ("undoes", "/undoes"),
            ("rests on", "/rests_on"),
            ("legal now", "/actions"),
        ],
    );
    out.extend(undo(order).map(|said| field("undo", said)));
    out.push(field("attributes", &order["attributes"]));
    for endpoint in items(&order["endpoints"]) {
        let attributes = endpoint.get("attributes").map(Value::to_string).unwrap_or_default();
        let place = format!("{} on {}", text(endpoint.get("role")), text(endpoint.get("device")));
        out.push(field("endpoint", format!("{place} {attributes}")));
    }
    // Those of an order that is over are free again, or its service's.
    let holds = !matches!(order["state"].as_str(), Some("cancelled" | "invalid"));
    for resource in items(&order["resources"]).iter().filter(|_| holds) {
        let (value, pool) = (text(resource.get("value")), text(resource.get("pool")));
        out.push(field("resource", format!("{value} of pool {pool}{}", scope(&resource["scope"]))));
    }
    out.extend(retry(&order["retry"]).map(|retry| field("attempt", retry)));
    for front in items(&order["waiting_for"]) {
        let (device, order) = (text(front.get("device")), text(front.get("order")));
        out.push(field("waiting", format!("for {device} behind order {order}")));
    }
    for error in items(&order["errors"]) {
        out.push(field("error", paint.bad(&failure(error))));
        out.extend(details(error, "             ", paint));
    }
    out.push("history".to_owned());
    out.extend(items(&order["history"]).iter().map(entry));
    for deployment in items(&order["deployments"]) {
        out.extend(of_deployment(deployment, paint));
    }
    out
}

/// What 'turnup order undo' would do with a Completed order, or why not.
fn undo(order: &Value) -> Option<String> {
    let undo = order.get("undo").filter(|undo| undo.is_object())?;
    let id = text(order.get("id"));
    let later: Vec<String> = items(&undo["later"]).iter().map(|id| text(Some(id))).collect();
    Some(match (undo["possible"] == true, later.is_empty()) {
        (true, _) => {
            let content = undo["as_of"]
                .as_str()
                .map(|order| format!(" with what order {order} wanted"))
                .unwrap_or_default();
            format!("'turnup order undo {id}' makes a {} order{content}", text(undo.get("kind")))
        }
        (false, false) => format!(
            "these later orders rest on it: {}; undo them first, the newest first, or take all back with 'turnup order \
             undo {id} --to-before'",
            later.join(", ")
        ),
        (false, true) => format!("not possible: {}", text(undo.get("detail"))),
    })
}

/// Where an order that was tried again by itself is in its attempts, as `2 of 3, waited for`.
pub(crate) fn retry(retry: &Value) -> Option<String> {
    let waited_for = if retry["at"].is_string() { ", waited for" } else { "" };
    let (attempt, of) = (retry["attempt"].as_u64()?, retry["of"].as_u64()?);
    Some(format!("{attempt} of {of}{waited_for}"))
}

fn state(order: &Value, paint: Paint) -> String {
    let title = title(order);
    match order["state"].as_str() {
        Some("completed") => paint.good(&title),
        Some("invalid" | "failed_deploy") => paint.bad(&title),
        _ => title,
    }
}

fn entry(entry: &Value) -> String {
    let to =
        OrderState::ALL.iter().find(|state| entry["to"] == state.word()).map_or("?", |state| state.title());
    let why = entry["why"].as_str().map(|why| format!("  {why}")).unwrap_or_default();
    let (at, by) = (text(entry.get("at")), text(entry.get("by")));
    let seq = text(entry.get("seq"));
    format!("  {seq:>3}  {at}  {to:<14} by {by}{why}")
}

/// Of a part of an order over several regions that has not ended: what its state is the state of.
fn stage(deployment: &Value) -> String {
    let (stage, state) = (&deployment["stage"], &deployment["state"]);
    let state = state.as_str().and_then(|state| state.parse::<DeploymentState>().ok());
    match stage.as_str() {
        Some(stage) if stage != Stage::Whole.word() && state.is_some_and(|state| !state.is_final()) => {
            format!(" (stage {stage})")
        }
        _ => String::new(),
    }
}

pub(crate) fn of_deployment(deployment: &Value, paint: Paint) -> Vec<String> {
    let mut out = vec![format!(
        "deployment   {}  {}  {}{}  attempt {}  worker {}",
        text(deployment.get("id")),
        text(deployment.get("region")),
        text(deployment.get("state")),
        stage(deployment),
        deployment["attempt"],
        text(deployment.get("worker"))
    )];
    for reason in items(&deployment["reasons"]) {
        out.push(format!("  undone because: {}", failure(reason)));
    }
    for device in items(&deployment["devices"]) {
        let step = |step: &Value| {
            let took = step["took_us"].as_f64().unwrap_or(0.0) / 1000.0;
            format!("{} {took:.1} ms", text(step.get("step")))
        };
        let steps: Vec<String> = items(&device["steps"]).iter().map(step).collect();
        let guarantee = device["guarantee"].as_str().map(|word| {
            let known = word.parse::<Guarantee>().map(Guarantee::title);
            format!("  guarantee: {}", known.unwrap_or(word))
        });
        out.push(format!(
            "  {}  in force: {}{}",
            text(device.get("device")),
            text(device.get("in_force")),
            guarantee.unwrap_or_default()
        ));
        if !steps.is_empty() {
            out.push(format!("    {}", steps.join(", ")));
        }
        for remark in items(&device["remarks"]) {
            out.push(format!("    remark: {}", text(Some(remark))));
        }
        for error in items(&device["failures"]) {
            out.push(format!("    {}", failure(error)));
            out.extend(details(error, "      ", paint));
        }
    }
    out
}

/// Where a value of a pool is unique, as ` on pe1/ge-0/0/1`; nothing for the whole network.
pub(crate) fn scope(scope: &Value) -> String {
    match scope.as_str() {
        None | Some("") => String::new(),
        Some(scope) => format!(" on {scope}"),
    }
}

/// A failure in one line.
pub(crate) fn failure(error: &Value) -> String {
    let mut parts = Vec::new();
    parts.extend(error["device"].as_str().map(|device| format!("{device}:")));
    parts.push(text(error.get("message")));
    let fields = ["class", "phase", "error_tag", "error_app_tag", "path"].iter();
    let fields = fields.filter_map(|field| error[field].as_str().map(|value| format!("{field} {value}")));
    let info = items(&error["error_info"])
        .iter()
        .map(|info| format!("{} {}", text(info.get("name")), text(info.get("value"))));
    let tags: Vec<String> = fields.chain(info).collect();
    format!("{} ({})", parts.join(" "), tags.join(", "))
}

/// The texts that belong to a failure, such as the plan that was approved and the present one.
pub(crate) fn details(error: &Value, indent: &str, paint: Paint) -> Vec<String> {
    let mut out = Vec::new();
    for detail in items(&error["details"]) {
        out.push(format!("{indent}{}", paint.bold(&text(detail.get("title")))));
        // Plans have their devices at the margin and what is done there indented.
        for line in detail["text"].as_str().unwrap_or_default().lines() {
            let sign = line.trim_start();
            let within = &line[..line.len() - sign.len()];
            out.extend(paint.diff(sign, &format!("{indent}  {within}")));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_order_shows_what_was_asked_and_what_became_of_it() {
        let order = json!({
            "id": "O", "state": "completed", "kind": "provision", "definition": "eline", "definition_version": 3,
            "service_id": "S", "approved_plan": "ab", "audit": [], "attributes": {"vc_id": 7},
            "endpoints": [{"role": "a", "device": "pe1", "attributes": {"vlan": 100}}],
            "resources": [{"pool": "vlan", "scope": "pe1/ge-0/0/1", "value": "100"}, {"pool": "vc", "scope": "", "value": "7"}],
            "history": [{"seq": 1, "at": "T", "to": "requested", "by": "crm"}],
            "deployments": [{"id": "D", "region": "eu", "stage": "confirm", "state": "committed", "attempt": 1, "worker": "w",
                "devices": [{"device": "pe1", "in_force": "new", "guarantee": "confirmed_commit_1_1", "steps": [{"step": "connect", "took_us": 1500}], "remarks": ["locked less"]}]}],
        });
        assert_eq!(
            lines(&order, Paint::plain()),
            [
                "order        O",
                "state        Completed",
                "kind         provision",
                "definition   eline",
                "version      3",
                "service      S",
                "approved     ab",
                "attributes   {\"vc_id\":7}",
                "endpoint     a on pe1 {\"vlan\":100}",
                "resource     100 of pool vlan on pe1/ge-0/0/1",
                "resource     7 of pool vc",
                "history",
                "    1  T  Requested      by crm",
                "deployment   D  eu  committed  attempt 1  worker w",
                "  pe1  in force: new  guarantee: confirmed commit",
                "    connect 1.5 ms",
                "    remark: locked less",
            ]
        );
    }

    #[test]
    fn the_parts_of_an_order_show_where_they_are() {
        let part = |region, stage, state| json!({"id": "D", "region": region, "stage": stage, "state": state, "attempt": 2, "worker": "w"});
        let first = |part: &Value| of_deployment(part, Paint::plain())[0].clone();
        let prepared = first(&part("eu", "prepare", "prepared"));
        assert_eq!(prepared, "deployment   D  eu  prepared (stage prepare)  attempt 2  worker w");
        assert_eq!(
            first(&part("eu", "undo", "rolled_back")),
            "deployment   D  eu  rolled_back  attempt 2  worker w"
        );
        assert_eq!(
            first(&part("eu", "whole", "running")),
            "deployment   D  eu  running  attempt 2  worker w"
        );
        let mut undone = part("us", "undo", "pending");
        undone["reasons"] =
            json!([{"device": "pe1", "class": "busy", "phase": "lock", "message": "held by session 7"}]);
        assert_eq!(
            of_deployment(&undone, Paint::plain()),
            [
                "deployment   D  us  pending (stage undo)  attempt 2  worker w",
                "  undone because: pe1: held by session 7 (class busy, phase lock)",
            ]
        );
    }

    #[test]
    fn both_plans_of_an_invalid_order_are_shown() {
        let order = json!({
            "id": "O", "state": "invalid", "attributes": {},
            "errors": [{
                "class": "invalid", "phase": "plan", "message": "the plan is not the approved one",
                "details": [
                    {"title": "approved plan", "text": "pe1 (sim)\n  + unit 100\n"},
                    {"title": "present plan", "text": "pe1 (sim)\n  ~ unit 100\n"},
                ],
            }],
        });
        let out = lines(&order, Paint::plain()).join("\n");
        let wanted = "error        the plan is not the approved one (class invalid, phase plan)\n             approved plan\n               pe1 (sim)\n                 + unit 100\n             present plan\n               pe1 (sim)\n                 ~ unit 100\nhistory";
        assert!(out.contains(wanted), "{out}");
        let coloured = lines(&order, Paint::coloured()).join("\n");
        assert!(coloured.contains("                 \u{1b}[32m+ unit 100"), "{coloured:?}");
    }

    #[test]
    fn one_line_names_the_first_error() {
        let order = json!({"id": "O", "state": "invalid", "kind": "modify", "definition": "eline",
            "errors": [{"device": "pe1", "message": "no such port"}]});
        assert_eq!(one_line(&order), "O  Invalid  modify eline  pe1: no such port");
    }

    #[test]
    fn order_that_undoes_another_names_it() {
        let order =
            json!({"id": "O", "state": "requested", "kind": "modify", "definition": "eline", "undoes": "P"});
        assert_eq!(one_line(&order), "O  Requested  modify eline  undoes P");
        assert!(lines(&order, Paint::plain()).contains(&"undoes       P".to_owned()));
    }

    #[test]
    fn completed_order_says_what_rests_on_it_and_what_undo_would_do() {
        let with =
            |undo: Value| lines(&json!({"id": "O", "state": "completed", "undo": undo}), Paint::plain());
        let last = with(json!({"possible": true, "kind": "modify", "as_of": "P", "later": []}));
        let wanted = "undo         'turnup order undo O' makes a modify order with what order P wanted";
        assert!(last.contains(&wanted.to_owned()), "{last:?}");
        let earlier = with(json!({"possible": false, "detail": "d", "later": ["Q", "R"]})).join("\n");
        assert!(earlier.contains("these later orders rest on it: Q, R;"), "{earlier}");
        let audit = with(json!({"possible": false, "detail": "it changes nothing", "later": []})).join("\n");
        assert!(audit.contains("undo         not possible: it changes nothing"), "{audit}");
        let undoing = lines(&json!({"id": "O", "state": "scheduled", "rests_on": "N"}), Paint::plain());
        assert!(undoing.contains(&"rests on     N".to_owned()), "{undoing:?}");
    }

    #[test]
    fn an_order_that_is_tried_again_says_which_attempt() {
        let mut order = json!({"id": "O", "state": "scheduled", "kind": "modify", "definition": "eline",
            "scheduled_for": "T", "errors": [{"device": "pe1", "message": "connection refused"}],
            "retry": {"attempt": 2, "of": 3, "at": "T"}});
        assert_eq!(
            one_line(&order),
            "O  Scheduled  modify eline  at T  attempt 2 of 3, waited for  pe1: connection refused"
        );
        assert!(lines(&order, Paint::plain()).contains(&"attempt      2 of 3, waited for".to_owned()));
        order["retry"]["at"] = json!(null);
        assert!(lines(&order, Paint::plain()).contains(&"attempt      2 of 3".to_owned()));
        order["retry"] = json!(null);
        assert!(!lines(&order, Paint::plain()).iter().any(|line| line.starts_with("attempt ")));
    }
}
