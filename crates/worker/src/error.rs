//! Errors that end a worker or keep it from starting. Failures of deployments are reports, not errors.

/// Why a worker did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// A configuration value can't be used.
    #[error("worker.{key} {why}")]
    Settings {
        /// The key.
        key: &'static str,
        /// What it may be.
        why: String,
    },
}
