//! Public events: first numbered (so that readers of the log may go on), then published.

use std::time::Duration;

use turnup_broker::{Outgoing, PublishError};
use turnup_core::event::CONTENT_TYPE;
use turnup_store::{Logged, RelayLease, StoreError};

use crate::{
    Context,
    relay::{FLOWING, LINGER, POLL, Wakes},
};

/// Most events per round.
const ROUND: i64 = 1000;
/// Deadline of one round's publishes.
const DEADLINE: Duration = Duration::from_secs(10);
/// Pause after a round that did not get through.
const RETRY: Duration = Duration::from_millis(200);

/// Gives new events their cursors.
pub(crate) async fn number(lease: &RelayLease, wakes: &Wakes) -> Result<(), StoreError> {
    loop {
        let numbered = lease.number_events(ROUND).await?;
        if numbered > 0 {
            wakes.numbered.notify_one();
            if numbered > FLOWING as u64 {
                tokio::time::sleep(LINGER).await;
            }
        } else {
            let _ = tokio::time::timeout(POLL, wakes.log.notified()).await;
        }
    }
}

/// Publishes numbered events in cursor order. An event that fails is sent again before any after
/// it, so that each consumer sees an order's events in their sequence; a repetition has the same id.
pub(crate) async fn publish(context: &Context, lease: &RelayLease, wakes: &Wakes) -> Result<(), StoreError> {
    let publisher = context.broker.new_publisher();
    loop {
        let events = lease.unpublished(ROUND).await?;
        let Some(last) = events.last().map(|logged| logged.cursor) else {
            let _ = tokio::time::timeout(POLL, wakes.numbered.notified()).await;
            continue;
        };
        let exchange = context.broker.names().events();
        let messages: Vec<Outgoing> = events.iter().map(|logged| message(&exchange, logged)).collect();
        let results = publisher.publish_all(messages, DEADLINE).await;
        // One that can't be published by anyone stays in the log, for readers over HTTP.
        let failed = results.into_iter().zip(&events).find_map(|(result, logged)| match result {
            Ok(()) => None,
            Err(error @ PublishError::Invalid { .. }) => {
                tracing::error!(%error, cursor = logged.cursor, "an event can't be published and is left out");
                None
            }
            Err(error) => Some((error, logged.cursor)),
        });
        match failed {
            None => lease.note_published(last).await?,
            Some((error, failed)) => {
                tracing::warn!(%error, cursor = failed, "an event was not published; sending again from there");
                lease.note_published(failed - 1).await?;
                tokio::time::sleep(RETRY).await;
            }
        }
        metrics::gauge!("turnup_events_published_cursor").set(last as f64);
    }
}

fn message(exchange: &str, logged: &Logged) -> Outgoing {
    let body = logged.event.cloud_event(logged.cursor).to_string();
    Outgoing::new(exchange, logged.event.routing_key(), body)
        .with_message_id(logged.event.id.to_string())
        .with_content_type(CONTENT_TYPE)
        .with_correlation_id(logged.event.entity_id.clone())
}
