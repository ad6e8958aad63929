//! Waiting for room: a worker works on so many devices at once and no more.

use std::time::Duration;

use futures_util::future::join;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use turnup_core::attempt;

use super::{Outcome, Run};
use crate::{
    currency::{Currency, Verdict},
    device::is_null,
    progress::Progress,
    room::{Room, Seats},
};

/// How long a deployment waits for room; then it goes back to its queue, as another worker may have room.
const PATIENCE: Duration = Duration::from_secs(600);

impl Run<'_> {
    /// Waits until the devices may be worked on, all of them at once, and tells meanwhile that it does: a
    /// deployment that nothing is heard of is taken for lost. Gives the number of the next report along.
    ///
    /// What has been decided over several regions doesn't wait.
    pub(super) async fn wait_for_room(&self, attempt: i32) -> Result<(Seats, i32), Outcome> {
        let devices = self.deployment.devices.iter().filter(|device| !is_null(device)).count();
        // Their timers run, and they have had their room before.
        if self.is_decided() {
            return Ok((Room::enter_at_once(devices), 1));
        }
        let (progress, over) = (Progress::default(), CancellationToken::new());
        let began = Instant::now();
        let enter = async {
            let room = &self.context.shared.room;
            let seats = room.enter(&self.deployment.region, devices, began + PATIENCE).await;
            over.cancel();
            seats
        };
        let (seats, sequence) = join(enter, self.tell(attempt, 1, &progress, &over)).await;
        let seats = seats.ok_or(Outcome::Release)?;
        if began.elapsed() > attempt::FRESH {
            self.check_again(attempt).await?;
        }
        Ok((seats, sequence))
    }

    /// Time has passed, so the deployment may be another worker's by now.
    async fn check_again(&self, attempt: i32) -> Result<(), Outcome> {
        let context = self.context;
        let worker = &context.shared.assignment.worker_name;
        let currency = Currency::new(context.claims, self.held, self.deployment.deployment, attempt, worker);
        match currency.check(Instant::now() + attempt::ASKING_PATIENCE).await {
            Verdict::Current => Ok(()),
            Verdict::Superseded => Err(Outcome::Forget),
            Verdict::Unknown => Err(Outcome::Release),
        }
    }
}
