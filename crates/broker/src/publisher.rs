//! Publishing: persistent, mandatory, confirmed, pipelined.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::ShortString;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::error::PublishError;
use crate::link::Link;
use crate::message::Outgoing;
use crate::settings::Settings;

/// A message ready to be written.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) message_id: String,
    pub(crate) exchange: ShortString,
    pub(crate) routing_key: ShortString,
    pub(crate) properties: BasicProperties,
    pub(crate) mandatory: bool,
    pub(crate) body: Bytes,
}

impl Encoded {
    pub(crate) fn new(message: Outgoing) -> Result<Self, PublishError> {
        let (exchange, routing_key, properties) = message.encode()?;
        let Outgoing { message_id, mandatory, body, .. } = message;
        Ok(Self { message_id, exchange, routing_key, properties, mandatory, body })
    }
}

/// A message handed to the owner task, and where its result goes.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) message: Encoded,
    pub(crate) ticket: Ticket,
}

/// One message of a batch.
#[derive(Debug)]
pub(crate) struct Ticket {
    batch: Arc<Batch>,
    index: usize,
}

const QUEUED: u8 = 0;
const TAKEN: u8 = 1;
const CANCELLED: u8 = 2;

/// What the caller of `publish_all` and the owner task share. The state of each message decides
/// which of them may still answer "not sent": whoever moves it on from `QUEUED` first.
#[derive(Debug)]
struct Batch {
    states: Box<[AtomicU8]>,
    broken: AtomicBool,
    // At most one result per message.
    results: mpsc::UnboundedSender<(usize, Result<(), PublishError>)>,
}

impl Batch {
    fn advance(&self, index: usize, to: u8) -> bool {
        self.states[index].compare_exchange(QUEUED, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Ticket {
    /// Claims the message for writing; `false` when its caller has given up on it.
    pub(crate) fn take(&self) -> bool {
        self.batch.advance(self.index, TAKEN)
    }

    /// Whether an earlier message of the batch was lost. The rest must not overtake it.
    pub(crate) fn broken(&self) -> bool {
        self.batch.broken.load(Ordering::Acquire)
    }

    /// Gives the caller the result.
    pub(crate) fn settle(self, result: Result<(), PublishError>) {
        if matches!(result, Err(PublishError::Uncertain { .. } | PublishError::NotSent { .. })) {
            self.batch.broken.store(true, Ordering::Release);
        }
        // The caller may be gone.
        let _ = self.batch.results.send((self.index, result));
    }
}

/// Gives up on what is still queued when the caller stops waiting, for whatever reason.
struct GiveUp(Arc<Batch>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        for index in 0..self.0.states.len() {
            self.0.advance(index, CANCELLED);
        }
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Arc<Settings>,
    pub(crate) link: Link,
    /// Why there is no connection right now, for callers whose deadline passes meanwhile.
    pub(crate) obstacle: Mutex<Option<String>>,
}

impl Shared {
    pub(crate) fn set_obstacle(&self, obstacle: Option<String>) {
        *self.obstacle.lock().unwrap_or_else(PoisonError::into_inner) = obstacle;
    }

    fn not_sent(&self) -> PublishError {
        let obstacle = self.obstacle.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let reason = obstacle.unwrap_or_else(|| "the deadline passed before its turn came".to_owned());
        PublishError::NotSent { reason }
    }
}

/// Publishes messages, confirmed. Cheap to clone; all clones share one connection, one channel
/// and its window, owned by one task that ends with the last clone.
#[derive(Debug, Clone)]
pub struct Publisher {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

impl Publisher {
    pub(crate) fn start(settings: &Arc<Settings>) -> Self {
        let settings = Arc::clone(settings);
        let link = Link::new(Arc::clone(&settings), "publish");
        let (commands, inbox) = mpsc::channel(settings.publish_window);
        let shared = Arc::new(Shared { settings, link, obstacle: Mutex::new(None) });
        tokio::spawn(crate::owner::run(Arc::clone(&shared), inbox));
        Self { commands, shared }
    }

    /// Publishes one message and waits for its confirm, at most for `deadline`.
    ///
    /// # Errors
    /// See [`PublishError`]; after [`PublishError::Uncertain`] the message may be published later.
    pub async fn publish(&self, message: Outgoing, deadline: Duration) -> Result<(), PublishError> {
        self.publish_all(vec![message], deadline).await.pop().unwrap_or_else(|| Err(self.shared.not_sent()))
    }

    /// Publishes messages in this order, pipelined, and waits for their confirms, at most for
    /// `deadline` in all. The results are in the order of the input.
    ///
    /// When the connection is lost midway, the messages of this call that were not yet written
    /// fail as [`PublishError::NotSent`] rather than overtake those that were lost. Dropping the
    /// future cancels what is not yet written.
    pub async fn publish_all(
        &self,
        messages: Vec<Outgoing>,
        deadline: Duration,
    ) -> Vec<Result<(), PublishError>> {
        let until = Instant::now() + deadline;
        let count = messages.len();
        let (results, mut inbox) = mpsc::unbounded_channel();
        let states = (0..count).map(|_| AtomicU8::new(QUEUED)).collect();
        let batch = Arc::new(Batch { states, broken: AtomicBool::new(false), results });
        let give_up = GiveUp(Arc::clone(&batch));

        let mut outcomes: Vec<Option<Result<(), PublishError>>> = vec![None; count];
        let feed = async {
            for (index, message) in messages.into_iter().enumerate() {
                let ticket = Ticket { batch: Arc::clone(&batch), index };
                match Encoded::new(message) {
                    Ok(message) => {
                        let Err(closed) = self.commands.send(Command { message, ticket }).await else {
                            continue;
                        };
                        closed.0.ticket.settle(Err(self.shared.not_sent()));
                    }
                    Err(invalid) => ticket.settle(Err(invalid)),
                }
            }
        };
        let collect = async {
            for _ in 0..count {
                let Some((index, result)) = inbox.recv().await else { break };
                outcomes[index] = Some(result);
            }
        };
        let in_time = timeout_at(until, async { futures_util::join!(feed, collect) }).await.is_ok();
        drop(give_up);
        if !in_time {
            while let Ok((index, result)) = inbox.try_recv() {
                outcomes[index] = Some(result);
            }
        }
        let missing = |index: usize| {
            if batch.states[index].load(Ordering::Acquire) == TAKEN {
                PublishError::Uncertain { reason: format!("no confirm within {deadline:?}") }
            } else {
                self.shared.not_sent()
            }
        };
        outcomes.into_iter().enumerate().map(|(i, o)| o.unwrap_or_else(|| Err(missing(i)))).collect()
    }

    /// Time since the broker last answered on this publisher's connection; `None` while there is
    /// none.
    #[must_use]
    pub fn last_progress(&self) -> Option<Duration> {
        self.shared.link.health.age()
    }
}
