//! turnup-tests
