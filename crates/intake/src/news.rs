//! Wakes who follows the event log: one listener per process, however many clients follow.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use turnup_store::{Channel, Store};

/// How often to look without being told.
const BACKSTOP: Duration = Duration::from_secs(5);
/// Least time between two looks: under load many events are one piece of news.
const BREATH: Duration = Duration::from_millis(10);
/// Pause after the database was away.
const RETRY: Duration = Duration::from_secs(1);

/// The last cursor of the event log, as far as known.
#[derive(Debug)]
pub(crate) struct News(watch::Sender<i64>);

impl News {
    pub(crate) fn new() -> Self {
        Self(watch::channel(0).0)
    }

    pub(crate) fn follow(&self) -> watch::Receiver<i64> {
        self.0.subscribe()
    }

    /// Watches the log until `shutdown`.
    pub(crate) async fn watch(&self, store: Store, shutdown: CancellationToken) {
        let wake = Arc::new(Notify::new());
        let _listener = store.listen(Channel::News, Arc::clone(&wake));
        loop {
            let pause = match store.last_cursor().await {
                Ok(cursor) => {
                    self.0.send_if_modified(|last| std::mem::replace(last, cursor) != cursor);
                    BREATH
                }
                Err(error) => {
                    tracing::debug!(%error, "the event log can't be followed now");
                    RETRY
                }
            };
            let woken = async {
                tokio::time::sleep(pause).await;
                tokio::select! {
                    () = wake.notified() => {}
                    () = tokio::time::sleep(BACKSTOP) => {}
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = woken => {}
            }
        }
    }
}
