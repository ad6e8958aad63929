//! The texts of YANG modules (`get-schema`, RFC 6022 §4).

use turnup_core::{
    ask::{MAX_YANG_BYTES, SchemaText},
    failure::{Failure, FailureClass},
    message::MAX_BYTES,
};
use turnup_netconf::{message::Reply, operation::Operation};

use crate::{classify, device::Device};

/// Room for the rest of the answer.
const REST: usize = 64 << 10;

/// As many texts as fit, in the order in which they are wanted. One that can't be had is a failure whose
/// `path` is the module's name, and the next one is asked for. What comes neither as text nor as failure
/// did not fit, and is to be asked for again.
pub(super) async fn fetch(
    device: &mut Device<'_>,
    wanted: &[(String, Option<String>)],
) -> Result<(Vec<SchemaText>, Vec<Failure>), Vec<Failure>> {
    let (mut texts, mut failures, mut room) = (Vec::new(), Vec::new(), Room::default());
    for (name, revision) in wanted {
        let blame = |failure: Failure| Failure {
            message: format!("module {name}: {}", failure.message),
            path: Some(name.clone()),
            ..failure
        };
        let ask = Operation::get_schema(name, revision.as_deref());
        let reply = match device.inquire("get-schema", true, |_| ask.clone()).await {
            Ok(reply) => reply,
            // The time is up, or the device is gone: what there is is an answer all the same.
            Err(unanswered) if texts.is_empty() => return Err(vec![blame(unanswered.failure)]),
            Err(_) => break,
        };
        let text = match text_of(&reply) {
            Ok(text) => text,
            Err(why) => {
                failures.push(blame(Failure::new(FailureClass::Misconfigured, "get-schema", why)));
                continue;
            }
        };
        match room.take(&text) {
            Fit::Yes => texts.push(SchemaText { name: name.clone(), revision: revision.clone(), text }),
            Fit::NotNow => break,
            Fit::Never => {
                let why =
                    format!("its text has {} bytes, at most {MAX_YANG_BYTES} can be carried", text.len());
                failures.push(blame(Failure::new(FailureClass::Misconfigured, "get-schema", why)));
            }
        }
    }
    Ok((texts, failures))
}

/// The text in an answer, or why there is none.
fn text_of(reply: &Reply) -> Result<String, String> {
    if reply.is_error() {
        let said: Vec<String> = reply.errors().iter().take(3).map(ToString::to_string).collect();
        return Err(classify::shorten(&format!("the device has no such text: {}", said.join("; "))));
    }
    let text = reply.data().map(|data| data.raw_text().trim().to_owned()).unwrap_or_default();
    if text.is_empty() {
        return Err("the device answered without a text".to_owned());
    }
    Ok(text)
}

/// What an answer can still carry: bytes of texts, and bytes of the message, in which some characters take
/// more.
struct Room {
    bytes: usize,
    written: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Fit {
    Yes,
    /// In an answer of its own.
    NotNow,
    Never,
}

impl Default for Room {
    fn default() -> Self {
        Self { bytes: MAX_YANG_BYTES, written: MAX_BYTES - REST }
    }
}

impl Room {
    fn take(&mut self, text: &str) -> Fit {
        let whole = Self::default();
        let written = written(text);
        if text.len() > whole.bytes || written > whole.written {
            return Fit::Never;
        }
        match (self.bytes.checked_sub(text.len()), self.written.checked_sub(written)) {
            (Some(bytes), Some(written)) => {
                *self = Self { bytes, written };
                Fit::Yes
            }
            _ => Fit::NotNow,
        }
    }
}

/// Bytes that a text takes in JSON, with what is around it.
fn written(text: &str) -> usize {
    let of = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 2,
        0..=31 => 6,
        _ => 1,
    };
    text.bytes().map(of).sum::<usize>() + 1_024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_filled_in_order_and_fits_a_message() {
        let half = "x".repeat(MAX_YANG_BYTES / 2);
        let mut room = Room::default();
        assert_eq!([room.take(&half), room.take(&half), room.take("x")], [Fit::Yes, Fit::Yes, Fit::NotNow]);
        assert_eq!(Room::default().take(&"x".repeat(MAX_YANG_BYTES + 1)), Fit::Never);
        // Every byte of it is written as two.
        assert_eq!(Room::default().take(&"\n".repeat(MAX_YANG_BYTES)), Fit::Never);
        let lines = "\n".repeat(MAX_YANG_BYTES / 3);
        let mut room = Room::default();
        assert_eq!([room.take(&lines), room.take(&lines)], [Fit::Yes, Fit::NotNow]);
    }
}
