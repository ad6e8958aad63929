//! Any bytes as the beginning of a session, whole and byte by byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnup_netconf::session::{ClientSession, Event};
use turnup_netconf::xml::Limits;

const SMALL: Limits = Limits { max_bytes: 64 << 10, max_depth: 64, max_attributes: 32, max_nodes: 5_000 };

/// What comes of the bytes, handed over in parts of `size`: whether hello came, or an error.
fn greet(bytes: &[u8], size: usize) -> Result<bool, String> {
    let mut session = ClientSession::new(SMALL, true);
    for part in bytes.chunks(size) {
        session.receive(part).map_err(|error| error.to_string())?;
        match session.next_event() {
            Ok(Some(Event::Established)) => return Ok(true),
            Ok(_) => {}
            Err(error) => {
                let text = error.to_string();
                assert!(!text.chars().any(char::is_control), "{text}");
                return Err(text);
            }
        }
    }
    for said in [session.said_before_hello(), session.refused_before_hello()].into_iter().flatten() {
        assert!(!said.chars().any(char::is_control) && said.chars().count() <= 320, "{said}");
    }
    let _ = session.has_other_message_before_hello();
    Ok(false)
}

fuzz_target!(|bytes: &[u8]| {
    let whole = greet(bytes, bytes.len().max(1));
    let split = greet(bytes, 1);
    assert_eq!(whole.is_ok(), split.is_ok(), "{whole:?} {split:?}");
    if let (Ok(whole), Ok(split)) = (whole, split) {
        assert_eq!(whole, split);
    }
});
