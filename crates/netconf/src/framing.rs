//! Message framing of NETCONF over SSH (RFC 6242): end-of-message `]]>]]>` for base:1.0 and hello, chunks
//! for base:1.1. Sans-IO, incremental, linear in the number of bytes, bounded in memory.

use thiserror::Error;

/// How messages are delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// base:1.0, RFC 6242 §4.3.
    EndOfMessage,
    /// base:1.1, RFC 6242 §4.2.
    Chunked,
}

const END_OF_MESSAGE: &[u8] = b"]]>]]>";

impl Framing {
    /// Appends `message` with its framing to `out`. `message` must not be empty.
    pub fn encode(self, message: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::EndOfMessage => {
                out.reserve(message.len() + END_OF_MESSAGE.len());
                out.extend_from_slice(message);
                out.extend_from_slice(END_OF_MESSAGE);
            }
            Self::Chunked => {
                out.reserve(message.len() + 24);
                for chunk in message.chunks(u32::MAX as usize) {
                    out.extend_from_slice(format!("\n#{}\n", chunk.len()).as_bytes());
                    out.extend_from_slice(chunk);
                }
                out.extend_from_slice(b"\n##\n");
            }
        }
    }
}

/// Why a byte stream can't be cut into messages. The session can't go on after any of them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FramingError {
    /// More bytes than allowed before the end of a message.
    #[error("a message is larger than {limit} bytes: raise the limit or ask for less (a narrower filter)")]
    MessageTooLarge {
        /// The limit.
        limit: usize,
    },
    /// Base:1.1 was agreed and the peer goes on with `]]>]]>`.
    #[error("the peer frames by ]]>]]> although base:1.1 was agreed: offer it only base:1.0")]
    EndOfMessageAfterChunked,
    /// A chunk header that RFC 6242 §4.2 doesn't allow.
    #[error("wrong chunk framing ({reason}): the peer breaks RFC 6242 §4.2")]
    BadChunk {
        /// What is wrong, in words.
        reason: &'static str,
    },
    /// Bytes arrived faster than messages were taken.
    #[error("more than {limit} bytes wait to be decoded: take the messages as they come")]
    Backlog {
        /// The limit.
        limit: usize,
    },
}

/// Cuts a byte stream into messages. Feed with [`Decoder::push`], take with [`Decoder::next_message`].
///
/// However the stream is split into pushes, the same messages and the same error come out. Every byte is
/// looked at once. Messages that hold nothing but white space are skipped.
#[derive(Debug)]
pub struct Decoder {
    framing: Framing,
    max_message_bytes: usize,
    /// Received bytes; those before `start` have been used.
    input: Vec<u8>,
    start: usize,
    /// End-of-message framing: no delimiter begins before this offset of `input`.
    scanned: usize,
    /// Chunked framing: data of the chunks of the current message.
    message: Vec<u8>,
    state: State,
    failed: Option<FramingError>,
}

/// Where in the grammar of RFC 6242 §4.2 the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before `\n#`, possibly after other white space.
    Between { after_line_feed: bool },
    /// After `\n#`, before the first digit or the second `#`.
    Header,
    /// Among the digits of a chunk size.
    Size { digits: u8, value: u64 },
    /// Inside a chunk.
    Data { left: usize },
    /// After `\n##`, before the line feed.
    End,
}

const BETWEEN: State = State::Between { after_line_feed: false };
/// Digits of the largest chunk size, 4294967295.
const MAX_SIZE_DIGITS: u8 = 10;
/// An empty input buffer larger than this is given back, so that idle sessions stay small.
const KEEP_BYTES: usize = 16 << 10;

impl Decoder {
    /// A decoder that begins with end-of-message framing, as every NETCONF session does.
    pub fn new(max_message_bytes: usize) -> Self {
        Self {
            framing: Framing::EndOfMessage,
            max_message_bytes,
            input: Vec::new(),
            start: 0,
            scanned: 0,
            message: Vec::new(),
            state: BETWEEN,
            failed: None,
        }
    }

    /// Changes the framing of all bytes after the last message taken (RFC 6242 §4.1).
    pub fn set_framing(&mut self, framing: Framing) {
        self.framing = framing;
        self.scanned = self.start;
    }

