//! Waiting for conditions, with a deadline.

use std::time::{Duration, Instant};

/// How long anything may take on a busy two-core machine before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until `condition` gives something. Fails the test, saying what it waited for, after `patience`.
pub async fn until<T, F>(what: &str, patience: Duration, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let begin = Instant::now();
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(begin.elapsed() < patience, "waited {patience:?} in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
