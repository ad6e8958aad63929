//! Questions about devices: what is told of them is true, and nothing is left on them.

use std::time::Duration;

use tokio::time::Instant;
use turnup_core::{
    ask::{Answer, Ask, DeviceCheck, Question},
    failure::FailureClass,
    lifecycle::DeploymentEvent,
    message::DeviceWork,
    name::{CredentialRef, PlatformName},
    piece::Assembly,
};
use turnup_device_sim::{
    Profile,
    behaviour::{Act, Behaviour, Fault, PhantomLock, Refusal},
};
use turnup_netconf::{
    message::ErrorTag,
    operation::{Datastore, Operation},
};

use super::lab::{self, Lab};
use crate::{Settings, ask::answer};

const IN_TIME: Duration = Duration::from_secs(20);

async fn ask(lab: &Lab, device: DeviceWork, question: Question) -> Answer {
    within(lab, device, question, IN_TIME).await
}

async fn within(lab: &Lab, device: DeviceWork, question: Question, limit: Duration) -> Answer {
    let timeout_ms = u64::try_from(limit.as_millis()).unwrap();
    let ask = Ask { device, question, timeout_ms };
    let answer = answer(&lab.shared, &ask, Instant::now() + limit);
    tokio::time::timeout(Duration::from_secs(60), answer).await.unwrap()
}

fn device(lab: &Lab, n: usize) -> DeviceWork {
    lab.deployment(&[n], "tried").devices.remove(0)
}

fn classes(answer: &Answer) -> Vec<FailureClass> {
    answer.failures.iter().map(|failure| failure.class).collect()
}

fn checked(answer: Answer) -> DeviceCheck {
    assert!(answer.failures.is_empty(), "{answer:#?}");
    answer.check.unwrap()
}

#[tokio::test]
async fn a_trusted_device_says_what_it_is() {
    let lab = Lab::start(1).await;
    lab.behave(1, Behaviour { clock_offset_ms: 90_000, ..Behaviour::default() }).await;
    let work = device(&lab, 1);
    let check = checked(ask(&lab, work, Question::Check).await);
    assert_eq!(check.trusted, Some(true));
    assert!(check.host_key.unwrap().starts_with("SHA256:"));
    assert!(check.capabilities.iter().any(|uri| uri.ends_with("capability:candidate:1.0")));
    assert_eq!(check.method.as_deref(), Some("confirmed-commit:1.1"));
    let module = check.modules.iter().find(|module| module.name == "turnup-sim").unwrap();
    assert_eq!(module.namespace.as_deref(), Some("urn:turnup:sim"));
    assert!(module.revision.is_some());
    assert!(check.clock.is_some());
    let skew_ms = check.clock_skew_ms.unwrap();
    assert!((89_000..91_000).contains(&skew_ms), "{skew_ms}");
    assert_eq!(lab.shared.pool.len(), 1, "the session is kept");
}

