use jiff::Timestamp;
use turnup_core::{
    id::OrderId,
    lifecycle::{OrderEvent, OrderState, order_transition},
};
use uuid::Uuid;

use crate::{
    Entry, OrderView, Store, StoreError,
    accept::{DueRow, insert_due},
    entry, order,
    pool::{Tx, statement},
    resource,
};

/// What somebody asks of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Schedule, Unschedule or Cancel.
    pub event: OrderEvent,
    /// For Schedule, and only then: when it is to start.
    pub due: Option<Timestamp>,
    /// Why, for the history.
    pub why: Option<String>,
    /// Who asks.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Id for the event.
    pub event_id: Uuid,
}

/// Why an order was left as it is.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is no such order.
    #[error("there is no order {0}")]
    NotFound(OrderId),
    /// Its state doesn't allow it.
    #[error("the order is {}", .0.title())]
    Illegal(OrderState),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Schedules, unschedules or cancels an order. `reach_ms`: how far ahead the delay ladder reaches.
    ///
    /// # Errors
    /// [`Refused`] says why nothing was changed.
    pub async fn control(&self, id: OrderId, control: &Control, reach_ms: i64) -> Result<OrderView, Refused> {
        let work = async {
            let tx = Tx::begin_by_key(self).await?;
            let client = tx.client()?;
            let lock = statement!(client, "control_lock");
            let Some(row) = client.query_opt(&lock, &[&id.0]).await? else {
                tx.rollback().await?;
                return Ok(Err(Refused::NotFound(id)));
            };
            let view = order::view(&row)?;
            let asked = matches!(
                (control.event, control.due),
                (OrderEvent::Schedule, Some(_)) | (OrderEvent::Unschedule | OrderEvent::Cancel, None)
            );
            let Some(to) = order_transition(view.state, control.event).ok().filter(|_| asked) else {
                tx.rollback().await?;
                return Ok(Err(Refused::Illegal(view.state)));
            };
            // A new time or none: whatever is on its way with the old revision becomes a no-op.
            let revision = view.schedule_revision + 1;
            let sequence = view.sequence + 1;
            let leave = statement!(client, "leave_queue");
            let left: Vec<String> =
                client.query(&leave, &[&id.0]).await?.iter().map(|row| row.get(0)).collect();
            let update = statement!(client, "control_update");
            client
                .execute(&update, &[&id.0, &to.word(), &revision, &control.due, &sequence, &control.at])
                .await?;
            if let (OrderState::Scheduled, Some(due)) = (to, control.due) {
                insert_due(client, &[DueRow::new(id, revision, due, control.at, reach_ms)]).await?;
            }
            nudge(client, &left).await?;
            let more = serde_json::json!({"scheduled_for": control.due.map(turnup_core::event::time)});
            let event = view.facts().event(control.event_id, sequence, to, control.at, more);
            let entry = Entry {
                event,
                change: Some((Some(view.state), to)),
                why: control.why.clone(),
                by: control.by.clone(),
            };
            entry::append(client, &[entry]).await?;
            if to == OrderState::Cancelled {
                resource::release(client, &[view.service_id], &[]).await?;
            }
            tx.commit().await?;
            Ok(Ok(()))
        };
        self.timed(work).await??;
        self.order(id).await?.ok_or(Refused::NotFound(id))
    }
}

/// Sends a due message to whoever is now first in the queue of a free device among `devices`.
/// The lease rows of `devices` must be locked, or a newcomer could slip in unseen.
pub(crate) async fn nudge(client: &deadpool_postgres::Object, devices: &[String]) -> Result<(), StoreError> {
    if !devices.is_empty() {
        let statement = statement!(client, "nudge");
        client.execute(&statement, &[&devices]).await?;
    }
    Ok(())
}
