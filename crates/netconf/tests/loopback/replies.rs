//! Replies as devices really send them.

use std::time::Duration;

use turnup_netconf::capability::BASE_1_0;
use turnup_netconf::message::{DataError, ErrorTag, Reply};
use turnup_netconf::namespace;
use turnup_netconf::operation::{Datastore, Operation};
use turnup_netconf::server::Outcome;
use turnup_netconf::ssh::{self, Cause, RpcFailure, Session};
use turnup_netconf::xml::{Element, Limits};

use crate::device::{Served, TestDevice, after_ms, later, operation};

const NC: &str = "xmlns=\"urn:ietf:params:xml:ns:netconf:base:1.0\"";

/// A device that speaks base:1.0 and answers with these messages.
async fn answering(messages: &[&[u8]]) -> Served {
    let device = TestDevice::default();
    *device.capabilities.lock().unwrap() = vec![BASE_1_0.to_owned()];
    let raw = |message: &&[u8]| Outcome::Raw([message, &b"]]>]]>"[..]].concat());
    *device.script.lock().unwrap() = messages.iter().map(raw).collect();
    Served::start_with(device, Default::default()).await
}

async fn answer(message: &[u8]) -> Reply {
    let served = answering(&[message]).await;
    served.connect().await.rpc(&operation("scripted"), later()).await.unwrap()
}

fn get_config() -> Operation {
    Operation::get_config(Datastore::Running, None)
}

/// A part of an answer with these interfaces.
fn part(set_id: Option<u32>, interfaces: &[&str]) -> Vec<u8> {
    let set_id = set_id.map(|id| format!(" set-id=\"{id}\"")).unwrap_or_default();
    let entries: String =
        interfaces.iter().map(|name| format!("<interface><name>{name}</name></interface>")).collect();
    format!(
        "<rpc-reply {NC}{set_id}><data><interfaces xmlns=\"urn:i\">{entries}</interfaces></data></rpc-reply>"
    )
    .into_bytes()
}

fn names(data: &Element) -> Vec<String> {
    assert_eq!(data.children().count(), 1, "{data}");
    let interfaces = data.child("urn:i", "interfaces").unwrap();
    interfaces
        .children()
        .map(|interface| interface.child_text("urn:i", "name").unwrap().into_owned())
        .collect()
}

#[tokio::test]
async fn lock_refused_without_namespace_is_not_held() {
    let reply = answer(
        b"<nc:rpc-reply xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\"><rpc-error>\
          <error-type>protocol</error-type><error-tag>lock-denied</error-tag><error-severity>error</error-severity>\
          <error-info><session-id>44</session-id></error-info></rpc-error></nc:rpc-reply>",
    )
    .await;
    assert!(!reply.has_ok() && reply.is_error());
    assert_eq!((&reply.errors()[0].tag, reply.errors()[0].session_id()), (&ErrorTag::LockDenied, Some(44)));
}

#[tokio::test]
async fn answer_without_data_is_never_nothing_configured() {
    let reply = answer(format!("<rpc-reply {NC}/>").as_bytes()).await;
    assert_eq!(reply.required_data(), Err(DataError::Missing));
    let reply =
        answer(b"\r\n <?xml version='1.0'?><rpc-reply><data><i xmlns='urn:i'/></data></rpc-reply>").await;
    assert!(reply.required_data().unwrap().child("urn:i", "i").is_some());
}

#[tokio::test]
async fn session_survives_bytes_that_are_no_text() {
    let bad = [
        format!("<rpc-reply {NC}><data><i xmlns=\"urn:t\"><n>1</n><d>Stra").as_bytes(),
        b"\xdfe\x08&#8;</d></i><i xmlns=\"urn:t\"><n>2</n><d>fine</d></i></data></rpc-reply>",
    ]
    .concat();
    let served = answering(&[&bad, format!("<rpc-reply {NC}><ok/></rpc-reply>").as_bytes()]).await;
    let mut session = served.connect().await;
    let reply = session.rpc(&get_config(), later()).await.unwrap();
    assert_eq!(reply.replaced()[0].path, "i[n='1']/d");
    let data = reply.required_data().unwrap();
    let values: Vec<_> = data.children().map(|i| i.child_text("urn:t", "d").unwrap().into_owned()).collect();
    assert_eq!(values, ["Stra\u{fffd}e\u{fffd}\u{fffd}", "fine"]);
    assert!(session.rpc(&operation("scripted"), later()).await.unwrap().has_ok());
}

#[tokio::test]
async fn bytes_that_are_no_text_break_the_session_in_markup() {
    let bad = [format!("<rpc-reply {NC}><data><i").as_bytes(), b"\xff xmlns=\"urn:t\"/></data></rpc-reply>"]
        .concat();
    let served = answering(&[&bad]).await;
    let failure = served.connect().await.rpc(&get_config(), later()).await.unwrap_err().to_string();
    assert!(failure.contains("inside of rpc-reply/data") && failure.contains("byte 67"), "{failure}");
}

