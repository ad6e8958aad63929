//! stub
use crate::error::BrokerError;
use crate::handle::Broker;
use crate::topology::Table;

/// How the broker differs from the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// It isn't there.
    Missing {
        /// `exchange` or `queue`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// It is there with another type or arguments.
    Differs {
        /// `exchange` or `queue`.
        what: &'static str,
        /// Its name.
        name: String,
        /// The broker's words.
        how: String,
    },
}

/// Creates what is missing. May be repeated, and with more regions.
///
/// # Errors
/// [`BrokerError::Refused`] with code 406 when something is there with other arguments.
pub async fn declare(_broker: &Broker, _table: &Table) -> Result<(), BrokerError> {
    unimplemented!()
}

/// Compares the broker with the table.
///
/// # Errors
/// When the broker is away.
pub async fn check(_broker: &Broker, _table: &Table) -> Result<Vec<Difference>, BrokerError> {
    unimplemented!()
}

/// Deletes everything in the table, with all messages. For tests and `turnup dev`.
///
/// # Errors
/// When the broker is away.
pub async fn delete(_broker: &Broker, _table: &Table) -> Result<(), BrokerError> {
    unimplemented!()
}
