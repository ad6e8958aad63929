//! The entrance: before a handler sees a request it is matched with the table, given a place,
//! authenticated, authorised, its query checked, its body read; after it the answer is counted.
//! Unknown paths and methods go the same way, so that nobody without a token learns what exists.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, BodyDataStream},
    extract::{MatchedPath, RawPathParams, Request, State, rejection::RawPathParamsRejection},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::timeout;
use turnup_core::{order::MAX_BODY_BYTES, problem::Problem};

use super::{
    answer::Refusal,
    call::{Call, Content},
    exam,
    query::Query,
    table::{Access, Lasts, Route, Takes},
};
use crate::{
    app::App,
    refusal,
    settings::{Settings, ms},
};

/// Most bytes of a refused body that are read before the answer.
const MAX_DRAINED_BYTES: usize = 4 * MAX_BODY_BYTES;
/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// The router over all routes of the table.
pub(crate) fn router(app: App) -> Router {
    let mut paths: Vec<&'static str> = app.routes().iter().map(|route| route.path).collect();
    paths.sort_unstable();
    paths.dedup();
    let router = paths.into_iter().fold(Router::new(), |router, path| router.route(path, any(enter)));
    router.fallback(enter).with_state(app)
}

async fn enter(
    State(app): State<App>,
    path: Option<MatchedPath>,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Response {
    let since = Instant::now();
    let path = path.as_ref().map(MatchedPath::as_str);
    let method = request.method().clone();
    let parameter = parameters.iter().flatten().map(|(_, value)| value.to_owned()).next().unwrap_or_default();
    let response = guarded(handle(app, path, parameter, request)).await;
    let labels = [
        ("method", method_label(&method).to_owned()),
        ("path", path.unwrap_or("unknown").to_owned()),
        ("status", response.status().as_str().to_owned()),
    ];
    metrics::counter!("turnup_http_requests_total", &labels).increment(1);
    metrics::histogram!("turnup_http_request_seconds", "path" => labels[1].1.clone())
        .record(since.elapsed().as_secs_f64());
    tracing::debug!(%method, path, status = response.status().as_u16(), took_us = since.elapsed().as_micros() as u64, "request");
    response
}

/// A panic is a bug, but only this request's.
async fn guarded(work: impl Future<Output = Response>) -> Response {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
        // The panic hook has said where.
        tracing::error!("a request met a bug");
        Refusal(Problem::internal("this request met a bug; the log of this intake says where"))
            .into_response()
    })
}

/// A method as a label: foreign ones are one, so that nobody can make labels without end.
fn method_label(method: &Method) -> &str {
    match method.as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PATCH" | "DELETE") => known,
        _ => "other",
    }
}

