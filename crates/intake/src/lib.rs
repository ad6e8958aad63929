//! turnup-intake
