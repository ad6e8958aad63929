//! Edits of every kind: what is merged, removed and replaced in one, and nothing at all.

use turnup_core::{
    failure::FailureClass,
    lifecycle::DeploymentEvent,
    message::{Condition, Deployment, DeviceEdit},
};
use turnup_device_sim::behaviour::{Act, Behaviour, Fault, Refusal};
use turnup_netconf::message::ErrorTag;

use super::lab::{Lab, classes, steps};

const MTU: &str = "/interfaces/interface[name='ge-0']/unit[id='7']/mtu";
const VLAN: &str = "/interfaces/interface[name='ge-0']/unit[id='7']/vlan-id";

fn unit(operation: &str, inside: &str) -> String {
    format!(
        r#"<interfaces xmlns="urn:turnup:sim" xmlns:nc="urn:ietf:params:xml:ns:netconf:base:1.0"><interface><name>ge-0</name><unit{operation}><id>7</id>{inside}</unit></interface></interfaces>"#
    )
}

fn changed(lab: &Lab, change: impl Fn(&mut DeviceEdit)) -> Deployment {
    let mut deployment = lab.deployment(&[1, 2], "unused");
    for edit in deployment.devices.iter_mut().flat_map(|work| &mut work.edits) {
        edit.filter = unit("", "");
        edit.keys.insert("unit".to_owned(), vec!["id".to_owned()]);
        change(edit);
    }
    deployment
}

/// Another VLAN, and no MTU any more.
fn modify(edit: &mut DeviceEdit) {
    edit.edit = unit("", r#"<vlan-id>9</vlan-id><mtu nc:operation="remove"/>"#);
    edit.inverse = unit("", "<vlan-id>8</vlan-id><mtu>1500</mtu>");
    edit.after = Condition::All(vec![
        Condition::Contains(unit("", "<vlan-id>9</vlan-id>")),
        Condition::Lacks(unit("", "<mtu/>")),
    ]);
    edit.before = Condition::All(vec![Condition::Contains(unit("", "<vlan-id>8</vlan-id><mtu>1500</mtu>"))]);
}

async fn lab() -> Lab {
    let lab = Lab::start(2).await;
    for n in [1, 2] {
        lab.device(n).edit_running(&unit("", "<vlan-id>8</vlan-id><mtu>1500</mtu>")).unwrap();
    }
    lab
}

fn found(lab: &Lab, n: usize) -> [Option<String>; 2] {
    let running = lab.device(n).running();
    lab.assert_clean(n);
    [VLAN, MTU].map(|path| running.get(path).map(|value| value.to_string()))
}

fn values(vlan: &str, mtu: Option<&str>) -> [Option<String>; 2] {
    [Some(vlan.to_owned()), mtu.map(str::to_owned)]
}

#[tokio::test]
async fn one_edit_merges_and_removes() {
    let lab = lab().await;
    let report = lab.deploy(&changed(&lab, modify)).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:#?}");
    assert_eq!([1, 2].map(|n| found(&lab, n)), [values("9", None), values("9", None)]);
}

#[tokio::test]
async fn what_was_merged_and_removed_comes_back_with_the_others() {
    let lab = lab().await;
    let refuse = Act::Refuse(Refusal::new(ErrorTag::DataExists));
    let faults = vec![Fault::before("confirmed-commit", refuse)];
    lab.behave(2, Behaviour { faults, ..Behaviour::default() }).await;
    let report = lab.deploy(&changed(&lab, modify)).await;
    assert_eq!(report.event, DeploymentEvent::Rejected, "{report:#?}");
    let old = values("8", Some("1500"));
    assert_eq!([1, 2].map(|n| found(&lab, n)), [old.clone(), old]);
}

#[tokio::test]
async fn a_redeploy_replaces_its_own_entry() {
    let lab = lab().await;
    let report = lab
        .deploy(&changed(&lab, |edit| {
            edit.edit = unit(r#" nc:operation="replace""#, "<vlan-id>8</vlan-id>");
            edit.inverse = unit("", "<mtu>1500</mtu>");
            edit.after = Condition::All(vec![
                Condition::Contains(unit("", "<vlan-id>8</vlan-id>")),
                Condition::Lacks(unit("", "<mtu/>")),
            ]);
            edit.before = Condition::Contains(unit("", "<mtu>1500</mtu>"));
        }))
        .await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:#?}");
    assert_eq!(found(&lab, 1), values("8", None));
}

/// What it wants is there before it as after it, so nobody can tell whether it has been done.
#[tokio::test]
async fn a_redeploy_that_comes_again_replaces_all_the_same() {
    let lab = lab().await;
    let deployment = changed(&lab, |edit| {
        edit.edit = unit(r#" nc:operation="replace""#, "<vlan-id>8</vlan-id>");
        edit.inverse = unit("", "<vlan-id>8</vlan-id>");
        edit.after = Condition::Contains(unit("", "<vlan-id>8</vlan-id>"));
        edit.before = edit.after.clone();
    });
    let report = lab.recover(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:#?}");
    assert_eq!([1, 2].map(|n| found(&lab, n)), [values("8", None), values("8", None)]);
}

#[tokio::test]
async fn a_device_that_lies_about_one_of_several_conditions_is_found_out() {
    let lab = lab().await;
    let report = lab
        .deploy(&changed(&lab, |edit| {
            modify(edit);
            // The edit doesn't do what the second condition says.
            edit.edit = unit("", "<vlan-id>9</vlan-id>");
        }))
        .await;
    assert_eq!(classes(&report, 0), [FailureClass::BrokenPeer], "{report:#?}");
    assert!(report.devices[0].failures[0].message.contains("still there"), "{report:#?}");
    assert_eq!(found(&lab, 1), values("8", Some("1500")));
}

#[tokio::test]
async fn nothing_to_edit_is_done_without_an_edit() {
    let lab = lab().await;
    let report = lab
        .deploy(&changed(&lab, |edit| {
            edit.edit = String::new();
            edit.inverse = String::new();
            edit.after = Condition::Contains(unit("", "<vlan-id>8</vlan-id>"));
            edit.before = edit.after.clone();
        }))
        .await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:#?}");
    assert!(!steps(&report, 0).contains(&"edit-config"), "{report:#?}");
    assert_eq!(found(&lab, 1), values("8", Some("1500")));
}
