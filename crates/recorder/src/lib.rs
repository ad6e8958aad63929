//! turnup-recorder
