//! Passwords: sent, compared by what a device shows of them, and in nothing that leaves the worker.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use proptest::prelude::*;
use turnup_core::{
    audit::{AuditWork, ConfigAudit, ConfigWork, Drift},
    failure::FailureClass,
    id::OrderId,
    lifecycle::DeploymentEvent,
    message::{Condition, Deployment, DeviceEdit, InForce, Purpose},
    nodes::NodeFacts,
    profile::{ConfirmedCommitUse, Profile, Profiles},
    secret::MASK,
};
use turnup_device_sim::{
    Personality,
    behaviour::{Act, Behaviour, Fault, Moment, Refusal},
    personality::Secrets,
};
use turnup_netconf::{crypt_hash, message::ErrorTag};

use super::lab::*;
use crate::deploy::Outcome;

const OLD: &str = "$0$winter is coming";
const NEW: &str = "$0$hunter2 <&> \"'é";
const PASSWORD: &str = "users/user/password";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn users(operation: &str, inside: &str) -> String {
    format!(
        r#"<users xmlns="urn:turnup:sim"><user xmlns:nc="urn:ietf:params:xml:ns:netconf:base:1.0"{operation}><name>ops</name>{inside}</user></users>"#
    )
}

fn with_password(password: &str) -> String {
    users("", &format!("<password>{}</password>", escaped(password)))
}

fn facts(write_only: bool) -> NodeFacts {
    let set = BTreeSet::from([PASSWORD.to_owned()]);
    match write_only {
        true => NodeFacts { write_only: set, ..NodeFacts::default() },
        false => NodeFacts { secret: set, ..NodeFacts::default() },
    }
}

/// Gives the user a password; `old`: the one before.
fn edit_of(order: OrderId, old: Option<&str>, new: &str, nodes: NodeFacts) -> DeviceEdit {
    DeviceEdit {
        order,
        edit: with_password(new),
        inverse: old.map_or_else(|| users(r#" nc:operation="remove""#, ""), with_password),
        filter: users("", ""),
        after: Condition::Contains(with_password(new)),
        before: match old {
            Some(old) => Condition::Contains(with_password(old)),
            None => Condition::Lacks(users("", "")),
        },
        keys: BTreeMap::from([("user".to_owned(), vec!["name".to_owned()])]),
        nodes,
        joint: Vec::new(),
        whole: None,
    }
}

fn deployment(lab: &Lab, old: Option<&str>, new: &str, write_only: bool) -> Deployment {
    let mut deployment = lab.deployment(&[1, 2], "");
    deployment.limits.confirm_timeout_s = 2;
    let order = deployment.orders[0];
    for work in &mut deployment.devices {
        work.edits = vec![edit_of(order, old, new, facts(write_only))];
    }
    deployment
}

fn refuse(message: &str) -> Act {
    Act::Refuse(Refusal { message: Some(message.to_owned()), ..Refusal::new(ErrorTag::InvalidValue) })
}

/// Whether a device has this password.
fn has(lab: &Lab, n: usize, password: &str) -> bool {
    let kept = lab.device(n).running().get("/users/user[name='ops']/password").map(|value| value.to_string());
    kept.is_some_and(|kept| kept.starts_with("$6$") && crypt_hash::may_be(&kept, password))
}

/// Everything that a worker hands out.
fn all_text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Report(messages) => {
            messages.iter().map(|message| String::from_utf8_lossy(&message.body).into_owned()).collect()
        }
        other => format!("{other:?}"),
    }
}

fn assert_hidden(text: &str, context: &str) {
    for secret in [OLD, NEW] {
        let bare = secret.trim_start_matches("$0$");
        for written in [bare.to_owned(), escaped(bare), bare.chars().take(8).collect()] {
            let json = serde_json::to_string(&written).unwrap();
            for written in [&written, json.trim_matches('"')] {
                assert!(!text.contains(written), "{context}: {written} in {text}");
            }
        }
    }
}

