use deadpool_postgres::Object;
use jiff::{SignedDuration, Timestamp};
use tokio_postgres::{Row, types::ToSql};
use turnup_core::event::Event;

use crate::{Store, StoreError, pool::statement};

/// How much later an event may get its cursor than one that happened after it: longer than a transaction lasts.
const DISORDER: SignedDuration = SignedDuration::from_secs(60);

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
    /// That happened at this time or later.
    pub since: Option<Timestamp>,
    /// The last `limit` of them instead of the first.
    pub newest: bool,
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

/// A cursor after which is everything that happened at `at` or later. Cursors have no gaps, and rise with time.
async fn cursor_before(client: &Object, at: Timestamp) -> Result<i64, StoreError> {
    let last = statement!(client, "last_cursor");
    let time = statement!(client, "cursor_time");
    let (mut before, mut end): (i64, i64) = (0, client.query_one(&last, &[]).await?.get(0));
    while before < end {
        let middle = before + (end - before + 1) / 2;
        let row = client.query_opt(&time, &[&middle]).await?;
        // What is not kept any more is older.
        if row.is_none_or(|row| row.get::<_, Timestamp>(0) < at) {
            before = middle;
        } else {
            end = middle - 1;
        }
    }
    Ok(before)
}

impl Store {
    /// Events of the log that `filter` wants, oldest first.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn events(&self, filter: &EventFilter) -> Result<Vec<Logged>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let limit = filter.limit.clamp(1, 1000);
            let after = match filter.since {
                None => filter.after,
                Some(since) => filter.after.max(cursor_before(&client, since - DISORDER).await?),
            };
            let rows = match filter.subject.as_deref() {
                None => {
                    let statement = match filter.newest {
                        true => statement!(client, "events_newest"),
                        false => statement!(client, "events"),
                    };
                    client.query(&statement, &[&after, &filter.kind, &limit, &filter.since]).await?
                }
                Some(subject) => {
                    // `orders/<id>` is the entity `order`; what is no subject has no events.
                    let (plural, id) = subject.split_once('/').unwrap_or_default();
                    let entity = plural.strip_suffix('s').unwrap_or_default();
                    let statement = statement!(client, "events_of_subject");
                    let parameters: [&(dyn ToSql + Sync); 7] =
                        [&after, &filter.kind, &entity, &id, &limit, &filter.since, &filter.newest];
                    client.query(&statement, &parameters).await?
                }
            };
            let mut events = rows.iter().map(logged).collect::<Result<Vec<_>, _>>()?;
            events.sort_by_key(|logged| logged.cursor);
            Ok(events)
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
