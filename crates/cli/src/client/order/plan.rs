//! A plan for people to read and approve.

use serde_json::Value;
use turnup_core::{lifecycle::OrderState, order::OrderKind};

use super::show;
use crate::client::{
    output::{counted, items, quoted, text},
    paint::Paint,
    xml,
};

/// What the plan was made of, and so how it can be submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source<'a> {
    /// A file with this one order.
    File(&'a str),
    /// One order of several.
    Other,
    /// The options of a command, which has --approved-plan too.
    Options,
    /// An order that is stored already.
    Stored,
}

/// A plan, line by line. `when`: what is said of its time. `xml`: with the edit that each device gets.
pub(crate) fn lines(
    plan: &Value,
    source: Source<'_>,
    when: Option<&str>,
    xml: bool,
    paint: Paint,
) -> Vec<String> {
    let mut out = vec![heading(plan)];
    if let Some(repeated) = repeats(plan) {
        out.push(paint.notable(&repeated));
        return out;
    }
    out.extend(when.map(str::to_owned));
    if let Some(invalid) = plan["corrects"].as_str() {
        out.push(format!("corrects order {invalid}, which is Invalid, and takes its external id"));
    }
    for device in items(&plan["devices"]) {
        out.extend(of_device(device, xml, paint));
    }
    out.extend(resources(plan));
    out.extend(collisions(plan, paint));
    out.extend(yang(plan, paint));
    out.extend(on_device(plan, paint));
    out.extend(ending(plan, source, paint));
    out
}

fn heading(plan: &Value) -> String {
    let mut out = format!("{} {}", text(plan.get("kind")), text(plan.get("definition")));
    if let Some(version) = plan["definition_version"].as_i64() {
        out.push_str(&format!(" version {version}"));
    }
    if let Some(service) = plan["service_id"].as_str() {
        out.push_str(&format!(", service {service}"));
    }
    if let Some(region) = plan["region"].as_str() {
        out.push_str(&format!(", region {region}"));
    }
    out
}

/// What is said of a request that made an order before.
fn repeats(plan: &Value) -> Option<String> {
    let order = plan["repeats"]["order"].as_str()?;
    let state = plan["repeats"]["state"].as_str()?;
    let state =
        state.parse::<OrderState>().map_or_else(|_| state.to_owned(), |state| state.title().to_owned());
    Some(format!(
        "was submitted before as order {order}, which is {state}: submitting it again makes no other order and changes \
         nothing; 'turnup order show {order}' shows it"
    ))
}

fn of_device(device: &Value, with_xml: bool, paint: Paint) -> Vec<String> {
    let does = match device["does"].as_str() {
        Some("adds") => ": adds",
        Some("changes") => ": changes",
        Some("removes") => ": removes",
        Some("writes_again") => ": writes again",
        Some("nothing") => ": nothing changes",
        _ => "",
    };
    let name = format!("{} ({})", text(device.get("device")), text(device.get("platform")));
    let mut out = vec![format!("{}{does}", paint.bold(&name))];
    if let Some(diff) = device["diff"].as_str() {
        out.extend(paint.diff(diff, "  "));
    }
    if let Some(edit) = device["edit"].as_str().filter(|_| with_xml) {
        out.push("  edit-config:".to_owned());
        out.extend(crate::client::output::indented(&xml::pretty(edit), "    "));
    }
    out
}

fn resources(plan: &Value) -> Vec<String> {
    let mut out = Vec::new();
    for resource in items(&plan["resources"]) {
        let scope = show::scope(&resource["scope"]);
        let how = if resource["picked"] == true { "picked" } else { "given" };
        let pool = text(resource.get("pool"));
        let at = resource["pointer"].as_str().map(|at| format!(", {at}")).unwrap_or_default();
        out.push(format!("  {} of pool {pool}{scope}: {how}{at}", text(resource.get("value"))));
    }
    if !out.is_empty() {
        out.insert(0, "resources".to_owned());
    }
    out
}

/// Other unfinished orders of the service or on its devices, each once. The one that is due first goes
/// first; the other one waits.
fn collisions(plan: &Value, paint: Paint) -> Vec<String> {
    let mut orders: Vec<(&Value, Vec<String>)> = Vec::new();
    for other in items(&plan["collisions"]) {
        let device = other["device"].as_str().map(str::to_owned);
        let same = |known: &Value| known["order"] == other["order"] && known["why"] == other["why"];
        match orders.iter_mut().find(|(known, _)| same(known)) {
            Some((_, devices)) => devices.extend(device),
            None => orders.push((other, device.into_iter().collect())),
        }
    }
    let mut out = Vec::new();
    for (other, devices) in orders {
        let kind = other["kind"].as_str().and_then(|word| word.parse::<OrderKind>().ok());
        let state = other["state"].as_str().and_then(|word| word.parse::<OrderState>().ok());
        let what: Vec<&str> =
            kind.map(OrderKind::title).into_iter().chain(state.map(OrderState::title)).collect();
        let place = match (other["why"] == "service", devices.as_slice()) {
            (true, _) => " of the same service".to_owned(),
            (false, [one]) => format!(" on device {one}"),
            (false, many) => format!(" on devices {}", many.join(", ")),
        };
        let order = format!("order {} ({}){place}", text(other.get("order")), what.join(", "));
        let line = match (state, other["scheduled_for"].as_str()) {
            (Some(OrderState::Scheduled), Some(at)) => {
                format!("{order} is to start at {at}, and goes first only if this one starts later")
            }
            (Some(OrderState::Scheduled | OrderState::InProgress) | None, _) => {
                format!("waits behind {order}")
            }
            (Some(_), _) => format!("there is {order}, which has no time now"),
        };
        out.push(format!("  {}", paint.notable(&line)));
    }
    if !out.is_empty() {
        out.insert(0, "other orders".to_owned());
    }
    out
}

