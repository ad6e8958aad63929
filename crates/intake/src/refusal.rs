//! What the failures of other crates mean for who asked.

use turnup_core::problem::Problem;
use turnup_store::StoreError;

/// The problem for a store call that failed. What the database said goes to the log, not to the
/// client.
pub(crate) fn of_store(error: &StoreError) -> Problem {
    match error {
        StoreError::Away(_) => Problem::unavailable("the database can't be reached; try again"),
        StoreError::Version { .. } => {
            Problem::unavailable("the database's schema is not this release's; 'turnup migrate' is due")
        }
        StoreError::Refused(_) | StoreError::Unknown(_) => {
            tracing::error!(%error, "a database call failed");
            Problem::internal("the database refused; the log of this intake says why")
        }
    }
}

/// 408 (RFC 9110 §15.5.9).
pub(crate) fn too_slow() -> Problem {
    Problem {
        kind: "urn:turnup:problem:too_slow".to_owned(),
        title: "The request came too slowly".to_owned(),
        status: 408,
        detail: "the body did not arrive in time; send it again".to_owned(),
        code: "too_slow".to_owned(),
        errors: Vec::new(),
        legal: Vec::new(),
    }
}
