//! A service definition, read and compiled.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;
use serde_json::{Map, Value};
use turnup_core::{
    drift::OnDrift,
    id::ServiceId,
    name::{DefinitionName, DeviceName, PlatformName},
    order::Endpoint,
    retry::RetryChanges,
};

use crate::{
    audit::CheckTemplate,
    bundle::Bundle,
    error::PlanError,
    example::Example,
    footprint::Footprint,
    schema::Schema,
    secret,
    shape::Shape,
    template::{Context, MAX_OUTPUT_BYTES, Templates},
    yang::Yang,
};

/// A service definition: which attributes and endpoints a service has, and what it wants on devices.
/// Schemas and templates are compiled when it is loaded.
pub struct Definition {
    pub(crate) name: DefinitionName,
    pub(crate) version: u32,
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) attributes: Schema,
    /// Attributes of the service that are resources.
    pub(crate) resources: Vec<ResourceUse>,
    pub(crate) roles: Vec<Role>,
    /// Whether one device may take several endpoints of a service.
    pub(crate) same_device: bool,
    pub(crate) platforms: BTreeMap<PlatformName, Platform>,
    pub(crate) templates: Templates,
    pub(crate) audit_every: Option<Duration>,
    pub(crate) before_confirm: Option<BeforeConfirm>,
    pub(crate) drift: DriftPolicy,
    pub(crate) retry: RetryChanges,
    /// Functional checks by file.
    pub(crate) audits: BTreeMap<String, Vec<CheckTemplate>>,
    pub(crate) example: Option<Example>,
    pub(crate) bundle: Arc<Bundle>,
}

/// How functional checks decide whether a change is confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeforeConfirm {
    /// Pause between the commit and the first poll.
    pub settle: Duration,
    /// How long the checks are polled after that.
    pub within: Duration,
}

/// What a modify order does about drift: configuration of the service that was changed past turnup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct DriftPolicy {
    /// What it does where it finds drift.
    pub found: OnDrift,
    /// It looks also at devices of the service on which it changes nothing.
    pub untouched_devices: bool,
}

/// An attribute whose value comes from a pool.
#[derive(Debug)]
pub(crate) struct ResourceUse {
    pub(crate) attribute: String,
    /// The pool's name.
    pub(crate) pool: String,
    /// Attributes of the same endpoint that say within which part of the device it is unique.
    pub(crate) within: Vec<String>,
    /// It belongs to an endpoint, not to the service.
    pub(crate) of_endpoint: bool,
    /// Line in `definition.yaml`.
    pub(crate) line: u32,
}

/// A kind of endpoint.
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) min: usize,
    pub(crate) max: usize,
    pub(crate) attributes: Schema,
    pub(crate) resources: Vec<ResourceUse>,
}

/// What a definition says about one platform.
pub(crate) struct Platform {
    /// File name of the template.
    pub(crate) template: String,
    /// Name of the file of functional checks.
    pub(crate) audit: Option<String>,
    /// It says itself which lists there are; otherwise only YANG can.
    pub(crate) declares_lists: bool,
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
    /// Attributes that may be left out and come from a pool then: attribute → pool.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<String, String>,
    /// The kinds of endpoints.
    pub endpoints: Vec<RoleSummary>,
    /// Whether one device may take several endpoints of a service.
    pub same_device: bool,
    /// Platforms that it has templates for.
    pub platforms: Vec<PlatformName>,
    /// Seconds between audits that nobody asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_every_s: Option<u64>,
    /// Seconds within which the functional checks must pass before a change is confirmed; none: they don't decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked_within_s: Option<u64>,
    /// What a modify order does about drift.
    pub drift: DriftPolicy,
    /// How its orders are tried again, as far as it says so itself.
    #[serde(skip_serializing_if = "is_silent")]
    pub retry: RetryChanges,
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
    /// Attributes that may be left out and come from a pool then: attribute → pool.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<String, String>,
}

