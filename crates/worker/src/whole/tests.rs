//! Drift, repairs and what they are taken back to.
