//! Questions about one device, from the intake to a worker of the device's region and back. They may be
//! lost; who asks has a deadline and may ask again. None changes a device's configuration for good: an exam works in a
//! scratch of its own, under the device's lease, and takes back what it did.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    exam::{Exam, ExamReport},
    failure::Failure,
    message::{Body, DeviceWork},
    piece::Piece,
};

/// Most bytes of YANG texts in one answer.
pub const MAX_YANG_BYTES: usize = 768 << 10;

/// A question about a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// Where it is, and for [`Question::TryEdit`] the edits.
    pub device: DeviceWork,
    /// What is asked.
    pub question: Question,
    /// How long the worker may take, in milliseconds.
    pub timeout_ms: u64,
}

impl Body for Ask {
    const SCHEMA: &'static str = "turnup.ask.v1";
}

/// What is asked about a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Connect and tell what it is. Works without a pinned host key, and then goes no further than the key.
    Check,
    /// The texts of these modules (`<get-schema>`, RFC 6022 §4): name and revision.
    Schemas(Vec<(String, Option<String>)>),
    /// The piece of a module's text that begins at byte `from`, of a text that no answer can carry.
    SchemaPiece {
        /// The module.
        name: String,
        /// Its revision date.
        revision: Option<String>,
        /// Where the piece begins.
        from: usize,
    },
    /// Lock, put the edits into the candidate, validate, discard.
    TryEdit,
    /// Find out how it behaves. The asker holds the device's lease.
    Exam(Box<Exam>),
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Which worker answered.
    pub worker: String,
    /// Why it could not be found out, or, for [`Question::TryEdit`], what the device objects to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
    /// What [`Question::TryEdit`] found that does not stand in the edit's way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What [`Question::Check`] found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<DeviceCheck>,
    /// What [`Question::Schemas`] brought: as many as fit; the rest is asked for again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schemas: Vec<SchemaText>,
    /// A piece of a text that no answer can carry: the first one, if [`Question::Schemas`] comes to such a text, else the
    /// one that [`Question::SchemaPiece`] asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub piece: Option<SchemaPiece>,
    /// What [`Question::Exam`] found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exam: Option<Box<ExamReport>>,
}

/// A piece of the text of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaPiece {
    /// Name.
    pub name: String,
    /// Revision date.
    pub revision: Option<String>,
    /// The piece.
    pub piece: Piece,
}

impl Body for Answer {
    const SCHEMA: &'static str = "turnup.answer.v1";
}

/// What a device is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceCheck {
    /// SHA-256 fingerprint of the key that it showed.
    pub host_key: Option<String>,
    /// Whether that is the pinned one; none: nothing is pinned yet.
    pub trusted: Option<bool>,
    /// Capability URIs of its hello (RFC 6241 §8).
    pub capabilities: Vec<String>,
    /// The strongest way of changing it: `confirmed-commit:1.1`, `candidate`, `writable-running` ….
    pub method: Option<String>,
    /// Its clock, where it tells one.
    pub clock: Option<Timestamp>,
    /// How far that is ahead of the worker's, in milliseconds.
    pub clock_skew_ms: Option<i64>,
    /// YANG modules it says it implements: name, revision.
    pub modules: Vec<Module>,
    /// How long connecting took, in milliseconds.
    pub connect_ms: u64,
    /// What is particular about changing it, such as that running is not locked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// A YANG module that a device implements.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Module {
    /// Name.
    pub name: String,
    /// Revision date.
    pub revision: Option<String>,
    /// XML namespace.
    pub namespace: Option<String>,
    /// Features that it supports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
}

/// The text of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaText {
    /// Name.
    pub name: String,
    /// Revision date.
    pub revision: Option<String>,
    /// YANG.
    pub text: String,
}
