//! What is said when something can't be done: one form on every way in (RFC 9457 over HTTP, the
//! same object over AMQP).

use serde::{Deserialize, Serialize};

/// One fault in what was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// JSON pointer (RFC 6901) to the faulty value; empty for the whole.
    pub pointer: String,
    /// Stable code for programs, such as `unknown_field`.
    pub code: String,
    /// For people: what is wrong and what would be right.
    pub detail: String,
}

impl Fault {
    /// A fault at `pointer`.
    pub fn new(pointer: impl Into<String>, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code: code.into(), detail: detail.into() }
    }
}

/// Appends a reference token to a JSON pointer, escaped after RFC 6901 §3.
#[must_use]
pub fn pointer_to(parent: &str, token: &str) -> String {
    format!("{parent}/{}", token.replace('~', "~0").replace('/', "~1"))
}

/// A problem (RFC 9457 §3) with turnup's stable `code` and the list of faults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{title}: {detail}")]
pub struct Problem {
    /// URI reference for the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// Short summary, the same for every occurrence.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What happened here, and what to do.
    pub detail: String,
    /// Stable code for programs.
    pub code: String,
    /// Each fault with its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
    /// For a refused transition: what would be legal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub legal: Vec<String>,
}

impl Problem {
    /// With this HTTP status; `code` also makes its type.
    pub fn new(status: u16, code: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:turnup:problem:{code}"),
            title: title.to_owned(),
            status,
            detail: detail.into(),
            code: code.to_owned(),
            errors: Vec::new(),
            legal: Vec::new(),
        }
    }

    /// 400: the request could not be read at all.
    pub fn unreadable(detail: impl Into<String>) -> Self {
        Self::new(400, "unreadable", "The request could not be read", detail)
    }

    /// 422: readable, but some values can't be accepted. All faults at once.
    #[must_use]
    pub fn invalid(errors: Vec<Fault>) -> Self {
        let detail = match errors.as_slice() {
            [one] => one.detail.clone(),
            many => format!("{} faults, see errors", many.len()),
        };
        Self { errors, ..Self::new(422, "invalid", "The request has faults", detail) }
    }

    /// 401: no token, or one that is unknown, expired or revoked.
    #[must_use]
    pub fn unauthenticated() -> Self {
        Self::new(
            401,
            "unauthenticated",
            "A valid token is needed",
            "send 'Authorization: Bearer tu_…'; make a token with 'turnup token create'",
        )
    }

    /// 403: known, but without the right.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(403, "forbidden", "Not allowed", detail)
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, "not_found", "There is no such thing", detail)
    }

    /// 405.
    pub fn method_not_allowed(detail: impl Into<String>) -> Self {
        Self::new(405, "method_not_allowed", "The resource has no such method", detail)
    }

    /// 409: the state doesn't allow it; `legal` says what it allows.
    pub fn conflict(detail: impl Into<String>, legal: Vec<String>) -> Self {
        Self { legal, ..Self::new(409, "conflict", "The present state does not allow this", detail) }
    }

    /// 409: the idempotency key or external id was used for something else.
    pub fn key_reused(detail: impl Into<String>) -> Self {
        Self::new(409, "key_reused", "The key belongs to another request", detail)
    }

    /// 413.
    #[must_use]
    pub fn too_large(max_bytes: usize) -> Self {
        Self::new(413, "too_large", "The body is too large", format!("at most {max_bytes} bytes; split it"))
    }

    /// 415.
    pub fn unsupported_media_type(detail: impl Into<String>) -> Self {
        Self::new(415, "unsupported_media_type", "The body's type is not supported", detail)
    }

    /// 503: something that is needed is away for now.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(503, "unavailable", "Temporarily unavailable", detail)
    }

    /// 500: a fault of turnup's own.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(500, "internal", "A fault in turnup", detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_escaped() {
        assert_eq!(pointer_to("/attributes", "a/b~c"), "/attributes/a~1b~0c");
    }

    #[test]
    fn problems_are_rfc_9457_objects() {
        let problem = Problem::invalid(vec![Fault::new("/kind", "missing", "give a kind")]);
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!(json["type"], "urn:turnup:problem:invalid");
        assert_eq!(json["status"], 422);
        assert_eq!(json["errors"][0]["pointer"], "/kind");
        assert!(json.get("legal").is_none());
    }
}
