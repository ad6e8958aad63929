//! Transcripts: what was said to the devices and what they answered, without secrets.

use std::{sync::atomic::Ordering, time::Duration};

use turnup_core::{message::InForce, transcript::DeviceTranscript};
use turnup_device_sim::behaviour::{Act, Behaviour, Fault};

use super::lab::{Lab, edit, in_force, reported, settings, transcript};
use crate::{Settings, deploy::Outcome, settings::Transcripts};

fn steps(device: &DeviceTranscript) -> Vec<&str> {
    device.exchanges.iter().map(|exchange| exchange.step.as_str()).collect()
}

#[tokio::test]
async fn everything_that_was_said_is_there_in_its_order() {
    let lab = Lab::start(2).await;
    let said = transcript(lab.run(&lab.deployment(&[1, 2], "one"), false).await).unwrap();
    assert_eq!((said.attempt, said.worker.as_str()), (1, "worker-of-the-lab"));
    assert_eq!(said.devices.len(), 2);
    for device in &said.devices {
        assert_eq!(steps(device), ["connect", "lock", "edit-config", "commit", "confirm"]);
        assert!(device.exchanges[0].note.as_ref().unwrap().starts_with("session "));
        let edit = &device.exchanges[2].rpcs[0];
        assert!(edit.request.contains("<description>one</description>"), "{}", edit.request);
        assert!(edit.reply.as_ref().unwrap().contains("<ok/>"), "{edit:?}");
        for exchange in &device.exchanges[1..] {
            assert!(exchange.took_us > 0 && exchange.rpcs.iter().all(|rpc| rpc.reply.is_some()));
        }
        assert!(device.exchanges.windows(2).all(|pair| pair[0].at <= pair[1].at));
    }
}

#[tokio::test]
async fn a_refusal_is_there_in_the_devices_words() {
    let lab = Lab::start(1).await;
    let mut deployment = lab.deployment(&[1], "one");
    deployment.devices[0].edits = vec![edit(deployment.orders[0], &"x".repeat(300))];
    let said = transcript(lab.run(&deployment, false).await).unwrap();
    let refused = said.devices[0].exchanges.iter().find(|exchange| exchange.step == "edit-config").unwrap();
    assert!(refused.rpcs[0].reply.as_ref().unwrap().contains("<rpc-error>"), "{refused:?}");
}

#[tokio::test]
async fn why_nothing_could_be_said_is_there() {
    let lab = Lab::start(1).await;
    lab.behave(1, Behaviour { down: true, ..Behaviour::default() }).await;
    let said = transcript(lab.run(&lab.deployment(&[1], "one"), false).await).unwrap();
    assert_eq!(steps(&said.devices[0]), ["connect"; 3], "as often as it was tried");
    assert!(said.devices[0].exchanges.iter().all(|exchange| exchange.note.is_some()));
}

#[tokio::test]
async fn a_commit_without_answer_is_followed_by_what_was_read_back() {
    let lab = Lab::start(1).await;
    let cut = Fault::after("confirmed-commit", Act::Drop);
    lab.behave(1, Behaviour { faults: vec![cut], ..Behaviour::default() }).await;
    let outcome = lab.run(&lab.deployment(&[1], "one"), false).await;
    let Outcome::Report(messages) = &outcome else { panic!("{outcome:?}") };
    let report = reported(Outcome::Report(messages.clone()));
    assert_ne!(in_force(&report), [InForce::Unknown], "{report:?}");
    let said = transcript(outcome).unwrap();
    let device = &said.devices[0];
    let silent = device.exchanges.iter().position(|exchange| exchange.step == "commit").unwrap();
    assert!(device.exchanges[silent].rpcs[0].reply.is_none(), "{device:?}");
    assert!(device.exchanges[silent].note.as_ref().unwrap().contains("no answer"), "{device:?}");
    assert!(steps(device)[silent + 1..].contains(&"connect"), "{device:?}");
}

#[tokio::test]
async fn secrets_are_nowhere_in_it() {
    let lab = Lab::with(1, Settings { secret_names: vec!["description".to_owned()], ..settings() }).await;
    let said = transcript(lab.run(&lab.deployment(&[1], "tops3cret"), false).await).unwrap();
    assert_eq!(lab.value(1).as_deref(), Some("tops3cret"), "the device gets what it is to get");
    let text = format!("{said:?}");
    assert!(!text.contains("tops3cret"), "{text}");
    assert!(text.contains("<description>***</description>"), "{text}");
}

#[tokio::test]
async fn it_is_kept_as_the_settings_say() {
    for (kept, of_a_success, of_a_failure) in [
        (Transcripts::All, true, true),
        (Transcripts::Failures, false, true),
        (Transcripts::None, false, false),
    ] {
        let lab = Lab::with(1, Settings { transcripts: kept, ..settings() }).await;
        let success = transcript(lab.run(&lab.deployment(&[1], "one"), false).await);
        assert_eq!(success.is_some(), of_a_success, "{kept:?}");
        let mut deployment = lab.deployment(&[1], "two");
        deployment.devices[0].edits = vec![edit(deployment.orders[0], &"x".repeat(300))];
        let failure = transcript(lab.run(&deployment, false).await);
        assert_eq!(failure.is_some(), of_a_failure, "{kept:?}");
    }
}

#[tokio::test]
async fn an_attempt_without_an_end_of_its_own_tells_what_it_said() {
    let lab = Lab::start(2).await;
    lab.behave(2, Behaviour { commit_delay_ms: 300, ..Behaviour::default() }).await;
    let deployment = lab.deployment(&[1, 2], "one");
    let lose = async {
        while !lab.device(1).has_pending_commit() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        lab.held.store(false, Ordering::SeqCst);
    };
    let (outcome, ()) = futures_util::future::join(lab.run(&deployment, false), lose).await;
    assert!(matches!(outcome, Outcome::Release), "{outcome:?}");
    let told = lab.told.1.lock().unwrap();
    assert_eq!((told.len(), told[0].deployment), (1, deployment.deployment));
    assert!(steps(&told[0].devices[0]).contains(&"commit"), "{told:?}");
}
