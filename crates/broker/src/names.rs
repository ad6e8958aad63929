//! The names of exchanges, queues and routing keys, all from one prefix.

use crate::delay::MAX_LEVELS;

/// Queues over which state changes are spread, by deployment id.
pub const STATE_SHARDS: u16 = 8;

/// How soon a deployment is to be taken by a worker. Three queues per region instead of
/// priorities, because those mean different things in each version of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeployClass {
    /// Someone waits for it.
    Urgent,
    /// Everyday orders.
    Normal,
    /// Mass changes, audits.
    Bulk,
}

impl DeployClass {
    /// All classes, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Urgent, Self::Normal, Self::Bulk];

    /// The word in queue names and routing keys.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::Normal => "normal",
            Self::Bulk => "bulk",
        }
    }
}

impl std::fmt::Display for DeployClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Names under one prefix. A region must be one word (letters, digits, `-`, `_`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// Names that begin with `prefix` and a dot.
    #[must_use]
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
    }

    /// The prefix.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    fn of(&self, rest: &str) -> String {
        format!("{}.{rest}", self.prefix)
    }

    /// Exchange to which upstream systems publish orders.
    #[must_use]
    pub fn orders(&self) -> String {
        self.of("orders")
    }

    /// Queue of orders for the intake.
    #[must_use]
    pub fn intake(&self) -> String {
        self.of("intake")
    }

    /// Exchange, and queue, of due orders for the scheduler.
    #[must_use]
    pub fn due(&self) -> String {
        self.of("due")
    }

    /// Exchange of deployments.
    #[must_use]
    pub fn deploy(&self) -> String {
        self.of("deploy")
    }

    /// Queue of deployments for one region and class.
    #[must_use]
    pub fn deploy_queue(&self, region: &str, class: DeployClass) -> String {
        self.of(&format!("deploy.{region}.{class}"))
    }

    /// Routing key of deployments for one region and class.
    #[must_use]
    pub fn deploy_key(region: &str, class: DeployClass) -> String {
        format!("{region}.{class}")
    }

    /// Exchange of state changes.
    #[must_use]
    pub fn state(&self) -> String {
        self.of("state")
    }

    /// Queue of state changes for one shard.
    #[must_use]
    pub fn state_queue(&self, shard: u16) -> String {
        self.of(&format!("state.{shard}"))
    }

    /// The shard that keeps one deployment's state changes in order.
    #[must_use]
    pub fn state_shard(deployment_id: uuid::Uuid) -> u16 {
        // The last bytes of a UUIDv7 are random; its first are a clock.
        let last = deployment_id.as_bytes()[15];
        u16::from(last) % STATE_SHARDS
    }

    /// Routing key of state changes of one deployment.
    #[must_use]
    pub fn state_key(deployment_id: uuid::Uuid) -> String {
        Self::state_shard(deployment_id).to_string()
    }

    /// Exchange of public events.
    #[must_use]
    pub fn events(&self) -> String {
        self.of("events")
    }

    /// The stream that keeps public events for replay.
    #[must_use]
    pub fn events_log(&self) -> String {
        self.of("events.log")
    }

    /// Exchange, and queue, of messages that can't be processed.
    #[must_use]
    pub fn parked(&self) -> String {
        self.of("parked")
    }

    /// Exchange, and queue, on which workers ask the scheduler and wait for its answer.
    #[must_use]
    pub fn claim(&self) -> String {
        self.of("claim")
    }

    /// Exchange of questions about devices; the routing key is the device's region.
    #[must_use]
    pub fn ask(&self) -> String {
        self.of("ask")
    }

    /// Queue of questions about the devices of one region.
    #[must_use]
    pub fn ask_queue(&self, region: &str) -> String {
        self.of(&format!("ask.{region}"))
    }

    /// Exchange, and queue, of one level of the delay ladder.
    #[must_use]
    pub fn delay_level(&self, level: u8) -> String {
        debug_assert!(level < MAX_LEVELS);
        self.of(&format!("delay.v1.{level:02}"))
    }

    /// Exchange at the foot of the delay ladder, where the wait is over.
    #[must_use]
    pub fn delay_out(&self) -> String {
        self.of("delay.v1.out")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_all_used_by_random_ids() {
        let mut seen = [0_u32; STATE_SHARDS as usize];
        for _ in 0..4000 {
            seen[usize::from(Names::state_shard(uuid::Uuid::now_v7()))] += 1;
        }
        assert!(seen.iter().all(|n| *n > 300), "{seen:?}");
    }
}
