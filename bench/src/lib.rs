//! turnup-bench
