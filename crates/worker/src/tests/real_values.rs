//! netconfd shows values in its own way: hides defaults, keeps the order of entries.

use turnup_core::{
    audit::{AuditWork, ConfigAudit, ConfigWork, Drift},
    drift::{OnDrift, WholeService},
    lifecycle::DeploymentEvent,
    message::{Condition, Deployment, InForce, Purpose},
    nodes::NodeFacts,
    profile::ListMoves,
};

use super::{
    lab,
    real::{Real, edit},
};

fn audit(deployment: &Deployment, config: ConfigWork) -> Deployment {
    let mut look = deployment.clone();
    look.purpose = Purpose::Audit;
    for work in &mut look.devices {
        work.edits.clear();
        work.audit = Some(AuditWork { config: Some(config.clone()), checks: Vec::new() });
    }
    look
}

#[tokio::test]
async fn netconfd_that_hides_defaults_is_provisioned_and_in_sync() {
    for style in ["--default-style=trim", "--default-style=report-all"] {
        let Some(real) = Real::start_as(style) else { return };
        let provision = real.deployment("eth1", "ethernetCsmacd");
        let report = real.run(&provision, false).await;
        assert_eq!(report.event, DeploymentEvent::Committed, "{style} {report:#?}");
        let edit = edit(provision.orders[0], "eth1", "ethernetCsmacd");
        let config = ConfigWork {
            footprint: edit.edit,
            filter: edit.filter,
            owned: vec!["/interfaces/interface[name='eth1']".to_owned()],
            keys: edit.keys,
            nodes: NodeFacts::default(),
        };
        let report = real.run(&audit(&provision, config), false).await;
        for device in &report.devices {
            assert_eq!(device.audit.as_ref().unwrap().config, ConfigAudit::InSync, "{style} {report:#?}");
        }
    }
}

#[tokio::test]
async fn netconfd_refuses_relative_moves_and_its_profile_has_entries_made_again() {
    let yang = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/yang");
    let Some(real) =
        Real::start_with("", &[("YANG", yang), ("MODULES", "iana-if-type ietf-interfaces rules")])
    else {
        return;
    };
    let acl = |inside: &str| format!("<acl xmlns=\"urn:turnup:rules\">{inside}</acl>");
    let entries = |names: &[&str]| {
        acl(&names
            .iter()
            .map(|name| format!("<entry><name>{name}</name></entry>"))
            .chain(names.iter().map(|name| format!("<tag>{name}</tag>")))
            .collect::<String>())
    };
    let attributes =
        "xmlns:yang=\"urn:ietf:params:xml:ns:yang:1\" xmlns:k=\"urn:turnup:rules\" yang:insert=\"after\"";
    let moved = |name: &str, behind: &str| {
        acl(&format!(
            "<entry {attributes} yang:key=\"[k:name='{behind}']\"><name>{name}</name></entry>\
             <tag {attributes} yang:value=\"{behind}\">{name}</tag>"
        ))
    };
    let facts =
        NodeFacts { ordered: ["acl/entry", "acl/tag"].map(str::to_owned).into(), ..NodeFacts::default() };
    let keys = [("entry", "name"), ("tag", ".")].map(|(list, key)| (list.to_owned(), vec![key.to_owned()]));
    let (old, new) = (["deny-all", "permit-mgmt"], ["permit-mgmt", "deny-all"]);
    let deployment = |text: String, inverse: String, before: Condition, after: &[&str]| {
        let mut deployment = real.deployment("eth1", "ethernetCsmacd");
        for work in &mut deployment.devices {
            let edit = &mut work.edits[0];
            edit.edit = text.clone();
            edit.inverse = inverse.clone();
            edit.filter = "<acl xmlns=\"urn:turnup:rules\"/>".to_owned();
            edit.before = before.clone();
            edit.after = Condition::Contains(entries(after));
            edit.keys = keys.clone().into();
            edit.nodes = facts.clone();
        }
        deployment
    };
    let gone = "<acl xmlns=\"urn:turnup:rules\" xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\" nc:operation=\"remove\"/>";
    let nothing = Condition::Lacks("<acl xmlns=\"urn:turnup:rules\"/>".to_owned());
    let provision = deployment(entries(&old), gone.to_owned(), nothing, &old);
    let report = real.run(&provision, false).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:#?}");

    let config = |names: &[&str]| ConfigWork {
        footprint: entries(names),
        filter: "<acl xmlns=\"urn:turnup:rules\"/>".to_owned(),
        owned: vec!["/acl".to_owned()],
        keys: keys.clone().into(),
        nodes: facts.clone(),
    };
    let drifts = async |names: &[&str]| {
        let report = real.run(&audit(&provision, config(names)), false).await;
        let audit = report.devices[0].audit.clone().unwrap();
        audit.differences.iter().map(|difference| difference.drift).collect::<Vec<_>>()
    };
    assert_eq!(drifts(&old).await, []);
    assert_eq!(drifts(&new).await, [Drift::Order, Drift::Order]);
    let before = Condition::Contains(entries(&old));
    let inverse = moved("permit-mgmt", "deny-all");
    let modify = deployment(moved("deny-all", "permit-mgmt"), inverse, before, &new);
    // This server resolves no `yang:key` or `yang:value` (RFC 7950 §7.8.6), however they are written.
    let report = real.run(&modify, false).await;
    assert_eq!(report.event, DeploymentEvent::RolledBack, "{report:#?}");
    assert_eq!(lab::in_force(&report), [InForce::Old, InForce::Old]);
    let failure =
        report.devices.iter().flat_map(|device| &device.failures).find(|failure| failure.error_tag.is_some());
    assert_eq!(failure.unwrap().error_tag.as_deref(), Some("bad-attribute"), "{report:#?}");
    assert_eq!(drifts(&old).await, []);

    let anew = |names: &[&str]| {
        let replace = "xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\" nc:operation=\"replace\"";
        let [first, last] = names else { panic!("two entries") };
        let key = format!("{attributes} yang:key=\"[k:name='{first}']\"");
        let value = format!("{attributes} yang:value=\"{first}\"");
        acl(&format!(
            "<entry {replace}><name>{first}</name></entry><entry {replace} {key}><name>{last}</name></entry>\
             <tag {replace}>{first}</tag><tag {replace} {value}>{last}</tag>"
        ))
    };
    let mut modify = modify;
    for work in &mut modify.devices {
        work.profile.list_moves = ListMoves::Recreate;
        work.edits[0].whole = Some(Box::new(WholeService {
            before: entries(&old),
            rewrite: Some(anew(&new)),
            owned: vec![
                "/acl/entry[name='deny-all']".to_owned(),
                "/acl/entry[name='permit-mgmt']".to_owned(),
            ],
            inside: NodeFacts::default(),
            on_drift: OnDrift::Refuse,
        }));
    }
    let report = real.run(&modify, false).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:#?}");
    assert_eq!(drifts(&new).await, []);
}
