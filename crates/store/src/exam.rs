//! Leases of device exams. An exam holds a device as an order does, so no deployment begins meanwhile; its lease ends
//! by itself, and its token is on record as pending until the exam has said that nothing is left.

use jiff::Timestamp;
use turnup_core::{id::OrderId, name::DeviceName};
use uuid::Uuid;

use crate::{
    Store, StoreError,
    control::nudge,
    pool::{Tx, statement},
};

/// Whether an exam may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExamLease {
    /// The device is the exam's.
    Taken {
        /// The lease's epoch.
        epoch: i64,
        /// `persist` tokens of earlier deployments and exams that may be pending.
        pending_tokens: Vec<String>,
    },
    /// An order holds the device.
    Held(OrderId),
    /// Another exam holds it, at the latest until then.
    Examined(Timestamp),
    /// An order waits for it.
    Waiting(OrderId),
    /// There is no such device.
    Missing,
}

impl Store {
    /// Takes a device's lease for an exam, until `until` at the latest. The exam's id counts as a pending token from
    /// then on.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn begin_exam(
        &self,
        device: &DeviceName,
        exam: Uuid,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<ExamLease, StoreError> {
        self.timed(async {
            let tx = Tx::begin(self).await?;
            let client = tx.client()?;
            let lock = statement!(client, "exam_lock");
            let Some(row) = client.query_opt(&lock, &[&device.as_str()]).await? else {
                tx.rollback().await?;
                return Ok(ExamLease::Missing);
            };
            let exam_until: Option<Timestamp> = row.get("exam_until");
            let is_over = exam_until.is_some_and(|until| until < now);
            if let Some(holder) = row.get::<_, Option<Uuid>>("order_id").filter(|_| !is_over) {
                tx.rollback().await?;
                return Ok(exam_until.map_or(ExamLease::Held(OrderId(holder)), ExamLease::Examined));
            }
            // Under the lock of the lease nobody joins the queue.
            let waiting = statement!(client, "exam_first_waiting");
            if let Some(first) = client.query_opt(&waiting, &[&device.as_str()]).await? {
                tx.rollback().await?;
                return Ok(ExamLease::Waiting(OrderId(first.get(0))));
            }
            let tokens: Vec<Uuid> = row.get::<_, Option<Vec<Uuid>>>("pending_tokens").unwrap_or_default();
            let begin = statement!(client, "exam_begin");
            let epoch = client.query_one(&begin, &[&device.as_str(), &exam, &now, &until]).await?.get(0);
            tx.commit().await?;
            let pending_tokens = tokens.iter().map(Uuid::to_string).collect();
            Ok(ExamLease::Taken { epoch, pending_tokens })
        })
        .await
    }

    /// Gives the lease of an exam back, and wakes who waits for the device. `is_clean`: nothing of the exam is left at
    /// the device. `tokens_cancelled`: what was pending of others is neither. False if the exam has it no more.
    ///
    /// # Errors
    /// If the database is away; then the lease ends by itself.
    pub async fn end_exam(
        &self,
        device: &DeviceName,
        exam: Uuid,
        is_clean: bool,
        tokens_cancelled: bool,
    ) -> Result<bool, StoreError> {
        self.timed(async {
            let tx = Tx::begin(self).await?;
            let client = tx.client()?;
            let end = statement!(client, "exam_end");
            let rows = client.query(&end, &[&device.as_str(), &exam, &is_clean, &tokens_cancelled]).await?;
            let ended: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            nudge(client, &ended).await?;
            tx.commit().await?;
            Ok(!ended.is_empty())
        })
        .await
    }

    /// Ends the leases of exams whose time is over, at most `limit`, and wakes who waits for their devices. Gives the
    /// devices.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn expire_exams(&self, now: Timestamp, limit: i64) -> Result<Vec<String>, StoreError> {
        self.timed(async {
            let tx = Tx::begin(self).await?;
            let client = tx.client()?;
            let expire = statement!(client, "exams_expire");
            let rows = client.query(&expire, &[&now, &limit]).await?;
            let devices: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            nudge(client, &devices).await?;
            tx.commit().await?;
            Ok(devices)
        })
        .await
    }
}