fn is_silent(retry: &RetryChanges) -> bool {
    *retry == RetryChanges::default()
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

    /// What a modify order does about drift.
    #[must_use]
    pub fn drift(&self) -> DriftPolicy {
        self.drift
    }

    /// What it says about trying its orders again; what it leaves out, the configuration says.
    #[must_use]
    pub fn retry(&self) -> &RetryChanges {
        &self.retry
    }

    /// The files that it was compiled from: what is published.
    #[must_use]
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// The platforms that it has templates for.
    pub fn platforms(&self) -> impl Iterator<Item = &PlatformName> {
        self.platforms.keys()
    }

    /// What a client of the API sees of it.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let pools = |resources: &[ResourceUse]| {
            resources.iter().map(|resource| (resource.attribute.clone(), resource.pool.clone())).collect()
        };
        let role = |role: &Role| RoleSummary {
            role: role.name.clone(),
            title: role.title.clone(),
            min: role.min,
            max: role.max,
            attributes: role.attributes.source().clone(),
            resources: pools(&role.resources),
        };
        Summary {
            name: self.name.clone(),
            version: self.version,
            title: self.title.clone(),
            description: self.description.clone(),
            attributes: self.attributes.source().clone(),
            resources: pools(&self.resources),
            endpoints: self.roles.iter().map(role).collect(),
            same_device: self.same_device,
            platforms: self.platforms().cloned().collect(),
            audit_every_s: self.audit_every.map(|every| every.as_secs()),
            checked_within_s: self.before_confirm.map(|checks| checks.within.as_secs()),
            drift: self.drift,
            retry: self.retry,
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
        self.footprints_with(service, attributes, endpoints, platforms, &|_| None)
    }

    /// As [`Self::footprints`]; the keys of lists that the definition doesn't declare are those of the
    /// platform's YANG, where `yang_of` has it.
    ///
    /// # Errors
    /// As [`Self::footprints`].
    pub fn footprints_with(
        &self,
        service: ServiceId,
        attributes: &Map<String, Value>,
        endpoints: &[Endpoint],
        platforms: &BTreeMap<DeviceName, PlatformName>,
        yang_of: &dyn Fn(&PlatformName) -> Option<Yang>,
    ) -> Result<BTreeMap<DeviceName, Footprint>, PlanError> {
        let devices: BTreeSet<&DeviceName> = endpoints.iter().map(|endpoint| &endpoint.device).collect();
        let other = self.with_other_secrets(attributes, endpoints);
        let secrets_in = |output: &str| secret::holding(output, &self.redactor(attributes, endpoints));
        devices
            .into_iter()
            .map(|device| {
                let (name, platform) = self.platform_of(device, platforms)?;
                let context = Context::new(service, attributes, endpoints, device);
                let template = || format!("{}/{}", self.name, platform.template);
                let output = self.templates.render(&platform.template, &context, MAX_OUTPUT_BYTES).map_err(
                    |source| PlanError::Template { device: device.clone(), template: template(), source },
                )?;
                let yang = yang_of(name);
                let mut shape = platform.shape.clone();
                if let Some((attributes, endpoints)) = &other {
                    let context = Context::new(service, attributes, endpoints, device);
                    let rendered = self.templates.render(&platform.template, &context, MAX_OUTPUT_BYTES);
                    let tainted = rendered.ok().and_then(|other| secret::tainted(&output, &other));
                    shape.nodes.secret.extend(tainted.unwrap_or_else(|| secrets_in(&output)));
                }
                let footprint =
                    Footprint::rendered(name.clone(), &output, shape, yang.as_ref()).map_err(|source| {
                        PlanError::Content { device: device.clone(), template: template(), source }
                    })?;
                Ok((device.clone(), footprint))
            })
            .collect()
    }

    /// What is said about a device's platform.
    pub(crate) fn platform_of<'p>(
        &self,
        device: &DeviceName,
        platforms: &'p BTreeMap<DeviceName, PlatformName>,
    ) -> Result<(&'p PlatformName, &Platform), PlanError> {
        let name = platforms.get(device).ok_or_else(|| PlanError::NoPlatform { device: device.clone() })?;
        let platform = self.platforms.get(name).ok_or_else(|| PlanError::UnsupportedPlatform {
            device: device.clone(),
            platform: name.clone(),
            definition: self.name.to_string(),
            supported: self.supported(),
        })?;
        Ok((name, platform))
    }

    /// The supported platforms, for messages.
    pub(crate) fn supported(&self) -> String {
        self.platforms().map(PlatformName::as_str).collect::<Vec<_>>().join(", ")
    }
}
