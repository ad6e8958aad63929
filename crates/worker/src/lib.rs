//! turnup-worker