fn yang(plan: &Value, paint: Paint) -> Vec<String> {
    let mut out = Vec::new();
    for entry in items(&plan["yang"]) {
        let platform = text(entry.get("platform"));
        if entry["checked"] == true {
            let modules = entry["modules"].as_u64().and_then(|count| usize::try_from(count).ok());
            let modules =
                modules.map(|count| format!(" against {}", counted(count, "module"))).unwrap_or_default();
            let left_out: Vec<String> =
                items(&entry["left_out"]).iter().map(|module| text(Some(module))).collect();
            let left_out = if left_out.is_empty() {
                String::new()
            } else {
                format!("; {}: {}", paint.notable("left out"), left_out.join(", "))
            };
            out.push(format!("  {platform}: {}{modules}{left_out}", paint.good("checked")));
            for namespace in items(&entry["unchecked"]) {
                out.push(format!(
                    "  {platform}: {}: no module has the namespace {}; its lists are those of the definition's 'keys'",
                    paint.notable("unchecked"),
                    text(Some(namespace))
                ));
            }
        } else {
            out.push(format!(
                "  {platform}: {}; no modules are known ('turnup device check NAME --fetch-yang' gets them)",
                paint.notable("not checked")
            ));
        }
    }
    if !out.is_empty() {
        out.insert(0, "YANG".to_owned());
    }
    out
}

fn on_device(plan: &Value, paint: Paint) -> Vec<String> {
    let mut out = Vec::new();
    for entry in items(&plan["on_device"]) {
        let device = text(entry.get("device"));
        let worker = entry["worker"].as_str().map(|worker| format!(" (worker {worker})")).unwrap_or_default();
        if entry["ok"] == true {
            out.push(format!("  {device}: {}{worker}", paint.good("accepts it")));
        } else {
            out.push(format!("  {device}: {}{worker}", paint.bad("does not accept it")));
            for failure in items(&entry["failures"]) {
                out.push(format!("    {}", show::failure(failure)));
                out.extend(show::details(failure, "      ", paint));
            }
        }
    }
    if !out.is_empty() {
        out.insert(0, "tried on the devices, without changing them".to_owned());
    }
    out
}

/// Whether a device was asked and does not accept the plan.
pub(crate) fn is_refused(plan: &Value) -> bool {
    items(&plan["on_device"]).iter().any(|entry| entry["ok"] == false)
}

