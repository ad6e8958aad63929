use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::types::Json;
use turnup_core::{
    id::DeploymentId,
    transcript::{Exchange, Transcript},
};
use uuid::Uuid;

use crate::{Store, StoreError, order::time, pool::statement};

/// Attempts of a deployment whose transcripts are shown, the newest.
const ATTEMPTS: i32 = 5;
/// Rows of one transaction of [`Store::prune_transcripts`].
const PORTION: i64 = 5_000;

/// What a worker and one device said to each other in one attempt of a deployment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TranscriptView {
    /// The attempt.
    pub attempt: i32,
    /// The device.
    pub device: String,
    /// Which worker it was.
    pub worker: String,
    /// When the attempt ended, by the worker's clock.
    #[serde(serialize_with = "time")]
    pub at: Timestamp,
    /// How many exchanges in the middle are left out.
    pub left_out: i32,
    /// The exchanges in their order, see [`Exchange`].
    pub exchanges: Value,
}

/// Keeps transcripts. One that is there already stays as it is.
pub(crate) async fn keep(
    client: &deadpool_postgres::Object,
    transcripts: &[Transcript],
) -> Result<(), StoreError> {
    if transcripts.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = transcripts
        .iter()
        .flat_map(|transcript| transcript.devices.iter().map(move |device| (transcript, device)))
        .collect();
    let deployments: Vec<Uuid> = rows.iter().map(|(of, _)| of.deployment.0).collect();
    let attempts: Vec<i32> = rows.iter().map(|(of, _)| of.attempt).collect();
    let devices: Vec<&str> = rows.iter().map(|(_, device)| device.device.as_str()).collect();
    let workers: Vec<&str> = rows.iter().map(|(of, _)| of.worker.as_str()).collect();
    let times: Vec<Timestamp> = rows.iter().map(|(of, _)| of.at).collect();
    let left_out: Vec<i32> =
        rows.iter().map(|(_, device)| i32::try_from(device.left_out).unwrap_or(i32::MAX)).collect();
    let exchanges: Vec<Json<&Vec<Exchange>>> =
        rows.iter().map(|(_, device)| Json(&device.exchanges)).collect();
    let statement = statement!(client, "keep_transcripts");
    client
        .execute(&statement, &[&deployments, &attempts, &devices, &workers, &times, &left_out, &exchanges])
        .await?;
    Ok(())
}

impl Store {
    /// What was said in a deployment's newest attempts, to all of its devices or to one. Empty as well where
    /// nothing was kept.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn transcripts(
        &self,
        deployment: DeploymentId,
        device: Option<&str>,
    ) -> Result<Vec<TranscriptView>, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let statement = statement!(client, "transcripts");
            let rows = client.query(&statement, &[&deployment.0, &device, &ATTEMPTS]).await?;
            let view = |row: &tokio_postgres::Row| TranscriptView {
                attempt: row.get("attempt"),
                device: row.get("device"),
                worker: row.get("worker"),
                at: row.get("at"),
                left_out: row.get("left_out"),
                exchanges: row.get("exchanges"),
            };
            Ok(rows.iter().map(view).collect())
        })
        .await
    }

    /// Forgets transcripts of before `before`. Gives how many.
    ///
    /// # Errors
    /// If the database is away: what was forgotten so far is gone.
    pub async fn prune_transcripts(&self, before: Timestamp) -> Result<u64, StoreError> {
        let mut pruned = 0;
        loop {
            let portion = self.timed(async {
                let client = self.client().await?;
                let statement = statement!(client, "prune_transcripts");
                Ok(client.execute(&statement, &[&before, &PORTION]).await?)
            });
            match portion.await? {
                0 => return Ok(pruned),
                some => pruned += some,
            }
        }
    }
}
