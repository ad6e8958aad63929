//! Audits: what is said of devices is what they have, and nothing is changed by looking.

use turnup_core::{
    audit::{AuditWork, Check, CheckAsk, CheckCondition, ConfigAudit, ConfigWork, DeviceAudit, Drift, Test},
    failure::FailureClass,
    lifecycle::DeploymentEvent,
    message::{Deployment, InForce, Purpose, StateChange},
    name::{CredentialRef, PlatformName},
};
use turnup_device_sim::behaviour::{Act, Behaviour, Fault, PhantomLock};

use super::lab::{Lab, classes, reported, settings, steps};
use crate::{Settings, deploy::Outcome};

const NAMESPACE: &str = "urn:turnup:sim";

fn configuration(unit: &str, pseudowire: &str) -> String {
    format!(
        r#"<interfaces xmlns="{NAMESPACE}"><interface><name>ge-0</name><unit><id>7</id>{unit}</unit></interface></interfaces><pseudowires xmlns="{NAMESPACE}"><pseudowire><name>p</name>{pseudowire}</pseudowire></pseudowires>"#
    )
}

fn footprint() -> String {
    let pseudowire = "<vc-id>5</vc-id><peer>z</peer><interface>ge-0</interface><unit>7</unit>";
    configuration("<vlan-id>8</vlan-id>", pseudowire)
}

fn audit() -> AuditWork {
    let keys = [("interface", "name"), ("unit", "id"), ("pseudowire", "name")];
    let condition = |path: &str, test: Test, value: &str| CheckCondition {
        path: path.to_owned(),
        test,
        value: value.to_owned(),
    };
    AuditWork {
        config: Some(ConfigWork {
            footprint: footprint(),
            filter: configuration("", ""),
            owned: vec![
                "/interfaces/interface[name='ge-0']/unit[id='7']".to_owned(),
                "/pseudowires/pseudowire[name='p']".to_owned(),
            ],
            keys: keys.map(|(list, key)| (list.to_owned(), vec![key.to_owned()])).into(),
            nodes: turnup_core::nodes::NodeFacts::default(),
        }),
        checks: vec![
            Check {
                name: "pseudowire".to_owned(),
                ask: CheckAsk::Get(format!(
                    r#"<pseudowires xmlns="{NAMESPACE}"><pseudowire><name>p</name></pseudowire></pseudowires>"#
                )),
                conditions: vec![condition("/pseudowires/pseudowire[name='p']/state", Test::Is, "up")],
            },
            Check {
                name: "ping".to_owned(),
                ask: CheckAsk::Rpc(format!(
                    r#"<ping xmlns="{NAMESPACE}"><destination>z</destination><count>4</count></ping>"#
                )),
                conditions: vec![condition("/received", Test::AtLeast, "4")],
            },
        ],
    }
}

fn audit_of(lab: &Lab, at: &[usize]) -> Deployment {
    let mut deployment = lab.deployment(at, "unused");
    deployment.purpose = Purpose::Audit;
    for work in &mut deployment.devices {
        work.edits.clear();
        work.audit = Some(audit());
    }
    deployment
}

/// Devices with the service on them.
async fn lab(devices: u16) -> Lab {
    with(devices, settings()).await
}

async fn with(devices: u16, settings: Settings) -> Lab {
    let lab = Lab::with(devices, settings).await;
    for n in 1..=usize::from(devices) {
        edit(&lab, n, &footprint());
    }
    lab
}