    /// The framing in use.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Hands over received bytes. Refuses to hold many more than one message of the largest size.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), FramingError> {
        let limit = self.max_message_bytes.saturating_add(4 << 20);
        if (self.input.len() - self.start).saturating_add(bytes.len()) > limit {
            return Err(self.fail(FramingError::Backlog { limit }));
        }
        if self.start > self.input.len() / 2 {
            // At most one move per byte pushed: what moves is smaller than what was used.
            self.input.drain(..self.start);
            self.scanned = self.scanned.saturating_sub(self.start);
            self.start = 0;
        }
        self.input.extend_from_slice(bytes);
        Ok(())
    }

    /// The next complete message without its framing, or `None` if more bytes are needed. After an error
    /// the same error is returned for ever.
    pub fn next_message(&mut self) -> Result<Option<Vec<u8>>, FramingError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let next = loop {
            let next = match self.framing {
                Framing::EndOfMessage => self.next_delimited(),
                Framing::Chunked => self.next_chunked(),
            };
            match next {
                Ok(Some(message)) if message.iter().all(u8::is_ascii_whitespace) => {}
                other => break other,
            }
        };
        if self.start == self.input.len() {
            self.start = 0;
            self.scanned = 0;
            self.input.clear();
            if self.input.capacity() > KEEP_BYTES {
                self.input = Vec::new();
            }
        }
        next.map_err(|error| self.fail(error))
    }

    fn fail(&mut self, error: FramingError) -> FramingError {
        self.failed = Some(error.clone());
        self.input = Vec::new();
        self.message = Vec::new();
        self.start = 0;
        error
    }

    fn next_delimited(&mut self) -> Result<Option<Vec<u8>>, FramingError> {
        let limit = self.max_message_bytes;
        let rest = self.input.get(self.scanned..).unwrap_or_default();
        match find(rest, END_OF_MESSAGE) {
            Some(at) => {
                let end = self.scanned + at;
                let message = self.input.get(self.start..end).unwrap_or_default();
                if message.len() > limit {
                    return Err(FramingError::MessageTooLarge { limit });
                }
                let message = message.to_vec();
                self.start = end + END_OF_MESSAGE.len();
                self.scanned = self.start;
                Ok(Some(message))
            }
            None => {
                // The last bytes may be the beginning of a delimiter.
                let undecided = END_OF_MESSAGE.len() - 1;
                self.scanned = self.input.len().saturating_sub(undecided).max(self.start);
                if self.scanned - self.start > limit {
                    return Err(FramingError::MessageTooLarge { limit });
                }
                Ok(None)
            }
        }
    }

    fn next_chunked(&mut self) -> Result<Option<Vec<u8>>, FramingError> {
        while let Some(&byte) = self.input.get(self.start) {
            if let State::Data { left } = self.state {
                let available = self.input.get(self.start..).unwrap_or_default();
                let (data, _) = available.split_at(left.min(available.len()));
                self.message.extend_from_slice(data);
                self.start += data.len();
                self.state = match left - data.len() {
                    0 => BETWEEN,
                    left => State::Data { left },
                };
                continue;
            }
            if self.state == State::End && byte == b'\n' {
                self.start += 1;
                self.state = BETWEEN;
                return Ok(Some(std::mem::take(&mut self.message)));
            }
            self.state = self.header_byte(byte)?;
            self.start += 1;
        }
        Ok(None)
    }

    /// The state after a byte outside of chunk data.
    fn header_byte(&self, byte: u8) -> Result<State, FramingError> {
        let bad = |reason| Err(FramingError::BadChunk { reason });
        match (self.state, byte) {
            (State::Between { .. }, b'\n') => Ok(State::Between { after_line_feed: true }),
            (State::Between { .. }, b' ' | b'\t' | b'\r') => Ok(BETWEEN),
            (State::Between { after_line_feed: true }, b'#') => Ok(State::Header),
            (State::Between { .. }, b'<' | b']') if self.message.is_empty() => {
                Err(FramingError::EndOfMessageAfterChunked)
            }
            (State::Between { .. }, _) if self.message.is_empty() => bad("no chunk begins where one must"),
            (State::Between { .. }, _) => bad("a chunk is longer than its size says"),
            (State::Header, b'#') if self.message.is_empty() => bad("an end of chunks without a chunk"),
            (State::Header, b'#') => Ok(State::End),
            (State::Header, b'0') => bad("a chunk size that is zero or begins with zero"),
            (State::Header, b'1'..=b'9') => Ok(State::Size { digits: 1, value: u64::from(byte - b'0') }),
            (State::Size { digits, .. }, b'0'..=b'9') if digits == MAX_SIZE_DIGITS => {
                bad("a chunk size of more than ten digits")
            }
            (State::Size { digits, value }, b'0'..=b'9') => {
                Ok(State::Size { digits: digits + 1, value: value * 10 + u64::from(byte - b'0') })
            }
            (State::Size { value, .. }, b'\n') => self.chunk(value),
            (State::Header | State::Size { .. }, _) => bad("a chunk size that isn't a number"),
            (State::End, _) => bad("an end of chunks that isn't followed by a line feed"),
            (State::Data { left }, _) => Ok(State::Data { left }),
        }
    }

    fn chunk(&self, size: u64) -> Result<State, FramingError> {
        let limit = self.max_message_bytes;
        if size > u64::from(u32::MAX) {
            return Err(FramingError::BadChunk { reason: "a chunk size above 4294967295" });
        }
        match usize::try_from(size) {
            Ok(left) if left <= limit.saturating_sub(self.message.len()) => Ok(State::Data { left }),
            _ => Err(FramingError::MessageTooLarge { limit }),
        }
    }
}

/// Where `needle` first occurs.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests;
