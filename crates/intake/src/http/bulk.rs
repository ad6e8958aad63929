//! Many orders in one request: a JSON value per line in, a result per line out, in the same
//! order, while the request is still being read. Memory is bounded by [`MAX_IN_WORK_BYTES`] and
//! the longest line, whatever the request's length.

use std::{collections::VecDeque, sync::PoisonError};

use axum::{
    body::{Body, BodyDataStream},
    http::{HeaderValue, header},
    response::Response,
};
use bytes::{Bytes, BytesMut};
use futures_util::{
    FutureExt as _, StreamExt as _,
    future::BoxFuture,
    stream::{self, FuturesOrdered},
};
use serde::Serialize;
use tokio::{sync::OwnedSemaphorePermit, time::sleep};
use turnup_core::{
    order::{MAX_BODY_BYTES, MAX_KEY_CHARS},
    problem::{Fault, Problem},
};
use turnup_store::OrderView;

use super::{
    answer::Answer,
    call::{Call, Content},
};
use crate::{
    accept::{Outcome, order::Origin},
    app::App,
    json, refusal,
    settings::ms,
};

/// Most bytes of lines that are in work at once, for one request. One line may go beyond it.
const MAX_IN_WORK_BYTES: usize = 4 << 20;
/// Results are sent together up to this size, in bytes.
const PART_BYTES: usize = 64 << 10;
/// Characters left for the line number in a key.
const KEY_ROOM: usize = 20;

/// The result of a line.
#[derive(Debug, Serialize)]
struct LineResult {
    /// From 1, blank lines counted.
    line: u64,
    /// As if it had been a request of its own.
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<Box<OrderView>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

impl LineResult {
    fn refused(line: u64, problem: Problem) -> Self {
        Self { line, status: problem.status, order: None, problem: Some(problem) }
    }

    fn write(&self, out: &mut Vec<u8>) {
        if let Err(error) = serde_json::to_writer(&mut *out, self) {
            tracing::error!(%error, line = self.line, "a result could not be written");
        }
        out.push(b'\n');
    }
}

pub(super) async fn bulk(mut call: Call) -> Answer {
    let Content::Stream(body) = std::mem::replace(&mut call.body, Content::Whole(Bytes::new())) else {
        return Err(Problem::internal("bulk orders are read as a stream").into());
    };
    let key = call.key()?;
    if key.as_ref().is_some_and(|key| key.chars().count() > MAX_KEY_CHARS - KEY_ROOM) {
        let detail = format!(
            "for bulk orders at most {} characters; each line adds its number",
            MAX_KEY_CHARS - KEY_ROOM
        );
        return Err(Problem::invalid(vec![Fault::new("", "bad_key", detail)]).into());
    }
    let run = Run {
        app: call.app.clone(),
        requester: call.requester()?.to_owned(),
        key,
        input: Some(body.into_inner().unwrap_or_else(PoisonError::into_inner).into_data_stream()),
        lines: Lines::default(),
        work: FuturesOrdered::new(),
        sizes: VecDeque::new(),
        in_work_bytes: 0,
        _permit: call.permit.take(),
    };
    let parts = stream::unfold(run, |mut run| async move {
        let part = run.next().await?;
        Some((Ok::<_, std::convert::Infallible>(part), run))
    });
    let mut response = Response::new(Body::from_stream(parts));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

struct Run {
    app: App,
    requester: String,
    key: Option<String>,
    /// None: nothing more is read.
    input: Option<BodyDataStream>,
    lines: Lines,
    /// Lines in work, in their order.
    work: FuturesOrdered<BoxFuture<'static, LineResult>>,
    /// Their sizes, in the same order.
    sizes: VecDeque<usize>,
    in_work_bytes: usize,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Run {
    /// The next results; none: all is done.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            while self.has_room()
                && let Some(line) = self.lines.next()
            {
                self.begin(line);
            }
            let wants_more = self.has_room() && self.input.is_some();
            if self.work.is_empty() && !wants_more {
                return None;
            }
            let (shutdown, patience) = (self.app.shutdown.clone(), ms(self.app.settings.read_timeout_ms));
            let idle = self.work.is_empty();
            let part = async {
                match &mut self.input {
                    Some(input) => input.next().await,
                    None => None,
                }
            };
            tokio::select! {
                biased;
                Some(result) = self.work.next(), if !idle => return Some(self.collect(&result)),
                () = shutdown.cancelled(), if wants_more => {
                    self.stop(Problem::unavailable("the intake is shutting down; send the lines from here on again"));
                }
                part = part, if wants_more => match part {
                    Some(Ok(part)) => self.lines.push(&part),
                    // The client has gone; what is in work is finished all the same.
                    Some(Err(_)) => self.input = None,
                    None => {
                        self.input = None;
                        self.lines.end();
                    }
                },
                () = sleep(patience), if idle => self.stop(refusal::too_slow()),
            }
        }
    }

    fn has_room(&self) -> bool {
        self.work.len() < self.app.settings.batch && self.in_work_bytes < MAX_IN_WORK_BYTES
    }

    /// Reads no further, and says why in the place of the next line.
    fn stop(&mut self, problem: Problem) {
        self.input = None;
        let line = self.lines.number + 1;
        self.sizes.push_back(0);
        self.work.push_back(async move { LineResult::refused(line, problem) }.boxed());
    }

    fn begin(&mut self, line: Line) {
        let Line { number, content } = line;
        let size = content.as_ref().map_or(0, Bytes::len);
        self.in_work_bytes += size;
        self.sizes.push_back(size);
        let acceptor = self.app.acceptor.clone();
        let key = self.key.as_ref().map(|key| format!("{key}/{number}"));
        let origin = Origin::new(self.requester.clone(), key);
        let work = async move {
            let value = match content {
                Ok(bytes) => json::read(&bytes).map_err(Problem::unreadable),
                Err(TooLong) => Err(Problem::too_large(MAX_BODY_BYTES)),
            };
            let accepted = match value {
                Ok(value) => acceptor.accept(&value, origin).await,
                Err(problem) => Err(problem),
            };
            match accepted {
                Ok(outcome) => {
                    let status = if matches!(outcome, Outcome::Created(_)) { 201 } else { 200 };
                    // As in lists: the history is where the order is.
                    let order = OrderView { history: None, deployments: None, ..outcome.into_order() };
                    LineResult { line: number, status, order: Some(Box::new(order)), problem: None }
                }
                Err(problem) => LineResult::refused(number, problem),
            }
        };
        self.work.push_back(work.boxed());
    }

    /// `first`, and what else is ready.
    fn collect(&mut self, first: &LineResult) -> Bytes {
        let mut out = Vec::with_capacity(1024);
        first.write(&mut out);
        self.finished();
        while out.len() < PART_BYTES
            && let Some(Some(result)) = self.work.next().now_or_never()
        {
            result.write(&mut out);
            self.finished();
        }
        Bytes::from(out)
    }

    fn finished(&mut self) {
        self.in_work_bytes -= self.sizes.pop_front().unwrap_or(0);
    }
}

/// A line is longer than an order may be.
#[derive(Debug, PartialEq, Eq)]
struct TooLong;

/// A line that is not blank.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    number: u64,
    content: Result<Bytes, TooLong>,
}

