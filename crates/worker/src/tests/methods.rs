//! Devices of every kind, alone and with one another: all or none, whatever they can do. The simulator's
//! journal says what was done.

use futures_util::future::join_all;
use turnup_core::{
    failure::FailureClass,
    lifecycle::DeploymentEvent,
    message::{Condition, Deployment, DeviceEdit, Guarantee, InForce, StateChange},
};
use turnup_device_sim::{
    Profile,
    behaviour::{Act, Behaviour, Fault, Lie, Moment, Refusal},
};
use turnup_netconf::{
    message::ErrorTag,
    operation::{Datastore, EditConfig, Operation},
};

use super::lab::*;

pub(super) const KINDS: [(Profile, Guarantee); 5] = [
    (Profile::Full, Guarantee::ConfirmedCommit11),
    (Profile::ConfirmedCommit10, Guarantee::ConfirmedCommit10),
    (Profile::Candidate, Guarantee::Candidate),
    (Profile::WritableRunning, Guarantee::WritableRunning),
    (Profile::WritableRunningBare, Guarantee::WritableRunning),
];

pub(super) fn playing(profile: Profile) -> Behaviour {
    Behaviour { profile, ..Behaviour::default() }
}

pub(super) fn faulty(profile: Profile, faults: Vec<Fault>) -> Behaviour {
    Behaviour { profile, faults, ..Behaviour::default() }
}

fn refuse(tag: ErrorTag) -> Act {
    Act::Refuse(Refusal::new(tag))
}

/// The request that puts the edit in force, for good or not.
pub(super) fn committing(profile: Profile, moment: Moment, act: Act) -> Fault {
    let fault = match profile {
        Profile::Full | Profile::ConfirmedCommit10 => Fault::before("confirmed-commit", act),
        Profile::Candidate => Fault::before("commit", act),
        // The first one only tests.
        Profile::WritableRunning => Fault::before("edit-config", act).at(2),
        Profile::WritableRunningBare => Fault::before("edit-config", act),
    };
    Fault { moment, ..fault }
}

/// A lab with two devices per pair of kinds, and these pairs with the numbers of their devices.
async fn pairs() -> (Lab, Vec<[(Profile, usize); 2]>) {
    let kinds = KINDS.map(|(profile, _)| profile);
    let mut pairs = Vec::new();
    for a in kinds {
        for b in kinds {
            let n = pairs.len() * 2;
            pairs.push([(a, n + 1), (b, n + 2)]);
        }
    }
    let lab = Lab::start(u16::try_from(pairs.len() * 2).unwrap()).await;
    (lab, pairs)
}

const UNIT: &str = "/interfaces/interface[name='ge-0']/unit[id='7']";

fn unit(operation: &str, inside: &str) -> String {
    format!(
        r#"<interfaces xmlns="urn:turnup:sim" xmlns:nc="urn:ietf:params:xml:ns:netconf:base:1.0"><interface><name>ge-0</name><unit{operation}><id>7</id>{inside}</unit></interface></interfaces>"#
    )
}