async fn handle(app: App, path: Option<&str>, parameter: String, request: Request) -> Response {
    let routes: Vec<Route> = app.routes().iter().filter(|route| Some(route.path) == path).copied().collect();
    // RFC 9110 §9.3.2: HEAD is GET without the content, which hyper leaves out.
    let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    let route = routes.iter().find(|route| route.method == method).copied();
    let work = async {
        let open = route.is_some_and(|route| route.access == Access::Open);
        let place = if route.is_some_and(|route| route.may_stream()) { &app.streams } else { &app.requests };
        let busy = || Problem::unavailable("this intake has as many requests in work as it may; try again");
        let permit = match open {
            true => None,
            false => Some(Arc::clone(place).try_acquire_owned().map_err(|_| busy())?),
        };
        let caller = if open { None } else { Some(app.tokens.caller(request.headers()).await?) };
        let Some(route) = route else {
            return Err(match routes.is_empty() {
                true => Problem::not_found("there is no such path; GET /openapi.json lists all"),
                false => Problem::method_not_allowed(format!("this path has {}", allow(&routes))),
            });
        };
        if let (Access::Needs(permission), Some(caller)) = (route.access, &caller) {
            caller.require(permission)?;
        }
        let query = Query::read(request.uri(), route.query)?;
        let (parts, body) = request.into_parts();
        let body = content(&app, &route, &parts.headers, body).await?;
        let limit = limit(&app.settings, route.lasts);
        let call = Call { app, caller, parameter, query, headers: parts.headers, body, permit };
        let handler = (route.handler)(call);
        if route.may_stream() {
            return Ok(handler.await);
        }
        timeout(limit, handler).await.map_err(|_| Problem::unavailable("the answer took too long; try again"))
    };
    let answer: Result<_, Problem> = work.await;
    let mut response =
        answer.map_err(Refusal).and_then(|answer| answer).unwrap_or_else(IntoResponse::into_response);
    if response.status() == StatusCode::METHOD_NOT_ALLOWED
        && let Ok(allow) = HeaderValue::from_str(&allow(&routes))
    {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// The deadline of a handler.
fn limit(settings: &Settings, lasts: Lasts) -> Duration {
    let (database, device) = (ms(settings.request_timeout_ms), ms(settings.device_timeout_ms));
    match lasts {
        Lasts::Short => database,
        Lasts::Devices => database + device,
        Lasts::Schemas => database + device + ms(settings.schemas_timeout_ms),
        Lasts::Exam => database * 2 + exam::LONGEST,
    }
}

/// The methods of a path (RFC 9110 §10.2.1).
fn allow(routes: &[Route]) -> String {
    let mut methods: Vec<&str> = routes.iter().map(|route| route.method.as_str()).collect();
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.join(", ")
}

/// Reads the body that the route takes.
async fn content(app: &App, route: &Route, headers: &HeaderMap, body: Body) -> Result<Content, Problem> {
    let accepted: &[&str] = match route.takes {
        Takes::Nothing => return Ok(Content::Whole(Bytes::new())),
        Takes::Json(_) | Takes::MaybeJson(_) => &["application/json"],
        Takes::MergePatch(_) => &["application/merge-patch+json", "application/json"],
        Takes::Lines(_) => &["application/x-ndjson", "application/ndjson"],
    };
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let fits = given.is_some_and(|given| {
        let media_type = given.split(';').next().unwrap_or_default().trim();
        accepted.iter().any(|accepted| accepted.eq_ignore_ascii_case(media_type))
    });
    let unsupported = || {
        let given: String = given.unwrap_or("nothing").chars().take(64).collect();
        Problem::unsupported_media_type(format!(
            "send {} as Content-Type, not {given}",
            accepted.join(" or ")
        ))
    };
    if matches!(route.takes, Takes::Lines(_)) {
        return if fits { Ok(Content::Stream(Mutex::new(body))) } else { Err(unsupported()) };
    }
    let optional = matches!(route.takes, Takes::MaybeJson(_));
    if !fits && !optional {
        drain(body.into_data_stream()).await;
        return Err(unsupported());
    }
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
        drain(body.into_data_stream()).await;
        return Err(Problem::too_large(MAX_BODY_BYTES));
    }
    let bytes =
        timeout(ms(app.settings.read_timeout_ms), whole(body)).await.map_err(|_| refusal::too_slow())??;
    if !bytes.is_empty() && !fits {
        return Err(unsupported());
    }
    Ok(Content::Whole(bytes))
}

/// The whole body, bounded.
async fn whole(body: Body) -> Result<Bytes, Problem> {
    let mut parts = body.into_data_stream();
    let mut bytes = BytesMut::new();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|_| Problem::unreadable("the body could not be read to its end"))?;
        if bytes.len() + part.len() > MAX_BODY_BYTES {
            drain(parts).await;
            return Err(Problem::too_large(MAX_BODY_BYTES));
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes.freeze())
}

/// Reads and drops what the client still sends of a refused body, within bounds: a connection that is closed with
/// unread data is reset, and the client may lose the answer (RFC 9112 §9.6).
async fn drain(mut parts: BodyDataStream) {
    let read = async {
        let mut left = MAX_DRAINED_BYTES;
        while let Some(Ok(part)) = parts.next().await {
            match left.checked_sub(part.len()) {
                Some(less) => left = less,
                None => break,
            }
        }
    };
    // What is not read by then is the client's to send again.
    let _ = timeout(DRAIN_TIME, read).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_internal_problem_of_one_request() {
        let response = guarded(async { panic!("a bug") }).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()[header::CONTENT_TYPE], super::super::answer::PROBLEM);
    }
}
