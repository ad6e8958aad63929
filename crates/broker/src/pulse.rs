//! Proof that the broker still answers on a channel.

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use lapin::options::BasicQosOptions;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::error::BrokerError;
use crate::link::{Link, Opened, rpc};
use crate::settings::Settings;

/// Looks at the channel twice a second, and asks the broker something when it has been silent for
/// a heartbeat. What it asks changes nothing: the prefetch that the channel has already.
pub(crate) struct Pulse {
    opened: Opened,
    prefetch: u16,
    heartbeat: Duration,
    limit: Duration,
    answered: Instant,
    tick: Interval,
    probe: Option<BoxFuture<'static, Result<(), BrokerError>>>,
}

impl Pulse {
    pub(crate) fn new(settings: &Settings, opened: Opened, prefetch: u16) -> Self {
        let mut tick = interval(Duration::from_millis(500));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            opened,
            prefetch,
            heartbeat: settings.heartbeat(),
            limit: settings.rpc_timeout(),
            answered: Instant::now(),
            tick,
            probe: None,
        }
    }

    /// The broker answered something else.
    pub(crate) fn answered(&mut self, link: &Link) {
        self.answered = Instant::now();
        link.health.progress();
    }

    /// Waits for the next look. May be dropped while it waits.
    ///
    /// # Errors
    /// When the channel is closed, or the broker does not answer although it reads from us.
    pub(crate) async fn beat(&mut self, link: &Link) -> Result<(), BrokerError> {
        let probe = async {
            match self.probe.as_mut() {
                Some(probe) => probe.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            result = probe => {
                self.probe = None;
                match result {
                    Ok(()) => self.answered(link),
                    // Nothing is written to a broker that blocks publishers; leaving won't help.
                    Err(BrokerError::Timeout { .. }) if self.opened.connection.blocked() => {}
                    Err(e) => return Err(e),
                }
            }
            _ = self.tick.tick() => {
                if !self.opened.channel.status().connected() {
                    return Err(BrokerError::Broken { operation: "waiting", reason: "the channel is closed".to_owned() });
                }
                if self.probe.is_none() && self.answered.elapsed() >= self.heartbeat {
                    let (channel, prefetch, limit) = (self.opened.channel.clone(), self.prefetch, self.limit);
                    self.probe = Some(Box::pin(async move {
                        let qos = channel.basic_qos(prefetch, BasicQosOptions::default());
                        rpc("basic.qos (probe)", limit, qos).await
                    }));
                }
            }
        }
        Ok(())
    }
}
