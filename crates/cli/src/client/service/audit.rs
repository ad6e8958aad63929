//! What an audit found, for people to read.

use serde_json::Value;
use turnup_core::{
    audit::{ConfigAudit, Drift},
    lifecycle::AuditState,
};

use crate::{
    client::{
        output::{counted, field, items, text},
        paint::Paint,
    },
    failure::Failure,
};

/// The audit, line by line; ends with the command that repairs, where one does.
pub(crate) fn lines(audit: &Value, service: &str, paint: Paint) -> Vec<String> {
    let mut out = vec![
        field("audit", format!("{} by order {}", text(audit.get("at")), text(audit.get("order")))),
        field("functional", state(audit.get("state"), paint)),
        field("config", config(audit.get("config"), paint)),
    ];
    if let Some(reason) = audit["reason"].as_str() {
        out.push(field("reason", reason));
    }
    for device in items(&audit["devices"]) {
        let name = paint.bold(&text(device.get("device")));
        // What was found may stand by itself beside the device's name.
        let device = device.get("audit").unwrap_or(device);
        out.push(format!("{name}: configuration {}", config(device.get("config"), paint)));
        let differences = items(&device["differences"]);
        out.extend(differences.iter().flat_map(|difference| of_difference(difference, paint)));
        let in_all = device["differences_in_all"].as_u64().unwrap_or(0);
        let more = usize::try_from(in_all).unwrap_or(usize::MAX).saturating_sub(differences.len());
        if more > 0 {
            out.push(format!("  and {}", counted(more, "more difference")));
        }
        for check in items(&device["checks"]) {
            let name = text(check.get("name"));
            let verdict = if check["passed"] == true { paint.good("passed") } else { paint.bad("failed") };
            out.push(format!("  check {name}: {verdict}"));
            let evidence = check["evidence"].as_str().unwrap_or_default();
            out.extend(crate::client::output::indented(evidence, "    "));
        }
    }
    if audit["proposed"]["kind"] == "redeploy" || audit["config"] == "drifted" {
        let service = audit["proposed"]["service_id"].as_str().unwrap_or(service);
        out.push("to write its configuration again:".to_owned());
        out.push(format!("  turnup service redeploy {service}"));
    }
    out
}

fn of_difference(difference: &Value, paint: Paint) -> Vec<String> {
    let path = text(difference.get("path"));
    let (wanted, found) = (difference["wanted"].as_str(), difference["found"].as_str());
    let drift = difference["drift"].as_str().and_then(|word| word.parse::<Drift>().ok());
    let value = |value: &str| if value.contains('\n') { String::new() } else { format!(" {value:?}") };
    let (line, more) = match drift {
        Some(Drift::Missing) => {
            (paint.bad(&format!("missing {path}{}", wanted.map(value).unwrap_or_default())), wanted)
        }
        Some(Drift::Extra) => {
            (paint.notable(&format!("extra   {path}{}", found.map(value).unwrap_or_default())), found)
        }
        Some(Drift::Inactive) => {
            let line = match found.filter(|mark| !mark.starts_with("inactive")) {
                Some(mark) => format!("marked {mark} {path}"),
                None => format!("deactivated {path}"),
            };
            (paint.bad(&line), None)
        }
        Some(Drift::Order) => {
            let (wanted, found) = (wanted.unwrap_or_default(), found.unwrap_or_default());
            (paint.notable(&format!("order of {path} differs: {found} instead of {wanted}")), None)
        }
        Some(Drift::Changed) | None => {
            let is = found.map_or_else(String::new, |found| format!(" is {found:?}"));
            let instead = wanted.map_or_else(String::new, |wanted| format!(" instead of {wanted:?}"));
            (paint.notable(&format!("changed {path}{is}{instead}")), None)
        }
    };
    let mut out = vec![format!("  {line}")];
    if let Some(text) = more.filter(|text| text.contains('\n')) {
        out.extend(crate::client::output::indented(text, "    "));
    }
    out
}

/// A functional audit's state in words.
pub(crate) fn state(value: Option<&Value>, paint: Paint) -> String {
    let state = value.and_then(Value::as_str).and_then(|word| word.parse::<AuditState>().ok());
    match state {
        None => text(value),
        Some(AuditState::Up) => paint.good(AuditState::Up.title()),
        Some(AuditState::Down) => paint.bad(AuditState::Down.title()),
        Some(state @ AuditState::NotAudited) => state.title().to_owned(),
    }
}

