use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use tokio::{sync::Notify, task::JoinHandle};
use tokio_postgres::{AsyncMessage, NoTls};

use crate::{Store, StoreError};

/// What to be woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Something was written for the relay.
    Work,
    /// Events were numbered.
    News,
    /// A definition was published, or a platform has other YANG modules.
    Catalogue,
}

impl Channel {
    const fn name(self) -> &'static str {
        match self {
            Self::Work => "turnup_work",
            Self::News => "turnup_news",
            Self::Catalogue => "turnup_catalogue",
        }
    }
}

/// Wakes a [`Notify`] whenever the database says so, until dropped. It reconnects by itself; as
/// notifications may be missed meanwhile, it wakes after each connect too, and whoever waits polls
/// as a backstop.
#[derive(Debug)]
pub struct Listener {
    task: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Store {
    /// Listens on `channel`.
    #[must_use]
    pub fn listen(&self, channel: Channel, wake: Arc<Notify>) -> Listener {
        let store = self.clone();
        let task = tokio::spawn(async move {
            loop {
                if let Err(error) = store.listen_once(channel, &wake).await {
                    tracing::warn!(%error, channel = channel.name(), "the listening database session ended");
                }
                wake.notify_one();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        Listener { task }
    }

    async fn listen_once(&self, channel: Channel, wake: &Notify) -> Result<(), StoreError> {
        let (client, mut connection) = self.timed(async { Ok(self.config().connect(NoTls).await?) }).await?;
        let mut messages = futures_util::stream::poll_fn(move |context| connection.poll_message(context));
        let listen = format!("LISTEN {}", channel.name());
        let begin = self.timed(async { Ok(client.batch_execute(&listen).await?) });
        futures_util::pin_mut!(begin);
        let mut listening = false;
        loop {
            tokio::select! {
                done = &mut begin, if !listening => {
                    done?;
                    listening = true;
                    wake.notify_one();
                }
                message = messages.next() => match message {
                    Some(Ok(AsyncMessage::Notification(_))) => wake.notify_one(),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.into()),
                    None => return Ok(()),
                }
            }
        }
    }
}
