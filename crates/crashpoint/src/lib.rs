//! Named points at which a process dies or freezes on purpose, for the tests that have each role do so at its
//! worst moment. `TURNUP_CRASH_POINT=<name>[:<n>]` aborts at the n-th passage of that point, `stop:<name>[:<n>]`
//! stops there until SIGCONT arrives; without the variable a point costs one load.

use std::sync::{
    LazyLock,
    atomic::{AtomicU64, Ordering},
};

use nix::sys::signal::{Signal, raise};

static CHOSEN: LazyLock<Option<Chosen>> = LazyLock::new(|| parse(&std::env::var("TURNUP_CRASH_POINT").ok()?));
static PASSED: AtomicU64 = AtomicU64::new(0);

/// Where to do what.
#[derive(Debug, PartialEq, Eq)]
struct Chosen {
    name: String,
    nth: u64,
    stops: bool,
}

fn parse(text: &str) -> Option<Chosen> {
    let (stops, text) = match text.strip_prefix("stop:") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (name, nth) = match text.split_once(':') {
        Some((name, n)) => (name, n.parse().ok()?),
        None => (text, 1),
    };
    Some(Chosen { name: name.to_owned(), nth, stops })
}

/// Whether this is the chosen point.
pub fn is_chosen(name: &str) -> bool {
    CHOSEN.as_ref().is_some_and(|chosen| chosen.name == name)
}

/// Aborts or stops the process if this is the chosen point at its chosen passage.
pub fn pass(name: &'static str) {
    if let Some(chosen) = CHOSEN.as_ref()
        && chosen.name == name
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == chosen.nth
    {
        if !chosen.stops {
            std::process::abort();
        }
        // A signal to the process may be taken by any thread, and this one would run on until that thread is
        // scheduled. A signal to this thread is taken before the call returns; the other threads stop with it.
        let raised = raise(Signal::SIGSTOP);
        assert!(raised.is_ok(), "the process can't stop itself at {name}: {raised:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::{Chosen, parse};

    #[test]
    fn names_counts_and_what_is_done() {
        let chosen = |name: &str, nth: u64, stops: bool| Some(Chosen { name: name.to_owned(), nth, stops });
        assert_eq!(parse("worker.after_confirm"), chosen("worker.after_confirm", 1, false));
        assert_eq!(parse("a:3"), chosen("a", 3, false));
        assert_eq!(parse("stop:a"), chosen("a", 1, true));
        assert_eq!(parse("stop:a:2"), chosen("a", 2, true));
        assert_eq!(parse("a:x"), None);
    }
}
