use tokio_postgres::Row;
use turnup_core::event::Event;

use crate::{Store, StoreError, pool::statement};

/// An event with its place in the global log.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Place: increasing, in the order in which readers may rely on having seen all before.
    pub cursor: i64,
    /// The event.
    pub event: Event,
}

/// Which events to list.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// After this cursor.
    pub after: i64,
    /// Of this type, such as `dev.turnup.order.completed.v1`, or any whose type begins with it.
    pub kind: Option<String>,
    /// About this subject, such as `orders/<id>`, and nothing else.
    pub subject: Option<String>,
    /// At most so many (1 to 1000).
    pub limit: i64,
}

pub(crate) fn logged(row: &Row) -> Result<Logged, StoreError> {
    Ok(Logged {
        cursor: row.get("cursor"),
        event: Event {
            id: row.get("event_id"),
            entity: row.get::<_, &str>("entity").parse()?,
            entity_id: row.get("entity_id"),
            sequence: row.get("sequence"),
            what: row.get("what"),
            at: row.get("at"),
            region: row.get("region"),
            definition: row.get("definition"),
            correlation_id: row.get("correlation_id"),
            data: row.get("data"),
        },
    })
}

impl Store {
    /// Events of the log after a cursor, oldest first.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn events(&self, filter: &EventFilter) -> Result<Vec<Logged>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let limit = filter.limit.clamp(1, 1000);
            let rows = match filter.subject.as_deref() {
                None => {
                    let statement = statement!(client, "events");
                    client.query(&statement, &[&filter.after, &filter.kind, &limit]).await?
                }
                Some(subject) => {
                    // `orders/<id>` is the entity `order`; what is no subject has no events.
                    let (plural, id) = subject.split_once('/').unwrap_or_default();
                    let entity = plural.strip_suffix('s').unwrap_or_default();
                    let statement = statement!(client, "events_of_subject");
                    client.query(&statement, &[&filter.after, &filter.kind, &entity, &id, &limit]).await?
                }
            };
            rows.iter().map(logged).collect()
        })
        .await
    }

    /// The last cursor given.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn last_cursor(&self) -> Result<i64, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "last_cursor");
            Ok(client.query_one(&statement, &[]).await?.get(0))
        })
        .await
    }

    /// Appends entries that belong to no other change, such as a refused order.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn log(&self, entries: &[crate::Entry]) -> Result<(), StoreError> {
        self.timed(async {
            let tx = crate::pool::Tx::begin(self).await?;
            crate::entry::append(tx.client()?, entries).await?;
            tx.commit().await
        })
        .await
    }
}