/// The ways in which devices show a password, and whether it is declared as write-only.
fn shown() -> [(Personality, bool); 3] {
    let with = |secrets| Personality { secrets, ..Personality::DEFAULT };
    [(Personality::DEFAULT, false), (with(Secrets::Masked), false), (with(Secrets::Hidden), true)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn password_completes_however_a_device_shows_it() {
    for (personality, write_only) in shown() {
        let lab = Lab::of_personality(2, personality, Profile::default()).await;
        let mut old = None;
        for new in [OLD, NEW, NEW] {
            let outcome = lab.run(&deployment(&lab, old, new, write_only), false).await;
            assert_hidden(&all_text(&outcome), "a success");
            let report = reported(outcome);
            assert_eq!(report.event, DeploymentEvent::Committed, "{:?}: {report:?}", personality.secrets);
            assert!(has(&lab, 1, new) && has(&lab, 2, new), "{:?}", personality.secrets);
            old = Some(new);
        }
    }
}

#[tokio::test]
async fn device_that_keeps_another_password_is_found_out() {
    let lab = Lab::start(2).await;
    let wrong = with_password(OLD);
    let mut deployment = deployment(&lab, None, NEW, false);
    // What is sent is not what is wanted.
    deployment.devices[1].edits[0].edit = wrong;
    let report = lab.deploy(&deployment).await;
    assert_eq!(in_force(&report), [InForce::Old, InForce::Old]);
    let failure = &report.devices[1].failures[0];
    assert_eq!(failure.class, FailureClass::BrokenPeer);
    assert!(failure.message.contains("user[name='ops']/password has another value"), "{failure:?}");
}

#[tokio::test]
async fn what_a_device_quotes_is_masked_in_report_and_transcript() {
    let bare = NEW.trim_start_matches("$0$");
    for (message, operation) in [
        (format!("'{NEW}' is too short"), "edit-config"),
        (format!("password {bare} is in a dictionary"), "edit-config"),
        (format!("error near \"{}...\"", bare.chars().take(9).collect::<String>()), "confirmed-commit"),
        (format!("&lt;password&gt;{}&lt;/password&gt;", escaped(bare)), "confirmed-commit"),
    ] {
        let lab = Lab::start(2).await;
        let act = refuse(&message);
        let faults = vec![Fault { occurrence: 0, ..Fault::before(operation, act) }];
        lab.behave(2, Behaviour { faults, ..Behaviour::default() }).await;
        let outcome = lab.run(&deployment(&lab, None, NEW, false), false).await;
        assert_hidden(&all_text(&outcome), &message);
        let said = transcript(outcome).unwrap();
        assert!(format!("{said:?}").contains("<password>***</password>"), "{said:?}");
        assert!(format!("{said:?}").contains(MASK), "{said:?}");
    }
}

#[tokio::test]
async fn secret_of_one_character_leaves_other_texts_readable() {
    let lab = Lab::start(2).await;
    for (message, is_shown) in [("a bad password", false), ("the password is bad", true)] {
        lab.behave(
            2,
            Behaviour { faults: vec![Fault::before("edit-config", refuse(message))], ..Behaviour::default() },
        )
        .await;
        let report = lab.deploy(&deployment(&lab, None, "$0$a", false)).await;
        let shown = &report.devices[1].failures[0].message;
        assert_eq!(shown.contains("bad"), is_shown, "{shown}");
    }
}

/// Neither answer, the old password nor the new one, is guessed: what is reported is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn report_on_a_lost_connection_tells_which_password_is_in_force() {
    let profiles = Profiles::shipped().unwrap();
    let junos = turnup_core::name::PlatformName::new("junos").map(|name| profiles.of(&name)).unwrap();
    let for_good = Profile { confirmed_commit: ConfirmedCommitUse::Never, ..Profile::default() };
    let unit = std::time::Duration::from_secs(1);
    let mut cases = Vec::new();
    for (personality, write_only) in shown() {
        for profile in [Profile::default(), for_good.clone()] {
            cases.push((personality, profile, write_only));
        }
        let confirmed_commit = turnup_device_sim::personality::ConfirmedCommit::V1_0;
        let v1_0 = Personality { confirmed_commit, timeout_unit: unit, ..personality };
        cases.push((v1_0, Profile { confirm_timeout_step_s: 0, ..junos.clone() }, write_only));
        let running = Personality { candidate: false, ..personality };
        cases.push((running, Profile::default(), write_only));
    }
    join_all(cases.into_iter().map(async |(personality, profile, write_only)| {
        for operation in ["commit", "confirmed-commit", "confirming-commit", "edit-config"] {
            for moment in [Moment::Before, Moment::After] {
                let lab = Lab::of_personality(2, personality, profile.clone()).await;
                let first = lab.deploy(&deployment(&lab, None, OLD, write_only)).await;
                assert_eq!(first.event, DeploymentEvent::Committed, "{first:?}");
                let fault = Fault { moment, ..Fault::before(operation, Act::Drop) };
                lab.behave(2, Behaviour { faults: vec![fault], ..Behaviour::default() }).await;
                let report = lab.deploy(&deployment(&lab, Some(OLD), NEW, write_only)).await;
                let context = format!(
                    "{:?} {:?} {operation} {moment:?}: {report:?}",
                    personality.secrets, profile.confirmed_commit
                );
                for n in [1, 2] {
                    let right = match in_force(&report)[n - 1] {
                        InForce::Old => has(&lab, n, OLD),
                        InForce::New => has(&lab, n, NEW),
                        _ => false,
                    };
                    assert!(right, "device {n}: {context}");
                }
                assert_hidden(&serde_json::to_string(&report).unwrap(), &context);
            }
        }
    }))
    .await;
}

#[tokio::test]
async fn worker_that_takes_over_leaves_the_new_password_or_the_old_one() {
    for stage in [Stage::Prepared, Stage::Committed, Stage::Confirmed] {
        let lab = Lab::start(2).await;
        lab.deploy(&deployment(&lab, None, OLD, false)).await;
        let second = deployment(&lab, Some(OLD), NEW, false);
        lab.leave(1, &second, stage).await;
        let report = lab.recover(&second).await;
        assert_eq!(report.event, DeploymentEvent::Committed, "{stage:?}: {report:?}");
        assert!(has(&lab, 1, NEW) && has(&lab, 2, NEW), "{stage:?}");
    }
}

fn audit(lab: &Lab, wanted: &str, nodes: NodeFacts) -> Deployment {
    let mut deployment = lab.deployment(&[1], "");
    deployment.purpose = Purpose::Audit;
    let work = &mut deployment.devices[0];
    work.edits.clear();
    work.audit = Some(AuditWork {
        config: Some(ConfigWork {
            footprint: wanted.to_owned(),
            filter: users("", ""),
            owned: vec!["/users/user[name='ops']".to_owned()],
            keys: BTreeMap::from([("user".to_owned(), vec!["name".to_owned()])]),
            nodes,
        }),
        checks: Vec::new(),
    });
    deployment
}

#[tokio::test]
async fn audit_finds_another_password_and_shows_neither() {
    let lab = Lab::start(2).await;
    lab.deploy(&deployment(&lab, None, OLD, false)).await;
    let looked = lab.deploy(&audit(&lab, &with_password(OLD), facts(false))).await;
    assert_eq!(looked.devices[0].audit.as_ref().unwrap().config, ConfigAudit::InSync, "{looked:?}");
    let outcome = lab.run(&audit(&lab, &with_password(NEW), facts(false)), false).await;
    assert_hidden(&all_text(&outcome), "audit");
    let report = reported(outcome);
    let found = report.devices[0].audit.as_ref().unwrap();
    assert_eq!((found.config, found.differences_in_all), (ConfigAudit::Drifted, 1), "{found:?}");
    let difference = &found.differences[0];
    assert_eq!((difference.drift, difference.wanted.as_deref()), (Drift::Changed, Some(MASK)));
}

#[tokio::test]
async fn opaque_value_that_a_device_writes_anew_is_in_order() {
    let personality = Personality { secrets: Secrets::Dollar9, ..Personality::DEFAULT };
    let lab = Lab::of_personality(2, personality, Profile::default()).await;
    let key = users("", "<public-key>ssh-ed25519 AAAA</public-key>");
    let opaque = BTreeSet::from(["users/user/public-key".to_owned()]);
    for (opaque, completes) in [(BTreeSet::new(), false), (opaque.clone(), true)] {
        let mut deployment = deployment(&lab, None, NEW, false);
        for work in &mut deployment.devices {
            let edit = &mut work.edits[0];
            edit.edit = key.clone();
            edit.after = Condition::Contains(key.clone());
            edit.nodes = NodeFacts { opaque: opaque.clone(), ..NodeFacts::default() };
        }
        let report = lab.deploy(&deployment).await;
        assert_eq!(report.event == DeploymentEvent::Committed, completes, "{report:?}");
    }
    let facts = NodeFacts { opaque, ..NodeFacts::default() };
    let looked = lab.deploy(&audit(&lab, &key, facts.clone())).await;
    assert_eq!(looked.devices[0].audit.as_ref().unwrap().config, ConfigAudit::InSync, "{looked:?}");
    let both = users("", "<public-key>x</public-key><description>missing</description>");
    let looked = lab.deploy(&audit(&lab, &both, facts)).await;
    let found = &looked.devices[0].audit.as_ref().unwrap().differences;
    assert!(found.len() == 1 && found[0].path.ends_with("/description"), "{found:?}");
}

proptest! {
    /// Whatever a password is made of and however a device quotes it.
    #[test]
    fn no_password_is_in_what_is_kept_of_an_exchange(
        secret in "[a-zA-Z0-9<>&\"'$.*+?^(){}|\\\\äß漢🙂]{5,30}",
        before in "[a-z '\":=]{0,12}",
    ) {
        use turnup_netconf::{message::{ErrorType, Reply, RpcError}, operation::{Datastore, EditConfig, Operation}, xml::{Limits, parse_str}};
        use crate::{secrets::Secrets as Known, transcript::{Scribe, SecretNames}};
        prop_assume!(!MASK.contains(&secret) && !"***".contains(&secret) && !format!("{before}{MASK}").contains(&secret));
        let lab_edit = edit_of(OrderId(uuid::Uuid::nil()), None, &secret, facts(false));
        let xml = format!("<x>{}</x>", lab_edit.edit);
        let mut work: turnup_core::message::DeviceWork = serde_json::from_value(serde_json::json!({
            "device": "pe1", "address": "192.0.2.1", "port": 830, "platform": "sim", "host_key": null, "credential": null, "epoch": 1,
        })).unwrap();
        work.edits = vec![lab_edit];
        let known = Known::of(&work);
        let names = SecretNames::new(&[]);
        let mut scribe = Scribe::new(&names, 1).knowing(&known);
        let config = parse_str(&xml, &Limits::default()).unwrap();
        let operation = Operation::edit_config(EditConfig::new(Datastore::Candidate, config.into_children()));
        let mut reply = Reply::with_errors([RpcError::new(ErrorType::Application, ErrorTag::InvalidValue)
            .with_message(format!("{before}{secret}"))
            .with_path(format!("/users/user[password='{secret}']"))]);
        known.clean_reply(&mut reply);
        scribe.exchange("edit-config", 1, &[operation], &Ok(vec![reply.clone()]));
        let said = scribe.end(turnup_core::name::DeviceName::new("pe1").unwrap());
        let failures = crate::classify::of_reply(crate::classify::Step::Edit, &reply);
        for text in [serde_json::to_string(&said).unwrap(), serde_json::to_string(&failures).unwrap()] {
            for written in [secret.clone(), escaped(&secret), serde_json::to_string(&secret).unwrap().trim_matches('"').to_owned()] {
                prop_assert!(!text.contains(&written), "{} in {}", written, text);
            }
        }
    }
}
