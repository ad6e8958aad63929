//! turnup-scheduler
