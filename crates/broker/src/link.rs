//! One shared connection, opened when first needed and again when it has died.

use std::sync::Arc;
use std::time::Duration;

use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, ConnectionStatus};
use secrecy::ExposeSecret;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::error::BrokerError;
use crate::health::Health;
use crate::settings::Settings;

/// A connection that several channels share. Whoever finds it dead replaces it; waiting between
/// tries is the caller's.
#[derive(Debug)]
pub(crate) struct Link {
    settings: Arc<Settings>,
    purpose: &'static str,
    current: Mutex<Current>,
    pub(crate) health: Health,
}

#[derive(Debug, Default)]
struct Current {
    connection: Option<Connection>,
    /// Whether there was ever one, so that the next is a reconnect.
    before: bool,
}

/// A channel, and the state of the connection that it lives on.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    pub(crate) channel: Channel,
    pub(crate) connection: ConnectionStatus,
}

impl Link {
    pub(crate) fn new(settings: Arc<Settings>, purpose: &'static str) -> Self {
        Self { settings, purpose, current: Mutex::default(), health: Health::default() }
    }

    /// A new channel, on a new connection if the current one is gone.
    pub(crate) async fn channel(&self) -> Result<Channel, BrokerError> {
        Ok(self.open().await?.channel)
    }

    /// A new channel, and the state of its connection.
    pub(crate) async fn open(&self) -> Result<Opened, BrokerError> {
        let limit = self.settings.connect_timeout();
        let mut current = self.current.lock().await;
        if !current.connection.as_ref().is_some_and(|c| c.status().connected()) {
            if current.connection.take().is_some() {
                self.health.lost();
            }
            current.connection = Some(deadline("connect", limit, self.connect()).await?);
            if current.before {
                metrics::counter!("turnup_broker_reconnects_total", "purpose" => self.purpose).increment(1);
            }
            current.before = true;
        }
        let Some(connection) = current.connection.as_ref() else {
            return Err(BrokerError::Unreachable { reason: "no connection".to_owned() });
        };
        match rpc("channel.open", self.settings.rpc_timeout(), connection.create_channel()).await {
            Ok(channel) => {
                self.health.progress();
                Ok(Opened { channel, connection: connection.status().clone() })
            }
            Err(e) => {
                // Connected in name only.
                if matches!(e, BrokerError::Timeout { .. } | BrokerError::Broken { .. }) {
                    current.connection = None;
                    self.health.lost();
                }
                Err(e)
            }
        }
    }

    /// Drops the current connection, so that the next caller opens a new one.
    pub(crate) async fn discard(&self) {
        self.current.lock().await.connection = None;
        self.health.lost();
    }

    async fn connect(&self) -> Result<Connection, BrokerError> {
        let unreachable = |e: &dyn std::fmt::Display| BrokerError::Unreachable { reason: e.to_string() };
        let mut uri: AMQPUri =
            self.settings.url.expose_secret().parse().map_err(|e: String| unreachable(&e))?;
        uri.query.heartbeat = Some(self.settings.heartbeat_s);
        let name = format!("{} ({})", self.settings.connection_name, self.purpose);
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connection = Connection::connect_uri(uri, properties).await.map_err(|e| unreachable(&e))?;
        tracing::info!(purpose = self.purpose, "connected to the broker");
        Ok(connection)
    }
}

/// Waits for a future of ours, but not longer than `limit`.
async fn deadline<T>(
    operation: &'static str,
    limit: Duration,
    future: impl Future<Output = Result<T, BrokerError>>,
) -> Result<T, BrokerError> {
    timeout(limit, future).await.unwrap_or(Err(BrokerError::Timeout { operation, after: limit }))
}

/// Waits for the answer to an AMQP method, but not longer than `limit`.
pub(crate) async fn rpc<T>(
    operation: &'static str,
    limit: Duration,
    future: impl Future<Output = lapin::Result<T>>,
) -> Result<T, BrokerError> {
    deadline(operation, limit, async { future.await.map_err(|e| BrokerError::from_lapin(operation, &e)) })
        .await
}
