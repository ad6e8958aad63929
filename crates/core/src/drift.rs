//! Drift that an order finds: a service's configuration on a device is no longer as turnup left it.

use serde::{Deserialize, Serialize};

use crate::{nodes::NodeFacts, words::words};

/// Most differences that a change's report keeps of one service on one device.
pub const MAX_REPORTED: usize = 10;

words!(
    /// What an order does where it finds drift.
    #[derive(Default)]
    OnDrift, "drift policy" {
        /// It ends Invalid, and no device is changed.
        #[default]
        Refuse = "refuse" / "refuse the order",
        /// It writes all of the service on that device again.
        Repair = "repair" / "repair along",
        /// It makes its own change, and the service is marked Drifted.
        Proceed = "proceed" / "proceed and mark Drifted",
    }
);

/// All that a service has on a device and is to have there, beside an edit that changes only a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WholeService {
    /// What it has: content of `<config>`. What is neither like this nor as it is to be is drift.
    pub before: String,
    /// The edit that writes all that it is to have, and removes what it is to give up. None: the edit itself does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<String>,
    /// Canonical paths of the nodes that are the service's alone, before or afterwards: what else is in them is
    /// drift as well.
    pub owned: Vec<String>,
    /// What YANG says of nodes that a device may show there although no service wants them.
    #[serde(default, skip_serializing_if = "NodeFacts::is_empty")]
    pub inside: NodeFacts,
    /// What is done about drift.
    #[serde(default)]
    pub on_drift: OnDrift,
}