fn edit(lab: &Lab, n: usize, config: &str) {
    let base = "urn:ietf:params:xml:ns:netconf:base:1.0";
    lab.device(n)
        .edit_running(&format!(r#"<config xmlns="{base}" xmlns:nc="{base}">{config}</config>"#))
        .unwrap();
}

/// The results, once it is sure that the audit counts as carried out and changed nothing.
fn results(report: &StateChange) -> Vec<&DeviceAudit> {
    assert_eq!((report.event, report.phase.as_str()), (DeploymentEvent::Committed, "audit"), "{report:#?}");
    assert!(report.orders.len() == 1 && report.orders[0].failures.is_empty(), "{report:#?}");
    assert!(report.devices.iter().all(|device| device.in_force == InForce::New));
    report.devices.iter().map(|device| device.audit.as_ref().unwrap()).collect()
}

fn passed(audit: &DeviceAudit) -> Vec<bool> {
    audit.checks.iter().map(|check| check.passed).collect()
}

#[tokio::test]
async fn what_is_as_it_should_be_is_in_sync_and_up() {
    let lab = lab(2).await;
    // What lies outside of the service is nobody's business here.
    edit(
        &lab,
        1,
        footprint()
            .replace("<unit><id>7</id>", "<mtu>9000</mtu><unit><id>9</id>")
            .split("<pseudo")
            .next()
            .unwrap(),
    );
    let before = lab.device(1).running();
    let report = lab.deploy(&audit_of(&lab, &[1, 2])).await;
    for result in results(&report) {
        assert_eq!((result.config, result.differences_in_all), (ConfigAudit::InSync, 0), "{report:#?}");
        assert_eq!(passed(result), [true, true], "{report:#?}");
    }
    assert_eq!(steps(&report, 0), ["connect", "get-config", "get", "ping"]);
    assert_eq!(lab.device(1).running(), before);
    assert_eq!(lab.shared.pool.len(), 2, "sessions stay warm");
    // Again, on those; a redelivery is asked for but harmless.
    let report = lab.recover(&audit_of(&lab, &[1, 2])).await;
    assert_eq!(report.attempt, 2);
    assert!(results(&report).iter().all(|result| result.config == ConfigAudit::InSync));
    assert!(!steps(&report, 0).contains(&"connect"));
}

#[tokio::test]
async fn what_differs_is_named() {
    let lab = lab(2).await;
    edit(
        &lab,
        1,
        &configuration(
            "<vlan-id>9</vlan-id><mtu>1500</mtu>",
            r#"<vc-id>6</vc-id><control-word>true</control-word>"#,
        ),
    );
    edit(
        &lab,
        2,
        &format!(
            r#"<pseudowires xmlns="{NAMESPACE}"><pseudowire nc:operation="remove"><name>p</name></pseudowire></pseudowires>"#
        ),
    );
    let report = lab.deploy(&audit_of(&lab, &[1, 2])).await;
    let results = results(&report);
    let found: Vec<(Drift, &str)> =
        results[0].differences.iter().map(|d| (d.drift, d.path.rsplit('/').next().unwrap())).collect();
    assert_eq!(
        found,
        [
            (Drift::Changed, "vlan-id"),
            (Drift::Extra, "mtu"),
            (Drift::Changed, "vc-id"),
            (Drift::Extra, "control-word")
        ],
        "{report:#?}"
    );
    assert_eq!((results[0].config, results[0].differences_in_all), (ConfigAudit::Drifted, 4));
    assert_eq!(results[1].config, ConfigAudit::Drifted);
    assert_eq!(results[1].differences[0].to_string(), "/pseudowires/pseudowire[name='p'] is missing");
    let evidence = &results[1].checks[0].evidence;
    assert_eq!(evidence, "/pseudowires/pseudowire[name='p']/state is not there, wanted up");
}

#[tokio::test]
async fn what_does_not_work_is_down_with_the_evidence() {
    let lab = lab(1).await;
    lab.device(1).set_state("/pseudowires/pseudowire[name='p']/state", Some("down")).unwrap();
    let half = serde_json::json!({ "pings": [{ "destination": "z", "lost_percent": 50 }] });
    lab.behave(1, serde_json::from_value(half).unwrap()).await;
    let report = lab.deploy(&audit_of(&lab, &[1])).await;
    let result = results(&report)[0];
    assert_eq!(result.config, ConfigAudit::InSync);
    assert_eq!(passed(result), [false, false]);
    assert_eq!(result.checks[0].evidence, "/pseudowires/pseudowire[name='p']/state is \"down\", wanted up");
    assert_eq!(result.checks[1].evidence, "/received is \"2\", wanted at least 4");
    assert!(report.devices[0].failures.is_empty(), "that is a result and no failure");
}

#[tokio::test]
async fn a_device_that_cannot_be_read_is_part_of_the_result() {
    let lab = lab(5).await;
    lab.behave(1, Behaviour { down: true, ..Behaviour::default() }).await;
    lab.behave(2, Behaviour { wrong_host_key: true, ..Behaviour::default() }).await;
    let mut deployment = audit_of(&lab, &[1, 2, 3, 4, 5]);
    deployment.devices[2].host_key = None;
    deployment.devices[3].credential = Some(CredentialRef::new("nowhere").unwrap());
    let report = lab.deploy(&deployment).await;
    let results = results(&report);
    for result in &results[..4] {
        assert_eq!(result.config, ConfigAudit::Unreachable, "{report:#?}");
        assert_eq!(passed(result), [false, false]);
    }
    assert_eq!(results[4].config, ConfigAudit::InSync, "the others don't suffer");
    use FailureClass::{Distrusted, Misconfigured, Unreachable};
    let found: Vec<_> = (0..5).map(|n| classes(&report, n)).collect();
    assert_eq!(found, [vec![Unreachable], vec![Distrusted], vec![Distrusted], vec![Misconfigured], vec![]]);
    assert!(results[0].checks[1].evidence.contains("can't be reached"), "{report:#?}");
    assert!(results[3].checks[0].evidence.contains("credentials.nowhere"), "{report:#?}");
    assert_eq!(steps(&report, 0), ["connect"; 3], "as often as the limits say");
    assert_eq!(steps(&report, 1), ["connect"], "trying again can't help");
}

fn fault(operation: &str, act: Act) -> Behaviour {
    Behaviour { faults: vec![Fault::before(operation, act)], ..Behaviour::default() }
}

#[tokio::test]
async fn a_lost_session_is_made_up_for_and_a_lost_ping_is_not_repeated() {
    let lab = lab(2).await;
    lab.behave(1, fault("get-config", Act::Drop)).await;
    lab.behave(2, fault("ping", Act::Drop)).await;
    let report = lab.deploy(&audit_of(&lab, &[1, 2])).await;
    let results = results(&report);
    assert_eq!(
        (results[0].config, passed(results[0])),
        (ConfigAudit::InSync, vec![true, true]),
        "{report:#?}"
    );
    assert!(report.devices[0].failures.is_empty());
    assert_eq!((results[1].config, passed(results[1])), (ConfigAudit::InSync, vec![true, false]));
    assert!(results[1].checks[1].evidence.contains("no answer"), "{report:#?}");
    assert_eq!(steps(&report, 1).iter().filter(|step| **step == "ping").count(), 1);
}

#[tokio::test]
async fn locks_of_others_are_none_of_its_concern() {
    let lab = lab(1).await;
    let phantom_lock = Some(PhantomLock::default());
    lab.behave(1, Behaviour { phantom_lock, ..Behaviour::default() }).await;
    let report = lab.deploy(&audit_of(&lab, &[1])).await;
    assert_eq!(results(&report)[0].config, ConfigAudit::InSync);
}

#[tokio::test]
async fn a_device_on_paper_is_in_sync_if_it_is_allowed() {
    for (allow, wanted) in [(true, ConfigAudit::InSync), (false, ConfigAudit::Unreachable)] {
        let lab = with(1, Settings { allow_null_platform: allow, ..settings() }).await;
        let mut deployment = audit_of(&lab, &[1]);
        deployment.devices[0].platform = PlatformName::new("null").unwrap();
        let report = lab.deploy(&deployment).await;
        let result = results(&report)[0];
        assert_eq!(result.config, wanted);
        assert_eq!(result.checks.is_empty(), allow, "{result:?}");
    }
}

#[tokio::test]
async fn too_many_devices_are_not_looked_at() {
    let lab = with(2, Settings { max_devices: 1, ..settings() }).await;
    let report = lab.deploy(&audit_of(&lab, &[1, 2])).await;
    assert!(results(&report).iter().all(|result| result.config == ConfigAudit::Unreachable));
    assert!(results(&report)[1].checks[0].evidence.contains("worker.max_devices"));
}

#[tokio::test]
async fn a_repeat_that_is_not_ours_touches_nothing() {
    let lab = lab(1).await;
    *lab.scheduler.take_over.lock().unwrap() = None;
    let outcome = lab.run(&audit_of(&lab, &[1]), true).await;
    assert!(matches!(outcome, Outcome::Forget), "{outcome:?}");
    *lab.scheduler.take_over.lock().unwrap() = Some(2);
    let report = reported(lab.run(&audit_of(&lab, &[1]), true).await);
    assert_eq!(report.attempt, 2);
}
