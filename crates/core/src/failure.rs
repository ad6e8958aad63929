//! What a failure means for the order, whatever caused it (4-devices, "What a failure means").

use serde::{Deserialize, Serialize};

use crate::{lifecycle::OrderEvent, name::DeviceName, words::words};

words!(
    /// Classes of failure at a device.
    FailureClass, "failure class" {
        /// The device or its schema refuses the content of the order.
        Invalid = "invalid" / "Invalid content",
        /// Another session holds what is needed.
        Busy = "busy" / "Busy",
        /// No connection, or it was lost before anything was committed.
        Unreachable = "unreachable" / "Unreachable",
        /// Host key changed, authentication failed, access denied.
        Distrusted = "distrusted" / "Refused by trust",
        /// A commit was sent and no answer came.
        InDoubt = "in_doubt" / "In doubt",
        /// The peer doesn't speak the protocol.
        BrokenPeer = "broken_peer" / "Broken peer",
        /// The worker can't do what the deployment asks: a missing credential, an unknown driver.
        Misconfigured = "misconfigured" / "Misconfigured",
        /// The change was in force provisionally, and the service did not pass its functional checks.
        NotWorking = "not_working" / "Service does not work",
        /// Another device of the same transaction failed, so this one was undone.
        Undone = "undone" / "Undone with the others",
    }
);

impl FailureClass {
    /// What becomes of an order that failed for this reason.
    #[must_use]
    pub const fn order_event(self) -> OrderEvent {
        match self {
            Self::Invalid => OrderEvent::Invalid,
            Self::Busy
            | Self::Unreachable
            | Self::Distrusted
            | Self::InDoubt
            | Self::BrokenPeer
            | Self::Misconfigured
            | Self::NotWorking
            | Self::Undone => OrderEvent::Failed,
        }
    }

    /// Whether it may pass by itself, so that trying again helps: within the same deployment, and later
    /// ([`crate::retry`]).
    #[must_use]
    pub const fn worth_retrying(self) -> bool {
        matches!(self, Self::Busy | Self::Unreachable)
    }
}

/// A failure, as shown on an order: which device, in which phase, and what the device said.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Failure {
    /// Class: decides what becomes of the order.
    pub class: FailureClass,
    /// The device, where one is to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceName>,
    /// Phase or step of the deployment, such as `connect`, `lock`, `edit-config`.
    pub phase: String,
    /// For people: what happened and what to do.
    pub message: String,
    /// RFC 6241 error-type, where the device answered with an rpc-error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
    /// RFC 6241 error-tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_tag: Option<String>,
    /// RFC 6241 error-app-tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_app_tag: Option<String>,
    /// RFC 6241 error-path, or the path in the order's own data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// RFC 6241 error-info: what the device adds, such as `bad-element`; also what it puts beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub error_info: Vec<ErrorInfo>,
    /// Texts to compare, such as the approved plan and the present one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Detail>,
}

/// One element of error-info.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ErrorInfo {
    /// The element's name: `bad-element`, `bad-attribute`, `bad-namespace`, `session-id` of RFC 6241, or one
    /// of the device's own, such as `source-daemon`.
    pub name: String,
    /// Its text.
    pub value: String,
}

/// A text that belongs to a failure.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Detail {
    /// What it is.
    pub title: String,
    /// The text, of several lines.
    pub text: String,
}

impl Failure {
    /// A failure without a device's answer.
    pub fn new(class: FailureClass, phase: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            class,
            device: None,
            phase: phase.into(),
            message: message.into(),
            error_type: None,
            error_tag: None,
            error_app_tag: None,
            path: None,
            error_info: Vec::new(),
            details: Vec::new(),
        }
    }

    /// The same, at `device`.
    #[must_use]
    pub fn at(mut self, device: DeviceName) -> Self {
        self.device = Some(device);
        self
    }
}
