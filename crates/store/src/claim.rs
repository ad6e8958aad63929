use turnup_core::message::{Claim, ClaimAnswer, ClaimKind};

use crate::{Store, StoreError, pool::statement};

impl Store {
    /// Answers a worker that was handed a deployment for the second time, or had to wait: may it
    /// go on, and as which attempt? Taking over voids every later report of the attempts before. A message of
    /// a stage that is over takes over nothing.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn claim(&self, claim: &Claim) -> Result<ClaimAnswer, StoreError> {
        self.timed(async {
            let client = self.client().await?;
            let row = match claim.claim {
                ClaimKind::TakeOver => {
                    let statement = statement!(client, "claim_take_over");
                    client
                        .query_opt(&statement, &[&claim.deployment.0, &claim.worker, &claim.attempt])
                        .await?
                }
                ClaimKind::Check => {
                    let statement = statement!(client, "claim_check");
                    client.query_opt(&statement, &[&claim.deployment.0, &claim.attempt]).await?
                }
            };
            Ok(ClaimAnswer { attempt: row.map(|row| row.get(0)) })
        })
        .await
    }
}
