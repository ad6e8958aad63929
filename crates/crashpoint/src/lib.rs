//! Named points at which a process dies on purpose, for the tests that kill each role at its worst
//! moment. `TURNUP_CRASH_POINT=<name>[:<n>]` aborts at the n-th passage of that point; without the
//! variable a point costs one load.

use std::sync::{
    LazyLock,
    atomic::{AtomicU64, Ordering},
};

static CHOSEN: LazyLock<Option<(String, u64)>> =
    LazyLock::new(|| parse(&std::env::var("TURNUP_CRASH_POINT").ok()?));
static PASSED: AtomicU64 = AtomicU64::new(0);

fn parse(text: &str) -> Option<(String, u64)> {
    match text.split_once(':') {
        Some((name, n)) => Some((name.to_owned(), n.parse().ok()?)),
        None => Some((text.to_owned(), 1)),
    }
}

/// Aborts the process if this is the chosen point at its chosen passage.
pub fn pass(name: &'static str) {
    if let Some((chosen, nth)) = CHOSEN.as_ref()
        && chosen == name
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *nth
    {
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn names_and_counts() {
        assert_eq!(parse("worker.after_confirm"), Some(("worker.after_confirm".to_owned(), 1)));
        assert_eq!(parse("a:3"), Some(("a".to_owned(), 3)));
        assert_eq!(parse("a:x"), None);
    }
}
