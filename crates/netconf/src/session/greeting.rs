//! What a server sends before and as its hello.
//!
//! RFC 6241 §8.1 has hello come first. Real devices put banners, warnings and even replies before it. All of
//! that is skipped up to a bound and kept for messages.

use super::ProtocolError;
use crate::clean;
use crate::message::{Hello, Message};
use crate::xml::Limits;

/// Most bytes before hello.
pub(crate) const MAX_PREAMBLE_BYTES: usize = 64 << 10;
/// Longest text of a device that is given, in characters.
const MAX_WORDS: usize = 300;
/// Longest prefix of a tag that is recognised.
const MAX_PREFIX_BYTES: usize = 64;
const END_OF_MESSAGE: &[u8] = b"]]>]]>";
const HELLO: &[u8] = b"hello";

/// Words by which devices say that the session can do nothing although it is open.
const RESTRICTED: [&str; 2] = ["restricted user session", "not have access privileges"];
/// Words that explain why no hello comes. Legal banners use them as well, so with a hello they mean nothing.
const REFUSED: [&str; 6] = [
    "access denied",
    "permission denied",
    "not authorized",
    "not authorised",
    "access privileges",
    "authorization failed",
];

/// Collects bytes until hello is there.
#[derive(Debug, Default)]
pub(crate) struct Greeting {
    bytes: Vec<u8>,
    /// No start tag of hello begins before this offset.
    scanned: usize,
    /// Where the start tag of hello begins, and up to where its end has been looked for.
    hello: Option<(usize, usize)>,
    /// A message has ended, whatever it was.
    is_delimited: bool,
}

/// A hello, and what came after it.
#[derive(Debug)]
pub(crate) struct Greeted {
    pub(crate) hello: Hello,
    pub(crate) rest: Vec<u8>,
}

impl Greeting {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let from = self.bytes.len().saturating_sub(END_OF_MESSAGE.len() - 1);
        self.bytes.extend_from_slice(bytes);
        self.is_delimited = self.is_delimited || find(&self.bytes, END_OF_MESSAGE, from).is_some();
    }

    /// The hello, or `None` if more bytes are needed.
    pub(crate) fn next(&mut self, limits: &Limits) -> Result<Option<Greeted>, ProtocolError> {
        loop {
            let Some((begin, looked)) = self.find_hello()? else { return Ok(None) };
            let Some(end) = find(&self.bytes, END_OF_MESSAGE, looked) else {
                if self.bytes.len() - begin > limits.max_bytes {
                    let limit = limits.max_bytes;
                    return Err(crate::framing::FramingError::MessageTooLarge { limit }.into());
                }
                // The last bytes may be the beginning of the delimiter.
                let looked = self.bytes.len().saturating_sub(END_OF_MESSAGE.len() - 1).max(begin);
                self.hello = Some((begin, looked));
                return Ok(None);
            };
            let message = without_trailer(self.bytes.get(begin..end).unwrap_or_default());
            match Message::parse_from_server(message, limits) {
                Ok(Message::Hello(hello)) => {
                    if let Some(words) = self.refusal(begin, true) {
                        return Err(ProtocolError::Restricted { words });
                    }
                    let rest = self.bytes.split_off(end + END_OF_MESSAGE.len());
                    self.bytes.truncate(begin);
                    return Ok(Some(Greeted { hello, rest }));
                }
                // A banner may hold `<hello`: another may follow in the same message.
                Ok(_) | Err(_) if self.has_hello_between(begin + 1, end) => self.restart(begin + 1),
                Ok(_) => self.restart(end),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn restart(&mut self, at: usize) {
        self.hello = None;
        self.scanned = at;
    }

    /// Where the start tag of hello begins, and from where on its end is to be looked for.
    fn find_hello(&mut self) -> Result<Option<(usize, usize)>, ProtocolError> {
        if self.hello.is_some() {
            return Ok(self.hello);
        }
        let (found, scanned) = find_start_tag(&self.bytes, self.scanned, HELLO);
        self.scanned = scanned;
        if found.unwrap_or(scanned) > MAX_PREAMBLE_BYTES {
            let begin = self.bytes.len().min(MAX_PREAMBLE_BYTES);
            return Err(match self.refusal(begin, false) {
                Some(words) => ProtocolError::Restricted { words },
                None => ProtocolError::NoHello { words: self.words(begin) },
            });
        }
        self.hello = found.map(|begin| (begin, begin));
        Ok(self.hello)
    }

    fn has_hello_between(&self, begin: usize, end: usize) -> bool {
        self.bytes.get(..end).is_some_and(|bytes| find_start_tag(bytes, begin, HELLO).0.is_some())
    }

    /// The beginning of what came before hello, cleaned; `None` if nothing came.
    pub(crate) fn said(&self) -> Option<String> {
        let words = self.words(self.preamble_end());
        (!words.is_empty()).then_some(words)
    }

    fn preamble_end(&self) -> usize {
        self.hello.map_or(self.bytes.len(), |(begin, _)| begin)
    }

    /// Whether a message has ended before a hello began: what answers may not be NETCONF.
    pub(crate) fn has_other_message(&self) -> bool {
        self.hello.is_none() && self.is_delimited
    }

    /// The device's words if they say that it opens no session that could be used.
    pub(crate) fn refused(&self) -> Option<String> {
        self.refusal(self.preamble_end(), false)
    }

    /// The words of what came before `end` if they refuse a session.
    fn refusal(&self, end: usize, has_hello: bool) -> Option<String> {
        let preamble = self.bytes.get(..end.min(MAX_PREAMBLE_BYTES)).unwrap_or_default();
        if preamble.is_empty() {
            return None;
        }
        let text = text_of(preamble).to_lowercase();
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
        let refuses = says(&RESTRICTED) || (!has_hello && says(&REFUSED)) || has_error(preamble);
        refuses.then(|| self.words(end))
    }

    fn words(&self, end: usize) -> String {
        let bytes = self.bytes.get(..end).unwrap_or_default();
        let beginning = bytes.get(..MAX_WORDS * 16).unwrap_or(bytes);
        clean::line(&text_of(beginning), MAX_WORDS)
    }
}

/// A hello without what some devices send between its end and the delimiter.
fn without_trailer(message: &[u8]) -> &[u8] {
    let end = message.windows(HELLO.len() + 1).rposition(|window| window == b"hello>");
    end.and_then(|at| message.get(..at + HELLO.len() + 1)).unwrap_or(message)
}

/// The text of the bytes without tags and delimiters; white space is one space.
fn text_of(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace("]]>]]>", " ");
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, tag)) = rest.split_once('<') {
        out.push_str(before);
        out.push(' ');
        let is_tag = tag.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '?' | '!' | '_'));
        match tag.split_once('>') {
            Some((_, after)) if is_tag => rest = after,
            _ => {
                out.push('<');
                rest = tag;
            }
        }
    }
    out.push_str(rest);
    let words: Vec<&str> = out.split_whitespace().collect();
    words.join(" ")
}