#[tokio::test]
async fn a_device_whose_key_is_not_known_is_asked_nothing_else() {
    let lab = Lab::start(1).await;
    let true_key = checked(ask(&lab, device(&lab, 1), Question::Check).await).host_key;
    let work = DeviceWork { host_key: None, credential: None, ..device(&lab, 1) };
    let check = checked(ask(&lab, work.clone(), Question::Check).await);
    assert_eq!((&check.host_key, check.trusted), (&true_key, None));
    assert!(check.capabilities.is_empty() && check.method.is_none() && check.modules.is_empty());
    for question in [Question::TryEdit, Question::Schemas(vec![("turnup-sim".to_owned(), None)])] {
        let answer = ask(&lab, work.clone(), question).await;
        assert_eq!(classes(&answer), [FailureClass::Distrusted]);
        assert!(answer.failures[0].message.contains("turnup device trust"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_device_whose_key_has_changed_is_asked_nothing_else() {
    let lab = Lab::start(1).await;
    lab.behave(1, Behaviour { wrong_host_key: true, ..Behaviour::default() }).await;
    let work = device(&lab, 1);
    let pinned: turnup_netconf::ssh::PinnedHostKey = work.host_key.as_ref().unwrap().parse().unwrap();
    let check = checked(ask(&lab, work, Question::Check).await);
    assert_eq!(check.trusted, Some(false));
    assert_ne!(check.host_key.unwrap(), pinned.fingerprint());
    assert!(check.capabilities.is_empty());
}

#[tokio::test]
async fn what_keeps_from_logging_in_is_said_with_the_key() {
    let lab = Lab::start(2).await;
    let nowhere = Some(CredentialRef::new("nowhere").unwrap());
    let answer = ask(&lab, DeviceWork { credential: nowhere, ..device(&lab, 1) }, Question::Check).await;
    assert_eq!(classes(&answer), [FailureClass::Misconfigured]);
    assert_eq!(answer.failures[0].device, Some(device(&lab, 1).device));
    assert_eq!(answer.check.unwrap().trusted, Some(true));

    lab.behave(1, Behaviour { refuse_authentication: true, ..Behaviour::default() }).await;
    let answer = ask(&lab, device(&lab, 1), Question::Check).await;
    assert_eq!(classes(&answer), [FailureClass::Distrusted]);
    assert_eq!(answer.check.unwrap().trusted, Some(true));

    lab.behave(2, Behaviour { down: true, ..Behaviour::default() }).await;
    let answer = ask(&lab, device(&lab, 2), Question::Check).await;
    assert_eq!((classes(&answer), answer.check), (vec![FailureClass::Unreachable], None));
}

#[tokio::test]
async fn the_weaker_ways_are_told() {
    let lab = Lab::start(1).await;
    for (profile, method) in [
        (Profile::ConfirmedCommit10, "confirmed-commit:1.0"),
        (Profile::Candidate, "candidate"),
        (Profile::WritableRunning, "writable-running"),
    ] {
        lab.behave(1, Behaviour { profile, ..Behaviour::default() }).await;
        let check = checked(ask(&lab, device(&lab, 1), Question::Check).await);
        assert_eq!(check.method.as_deref(), Some(method));
    }
    // The last one has no candidate to try anything in.
    let answer = ask(&lab, device(&lab, 1), Question::TryEdit).await;
    assert_eq!(classes(&answer), [FailureClass::Misconfigured]);
    assert!(answer.failures[0].message.contains(":candidate"), "{answer:?}");
}

#[tokio::test]
async fn yang_texts_come_in_order_and_what_is_missing_is_named() {
    let lab = Lab::start(1).await;
    let wanted = ["turnup-sim", "nothing", "turnup-sim"].map(|name| (name.to_owned(), None)).to_vec();
    let answer = ask(&lab, device(&lab, 1), Question::Schemas(wanted)).await;
    assert_eq!(answer.schemas.len(), 2, "{answer:?}");
    assert!(answer.schemas.iter().all(|schema| schema.text.starts_with("module turnup-sim")));
    assert_eq!(answer.failures.len(), 1);
    assert_eq!(answer.failures[0].path.as_deref(), Some("nothing"));
    lab.behave(1, Behaviour { down: true, ..Behaviour::default() }).await;
    let wanted = vec![("turnup-sim".to_owned(), None)];
    let answer = ask(&lab, device(&lab, 1), Question::Schemas(wanted)).await;
    assert_eq!(classes(&answer), [FailureClass::Unreachable]);
}

#[tokio::test]
async fn yang_text_that_no_answer_carries_comes_in_pieces() {
    let lab = Lab::start(1).await;
    lab.behave(1, Behaviour { yang_comment_bytes: 1_200_000, ..Behaviour::default() }).await;
    let name = || "turnup-sim".to_owned();
    let first = ask(&lab, device(&lab, 1), Question::Schemas(vec![(name(), None)])).await;
    assert_eq!((first.schemas.as_slice(), first.failures.as_slice()), (&[][..], &[][..]));
    let first = first.piece.unwrap();
    assert_eq!(first.name, "turnup-sim");
    let mut assembly = Assembly::new(first.piece).unwrap();
    let mut count = 1;
    while let Some(from) = assembly.next() {
        let question = Question::SchemaPiece { name: name(), revision: None, from };
        let next = ask(&lab, device(&lab, 1), question).await.piece.unwrap();
        assembly.add(next.piece).unwrap();
        count += 1;
    }
    let text = assembly.finish().unwrap();
    assert!(text.len() > 1_200_000 && text.starts_with("module turnup-sim"), "{} bytes", text.len());
    assert!((2..=4).contains(&count), "{count} pieces");

    let beyond = Question::SchemaPiece { name: name(), revision: None, from: 9_000_000 };
    let answer = ask(&lab, device(&lab, 1), beyond).await;
    assert!(answer.piece.is_none() && answer.failures[0].path.as_deref() == Some("turnup-sim"), "{answer:?}");
}

fn fault(operation: &str, act: Act) -> Behaviour {
    Behaviour { faults: vec![Fault::before(operation, act)], ..Behaviour::default() }
}

/// That the device is as it was, and its locks are free.
async fn assert_untouched(lab: &Lab, n: usize) {
    lab.assert_all(&[n], None);
    let mut session = lab.open(n).await;
    for datastore in [Datastore::Running, Datastore::Candidate] {
        lab::ask(&mut session, Operation::lock(datastore)).await;
    }
}

#[tokio::test]
async fn an_edit_that_is_taken_leaves_nothing() {
    let lab = Lab::start(1).await;
    let answer = ask(&lab, device(&lab, 1), Question::TryEdit).await;
    assert!(answer.failures.is_empty(), "{answer:#?}");
    assert_eq!(lab.shared.pool.len(), 1, "the session is good");
    assert_untouched(&lab, 1).await;
    // Nothing to be tried is taken, too.
    let nothing = DeviceWork { edits: vec![], ..device(&lab, 1) };
    assert!(ask(&lab, nothing, Question::TryEdit).await.failures.is_empty());
    assert_untouched(&lab, 1).await;
}

#[tokio::test]
async fn an_edit_that_is_refused_leaves_nothing() {
    let lab = Lab::start(1).await;
    // The first at once, the second when it is validated.
    let pseudowire = "<name>p</name><vc-id>5</vc-id><peer>z</peer><interface>none</interface><unit>7</unit>";
    let dangling =
        format!(r#"<pseudowires xmlns="urn:turnup:sim"><pseudowire>{pseudowire}</pseudowire></pseudowires>"#);
    for edit in [r#"<nonsense xmlns="urn:turnup:sim"/>"#.to_owned(), dangling] {
        let mut work = device(&lab, 1);
        work.edits[0].edit = edit;
        let answer = ask(&lab, work, Question::TryEdit).await;
        assert_eq!(classes(&answer), [FailureClass::Invalid], "{answer:#?}");
        assert_untouched(&lab, 1).await;
    }
    let mut work = device(&lab, 1);
    work.edits[0].edit = "<".to_owned();
    assert_eq!(classes(&ask(&lab, work, Question::TryEdit).await), [FailureClass::Misconfigured]);
}

#[tokio::test]
async fn what_only_the_validation_refuses_is_refused() {
    let lab = Lab::start(1).await;
    lab.behave(1, fault("validate", Act::Refuse(Refusal::new(ErrorTag::InvalidValue)))).await;
    let answer = ask(&lab, device(&lab, 1), Question::TryEdit).await;
    assert_eq!(classes(&answer), [FailureClass::Invalid], "{answer:#?}");
    assert_eq!(answer.failures[0].phase, "validate");
    assert_untouched(&lab, 1).await;
}

#[tokio::test]
async fn a_session_that_is_lost_takes_the_edit_along() {
    let lab = Lab::start(1).await;
    for operation in ["edit-config", "validate", "discard-changes"] {
        lab.behave(1, fault(operation, Act::Hang)).await;
        let answer = within(&lab, device(&lab, 1), Question::TryEdit, Duration::from_secs(2)).await;
        if operation != "discard-changes" {
            assert_eq!(classes(&answer), [FailureClass::Unreachable], "{operation}: {answer:#?}");
        }
        assert_eq!(lab.shared.pool.len(), 0, "{operation}");
        lab.behave(1, Behaviour::default()).await;
        let until = Instant::now() + IN_TIME;
        while lab.device(1).candidate_is_changed() {
            assert!(Instant::now() < until, "{operation}: the candidate is dirty");
            tokio::task::yield_now().await;
        }
        lab.assert_all(&[1], None);
    }
}

#[tokio::test]
async fn a_busy_device_says_so_and_who_holds_it() {
    let lab = Lab::start(1).await;
    let phantom_lock = Some(PhantomLock::default());
    lab.behave(1, Behaviour { phantom_lock, ..Behaviour::default() }).await;
    let answer = within(&lab, device(&lab, 1), Question::TryEdit, Duration::from_secs(2)).await;
    assert!(classes(&answer).iter().all(|class| *class == FailureClass::Busy), "{answer:#?}");
    assert!(answer.failures[0].message.contains("session 4711"), "{answer:#?}");
    lab.assert_clean(1);
}

#[tokio::test]
async fn a_deployment_and_a_question_at_the_same_time_both_succeed() {
    let lab = Lab::start(1).await;
    let deployment = lab.deployment(&[1], "deployed");
    let questions = async {
        for _ in 0..5 {
            let answer = ask(&lab, device(&lab, 1), Question::TryEdit).await;
            assert!(classes(&answer).iter().all(|class| *class == FailureClass::Busy), "{answer:#?}");
        }
    };
    let (report, ()) = tokio::join!(lab.deploy(&deployment), questions);
    assert_eq!(report.event, DeploymentEvent::Committed, "{report:#?}");
    lab.assert_all(&[1], Some("deployed"));
}

#[tokio::test]
async fn a_device_on_paper_is_asked_nothing() {
    for (allow, taken) in [(true, true), (false, false)] {
        let settings = Settings { allow_null_platform: allow, ..lab::settings() };
        let lab = Lab::with(1, settings).await;
        let work = DeviceWork { platform: PlatformName::new("null").unwrap(), ..device(&lab, 1) };
        assert_eq!(ask(&lab, work.clone(), Question::TryEdit).await.failures.is_empty(), taken);
        assert_eq!(classes(&ask(&lab, work, Question::Check).await), [FailureClass::Misconfigured]);
    }
}
