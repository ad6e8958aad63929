//! turnup-store
