//! A service definition, read and compiled.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};
use turnup_core::{
    id::ServiceId,
    name::{DefinitionName, DeviceName, PlatformName},
    order::Endpoint,
};

use crate::{
    error::PlanError,
    footprint::Footprint,
    schema::Schema,
    shape::Shape,
    template::{Context, Service, Templates},
};

/// A service definition: which attributes and endpoints a service has, and what it wants on devices.
/// Schemas and templates are compiled when it is loaded.
pub struct Definition {
    pub(crate) name: DefinitionName,
    pub(crate) version: u32,
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) attributes: Schema,
    pub(crate) roles: Vec<Role>,
    /// Whether one device may take several endpoints of a service.
    pub(crate) same_device: bool,
    pub(crate) platforms: BTreeMap<PlatformName, Platform>,
    pub(crate) templates: Templates,
}

/// A kind of endpoint.
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) min: usize,
    pub(crate) max: usize,
    pub(crate) attributes: Schema,
}

/// What a definition says about one platform.
pub(crate) struct Platform {
    /// File name of the template.
    pub(crate) template: String,
    pub(crate) shape: Shape,
}

/// What a client of the API sees of a definition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Name, as orders give it.
    pub name: DefinitionName,
    /// Version, from 1.
    pub version: u32,
    /// Short title.
    pub title: String,
    /// What it is, for people.
    pub description: String,
    /// JSON Schema (draft 2020-12) of the service's attributes.
    pub attributes: Value,
    /// The kinds of endpoints.
    pub endpoints: Vec<RoleSummary>,
    /// Whether one device may take several endpoints of a service.
    pub same_device: bool,
    /// Platforms that it has templates for.
    pub platforms: Vec<PlatformName>,
}

/// What a client of the API sees of a kind of endpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RoleSummary {
    /// Name of the role.
    pub role: String,
    /// Short title.
    pub title: String,
    /// How many endpoints must have it.
    pub min: usize,
    /// How many may.
    pub max: usize,
    /// JSON Schema (draft 2020-12) of the endpoint's attributes.
    pub attributes: Value,
}

impl std::fmt::Debug for Definition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Definition({} version {})", self.name, self.version)
    }
}

impl Definition {
    /// Name, the same as its folder's.
    #[must_use]
    pub fn name(&self) -> &DefinitionName {
        &self.name
    }

    /// Version, from 1.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The platforms that it has templates for.
    pub fn platforms(&self) -> impl Iterator<Item = &PlatformName> {
        self.platforms.keys()
    }

    /// What a client of the API sees of it.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let role = |role: &Role| RoleSummary {
            role: role.name.clone(),
            title: role.title.clone(),
            min: role.min,
            max: role.max,
            attributes: role.attributes.source().clone(),
        };
        Summary {
            name: self.name.clone(),
            version: self.version,
            title: self.title.clone(),
            description: self.description.clone(),
            attributes: self.attributes.source().clone(),
            endpoints: self.roles.iter().map(role).collect(),
            same_device: self.same_device,
            platforms: self.platforms().cloned().collect(),
        }
    }

    /// Renders what the service wants, one footprint per device of its endpoints.
    ///
    /// `attributes` and `endpoints` are those of a [`Checked`](crate::Checked) order: complete with
    /// defaults.
    ///
    /// # Errors
    /// The first thing that stands in the way; nothing has been touched.
    pub fn footprints(
        &self,
        service: ServiceId,
        attributes: &Map<String, Value>,
        endpoints: &[Endpoint],
        platforms: &BTreeMap<DeviceName, PlatformName>,
    ) -> Result<BTreeMap<DeviceName, Footprint>, PlanError> {
        let devices: BTreeSet<&DeviceName> = endpoints.iter().map(|endpoint| &endpoint.device).collect();
        devices
            .into_iter()
            .map(|device| {
                let name =
                    platforms.get(device).ok_or_else(|| PlanError::NoPlatform { device: device.clone() })?;
                let platform = self.platforms.get(name).ok_or_else(|| PlanError::UnsupportedPlatform {
                    device: device.clone(),
                    platform: name.clone(),
                    definition: self.name.to_string(),
                    supported: self.supported(),
                })?;
                let (here, peers): (Vec<_>, Vec<_>) =
                    endpoints.iter().partition(|endpoint| endpoint.device == *device);
                let endpoint = match here.as_slice() {
                    [one] => Some(*one),
                    _ => None,
                };
                let context = Context {
                    service: Service { id: service },
                    attributes,
                    device,
                    endpoints: here,
                    endpoint,
                    peers,
                };
                let template = || format!("{}/{}", self.name, platform.template);
                let output = self.templates.render(&platform.template, &context).map_err(|source| {
                    PlanError::Template { device: device.clone(), template: template(), source }
                })?;
                let footprint =
                    Footprint::new(name.clone(), &output, platform.shape.clone()).map_err(|source| {
                        PlanError::Content { device: device.clone(), template: template(), source }
                    })?;
                Ok((device.clone(), footprint))
            })
            .collect()
    }

    /// The supported platforms, for messages.
    pub(crate) fn supported(&self) -> String {
        self.platforms().map(PlatformName::as_str).collect::<Vec<_>>().join(", ")
    }
}
