//! Why a plan can't be made.

use turnup_core::name::{DeviceName, PlatformName};
use turnup_netconf::xml::XmlError;

use crate::template::RenderError;

/// What is wrong with the configuration that a template wrote, or that was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadContent {
    /// Not well-formed.
    #[error("line {line} of the output: {source}")]
    Xml {
        /// Line of the output, counted from 1.
        line: usize,
        /// What the parser says.
        source: XmlError,
    },
    /// Nothing was written.
    #[error("nothing was rendered; a template must say what the service wants on every device it touches")]
    Empty,
    /// An element without namespace.
    #[error("{path} has no namespace; declare the module's with xmlns=\"…\"")]
    NoNamespace {
        /// Path of the element.
        path: String,
    },
    /// An attribute.
    #[error(
        "{path} has the attribute {attribute:?}; templates say what is wanted and leave operations to the planner"
    )]
    Attribute {
        /// Path of the element.
        path: String,
        /// Local name of the attribute.
        attribute: String,
    },
    /// Text beside elements.
    #[error("{path} holds text beside elements: {text:?}; configuration has text only in leaves")]
    Mixed {
        /// Path of the element.
        path: String,
        /// How the text begins.
        text: String,
    },
    /// A list entry that nothing identifies.
    #[error(
        "{path} is a list entry (see 'keys') without its key leaf {key:?}, or with an empty one; if this list has \
         other keys than others of its name, declare them by its path: '{list}: […]'"
    )]
    MissingKey {
        /// Path of the list entry.
        path: String,
        /// Name of the missing key leaf.
        key: String,
        /// The list, in local names from the top.
        list: String,
    },
    /// The same node twice.
    #[error("{path} is there twice; if it is a list, declare its keys, and give each entry other key values")]
    Duplicate {
        /// Path of the node.
        path: String,
    },
    /// A secret that identifies an entry, and so would be in every path to it.
    #[error(
        "the key {key:?} of {list} comes from a secret, and keys are shown; identify the entry by something that is \
         no secret"
    )]
    SecretKey {
        /// The list, in local names from the top.
        list: String,
        /// Name of the key leaf; `.` of a leaf-list.
        key: String,
    },
    /// A node that could never be removed again.
    #[error("{path} is not covered by 'owns', so it could never be removed; add it there or leave it out")]
    NotOwned {
        /// Path of the node.
        path: String,
    },
}

/// Why a plan can't be made. Nothing has been touched.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The caller gave no platform for a device of the service.
    #[error("the platform of device {device} is not known; look it up in the inventory before planning")]
    NoPlatform {
        /// The device.
        device: DeviceName,
    },
    /// The definition has no template for the platform.
    #[error(
        "device {device} has platform {platform}, definition {definition} supports {supported}; \
         add a template for {platform} or order another device"
    )]
    UnsupportedPlatform {
        /// The device.
        device: DeviceName,
        /// Its platform.
        platform: PlatformName,
        /// The definition.
        definition: String,
        /// The supported platforms, separated by commas.
        supported: String,
    },
    /// The template could not be rendered with these values.
    #[error("template {template} for device {device}: {source}; correct the template or the order's values")]
    Template {
        /// The device.
        device: DeviceName,
        /// `definition/file`.
        template: String,
        /// What went wrong, with the line in the template.
        #[source]
        source: RenderError,
    },
    /// What the template wrote is no configuration that can be deployed.
    #[error("template {template} for device {device}: {source}")]
    Content {
        /// The device.
        device: DeviceName,
        /// `definition/file`.
        template: String,
        /// What is wrong with it.
        #[source]
        source: BadContent,
    },
}