fn ending(plan: &Value, source: Source<'_>, paint: Paint) -> Vec<String> {
    let mut out = Vec::new();
    if plan["empty"] == true {
        out.push("no device is touched".to_owned());
    }
    let Some(hash) = plan["hash"].as_str() else { return out };
    out.push(format!("hash {}", paint.bold(hash)));
    match source {
        Source::Stored => {}
        Source::File(file) => {
            out.push("to have exactly this deployed, and nothing else:".to_owned());
            out.push(format!("  turnup order submit {} --approved-plan {hash}", quoted(file)));
        }
        Source::Options => {
            let how = "to have exactly this deployed, and nothing else, repeat the command without --dry-run and with";
            out.push(how.to_owned());
            out.push(format!("  --approved-plan {hash}"));
        }
        Source::Other => {
            out.push("to have exactly this deployed, and nothing else, give the order".to_owned());
            out.push(format!("  approved_plan: {hash}"));
        }
    }
    let picked = items(&plan["resources"]).iter().any(|resource| resource["picked"] == true);
    if picked && source != Source::Stored {
        out.push(
            "picked values are taken when the order is accepted; if another order takes one first, the plan \
             is another. Write them into the order to ask for just these."
                .to_owned(),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn plan() -> Value {
        json!({
            "kind": "modify", "definition": "eline", "definition_version": 2, "service_id": "S", "region": "eu-west",
            "hash": "ab12", "empty": false,
            "devices": [
                {"device": "pe1", "platform": "sim", "does": "changes", "edit": "<a xmlns=\"urn:x\"><b>1</b></a>",
                 "diff": "  a\n~   b: 0 -> 1\n"},
                {"device": "pe2", "platform": "sim", "does": "nothing", "edit": null, "diff": null},
            ],
            "resources": [
                {"pool": "vlan", "scope": "pe1/ge-0/0/1", "value": "100", "picked": true,
                 "pointer": "/endpoints/0/attributes/vlan"},
                {"pool": "vc", "scope": "", "value": "7", "picked": false, "pointer": "/attributes/vc_id"},
            ],
            "collisions": [
                {"order": "O1", "kind": "provision", "state": "scheduled", "device": "pe1", "service_id": "S2",
                 "scheduled_for": "2030-01-31T22:00:00Z", "why": "device"},
                {"order": "O2", "kind": "modify", "state": "in_progress", "device": null, "service_id": "S",
                 "scheduled_for": null, "why": "service"},
                {"order": "O3", "kind": "modify", "state": "failed_deploy", "device": null, "service_id": "S",
                 "scheduled_for": null, "why": "service"},
                {"order": "O1", "kind": "provision", "state": "scheduled", "device": "pe2", "service_id": "S2",
                 "scheduled_for": "2030-01-31T22:00:00Z", "why": "device"},
            ],
            "yang": [{"platform": "sim", "checked": true, "modules": 12,
                      "left_out": ["dev-a (target /a:gone is missing)"], "unchecked": ["urn:big"]}, {"platform": "ietf", "checked": false, "modules": 0}],
        })
    }

    #[test]
    fn a_plan_says_everything_in_its_order() {
        assert_eq!(
            lines(&plan(), Source::File("orders/a b.yaml"), Some("starts at once"), false, Paint::plain()),
            [
                "modify eline version 2, service S, region eu-west",
                "starts at once",
                "pe1 (sim): changes",
                "    a",
                "  ~   b: 0 -> 1",
                "pe2 (sim): nothing changes",
                "resources",
                "  100 of pool vlan on pe1/ge-0/0/1: picked, /endpoints/0/attributes/vlan",
                "  7 of pool vc: given, /attributes/vc_id",
                "other orders",
                "  order O1 (Provision, Scheduled) on devices pe1, pe2 is to start at 2030-01-31T22:00:00Z, and goes \
                 first only if this one starts later",
                "  waits behind order O2 (Modify, In Progress) of the same service",
                "  there is order O3 (Modify, Failed Deploy) of the same service, which has no time now",
                "YANG",
                "  sim: checked against 12 modules; left out: dev-a (target /a:gone is missing)",
                "  sim: unchecked: no module has the namespace urn:big; its lists are those of the definition's 'keys'",
                "  ietf: not checked; no modules are known ('turnup device check NAME --fetch-yang' gets them)",
                "hash ab12",
                "to have exactly this deployed, and nothing else:",
                "  turnup order submit 'orders/a b.yaml' --approved-plan ab12",
                "picked values are taken when the order is accepted; if another order takes one first, the plan \
                 is another. Write them into the order to ask for just these.",
            ]
        );
    }

    #[test]
    fn repetition_and_correction_are_named() {
        let repeated = json!({"kind": "provision", "definition": "eline", "devices": [], "empty": true, "hash": "",
            "repeats": {"order": "O1", "state": "completed"}});
        let out = lines(&repeated, Source::Options, Some("starts at once"), false, Paint::plain());
        assert_eq!(out.len(), 2, "{out:?}");
        assert!(out[1].starts_with("was submitted before as order O1, which is Completed: "), "{out:?}");
        let mut plan = plan();
        plan["corrects"] = json!("O0");
        let out = lines(&plan, Source::Options, None, false, Paint::plain());
        assert_eq!(out[1], "corrects order O0, which is Invalid, and takes its external id");
    }

    #[test]
    fn with_xml_and_with_devices() {
        let mut plan = plan();
        plan["on_device"] = json!([
            {"device": "pe1", "ok": true, "worker": "w1", "failures": []},
            {"device": "pe2", "ok": false, "worker": "w1", "failures": [
                {"class": "invalid", "phase": "validate", "message": "mtu is too large", "error_tag": "invalid-value"}]},
        ]);
        assert!(is_refused(&plan));
        let out = lines(&plan, Source::Stored, None, true, Paint::plain()).join("\n");
        for wanted in [
            "  edit-config:\n    <a xmlns=\"urn:x\">\n      <b>1</b>\n    </a>",
            "  pe1: accepts it (worker w1)\n  pe2: does not accept it (worker w1)\n    mtu is too large (class invalid, phase validate, error_tag invalid-value)",
        ] {
            assert!(out.contains(wanted), "{wanted}\n--- in\n{out}");
        }
        assert!(out.ends_with("hash ab12"), "a stored order isn't submitted again: {out}");
    }

    #[test]
    fn nothing_to_do_is_said() {
        let plan =
            json!({"kind": "modify", "definition": "eline", "devices": [], "empty": true, "hash": "ab"});
        let out = lines(&plan, Source::Other, None, false, Paint::plain());
        assert_eq!(
            out,
            [
                "modify eline",
                "no device is touched",
                "hash ab",
                "to have exactly this deployed, and nothing else, give the order",
                "  approved_plan: ab"
            ]
        );
        assert!(!is_refused(&plan));
    }
}