/// Splits a stream into lines. Holds at most one line and the part that came last.
#[derive(Debug, Default)]
struct Lines {
    buffer: BytesMut,
    /// So far no line break was found.
    looked: usize,
    /// Number of the last line that was given out or passed over.
    number: u64,
    /// Inside a line that is too long and was given out as such.
    skipping: bool,
    ended: bool,
}

impl Lines {
    fn push(&mut self, part: &[u8]) {
        self.buffer.extend_from_slice(part);
    }

    /// Nothing more comes: what is left is the last line.
    fn end(&mut self) {
        self.ended = true;
    }

    /// The next whole line that is not blank.
    fn next(&mut self) -> Option<Line> {
        loop {
            let found = self.buffer[self.looked..].iter().position(|byte| *byte == b'\n');
            let line = match found {
                Some(at) => {
                    let line = self.buffer.split_to(self.looked + at + 1).freeze();
                    self.looked = 0;
                    line
                }
                None if self.ended && !self.buffer.is_empty() => {
                    self.looked = 0;
                    self.buffer.split().freeze()
                }
                None => {
                    self.looked = self.buffer.len();
                    // One more for the carriage return.
                    if self.looked <= MAX_BODY_BYTES + 1 {
                        return None;
                    }
                    self.buffer.clear();
                    self.looked = 0;
                    if self.skipping {
                        return None;
                    }
                    self.skipping = true;
                    self.number += 1;
                    return Some(Line { number: self.number, content: Err(TooLong) });
                }
            };
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            self.number += 1;
            let line = line.slice_ref(line.trim_ascii_end());
            if line.len() > MAX_BODY_BYTES {
                return Some(Line { number: self.number, content: Err(TooLong) });
            }
            if !line.is_empty() {
                return Some(Line { number: self.number, content: Ok(line) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(parts: &[&[u8]]) -> Vec<(u64, Result<String, TooLong>)> {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        let mut take = |lines: &mut Lines| {
            while let Some(Line { number, content }) = lines.next() {
                found.push((number, content.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())));
            }
        };
        for part in parts {
            lines.push(part);
            take(&mut lines);
            assert!(lines.buffer.len() <= MAX_BODY_BYTES + 1, "what is kept is bounded");
        }
        lines.end();
        take(&mut lines);
        found
    }

    #[test]
    fn any_split_gives_the_same_lines() {
        let text = b"{\"a\":1}\r\n\n  \n{\"b\":2}\nlast";
        let wanted = split(&[text]);
        assert_eq!(
            wanted,
            [(1, Ok("{\"a\":1}".to_owned())), (4, Ok("{\"b\":2}".to_owned())), (5, Ok("last".to_owned()))]
        );
        for size in 1..text.len() {
            assert_eq!(split(&text.chunks(size).collect::<Vec<_>>()), wanted, "{size}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_and_passed_over() {
        let mut text = b"1\n".to_vec();
        text.extend(vec![b'x'; 3 * MAX_BODY_BYTES]);
        text.extend(b"\n3\n");
        let wanted = [(1, Ok("1".to_owned())), (2, Err(TooLong)), (3, Ok("3".to_owned()))];
        assert_eq!(split(&text.chunks(60_000).collect::<Vec<_>>()), wanted);
        let longest = [vec![b'x'; MAX_BODY_BYTES], b"\r\n".to_vec()].concat();
        assert!(split(&longest.chunks(9_999).collect::<Vec<_>>())[0].1.is_ok());
        let longer = [vec![b'x'; MAX_BODY_BYTES + 1], b"\n".to_vec()].concat();
        assert_eq!(split(&[&longer]), [(1, Err(TooLong))]);
    }
}