/// A config audit's result in words.
pub(crate) fn config(value: Option<&Value>, paint: Paint) -> String {
    let found = value.and_then(Value::as_str).and_then(|word| word.parse::<ConfigAudit>().ok());
    match found {
        None => text(value),
        Some(found @ ConfigAudit::InSync) => paint.good(found.title()),
        Some(found @ (ConfigAudit::Drifted | ConfigAudit::Unreachable)) => paint.bad(found.title()),
        Some(found @ ConfigAudit::NotAudited) => found.title().to_owned(),
    }
}

/// Whether the service is as it should be.
pub(crate) fn verdict(audit: &Value) -> Result<(), Failure> {
    let mut bad = Vec::new();
    if audit["state"] == "down" {
        bad.push("the service is Down");
    }
    match audit["config"].as_str() {
        Some("drifted") => bad.push("its configuration has drifted"),
        Some("unreachable") => bad.push("its configuration could not be read everywhere"),
        _ => {}
    }
    if bad.is_empty() { Ok(()) } else { Err(Failure::Failed(bad.join("; "))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn drifted() -> Value {
        json!({
            "order": "O", "at": "T", "state": "down", "config": "drifted", "reason": "pe1: pseudowire: state is down",
            "devices": [
                {"device": "pe1", "config": "drifted", "differences_in_all": 5,
                 "differences": [
                    {"path": "/i/unit[id='1']/mtu", "drift": "changed", "wanted": "1500", "found": "9000"},
                    {"path": "/i/unit[id='1']/vlan-id", "drift": "missing", "wanted": "100"},
                    {"path": "/i/unit[id='1']/shutdown", "drift": "extra", "found": "true"},
                    {"path": "/i/unit[id='2']", "drift": "missing"},
                 ],
                 "checks": [{"name": "pseudowire", "passed": false, "evidence": "state is down\nsince T"}]},
                {"device": "pe2", "config": "in_sync", "checks": [{"name": "pseudowire", "passed": true, "evidence": "state is up"}]},
            ],
            "proposed": {"kind": "redeploy", "service_id": "S"},
        })
    }

    #[test]
    fn drift_is_shown_with_what_repairs_it() {
        assert_eq!(
            lines(&drifted(), "S", Paint::plain()),
            [
                "audit        T by order O",
                "functional   Down",
                "config       Drifted",
                "reason       pe1: pseudowire: state is down",
                "pe1: configuration Drifted",
                "  changed /i/unit[id='1']/mtu is \"9000\" instead of \"1500\"",
                "  missing /i/unit[id='1']/vlan-id \"100\"",
                "  extra   /i/unit[id='1']/shutdown \"true\"",
                "  missing /i/unit[id='2']",
                "  and 1 more difference",
                "  check pseudowire: failed",
                "    state is down",
                "    since T",
                "pe2: configuration In sync",
                "  check pseudowire: passed",
                "    state is up",
                "to write its configuration again:",
                "  turnup service redeploy S",
            ]
        );
    }

    #[test]
    fn what_was_found_may_stand_by_itself() {
        let mut apart = drifted();
        for device in apart["devices"].as_array_mut().unwrap() {
            *device = json!({"device": device["device"], "audit": device});
        }
        assert_eq!(lines(&apart, "S", Paint::plain()), lines(&drifted(), "S", Paint::plain()));
    }

    #[test]
    fn the_exit_code_tells_good_from_bad() {
        assert_eq!(verdict(&drifted()).unwrap_err().exit_code(), 1);
        for (state, config, good) in [
            ("up", "in_sync", true),
            ("not_audited", "in_sync", true),
            ("up", "not_audited", true),
            ("down", "in_sync", false),
            ("up", "drifted", false),
            ("up", "unreachable", false),
        ] {
            assert_eq!(verdict(&json!({"state": state, "config": config})).is_ok(), good, "{state} {config}");
        }
    }

    #[test]
    fn a_good_audit_proposes_nothing() {
        let audit = json!({"order": "O", "at": "T", "state": "up", "config": "in_sync", "devices": [], "proposed": null});
        let out = lines(&audit, "S", Paint::plain()).join("\n");
        assert!(!out.contains("redeploy"), "{out}");
    }
}
