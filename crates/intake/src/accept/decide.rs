//! Whether an order can be accepted: pure, over what was looked up for it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use turnup_core::{
    id::ServiceId,
    inventory::did_you_mean,
    name::{DefinitionName, DeviceName, MULTI, PlatformName, RegionName, near_misses},
    order::{Endpoint, OrderKind, OrderRequest},
    problem::{Fault, pointer_to},
    resource::ResourceClaim,
    secret,
};
use turnup_plan::{Catalogue, Definition};
use turnup_store::ServiceView;

use crate::inventory::Snapshot;

/// Most versions named in a message.
const MAX_VERSIONS_TOLD: usize = 20;

/// What was looked up for an order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lookup<'a> {
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) inventory: &'a Snapshot,
    /// The configured regions.
    pub(crate) regions: &'a [RegionName],
    /// The service that the order names, if there is one.
    pub(crate) service: Option<&'a ServiceView>,
    /// The devices on which that service has, or may have left, configuration.
    pub(crate) present: &'a [DeviceName],
}

/// What an order that can be accepted wants, complete but for the values that pools give.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) definition: String,
    pub(crate) definition_version: i32,
    /// None: a new one.
    pub(crate) service: Option<ServiceId>,
    /// That of all its devices; none: they are in several.
    pub(crate) region: Option<RegionName>,
    pub(crate) attributes: Map<String, Value>,
    pub(crate) endpoints: Vec<Endpoint>,
    /// All that the order may touch: where the service is to be, and where it is. Sorted, each once.
    pub(crate) devices: BTreeSet<DeviceName>,
    pub(crate) platforms: BTreeMap<DeviceName, PlatformName>,
    /// What it takes from pools.
    pub(crate) claims: Vec<ResourceClaim>,
    /// JSON pointers of its secret values.
    pub(crate) secrets: Vec<String>,
}

/// Checks an order against what is known.
///
/// # Errors
/// Every fault found.
pub(crate) fn decide(request: &OrderRequest, lookup: &Lookup<'_>) -> Result<Wanted, Vec<Fault>> {
    match request.kind {
        OrderKind::Provision => content(request, None, lookup),
        OrderKind::Modify => content(request, Some(existing(request, lookup)?), lookup),
        OrderKind::Redeploy | OrderKind::Validate | OrderKind::Decommission => {
            as_it_is(request, existing(request, lookup)?, lookup)
        }
    }
}

/// The service that the order names.
fn existing<'a>(request: &OrderRequest, lookup: &Lookup<'a>) -> Result<&'a ServiceView, Vec<Fault>> {
    let Some(service) = lookup.service else {
        let id = request.service_id.map(|id| id.to_string()).unwrap_or_default();
        let detail = format!("there is no service {id}; list them with 'turnup service list'");
        return Err(vec![Fault::new("/service_id", "unknown_service", detail)]);
    };
    if let Some(given) = request.definition.as_ref().filter(|given| given.as_str() != service.definition) {
        let detail =
            format!("the service is of definition {}, not {given}; leave it out", service.definition);
        return Err(vec![Fault::new("/definition", "wrong_definition", detail)]);
    }
    Ok(service)
}

/// An order that says what the service is to be.
fn content(
    request: &OrderRequest,
    service: Option<&ServiceView>,
    lookup: &Lookup<'_>,
) -> Result<Wanted, Vec<Fault>> {
    let mut faults = unknown_devices(request, lookup.inventory);
    let definition = match definition(request, service, lookup.catalogue) {
        Ok(definition) => definition,
        Err(fault) => {
            faults.insert(0, fault);
            return Err(faults);
        }
    };
    let platform_of = |name: &DeviceName| Some(lookup.inventory.devices.get(name)?.platform.clone());
    let (attributes, endpoints) = unmasked(request, service, definition).map_err(|masked| {
        faults.extend(masked);
        std::mem::take(&mut faults)
    })?;
    let mut checked = match definition.check(&attributes, &endpoints, platform_of) {
        Ok(checked) => checked,
        Err(found) => {
            // Ours name the near misses.
            faults.extend(found.into_iter().filter(|fault| fault.code != "unknown_device"));
            return Err(faults);
        }
    };
    let wanted = checked.endpoints.iter().map(|endpoint| endpoint.device.clone());
    let (devices, missing) = touched(wanted, service, lookup);
    if !missing.is_empty() {
        return Err(missing);
    }
    let unserved = unserved(&devices, request, lookup);
    if !unserved.is_empty() {
        return Err(unserved);
    }
    let region = region(&devices, lookup.inventory, "/endpoints").map_err(|fault| vec![fault])?;
    if let Some(service) = service {
        let has = service.attributes.as_object().cloned().unwrap_or_default();
        definition.keep_resources(&mut checked, &has, &service.endpoints);
    }
    let claims = definition.claims(&checked, lookup.catalogue.pools(), region.as_ref())?;
    let secrets = definition.secrets(&checked.attributes, &checked.endpoints);
    Ok(Wanted {
        secrets,
        definition: definition.name().to_string(),
        definition_version: i32::try_from(definition.version()).unwrap_or(i32::MAX),
        service: service.map(|service| service.id),
        region,
        attributes: checked.attributes,
        endpoints: checked.endpoints,
        platforms: platforms(&devices, lookup.inventory),
        devices,
        claims,
    })
}

