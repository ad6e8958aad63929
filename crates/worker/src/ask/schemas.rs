//! The texts of YANG modules (`get-schema`, RFC 6022 §4).

use turnup_core::{
    ask::{MAX_YANG_BYTES, SchemaPiece, SchemaText},
    failure::{Failure, FailureClass},
    message::MAX_BYTES,
    piece::{MAX_WHOLE_BYTES, Piece},
};
use turnup_netconf::{message::Reply, operation::Operation};

use crate::{classify, device::Device};

/// Room for the rest of the answer.
const REST: usize = 64 << 10;

/// What a device gives of the texts that are wanted.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    pub(super) texts: Vec<SchemaText>,
    /// The beginning of a text that no answer can carry as a whole.
    pub(super) piece: Option<SchemaPiece>,
    pub(super) failures: Vec<Failure>,
}

/// As many texts as fit, in the order in which they are wanted. One that can't be had is a failure whose
/// `path` is the module's name, and the next one is asked for. Of one that no answer can carry the first piece comes, in
/// an answer without other texts. What comes neither as text nor as failure did not fit, and is to be asked for again.
pub(super) async fn fetch(
    device: &mut Device<'_>,
    wanted: &[(String, Option<String>)],
) -> Result<Fetched, Vec<Failure>> {
    let (mut found, mut room) = (Fetched::default(), Room::default());
    for (name, revision) in wanted {
        let text = match read(device, name, revision.as_deref()).await {
            Ok(Ok(text)) => text,
            Ok(Err(failure)) => {
                found.failures.push(failure);
                continue;
            }
            // The time is up, or the device is gone: what there is is an answer all the same.
            Err(unanswered) if found.texts.is_empty() => return Err(vec![unanswered]),
            Err(_) => break,
        };
        match room.take(&text) {
            Fit::Yes => found.texts.push(SchemaText { name: name.clone(), revision: revision.clone(), text }),
            Fit::NotNow => break,
            Fit::Never if text.len() > MAX_WHOLE_BYTES => {
                let why = format!("its text has {} bytes, more than {MAX_WHOLE_BYTES}", text.len());
                found.failures.push(blamed(name, &why));
            }
            Fit::Never if !found.texts.is_empty() => break,
            Fit::Never => {
                found.piece = piece(&text, name, revision.as_deref(), 0);
                break;
            }
        }
    }
    Ok(found)
}

/// The piece of a module's text that begins at byte `from`. The device is asked for the whole text each time: another
/// worker may have given the piece before.
pub(super) async fn fetch_piece(
    device: &mut Device<'_>,
    name: &str,
    revision: Option<&str>,
    from: usize,
) -> Result<SchemaPiece, Vec<Failure>> {
    let text = match read(device, name, revision).await {
        Ok(Ok(text)) => text,
        Ok(Err(failure)) | Err(failure) => return Err(vec![failure]),
    };
    piece(&text, name, revision, from).ok_or_else(|| {
        let why = format!("its text has {} bytes now and no character begins at byte {from}", text.len());
        vec![blamed(name, &why)]
    })
}

/// The text of a module, or why it can't be had. Outer error: the device does not answer.
async fn read(
    device: &mut Device<'_>,
    name: &str,
    revision: Option<&str>,
) -> Result<Result<String, Failure>, Failure> {
    let ask = Operation::get_schema(name, revision);
    match device.inquire("get-schema", true, |_| ask.clone()).await {
        Ok(reply) => Ok(text_of(&reply).map_err(|why| blamed(name, &why))),
        Err(unanswered) => Err(Failure {
            message: format!("module {name}: {}", unanswered.failure.message),
            path: Some(name.to_owned()),
            ..unanswered.failure
        }),
    }
}

/// A failure that is only about this module.
fn blamed(name: &str, why: &str) -> Failure {
    let failure = Failure::new(FailureClass::Misconfigured, "get-schema", format!("module {name}: {why}"));
    Failure { path: Some(name.to_owned()), ..failure }
}

/// The piece of a text that begins at byte `from`, as large as an answer can carry.
fn piece(text: &str, name: &str, revision: Option<&str>, from: usize) -> Option<SchemaPiece> {
    let Room { mut bytes, mut written } = Room::default();
    written = written.checked_sub(AROUND)?;
    let piece = Piece::cut(text, from, |c| {
        let mut buffer = [0; 4];
        let encoded = c.encode_utf8(&mut buffer);
        match (bytes.checked_sub(encoded.len()), written.checked_sub(in_json(encoded))) {
            (Some(left), Some(left_written)) => {
                (bytes, written) = (left, left_written);
                true
            }
            _ => false,
        }
    })?;
    Some(SchemaPiece { name: name.to_owned(), revision: revision.map(str::to_owned), piece })
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
    in_json(text) + AROUND
}

/// Bytes of the names and numbers around a text.
const AROUND: usize = 1_024;

/// Bytes that a text takes in JSON.
fn in_json(text: &str) -> usize {
    let of = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 2,
        0..=31 => 6,
        _ => 1,
    };
    text.bytes().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_fit_an_answer_whatever_is_in_them() {
        for unit in ["x", "\n", "é\"", "\u{1}"] {
            let text = unit.repeat((2 << 20) / unit.len());
            let (mut from, mut count) = (0, 0);
            while from < text.len() {
                let found = piece(&text, "m", Some("2020-01-01"), from).unwrap();
                let answer = turnup_core::ask::Answer {
                    worker: "w".repeat(100),
                    failures: Vec::new(),
                    notes: Vec::new(),
                    check: None,
                    schemas: Vec::new(),
                    piece: Some(found.clone()),
                    exam: None,
                };
                assert!(turnup_core::message::Body::encode(&answer).is_ok(), "{unit:?}");
                from += found.piece.text.len();
                count += 1;
            }
            assert!(count <= 13, "{unit:?}: {count} pieces");
        }
    }

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