/// Whether there is an `rpc-error` that is no warning.
fn has_error(bytes: &[u8]) -> bool {
    let mut from = 0;
    while let (Some(begin), _) = find_start_tag(bytes, from, b"rpc-error") {
        let inside = find(bytes, b"rpc-error", begin).map_or(begin, |at| at + b"rpc-error".len());
        let end = find(bytes, b"rpc-error>", inside);
        let error = bytes.get(inside..end.unwrap_or(bytes.len())).unwrap_or_default();
        let error: Vec<u8> = error.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        if find(&error, b"error-severity>warning<", 0).is_none() {
            return true;
        }
        let Some(end) = end else { break };
        from = end;
    }
    false
}

/// The first start tag with this local name at or after `from`, and up to where there is none.
fn find_start_tag(bytes: &[u8], from: usize, local_name: &[u8]) -> (Option<usize>, usize) {
    let longest = MAX_PREFIX_BYTES + 1 + local_name.len();
    let mut at = from;
    while let Some(open) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'<')) {
        let begin = at + open;
        let name = bytes.get(begin + 1..).unwrap_or_default();
        let name = name.get(..=longest).unwrap_or(name);
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_' | b'-' | b'.');
        match name.iter().position(|byte| !is_name(byte)) {
            Some(end) => {
                let name = name.get(..end).unwrap_or_default();
                let prefix = name.strip_suffix(local_name);
                if prefix.is_some_and(|prefix| prefix.is_empty() || prefix.ends_with(b":")) {
                    return (Some(begin), begin);
                }
            }
            // The tag's name may not be there to its end.
            None if name.len() <= longest => return (None, begin),
            None => {}
        }
        at = begin + 1;
    }
    (None, bytes.len())
}

/// Where `needle` first occurs at or after `from`.
fn find(haystack: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let rest = haystack.get(from..)?;
    rest.windows(needle.len()).position(|window| window == needle).map(|at| from + at)
}

#[cfg(test)]
mod tests;