/// An order that takes what the service has.
fn as_it_is(
    request: &OrderRequest,
    service: &ServiceView,
    lookup: &Lookup<'_>,
) -> Result<Wanted, Vec<Fault>> {
    let (devices, missing) = touched(std::iter::empty(), Some(service), lookup);
    if !missing.is_empty() {
        return Err(missing);
    }
    let unserved = unserved(&devices, request, lookup);
    if !unserved.is_empty() {
        return Err(unserved);
    }
    let region = region(&devices, lookup.inventory, "/service_id").map_err(|fault| vec![fault])?;
    Ok(Wanted {
        definition: service.definition.clone(),
        definition_version: service.definition_version,
        service: Some(service.id),
        region,
        attributes: service.attributes.as_object().cloned().unwrap_or_default(),
        endpoints: service.endpoints.clone(),
        platforms: platforms(&devices, lookup.inventory),
        devices,
        claims: Vec::new(),
        secrets: service.secrets.clone(),
    })
}

/// Attributes and endpoints.
type Content = (Map<String, Value>, Vec<Endpoint>);

/// What the order wants, with the service's own values where a secret is masked: a client that changes something else
/// sends back what it was shown.
fn unmasked(
    request: &OrderRequest,
    service: Option<&ServiceView>,
    definition: &Definition,
) -> Result<Content, Vec<Fault>> {
    let (mut attributes, mut endpoints) = (request.attributes.clone(), request.endpoints.clone());
    let secrets = definition.secrets(&attributes, &endpoints);
    if secrets.is_empty() {
        return Ok((attributes, endpoints));
    }
    let known = service.and_then(|service| Some((service.attributes.as_object()?, &service.endpoints[..])));
    let missing = secret::unmask(&mut attributes, &mut endpoints, &secrets, known);
    let fault = |pointer: String| {
        let detail = format!(
            "{:?} stands for a value that is not shown, and here is none that it could stand for; give the value itself",
            secret::MASK
        );
        Fault::new(pointer, "masked_secret", detail)
    };
    match missing.is_empty() {
        true => Ok((attributes, endpoints)),
        false => Err(missing.into_iter().map(fault).collect()),
    }
}

/// The devices where a service is to be and those where it is, and a fault for each of these that the
/// inventory doesn't have.
fn touched(
    wanted: impl Iterator<Item = DeviceName>,
    service: Option<&ServiceView>,
    lookup: &Lookup<'_>,
) -> (BTreeSet<DeviceName>, Vec<Fault>) {
    let mut devices: BTreeSet<DeviceName> = wanted.collect();
    let named = service.iter().flat_map(|service| &service.devices).map(String::as_str);
    let present: BTreeSet<&str> = named.chain(lookup.present.iter().map(DeviceName::as_str)).collect();
    let mut missing = Vec::new();
    for name in present {
        match DeviceName::new(name) {
            Ok(device) if lookup.inventory.devices.contains_key(&device) => {
                devices.insert(device);
            }
            _ => missing.push(Fault::new(
                "/service_id",
                "unknown_device",
                format!("the service is on device {name}, which is not in the inventory; add it again"),
            )),
        }
    }
    (devices, missing)
}

/// A fault for each device in a region that is not configured: no worker has a queue there.
fn unserved(devices: &BTreeSet<DeviceName>, request: &OrderRequest, lookup: &Lookup<'_>) -> Vec<Fault> {
    let region = |name: &DeviceName| {
        let region = &lookup.inventory.devices.get(name)?.region;
        (!lookup.regions.contains(region)).then_some(region)
    };
    let fault = |(name, region): (&DeviceName, &RegionName)| {
        let at = request.endpoints.iter().position(|endpoint| endpoint.device == *name);
        let at = at.map_or_else(|| "/service_id".to_owned(), |at| format!("/endpoints/{at}/device"));
        let known: Vec<&str> = lookup.regions.iter().map(RegionName::as_str).collect();
        let detail = format!(
            "device {name} is in region {region}, which is not configured, so no worker can reach it; {} Move the \
             device with 'turnup device set {name} --region REGION', or add the region to 'regions' in the \
             configuration, run 'turnup migrate' and start a worker for it",
            sentence(&did_you_mean(region.as_str(), &known))
        );
        Fault::new(at, "unknown_region", detail)
    };
    devices.iter().filter_map(|name| Some((name, region(name)?))).map(fault).collect()
}

/// With an end.
fn sentence(text: &str) -> String {
    if text.ends_with('?') { text.to_owned() } else { format!("{text}.") }
}

fn platforms(devices: &BTreeSet<DeviceName>, inventory: &Snapshot) -> BTreeMap<DeviceName, PlatformName> {
    let platform = |name: &DeviceName| Some((name.clone(), inventory.devices.get(name)?.platform.clone()));
    devices.iter().filter_map(platform).collect()
}

