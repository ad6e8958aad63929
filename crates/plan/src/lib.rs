//! turnup-plan
