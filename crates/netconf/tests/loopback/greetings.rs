//! What devices send before and instead of hello.

use std::time::Duration;

use tokio::time::Instant;
use turnup_netconf::server::Greeting;
use turnup_netconf::ssh::{self, ConnectError, Phase};

use crate::device::{Served, TestDevice, later, operation};

const HELLO: &str = "<hello xmlns=\"urn:ietf:params:xml:ns:netconf:base:1.0\"><capabilities><capability>\
                     urn:ietf:params:netconf:base:1.0</capability></capabilities><session-id>5</session-id></hello>]]>]]>";
const RESTRICTED: &str = "warning: user \"nbi\" does not have access privileges.\r\nerror: Restricted user session.\r\n\
    <rpc-reply><rpc-error><error-type>protocol</error-type><error-tag>operation-failed</error-tag>\
    <error-severity>error</error-severity><error-message>Restricted user session.</error-message></rpc-error></rpc-reply>\r\n";

async fn greeted(greeting: &[u8], options: ssh::Options) -> Result<(Served, ssh::Session), ConnectError> {
    let device = TestDevice::default();
    *device.capabilities.lock().unwrap() = vec!["urn:ietf:params:netconf:base:1.0".to_owned()];
    *device.greeting.lock().unwrap() = Greeting::Raw(greeting.to_vec());
    let served = Served::start_with(device, Default::default()).await;
    let session = served.try_connect(&options).await?;
    Ok((served, session))
}

fn quick() -> ssh::Options {
    ssh::Options { connect_timeout: Duration::from_millis(700), ..Default::default() }
}

#[tokio::test]
async fn session_works_after_a_banner() {
    for banner in [
        "*** Authorized users only. Access denied to all others. ***\r\n\r\n",
        "\n\n  <?xml version=\"1.0\" encoding=\"UTF-8\"?>\n",
        "% Last login: never\n<?xml version=\"1.0\"?>",
        "motd]]>]]>\n",
    ] {
        let (_served, mut session) = greeted(format!("{banner}{HELLO}").as_bytes(), Default::default())
            .await
            .unwrap_or_else(|e| panic!("{banner}: {e}"));
        assert_eq!(session.session_id(), 5);
        assert!(session.rpc(&operation("ok"), later()).await.unwrap().has_ok());
    }
}

#[tokio::test]
async fn restricted_user_is_refused_in_the_words_of_the_device() {
    let after_it = [format!("{RESTRICTED}{HELLO}"), format!("{RESTRICTED}]]>]]>{HELLO}")];
    let never = [RESTRICTED.to_owned(), format!("{RESTRICTED}]]>]]>"), "% Permission denied.\r\n".to_owned()];
    for greeting in after_it.iter().chain(&never) {
        match greeted(greeting.as_bytes(), quick()).await.map(drop) {
            Err(error @ ConnectError::Restricted { .. }) => {
                let text = error.to_string();
                let words = if greeting.starts_with('%') {
                    "% Permission denied."
                } else {
                    "error: Restricted user session."
                };
                assert!(text.contains(words) && text.contains("user admin"), "{text}");
                assert!(!text.chars().any(char::is_control), "{text}");
            }
            other => panic!("{greeting}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_no_netconf_is_named_soon_and_with_its_words() {
    let began = Instant::now();
    for (greeting, words) in [
        (b"Welcome to the jungle\x1b[1m]]>]]>".to_vec(), "Welcome to the jungle\\\\u{1b}[1m"),
        (b"<html><body>It works".repeat(5_000), "It works It works"),
        (b"<hello><nothing/></hello>]]>]]>".to_vec(), "hello without capabilities"),
    ] {
        match greeted(&greeting, Default::default()).await.map(drop) {
            Err(error @ ConnectError::NotNetconf { .. }) => {
                assert!(error.to_string().contains(words), "{error}")
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(began.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn words_are_shown_when_no_hello_comes_in_time() {
    match greeted(b"router> ", quick()).await.map(drop) {
        Err(error @ ConnectError::Timeout { phase: Phase::Hello, .. }) => {
            assert!(error.to_string().contains("it sent: \"router>\""), "{error}");
        }
        other => panic!("{other:?}"),
    }
}