/// Name and version of the definition that an order needs; no version: the newest.
pub(crate) fn needed(
    request: &OrderRequest,
    service: Option<&ServiceView>,
) -> Option<(DefinitionName, Option<u32>)> {
    if !request.kind.has_content() {
        return None;
    }
    let name = match service {
        Some(service) => DefinitionName::new(service.definition.as_str()).ok(),
        None => request.definition.clone(),
    };
    let own = service.and_then(|service| u32::try_from(service.definition_version).ok());
    Some((name?, request.definition_version.or(own)))
}

fn definition<'c>(
    request: &OrderRequest,
    service: Option<&ServiceView>,
    catalogue: &'c Catalogue,
) -> Result<&'c Definition, Fault> {
    let needed = needed(request, service);
    let unreadable = needed.as_ref().and_then(|(name, version)| catalogue.unreadable(name, *version));
    if let Some(detail) = unreadable {
        return Err(Fault::new("/definition", "unreadable_definition", detail));
    }
    let name = needed.as_ref().map(|(name, _)| name);
    let Some((name, newest)) = name.and_then(|name| Some((name, catalogue.get(name)?))) else {
        return Err(unknown_definition(name.or(request.definition.as_ref()), catalogue));
    };
    let Some(version) = needed.as_ref().and_then(|(_, version)| *version) else { return Ok(newest) };
    catalogue.version(name, version).map(AsRef::as_ref).ok_or_else(|| {
        let all: Vec<String> = catalogue.versions(name).map(|version| version.to_string()).collect();
        let first = all.len().saturating_sub(MAX_VERSIONS_TOLD);
        let detail = format!(
            "{name} has no published version {version}; there are {}{}",
            if first > 0 { "…, " } else { "" },
            all[first..].join(", ")
        );
        Fault::new("/definition_version", "unknown_version", detail)
    })
}

fn unknown_definition(given: Option<&DefinitionName>, catalogue: &Catalogue) -> Fault {
    let given = given.map(DefinitionName::as_str).unwrap_or_default();
    let known: Vec<&str> = catalogue.names().map(DefinitionName::as_str).collect();
    let near = near_misses(given, known.iter().copied());
    let hint = match (near.is_empty(), known.len()) {
        (false, _) => format!("did you mean {}?", near.join(", ")),
        (true, 0) => "the catalogue is empty".to_owned(),
        (true, 1..=20) => format!("there are {}", known.join(", ")),
        (true, _) => "list them with 'turnup definition list'".to_owned(),
    };
    Fault::new(
        "/definition",
        "unknown_definition",
        format!("there is no service definition {given:?}; {hint}"),
    )
}

fn unknown_devices(request: &OrderRequest, inventory: &Snapshot) -> Vec<Fault> {
    let endpoints = request.endpoints.iter().enumerate();
    endpoints
        .filter(|(_, endpoint)| !inventory.devices.contains_key(&endpoint.device))
        .map(|(i, endpoint)| {
            let at = format!("/endpoints/{i}/device");
            Fault::new(at, "unknown_device", inventory.unknown(&endpoint.device))
        })
        .collect()
}

/// The region of the devices, all of which are in the inventory; none: they are in several.
fn region(
    devices: &BTreeSet<DeviceName>,
    inventory: &Snapshot,
    pointer: &str,
) -> Result<Option<RegionName>, Fault> {
    let regions: BTreeSet<&RegionName> =
        devices.iter().filter_map(|name| Some(&inventory.devices.get(name)?.region)).collect();
    let mut found = regions.into_iter();
    match (found.next(), found.next()) {
        (Some(region), None) => Ok(Some(region.clone())),
        (Some(_), Some(_)) => Ok(None),
        (None, _) => {
            Err(Fault::new(pointer, "missing_endpoint", "the order touches no device; add an endpoint"))
        }
    }
}

impl Wanted {
    /// The region as it is shown.
    pub(crate) fn region_or_multi(&self) -> String {
        self.region.as_ref().map_or(MULTI, RegionName::as_str).to_owned()
    }
}

/// Without those faulty parts that nothing else depends on, so that one answer can name the faults
/// that need looking up as well. None: what is left could not be checked.
pub(crate) fn without_faults(value: &Value, faults: &[Fault]) -> Option<Value> {
    const ALONE: [&str; 7] =
        ["/schedule", "/external_id", "/description", "/priority", "/approved_plan", "/if_busy", "/audit"];
    let mut value = value.clone();
    for fault in faults {
        if fault.code != "unknown_field" && !ALONE.contains(&fault.pointer.as_str()) {
            return None;
        }
        let (parent, token) = fault.pointer.rsplit_once('/')?;
        let token = token.replace("~1", "/").replace("~0", "~");
        debug_assert_eq!(pointer_to(parent, &token), fault.pointer);
        value.pointer_mut(parent)?.as_object_mut()?.remove(&token);
    }
    Some(value)
}
