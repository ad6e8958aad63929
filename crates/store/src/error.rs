use turnup_core::words::UnknownWord;

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Postgres can't be reached, or did not answer in time: try again later.
    #[error(
        "the database can't be reached or did not answer in time ({0}); check TURNUP_DATABASE_URL and the server"
    )]
    Away(String),
    /// The schema is not the one this release works with.
    #[error("the database has schema version {found}, this release needs {wanted}; run 'turnup migrate'")]
    Version {
        /// Version found.
        found: i32,
        /// Version wanted.
        wanted: i32,
    },
    /// The database refused the statement or its data.
    #[error("the database refused a statement: {0}")]
    Refused(String),
    /// A stored value that this release does not know.
    #[error("the database holds a value this release does not know: {0}; is a newer turnup running beside?")]
    Unknown(String),
}

impl StoreError {
    /// Whether the same call can succeed later without a change of its data.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Away(_))
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            // 08 connection, 40 rollback (deadlock), 53 resources, 57 shutdown and time-outs, 55P03 lock, 25P03 idle.
            Some(db)
                if ["08", "40", "53", "57", "55P03", "25P03"]
                    .iter()
                    .any(|class| db.code().code().starts_with(class)) =>
            {
                Self::Away(format!("{}: {}", db.code().code(), db.message()))
            }
            Some(db) => Self::Refused(format!("{}: {}", db.code().code(), db.message())),
            None if is_connection_trouble(&error) => Self::Away(error.to_string()),
            // The statement and its parameters don't fit: no later try can succeed.
            None => Self::Refused(error.to_string()),
        }
    }
}

fn is_connection_trouble(error: &tokio_postgres::Error) -> bool {
    use std::error::Error as _;
    error.is_closed() || error.source().is_none_or(|source| source.is::<std::io::Error>())
}

impl From<deadpool_postgres::PoolError> for StoreError {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        match error {
            deadpool_postgres::PoolError::Backend(error) => error.into(),
            other => Self::Away(other.to_string()),
        }
    }
}

impl From<UnknownWord> for StoreError {
    fn from(error: UnknownWord) -> Self {
        Self::Unknown(error.to_string())
    }
}

impl From<turnup_core::name::BadName> for StoreError {
    fn from(error: turnup_core::name::BadName) -> Self {
        Self::Unknown(error.to_string())
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::Unknown(error.to_string())
    }
}