#[tokio::test]
async fn reply_in_parts_is_fetched_to_its_end() {
    let parts = [part(Some(989), &["1", "2"]), part(Some(990), &["3"]), part(None, &["4"])];
    let served = answering(&parts.each_ref().map(Vec::as_slice)).await;
    let reply = served.connect().await.rpc(&get_config(), later()).await.unwrap();
    assert_eq!(names(&reply.required_data().unwrap()), ["1", "2", "3", "4"]);
    let asked = served.device.asked.lock().unwrap().clone();
    for (asked, id) in asked.iter().skip(1).zip(["989", "990"]) {
        let next = format!("<get-next xmlns=\"{}\" set-id=\"{id}\"/>", namespace::HUAWEI_BASE);
        assert_eq!(*asked, next);
    }
    assert_eq!(asked.len(), 3);
}

#[tokio::test]
async fn replies_in_parts_are_fetched_behind_the_pipeline() {
    let ok = format!("<rpc-reply {NC}><ok/></rpc-reply>").into_bytes();
    // In the order in which the device reads the requests: the pipeline, then get-next for each.
    let messages = [
        ok.clone(),
        part(Some(1), &["a1"]),
        ok.clone(),
        part(Some(2), &["b1"]),
        ok,
        part(None, &["a2"]),
        part(Some(3), &["b2"]),
        part(None, &["b3"]),
    ];
    let served = answering(&messages.each_ref().map(Vec::as_slice)).await;
    let mut session = served.connect().await;
    let scripted = || operation("scripted");
    let operations = [scripted(), get_config(), scripted(), get_config(), scripted()];
    let replies = session.pipeline(&operations, later()).await.unwrap();
    let [first, a, third, b, fifth] = <[Reply; 5]>::try_from(replies).unwrap();
    assert!(first.has_ok() && third.has_ok() && fifth.has_ok());
    assert_eq!(names(&a.required_data().unwrap()), ["a1", "a2"]);
    assert_eq!(names(&b.required_data().unwrap()), ["b1", "b2", "b3"]);
    assert!(session.is_usable());
}

/// The answer to `get-config` of a device that gives these parts.
async fn incomplete(parts: &[Vec<u8>], options: ssh::Options) -> (Session, String) {
    let served = answering(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>()).await;
    let mut session = served.try_connect(&options).await.unwrap();
    let reply = session.rpc(&get_config(), later()).await.unwrap();
    assert!(reply.data().is_none());
    let error = reply.required_data().unwrap_err().to_string();
    assert!(error.contains("only a part"), "{error}");
    (session, error)
}

#[tokio::test]
async fn part_without_the_rest_is_an_error() {
    let refused = format!(
        "<rpc-reply {NC}><rpc-error><error-tag>invalid-value</error-tag><error-message>set-id expired</error-message></rpc-error></rpc-reply>"
    );
    let (session, error) =
        incomplete(&[part(Some(1), &["1"]), refused.into_bytes()], Default::default()).await;
    assert!(error.contains("set-id expired") && session.is_usable(), "{error}");
    let ok = format!("<rpc-reply {NC}><ok/></rpc-reply>").into_bytes();
    let (_, error) = incomplete(&[part(Some(1), &["1"]), ok], Default::default()).await;
    assert!(error.contains("no <data>"), "{error}");
}

#[tokio::test]
async fn parts_are_bounded_together() {
    let limits = Limits { max_nodes: 50, ..Limits::default() };
    let many: Vec<Vec<u8>> = (0..40).map(|_| part(Some(1), &["1", "2"])).collect();
    let (_, error) = incomplete(&many, ssh::Options { limits, ..Default::default() }).await;
    assert!(error.contains("more than 50 nodes"), "{error}");
    let limits = Limits { max_bytes: 1_000, ..Limits::default() };
    let (_, error) = incomplete(&many, ssh::Options { limits, ..Default::default() }).await;
    assert!(error.contains("more than 1000 bytes"), "{error}");
}

#[tokio::test]
async fn deadline_holds_for_all_parts() {
    // The second part never comes.
    let served = answering(&[&part(Some(1), &["1"])]).await;
    let mut session = served.connect().await;
    match session.rpc(&get_config(), after_ms(300)).await.unwrap_err() {
        RpcFailure::NoAnswer { cause: Cause::Deadline, answered, .. } => {
            assert!(answered.iter().all(|reply| reply.data().is_none()), "{answered:?}");
        }
        other => panic!("{other}"),
    }
    assert!(!session.is_usable());
}

#[tokio::test]
async fn error_texts_of_a_broken_reply_hold_no_control_characters() {
    let served = answering(&[b"<rpc-reply><ok></o\x00k></rpc-reply>"]).await;
    let failure = served.connect().await.rpc(&get_config(), later()).await.unwrap_err().to_string();
    assert!(!failure.chars().any(char::is_control) && failure.contains("\\u{0}"), "{failure}");
}

#[tokio::test]
async fn first_answer_in_time_counts_before_its_parts() {
    let served = answering(&[&part(Some(1), &["1"]), &part(None, &["2"])]).await;
    let mut session = served.connect().await;
    let first_by = tokio::time::Instant::now() + Duration::from_secs(10);
    let replies = session.pipeline_answering_by(&[get_config()], first_by, later()).await.unwrap();
    assert_eq!(names(replies[0].data().unwrap()), ["1", "2"]);
}
