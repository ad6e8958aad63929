//! Any bytes as one message of a server. No byte may panic, and what is accepted must hold its promises.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnup_netconf::message::{Message, Severity};
use turnup_netconf::xml::{Limits, parse};

const SMALL: Limits = Limits { max_bytes: 64 << 10, max_depth: 64, max_attributes: 32, max_nodes: 5_000 };

fuzz_target!(|bytes: &[u8]| {
    let message = match Message::parse_from_server(bytes, &SMALL) {
        Ok(message) => message,
        Err(error) => {
            assert!(!error.to_string().chars().any(char::is_control), "{error}");
            return;
        }
    };
    let Message::Reply(reply) = message else { return };
    assert!(!(reply.is_error() && (reply.is_ok() || reply.has_ok() || reply.is_warnings_only())));
    assert!(!reply.has_ok() || reply.is_ok());
    assert_eq!(reply.is_error(), reply.errors().iter().any(|error| error.severity == Severity::Error));
    for error in reply.errors() {
        assert!(error.error_info().len() <= 16);
        let _ = error.to_string();
    }
    assert!(reply.replaced().len() <= 20);
    // What strict parsing accepts, lenient parsing reads alike.
    if parse(bytes, &SMALL).is_ok() {
        assert!(reply.replaced().is_empty());
    }
    // It can be written, and read again to the same meaning.
    let text = reply.to_element(&[]).to_xml();
    match Message::parse_from_server(text.as_bytes(), &Limits::default()) {
        Ok(Message::Reply(again)) => {
            assert_eq!((again.is_error(), again.is_ok(), again.has_ok()), (reply.is_error(), reply.is_ok(), reply.has_ok()));
            assert_eq!(again.data().is_some(), reply.data().is_some());
        }
        other => panic!("{text}: {other:?}"),
    }
    if let Ok(data) = reply.required_data() {
        let _ = data.to_pretty_xml();
    }
});
