//! Service definitions → footprints → edits.
//!
//! A [`Definition`] (a folder of the service catalogue, see `config/services/README.md`) says which
//! attributes a service has, which of them come from [`Pools`], and, per platform, which configuration it
//! wants on a device and how to see that it works. From an order's attributes and endpoints it renders one
//! [`Footprint`] per device: what the service wants there, as canonical XML. A [`Draft`] turns the step from
//! what a service has to what it is to have into a [`Plan`]: the [`DeviceEdit`]s that workers send.
//!
//! A version of a definition is a [`Bundle`] of files; a [`Catalogue`] holds versions, and a [`Library`] the
//! catalogue of the moment.
//!
//! Invariants:
//! - Pure and deterministic: the same definition, attributes and endpoints give the same bytes. No clock,
//!   no randomness, no network; the only IO is reading the files of the catalogue and of YANG folders.
//! - Nothing is rendered, parsed or checked for the first time when a device is locked: whatever is wrong
//!   with a plan is found here.
//! - A value never becomes markup, nor a step of a path, nor a part of a regular expression, whatever a
//!   template does.
//! - Edits only merge and remove, so that sending one twice is harmless, and remove nothing but what the
//!   definition says its service owns, or shares with nobody who is left.
//! - A definition that is bad is refused when it is loaded, with all its mistakes, file and line.
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
mod question;
mod read;
mod rpc;
mod schema;
mod shape;
mod template;
mod together;
mod yang;

pub use bundle::{BadBundle, Bundle, MAX_BUNDLE_BYTES, MAX_BUNDLE_FILES, MAX_FILE_BYTES};
pub use catalogue::Catalogue;
pub use change::{Change, Edit};
pub use check::Checked;
pub use definition::{BeforeConfirm, Definition, RoleSummary, Summary};
pub use draft::{DevicePlan, Draft, Holder, Node, Plan, Present};
pub use error::{BadContent, PlanError};
pub use footprint::{Footprint, overlap};
pub use library::Library;
pub use mistake::Mistake;
pub use pools::{PoolRule, Pools};
pub use question::Questions;
pub use rpc::check_rpc;
pub use template::RenderError;
pub use together::Together;
pub use yang::{ModuleText, Violation, Yang, YangCache, YangMistake, modules_needed};
