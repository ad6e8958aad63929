//! Checking an order against a definition.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use turnup_core::{
    name::{DeviceName, PlatformName},
    order::Endpoint,
    problem::Fault,
};

use crate::{definition::Definition, schema::unknown};

/// Most faults reported for one order.
const MAX_FAULTS: usize = 100;

/// An order's content after the check: complete with the definition's defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// Attributes of the service.
    pub attributes: Map<String, Value>,
    /// Endpoints, in the order's order.
    pub endpoints: Vec<Endpoint>,
    /// Platform of each device.
    pub platforms: BTreeMap<DeviceName, PlatformName>,
}

impl Definition {
    /// Checks an order's attributes and endpoints; `platform_of` looks a device up in the inventory.
    ///
    /// # Errors
    /// All faults (at most 100), each with its JSON pointer into the order, such as
    /// `/endpoints/1/attributes/vlan`. A device that `platform_of` doesn't know has the code
    /// `unknown_device`, one without template `unsupported_platform`.
    pub fn check(
        &self,
        attributes: &Map<String, Value>,
        endpoints: &[Endpoint],
        platform_of: impl Fn(&DeviceName) -> Option<PlatformName>,
    ) -> Result<Checked, Vec<Fault>> {
        let mut faults = Vec::new();
        let attributes = self.attributes.check(attributes, "/attributes", &mut faults);
        let endpoints = self.check_roles(endpoints, &mut faults);
        let platforms = self.check_devices(&endpoints, platform_of, &mut faults);
        if faults.is_empty() {
            return Ok(Checked { attributes, endpoints, platforms });
        }
        if faults.len() > MAX_FAULTS {
            let detail = format!("{} faults in all; only the first are listed", faults.len());
            faults.truncate(MAX_FAULTS - 1);
            faults.push(Fault::new("", "more", detail));
        }
        Err(faults)
    }

    fn check_roles(&self, endpoints: &[Endpoint], faults: &mut Vec<Fault>) -> Vec<Endpoint> {
        let known: Vec<&str> = self.roles.iter().map(|role| role.name.as_str()).collect();
        let mut counts = vec![0_usize; self.roles.len()];
        let mut complete = Vec::with_capacity(endpoints.len());
        for (i, endpoint) in endpoints.iter().enumerate() {
            let mut attributes = endpoint.attributes.clone();
            let role = self.roles.iter().zip(&mut counts).find(|(role, _)| role.name == endpoint.role);
            match role {
                None => faults.push(Fault::new(
                    format!("/endpoints/{i}/role"),
                    "unknown_role",
                    unknown("endpoint role", &endpoint.role, &known),
                )),
                Some((role, count)) => {
                    *count += 1;
                    if *count > role.max {
                        faults.push(Fault::new(
                            format!("/endpoints/{i}/role"),
                            "too_many_endpoints",
                            format!("{} has at most {} with role {}", self.name, role.max, role.name),
                        ));
                    }
                    let at = format!("/endpoints/{i}/attributes");
                    attributes = role.attributes.check(&endpoint.attributes, &at, faults);
                }
            }
            complete.push(Endpoint { attributes, ..endpoint.clone() });
        }
        for (role, count) in self.roles.iter().zip(counts).filter(|(role, count)| *count < role.min) {
            faults.push(Fault::new(
                "/endpoints",
                "missing_endpoint",
                format!("{} needs {} with role {:?}, {count} given", self.name, role.min, role.name),
            ));
        }
        complete
    }

    fn check_devices(
        &self,
        endpoints: &[Endpoint],
        platform_of: impl Fn(&DeviceName) -> Option<PlatformName>,
        faults: &mut Vec<Fault>,
    ) -> BTreeMap<DeviceName, PlatformName> {
        let mut platforms = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for (i, Endpoint { device, .. }) in endpoints.iter().enumerate() {
            let mut fault = |code: &str, detail: String| {
                faults.push(Fault::new(format!("/endpoints/{i}/device"), code, detail));
            };
            if !seen.insert(device) {
                if !self.same_device {
                    let detail = format!(
                        "a service of {} touches each device once, {device} is here twice",
                        self.name
                    );
                    fault("same_device", detail);
                }
                continue;
            }
            match platform_of(device) {
                None => fault("unknown_device", format!("there is no device {device} in the inventory")),
                Some(platform) if !self.platforms.contains_key(&platform) => {
                    let (name, supported) = (&self.name, self.supported());
                    let detail =
                        format!("device {device} has platform {platform}, {name} supports {supported}");
                    fault("unsupported_platform", detail);
                }
                Some(platform) => {
                    platforms.insert(device.clone(), platform);
                }
            }
        }
        platforms
    }
}