/// Another VLAN, and no MTU any more.
fn modify(mut deployment: Deployment) -> Deployment {
    let before = unit("", "<vlan-id>8</vlan-id><mtu>1500</mtu>");
    for edit in deployment.devices.iter_mut().flat_map(|work| &mut work.edits) {
        *edit = DeviceEdit {
            edit: unit("", r#"<vlan-id>9</vlan-id><mtu nc:operation="remove"/>"#),
            inverse: before.clone(),
            filter: unit("", ""),
            after: Condition::All(vec![
                Condition::Contains(unit("", "<vlan-id>9</vlan-id>")),
                Condition::Lacks(unit("", "<mtu/>")),
            ]),
            before: Condition::Contains(before.clone()),
            keys: [("interface", "name"), ("unit", "id")]
                .map(|(list, key)| (list.to_owned(), vec![key.to_owned()]))
                .into(),
            ..edit.clone()
        };
    }
    deployment
}

/// VLAN and MTU.
fn found(lab: &Lab, n: usize) -> [Option<String>; 2] {
    let running = lab.device(n).running();
    lab.assert_clean(n);
    ["vlan-id", "mtu"].map(|leaf| running.get(&format!("{UNIT}/{leaf}")).map(|value| value.to_string()))
}

/// What the journal says was done at a device, in order.
fn kinds(lab: &Lab, n: usize) -> Vec<String> {
    let name = lab.device(n).name().to_owned();
    let journal = lab.simulator.journal().unwrap().into_iter();
    let own = journal.filter(|record| record.device == name && record.session != 0);
    own.map(|record| serde_json::to_value(record.kind).unwrap().as_str().unwrap().to_owned()).collect()
}

fn guarantees(report: &StateChange) -> Vec<Option<Guarantee>> {
    report.devices.iter().map(|device| device.guarantee).collect()
}

#[tokio::test]
async fn each_kind_is_provisioned_modified_and_cleared_and_says_how() {
    for (profile, guarantee) in KINDS {
        let lab = Lab::start(1).await;
        lab.behave(1, playing(profile)).await;
        let report = lab.deploy(&lab.deployment(&[1], "one")).await;
        assert_eq!(report.event, DeploymentEvent::Committed, "{profile:?} {report:#?}");
        assert_eq!(guarantees(&report), [Some(guarantee)]);
        lab.assert_all(&[1], Some("one"));
        let done: &[&str] = match guarantee.goes_back_by_itself() {
            true => &["provisional", "confirmed"],
            false => &["committed"],
        };
        assert_eq!(kinds(&lab, 1), done, "{profile:?}");

        lab.device(1).edit_running(&unit("", "<vlan-id>8</vlan-id><mtu>1500</mtu>")).unwrap();
        let report = lab.deploy(&modify(lab.deployment(&[1], "x"))).await;
        assert_eq!(report.event, DeploymentEvent::Committed, "{profile:?} {report:#?}");
        assert_eq!(found(&lab, 1), [Some("9".to_owned()), None], "{profile:?}");
        assert!(!steps(&report, 0).contains(&"connect"), "the locks are given back: {report:#?}");

        let mut gone = lab.deployment(&[1], "one");
        gone.devices[0].edits = vec![reversed(edit(gone.orders[0], "one"))];
        // Once more, when there is nothing left to remove.
        for _ in 0..2 {
            let report = lab.deploy(&gone).await;
            assert_eq!(report.event, DeploymentEvent::Committed, "{profile:?} {report:#?}");
            lab.assert_all(&[1], None);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_two_kinds_get_it_together() {
    let (lab, pairs) = pairs().await;
    let lab = &lab;
    let runs = pairs.into_iter().map(|pair| async move {
        for (profile, n) in pair {
            lab.behave(n, playing(profile)).await;
        }
        let at = pair.map(|(_, n)| n);
        let report = lab.deploy(&lab.deployment(&at, "one")).await;
        assert_eq!(report.event, DeploymentEvent::Committed, "{pair:?} {report:#?}");
        lab.assert_all(&at, Some("one"));
    });
    join_all(runs.map(Box::pin)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_one_of_any_two_kinds_refuses_neither_has_it() {
    for changed in [false, true] {
        let (lab, pairs) = pairs().await;
        let lab = &lab;
        let runs = pairs.into_iter().map(|pair| async move {
            let [(a, first), (b, second)] = pair;
            let old = unit("", "<vlan-id>8</vlan-id><mtu>1500</mtu>");
            if changed {
                lab.device(first).edit_running(&old).unwrap();
                lab.device(second).edit_running(&old).unwrap();
            }
            lab.behave(first, playing(a)).await;
            let refusal = committing(b, Moment::Before, refuse(ErrorTag::DataExists));
            lab.behave(second, faulty(b, vec![refusal])).await;
            let at = [first, second];
            let deployment = lab.deployment(&at, "one");
            let report = lab.deploy(&if changed { modify(deployment) } else { deployment }).await;
            assert_eq!(report.event, DeploymentEvent::Rejected, "{pair:?} {report:#?}");
            assert_eq!(in_force(&report), [InForce::Old; 2], "{pair:?} {report:#?}");
            assert_eq!(classes(&report, 0), [FailureClass::Undone], "{pair:?} {report:#?}");
            assert_eq!(classes(&report, 1), [FailureClass::Invalid], "{pair:?} {report:#?}");
            if changed {
                let old = [Some("8".to_owned()), Some("1500".to_owned())];
                assert_eq!(at.map(|n| found(lab, n)), [old.clone(), old], "{pair:?}");
            }
            lab.assert_all(&at, None);
            assert!(!kinds(lab, first).contains(&"confirmed".to_owned()), "{pair:?}");
        });
        join_all(runs.map(Box::pin)).await;
    }
}

#[tokio::test]
async fn what_commits_for_good_waits_for_what_can_be_taken_back() {
    // The one that can go back refuses: the other has never committed.
    for (profile, _) in &KINDS[2..] {
        for strong in [Profile::Full, Profile::ConfirmedCommit10] {
            let lab = Lab::start(2).await;
            lab.behave(1, playing(*profile)).await;
            let refusal = committing(strong, Moment::Before, refuse(ErrorTag::DataExists));
            lab.behave(2, faulty(strong, vec![refusal])).await;
            let report = lab.deploy(&lab.deployment(&[1, 2], "one")).await;
            assert_eq!(report.event, DeploymentEvent::Rejected, "{report:#?}");
            assert!(kinds(&lab, 1).is_empty(), "{profile:?}: {:?}", kinds(&lab, 1));
        }
    }
}

#[tokio::test]
async fn what_running_would_refuse_is_found_before_any_device_commits() {
    let lab = Lab::start(2).await;
    lab.behave(1, playing(Profile::Candidate)).await;
    lab.behave(2, playing(Profile::WritableRunning)).await;
    let mut deployment = lab.deployment(&[1, 2], "one");
    deployment.devices[1].edits = vec![edit(deployment.orders[0], &"x".repeat(300))];
    let report = lab.deploy(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::Rejected, "{report:#?}");
    assert_eq!((report.phase.as_str(), classes(&report, 1)), ("undo", vec![FailureClass::Invalid]));
    assert!(lab.simulator.journal().unwrap().is_empty());
    assert_eq!(lab.shared.pool.len(), 2, "a refusal costs no session");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_lost_around_the_change_never_leaves_a_mixture() {
    for moment in [Moment::Before, Moment::After] {
        for act in [Act::Drop, Act::Garbage, refuse(ErrorTag::OperationFailed), Act::Hang] {
            let (lab, pairs) = pairs().await;
            let (lab, act) = (&lab, &act);
            let runs = pairs.into_iter().map(|pair| async move {
                let [(a, first), (b, second)] = pair;
                lab.behave(first, playing(a)).await;
                lab.behave(second, faulty(b, vec![committing(b, moment, act.clone())])).await;
                let mut deployment = lab.deployment(&[first, second], "one");
                deployment.limits.rpc_timeout_ms = 1_500;
                let report = lab.deploy(&deployment).await;
                let values = [lab.value(first), lab.value(second)];
                let say = format!("{pair:?} {moment:?} {act:?}: {values:?} {report:#?}");
                assert_eq!(values[0], values[1], "a mixture: {say}");
                let wanted = if values[0].is_some() { InForce::New } else { InForce::Old };
                assert_eq!(in_force(&report), [wanted; 2], "a wrong word: {say}");
                lab.assert_clean(first);
                lab.assert_clean(second);
                // Where the commit was for good and only its answer lost, it is not given up.
                let for_good = !KINDS.iter().any(|(p, g)| *p == b && g.goes_back_by_itself());
                if for_good && *act == Act::Drop {
                    let done = if moment == Moment::After { InForce::New } else { InForce::Old };
                    assert_eq!(wanted, done, "{say}");
                }
            });
            join_all(runs.map(Box::pin)).await;
        }
    }
}

#[tokio::test]
async fn a_lost_confirm_of_one_session_goes_through_all_the_same() {
    for other in [Profile::Full, Profile::ConfirmedCommit10, Profile::Candidate] {
        for moment in [Moment::Before, Moment::After] {
            let lab = Lab::start(2).await;
            lab.behave(1, playing(other)).await;
            // The provisional commit is the first.
            let fault = Fault { moment, ..Fault::before("commit", Act::Drop).at(2) };
            lab.behave(2, faulty(Profile::ConfirmedCommit10, vec![fault])).await;
            let report = lab.deploy(&lab.deployment(&[1, 2], "one")).await;
            assert_eq!(report.event, DeploymentEvent::Committed, "{other:?} {moment:?} {report:#?}");
            lab.assert_all(&[1, 2], Some("one"));
        }
    }
}

#[tokio::test]
async fn a_commit_of_one_session_that_outlives_it_is_taken_back() {
    // It commits for good whatever it says, so only the inverse edit helps once its time is over.
    let lab = Lab::start(2).await;
    let lie = Some(Lie::ConfirmedCommitIsFinal);
    lab.behave(1, Behaviour { lie, ..playing(Profile::ConfirmedCommit10) }).await;
    let refusal = committing(Profile::Candidate, Moment::Before, refuse(ErrorTag::InvalidValue));
    lab.behave(2, faulty(Profile::Candidate, vec![refusal])).await;
    let mut deployment = lab.deployment(&[1, 2], "one");
    deployment.limits.confirm_timeout_s = 1;
    let report = lab.deploy(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::Rejected, "{report:#?}");
    lab.assert_all(&[1, 2], None);
}

#[tokio::test]
async fn one_that_says_ok_and_changes_nothing_is_found_out() {
    for first in [Profile::Full, Profile::WritableRunning] {
        let lab = Lab::start(2).await;
        lab.behave(1, playing(first)).await;
        let lie = Some(Lie::CommitChangesNothing);
        lab.behave(2, Behaviour { lie, ..playing(Profile::Candidate) }).await;
        let report = lab.deploy(&lab.deployment(&[1, 2], "one")).await;
        assert_eq!(report.event, DeploymentEvent::RolledBack, "{report:#?}");
        assert_eq!(classes(&report, 1), [FailureClass::BrokenPeer], "{report:#?}");
        lab.assert_all(&[1, 2], None);
    }
}

#[tokio::test]
async fn the_inverse_edit_is_repeated_until_it_is_in() {
    let lab = Lab::start(2).await;
    // The first to commit for good; its way back is disturbed twice.
    let faults =
        vec![Fault::before("edit-config", Act::Drop).at(3), Fault::after("edit-config", Act::Drop).at(4)];
    lab.behave(1, faulty(Profile::WritableRunning, faults)).await;
    let refusal = committing(Profile::Candidate, Moment::Before, refuse(ErrorTag::InvalidValue));
    lab.behave(2, faulty(Profile::Candidate, vec![refusal])).await;
    let report = lab.deploy(&lab.deployment(&[1, 2], "one")).await;
    assert_eq!(report.event, DeploymentEvent::Rejected, "{report:#?}");
    assert_eq!(in_force(&report), [InForce::Old; 2], "{report:#?}");
    assert_eq!(kinds(&lab, 1), ["committed", "committed"], "there and back");
    lab.assert_all(&[1, 2], None);
}

/// The first part goes in, the second is refused: there is such a unit.
fn half(mut deployment: Deployment, at: usize) -> Deployment {
    for edit in &mut deployment.devices[at].edits {
        edit.edit.push_str(&unit(r#" nc:operation="create""#, ""));
        edit.filter = r#"<interfaces xmlns="urn:turnup:sim"/>"#.to_owned();
        edit.inverse = r#"<interfaces xmlns="urn:turnup:sim" xmlns:nc="urn:ietf:params:xml:ns:netconf:base:1.0"><interface><name>ge-0</name><description nc:operation="remove"/></interface></interfaces>"#.to_owned();
        let gone = r#"<interfaces xmlns="urn:turnup:sim"><interface><name>ge-0</name><description/></interface></interfaces>"#;
        edit.before = Condition::Lacks(gone.to_owned());
    }
    deployment
}

#[tokio::test]
async fn a_part_of_an_edit_that_failed_is_taken_back() {
    for (profile, journal) in [
        (Profile::WritableRunningBare, &["committed", "committed"][..]),
        // All of it is rolled back, so there is nothing to take back.
        (Profile::WritableRunning, &[][..]),
    ] {
        let lab = Lab::start(2).await;
        lab.behave(1, playing(Profile::Full)).await;
        lab.behave(2, playing(profile)).await;
        lab.device(2).edit_running(&unit("", "<vlan-id>8</vlan-id>")).unwrap();
        let report = lab.deploy(&half(lab.deployment(&[1, 2], "one"), 1)).await;
        assert_eq!(report.event, DeploymentEvent::Rejected, "{report:#?}");
        assert_eq!(in_force(&report), [InForce::Old; 2], "{report:#?}");
        assert_eq!(kinds(&lab, 2), journal, "{profile:?}");
        lab.assert_all(&[1, 2], None);
        assert_eq!(found(&lab, 2), [Some("8".to_owned()), None]);
    }
}

/// What a worker that died in the middle of such an edit has left is no state to go back to.
#[tokio::test]
async fn a_part_that_a_dead_worker_has_left_is_taken_back() {
    let description = |text: &str| {
        format!(
            r#"<interfaces xmlns="urn:turnup:sim"><interface><name>ge-0</name><description>{text}</description></interface></interfaces>"#
        )
    };
    for refused in [None, Some(1), Some(2)] {
        let lab = Lab::start(2).await;
        lab.behave(1, playing(Profile::Candidate)).await;
        lab.behave(2, playing(Profile::WritableRunningBare)).await;
        let mut deployment = lab.deployment(&[1, 2], "one");
        let (old, all) = (unit("", "<vlan-id>8</vlan-id>"), unit("", "<vlan-id>9</vlan-id>"));
        let edit = &mut deployment.devices[1].edits[0];
        edit.filter = r#"<interfaces xmlns="urn:turnup:sim"/>"#.to_owned();
        edit.keys.insert("unit".to_owned(), vec!["id".to_owned()]);
        edit.edit = format!("{}{all}", description("one"));
        edit.inverse = format!("{}{old}", description("none"));
        edit.after =
            Condition::All(vec![Condition::Contains(description("one")), Condition::Contains(all.clone())]);
        edit.before =
            Condition::All(vec![Condition::Contains(description("none")), Condition::Contains(old.clone())]);
        // One half is as it shall be, the other as it was.
        lab.device(2).edit_running(&description("one")).unwrap();
        lab.device(2).edit_running(&old).unwrap();
        let refusal = |operation: &str| Fault::before(operation, refuse(ErrorTag::InvalidValue));
        match refused {
            None => {}
            Some(1) => lab.behave(1, faulty(Profile::Candidate, vec![refusal("commit").at(0)])).await,
            // The first edit takes the part back.
            Some(_) => {
                let faults = vec![refusal("edit-config").at(2)];
                lab.behave(2, faulty(Profile::WritableRunningBare, faults)).await;
            }
        }
        let report = lab.recover(&deployment).await;
        let (event, text, vlan) = match refused.is_some() {
            true => (DeploymentEvent::Rejected, "none", "8"),
            false => (DeploymentEvent::Committed, "one", "9"),
        };
        assert_eq!(report.event, event, "{report:#?}");
        assert_eq!((lab.value(2).as_deref(), found(&lab, 2)[0].as_deref()), (Some(text), Some(vlan)));
    }
}

/// On the device the dead worker's session lives on, and its commit until the timer has run out.
#[tokio::test]
async fn what_may_still_go_back_is_not_taken_for_done() {
    let lab = Lab::start(1).await;
    lab.behave(1, playing(Profile::ConfirmedCommit10)).await;
    let mut deployment = lab.deployment(&[1], "one");
    deployment.limits.confirm_timeout_s = 2;
    let mut dead = lab.open(1).await;
    let all = crate::work::parse(&deployment.devices[0].edits[0].edit).unwrap().into_children();
    ask(&mut dead, Operation::edit_config(EditConfig::new(Datastore::Candidate, all))).await;
    ask(&mut dead, crate::work::commit_provisionally(None, 2)).await;
    let report = lab.recover(&deployment).await;
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:#?}");
    lab.assert_all(&[1], Some("one"));
    assert_eq!(kinds(&lab, 1), ["provisional", "timed_out", "provisional", "confirmed"]);
    drop(dead);
}
