//! The event log: as a list after a cursor, or as a stream of server-sent events (WHATWG HTML
//! §9.2). A stream reads the log page by page as fast as its client does, so a slow client costs
//! nothing but its place.

use std::{fmt::Write as _, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, sleep, sleep_until},
};
use turnup_core::{event, problem::Problem};
use turnup_store::{EventFilter, IdOf, Logged};

use super::{
    answer::{Answer, Refusal, ok},
    call::Call,
    resolve,
};
use crate::{app::App, auth::Caller};

/// Events read from the store at once by a stream.
const PAGE: i64 = 100;
/// How often a silent stream says that it lives, and its token is looked at again.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Pause after the store was away.
const RETRY: Duration = Duration::from_secs(1);
/// First words of a stream: after which time the client is to come again.
const HELLO: &str = "retry: 2000\n\n";

pub(super) async fn events(mut call: Call) -> Answer {
    let kind = call.query.text("type")?.map(|given| event::kind_prefix(&given)).transpose();
    let filter = EventFilter {
        after: 0,
        kind: kind.map_err(|why| Problem::unreadable(format!("query parameter type: {why}")))?,
        subject: subject(&call).await?,
        since: call.query.time("since")?,
        newest: call.query.parsed::<bool>("newest")?.unwrap_or(false),
        limit: call.query.limit()?,
    };
    let after = call.query.parsed::<i64>("after")?;
    let last = call.app.store.last_cursor().await?;
    if let Some(after) = after {
        check_cursor("after", after, last)?;
    }
    let accept = call.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.split(',').any(|one| one.trim().to_ascii_lowercase().starts_with("text/event-stream")) {
        let resume = match call.headers.get("last-event-id") {
            None => None,
            Some(value) => Some(cursor(value)?),
        };
        if let Some(resume) = resume {
            check_cursor("Last-Event-ID", resume, last)?;
        }
        let position = resume.or(after).unwrap_or(last);
        let caller = call.caller.take().ok_or_else(Problem::unauthenticated)?;
        return Ok(follow(&call.app, caller, filter, position, call.permit.take()));
    }
    let filter = EventFilter { after: after.unwrap_or(0), ..filter };
    let found = call.app.store.events(&filter).await?;
    let next = found.last().map_or(filter.after, |last| last.cursor);
    let items: Vec<Value> = found.iter().map(|logged| logged.event.cloud_event(logged.cursor)).collect();
    ok(&json!({"items": items, "next_cursor": next.to_string(), "last_cursor": last.to_string()}))
}

/// The subject whose events are wanted. What stands for the id of an order, a service or a deployment is taken as in a
/// path; everything else is compared as it is.
async fn subject(call: &Call) -> Result<Option<String>, Refusal> {
    let Some(given) = call.query.text("subject")? else { return Ok(None) };
    let of = match given.split_once('/') {
        Some(("orders", id)) => (IdOf::Order, id),
        Some(("services", id)) => (IdOf::Service, id),
        Some(("deployments", id)) => (IdOf::Deployment, id),
        Some(_) => return Ok(Some(given)),
        None => {
            let detail = "query parameter subject: give what an event is about, such as orders/ID, services/ID or \
                          devices/NAME";
            return Err(Problem::unreadable(detail).into());
        }
    };
    let (plural, _) = given.split_once('/').unwrap_or_default();
    let id = resolve::meant(call, of.0, "subject", of.1).await?;
    Ok(Some(format!("{plural}/{id}")))
}

/// A cursor is one that was given out. One beyond the end of the log is older than the database, for instance after
/// a restore: a consumer that waits for what follows it would miss everything up to it.
fn check_cursor(what: &str, cursor: i64, last: i64) -> Result<(), Problem> {
    if cursor < 0 {
        return Err(Problem::unreadable(format!("{what} is a cursor, which is 0 or more")));
    }
    if cursor <= last {
        return Ok(());
    }
    let detail = format!(
        "{what} is {cursor}, but the log of events ends at {last}: the database was restored from a backup, or the \
         cursor is of another turnup; begin at {last} for new events, or at 0 for all"
    );
    Err(Problem::new(409, "unknown_cursor", "The cursor is beyond the end of the log", detail))
}

fn cursor(value: &HeaderValue) -> Result<i64, Problem> {
    let text = value.to_str().unwrap_or_default();
    text.parse()
        .map_err(|_| Problem::unreadable("Last-Event-ID is no cursor: give the id of the last event seen"))
}

fn follow(
    app: &App,
    caller: Caller,
    filter: EventFilter,
    position: i64,
    permit: Option<OwnedSemaphorePermit>,
) -> Response {
    let follower = Follower {
        app: app.clone(),
        caller,
        filter: EventFilter { after: position, limit: PAGE, ..filter },
        news: app.news.follow(),
        hello: Some(HELLO),
        look_again: Instant::now() + KEEP_ALIVE,
        _permit: permit,
    };
    let parts = stream::unfold(follower, |mut follower| async move {
        let part = follower.next().await?;
        Some((Ok::<_, std::convert::Infallible>(part), follower))
    });
    let mut response = Response::new(Body::from_stream(parts));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// One client that follows the log. `filter.after` is how far it has come.
struct Follower {
    app: App,
    caller: Caller,
    filter: EventFilter,
    news: watch::Receiver<i64>,
    hello: Option<&'static str>,
    look_again: Instant,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Follower {
    /// The next part of the stream; none: it ends, and the client comes again.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(hello) = self.hello.take() {
            return Some(Bytes::from_static(hello.as_bytes()));
        }
        loop {
            if self.app.shutdown.is_cancelled() {
                return None;
            }
            if Instant::now() >= self.look_again {
                self.look_again = Instant::now() + KEEP_ALIVE;
                if self.app.tokens.again(&self.caller).await.is_err_and(|problem| problem.status != 503) {
                    return None;
                }
                return Some(Bytes::from_static(b": keep-alive\n\n"));
            }
            // What is up to here when the page is read will be in it, or the filter leaves it out.
            let upto = *self.news.borrow_and_update();
            if upto <= self.filter.after {
                tokio::select! {
                    changed = self.news.changed() => changed.ok()?,
                    () = sleep_until(self.look_again) => {}
                    () = self.app.shutdown.cancelled() => return None,
                }
                continue;
            }
            match self.app.store.events(&self.filter).await {
                Ok(page) => {
                    let is_full = i64::try_from(page.len()).is_ok_and(|len| len >= PAGE);
                    let last = page.last().map_or(self.filter.after, |last| last.cursor);
                    self.filter.after = if is_full { last } else { last.max(upto) };
                    if !page.is_empty() {
                        return Some(write(&page));
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "a stream of events waits for the database");
                    tokio::select! {
                        () = sleep(RETRY) => {}
                        () = self.app.shutdown.cancelled() => return None,
                    }
                }
            }
        }
    }
}

/// Events in the stream's form. JSON has no line breaks, so each is one `data` line.
fn write(page: &[Logged]) -> Bytes {
    let mut text = String::with_capacity(page.len() * 512);
    for Logged { cursor, event } in page {
        // Writing to a String can't fail.
        let _ =
            write!(text, "id: {cursor}\nevent: {}\ndata: {}\n\n", event.kind(), event.cloud_event(*cursor));
    }
    Bytes::from(text)
}
