//! Service definitions → footprints → edits.
//!
//! A [`Definition`] (a folder of the service catalogue, see `config/services/README.md`) says which
//! attributes a service has and, per platform, which configuration it wants on a device. From an order's
//! attributes and endpoints it renders one [`Footprint`] per device: what the service wants there, as
//! canonical XML. [`change`] turns the step from one footprint to another into the [`DeviceEdit`] that a
//! worker sends.
//!
//! Invariants:
//! - Pure and deterministic: the same definition, attributes and endpoints give the same bytes. No clock,
//!   no randomness, no network; the only IO is [`Catalogue::load`] reading the catalogue's files.
//! - Nothing is rendered, parsed or checked for the first time when a device is locked: whatever is wrong
//!   with a plan is found here.
//! - A value never becomes markup: everything a template prints is escaped, there is no way to turn it off.
//! - Edits only merge and remove, so that sending one twice is harmless, and remove nothing but what the
//!   definition says its service owns.
//! - A definition that is bad is refused when it is loaded, with all its mistakes, file and line.
//!
//! No YANG is at hand in this release: which elements are list entries, and what identifies them, is
//! declared in the definition (`keys:`). Planning by diff of YANG data trees goes behind [`change`].
//!
//! [`DeviceEdit`]: turnup_core::message::DeviceEdit

mod audit;
mod bundle;
mod catalogue;
mod change;
mod check;
mod claims;
mod definition;
mod diff;
mod draft;
mod error;
mod example;
mod footprint;
mod library;
mod mistake;
mod pools;
mod read;
mod schema;
mod shape;
mod template;
mod yaml;
mod yang;

pub use bundle::{BadBundle, Bundle, MAX_BUNDLE_BYTES, MAX_BUNDLE_FILES, MAX_FILE_BYTES};
pub use catalogue::Catalogue;
pub use change::{Change, Edit};
pub use check::Checked;
pub use definition::{Definition, RoleSummary, Summary};
pub use draft::{DevicePlan, Draft, Holder, Node, Plan, Present};
pub use error::{BadContent, PlanError};
pub use footprint::{Footprint, overlap};
pub use library::Library;
pub use mistake::Mistake;
pub use pools::{PoolRule, Pools};
pub use template::RenderError;
pub use yang::{ModuleText, Violation, Yang, YangCache, YangMistake};
