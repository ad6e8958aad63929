//! A request that has passed the entrance, as handlers see it.

use std::{str::FromStr, sync::Mutex};

use axum::{body::Body, http::HeaderMap};
use bytes::Bytes;
use serde_json::{Map, Value};
use tokio::sync::OwnedSemaphorePermit;
use turnup_core::{
    name::{DefinitionName, DeviceName, near_misses},
    problem::{Fault, Problem, pointer_to},
};

use super::query::Query;
use crate::{app::App, auth::Caller, json};

/// A request.
pub(crate) struct Call {
    pub(crate) app: App,
    /// Who calls; none where the route is open.
    pub(crate) caller: Option<Caller>,
    /// The value of the one path parameter; empty where there is none.
    pub(crate) parameter: String,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Content,
    /// The place among the requests in work; a streaming answer takes it along.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

/// The body of a request.
pub(crate) enum Content {
    /// Read already.
    Whole(Bytes),
    /// To be read by the handler. The mutex only makes it shareable between threads.
    Stream(Mutex<Body>),
}

impl Call {
    /// The caller's name, which the entrance has seen to.
    pub(crate) fn requester(&self) -> Result<&str, Problem> {
        self.caller.as_ref().map(|caller| caller.name.as_str()).ok_or_else(Problem::unauthenticated)
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<Value, Problem> {
        match &self.body {
            Content::Whole(bytes) => json::read(bytes).map_err(Problem::unreadable),
            Content::Stream(_) => Err(Problem::internal("this route reads its body as a stream")),
        }
    }

    /// The body as a JSON object; no body is an empty object.
    pub(crate) fn optional_object(&self, known: &[&str]) -> Result<Map<String, Value>, Problem> {
        let value = match &self.body {
            Content::Whole(bytes) if bytes.is_empty() => Value::Object(Map::new()),
            _ => self.json()?,
        };
        object(value, known)
    }

    /// The device that the path names.
    pub(crate) fn device(&self) -> Result<DeviceName, Problem> {
        self.id("device")
    }

    /// The service definition that the path names.
    pub(crate) fn definition(&self) -> Result<DefinitionName, Problem> {
        self.id("service definition")
    }

    fn id<T: FromStr>(&self, what: &str) -> Result<T, Problem> {
        self.parameter.parse().map_err(|_| {
            let given: String = self.parameter.chars().take(128).collect();
            Problem::not_found(format!("there is no {what} {given:?}"))
        })
    }

    /// The idempotency key, if one was given.
    pub(crate) fn key(&self) -> Result<Option<String>, Problem> {
        let mut values = self.headers.get_all("idempotency-key").iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => match value.to_str() {
                Ok(key) => Ok(Some(key.to_owned())),
                Err(_) => {
                    Err(Problem::unreadable("the header Idempotency-Key has characters other than ASCII"))
                }
            },
            (Some(_), Some(_)) => Err(Problem::unreadable("the header Idempotency-Key is there twice")),
        }
    }
}

/// `value` as an object that has no other fields than `known`.
pub(crate) fn object(value: Value, known: &[&str]) -> Result<Map<String, Value>, Problem> {
    let Value::Object(object) = value else {
        return Err(Problem::invalid(vec![Fault::new("", "wrong_type", "must be a JSON object")]));
    };
    let faults = unknown_fields("", &object, known);
    if faults.is_empty() { Ok(object) } else { Err(Problem::invalid(faults)) }
}

/// A fault for each field that is not among `known`.
pub(crate) fn unknown_fields(at: &str, object: &Map<String, Value>, known: &[&str]) -> Vec<Fault> {
    let unknown = object.keys().filter(|field| !known.contains(&field.as_str()));
    unknown
        .map(|field| {
            let hint = match near_misses(field, known.iter().copied()).first() {
                Some(name) => format!("did you mean {name:?}?"),
                None if known.is_empty() => "none is known here".to_owned(),
                None => format!("known are {}", known.join(", ")),
            };
            Fault::new(pointer_to(at, field), "unknown_field", format!("there is no field {field:?}; {hint}"))
        })
        .collect()
}
