//! The intake about itself.

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use serde_json::json;
use turnup_core::problem::{Fault, Problem};

use super::{
    answer::{Answer, ok},
    call::Call,
    openapi,
};

pub(super) async fn healthz(_call: Call) -> Answer {
    ok(&json!({"status": "ok"}))
}

/// Ready: everything is there. What is missing is named, without telling strangers where it is.
pub(super) async fn readyz(call: Call) -> Answer {
    let status = call.app.health.status();
    let missing: Vec<Fault> = [("store", status.store), ("broker", status.broker)]
        .into_iter()
        .filter_map(|(what, why)| Some(Fault::new(format!("/{what}"), "away", why?)))
        .chain(
            call.app
                .shutdown
                .is_cancelled()
                .then(|| Fault::new("", "shutting_down", "this intake is shutting down")),
        )
        .collect();
    if missing.is_empty() {
        return ok(&json!({"status": "ok", "store": "ok", "broker": "ok"}));
    }
    let names: Vec<String> =
        missing.iter().map(|fault| format!("{}: {}", fault.pointer, fault.detail)).collect();
    Err(Problem { errors: missing, ..Problem::unavailable(names.join("; ")) }.into())
}

pub(super) async fn metrics(call: Call) -> Answer {
    let Some(handle) = &call.app.metrics else {
        return Err(Problem::not_found("this process keeps no figures").into());
    };
    let mut response = Response::new(Body::from(handle.render()));
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    Ok(response)
}

pub(super) async fn openapi(call: Call) -> Answer {
    let mut document = openapi::describe(call.app.routes());
    let platforms = call.app.library.platforms();
    for schema in ["DeviceRequest", "DevicePatch"] {
        let fields = &mut document["components"]["schemas"][schema]["properties"];
        fields["region"]["enum"] = json!(*call.app.regions);
        fields["platform"]["enum"] = json!(platforms);
    }
    ok(&document)
}
