//! Orders → drafts → plans: the one way in which both those who want to see a plan and those who deploy it
//! make it. Pure, over what was looked up.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use turnup_core::{
    failure::{Failure, FailureClass},
    id::{OrderId, ServiceId},
    lifecycle::ServiceState,
    message::InForce,
    name::{DefinitionName, DeviceName, PlatformName},
    order::{Endpoint, OrderKind},
};
use turnup_plan::{Catalogue, Definition, Draft, Footprint, Node, Plan, Present, Yang};
use turnup_store::Holder;
use uuid::Uuid;

/// What an order says that the service is to have; not looked at where the order's kind has no content.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    /// Service definition.
    pub definition: &'a str,
    /// Its version.
    pub version: i32,
    /// Attributes, complete.
    pub attributes: &'a Map<String, Value>,
    /// Endpoints, complete.
    pub endpoints: &'a [Endpoint],
    /// Platforms of all devices that the order touches.
    pub platforms: &'a BTreeMap<DeviceName, PlatformName>,
}

/// An order to plan.
#[derive(Debug)]
pub struct Task<'a> {
    /// What is asked for.
    pub kind: OrderKind,
    /// The order.
    pub order: OrderId,
    /// Its service; of one that has no id yet the nil UUID.
    pub service: ServiceId,
    /// What the service has, see [`present`].
    pub present: BTreeMap<DeviceName, Present>,
    /// What it is to have.
    pub content: Content<'a>,
    /// Whether the plan's hash is wanted.
    pub hashed: bool,
}

/// The draft of an order.
#[derive(Debug)]
pub struct Drafted {
    draft: Draft,
    hashed: bool,
    /// Of a new service whose hash is wanted: the same with the nil UUID as its id.
    nameless: Option<Draft>,
}

fn invalid(message: impl Into<String>) -> Vec<Failure> {
    vec![Failure::new(FailureClass::Invalid, "plan", message)]
}

/// A published version of a definition.
///
/// # Errors
/// If it isn't there: what to do about it.
pub fn definition<'c>(
    catalogue: &'c Catalogue,
    name: &str,
    version: i32,
) -> Result<&'c Definition, Vec<Failure>> {
    let known = DefinitionName::new(name).ok().zip(u32::try_from(version).ok());
    let found = known.as_ref().and_then(|(name, version)| catalogue.version(name, *version));
    found.map(AsRef::as_ref).ok_or_else(|| {
        let unreadable =
            known.as_ref().and_then(|(name, version)| catalogue.unreadable(name, Some(*version)));
        invalid(
            unreadable.unwrap_or_else(|| {
                format!("there is no definition {name} version {version}; publish it again")
            }),
        )
    })
}

/// What a service has on its devices, from rows of the store: device, footprint, what is in force, footprints
/// of failed attempts. `state`: the service's, where it exists.
///
/// # Errors
/// If a row can't be read.
pub fn present<'r>(
    state: Option<ServiceState>,
    rows: impl Iterator<Item = (&'r str, &'r Value, InForce, &'r [Value])>,
) -> Result<BTreeMap<DeviceName, Present>, Vec<Failure>> {
    // After a failed attempt all of it is written again, whatever is known of each device.
    let failed = state == Some(ServiceState::FailDeploy);
    rows.map(|(device, footprint, in_force, strays)| {
        let unreadable = |error: &dyn std::fmt::Display| {
            invalid(format!("what the service has on {device} can't be read from the store: {error}"))
        };
        let name = DeviceName::new(device).map_err(|error| unreadable(&error))?;
        let certain = !failed && in_force == InForce::New;
        let present = Present::stored(footprint, certain, strays).map_err(|error| unreadable(&error))?;
        let present = Present { unknown: in_force != InForce::New, ..present };
        Ok((name, present))
    })
    .collect()
}

/// Drafts an order, and checks what it wants against the YANG of the platforms that `yang_of` has.
///
/// # Errors
/// Why it can't be planned: the order is Invalid.
pub fn draft(
    task: Task<'_>,
    catalogue: &Catalogue,
    yang_of: &dyn Fn(&PlatformName) -> Option<Yang>,
) -> Result<Drafted, Vec<Failure>> {
    let Task { kind, order, service, mut present, content, hashed } = task;
    if !kind.changes_devices() {
        // An audit changes nothing, whatever is known of what is there.
        for present in present.values_mut() {
            present.strays.clear();
            present.uncertain = false;
            present.unknown = false;
        }
    }
    let wanted = |service| -> Result<BTreeMap<DeviceName, Footprint>, Vec<Failure>> {
        if !kind.has_content() {
            return Ok(BTreeMap::new());
        }
        let Content { definition: name, version, attributes, endpoints, platforms } = content;
        definition(catalogue, name, version)?
            .footprints_with(service, attributes, endpoints, platforms, yang_of)
            .map_err(|error| invalid(error.to_string()))
    };
    let nil = ServiceId(Uuid::nil());
    let nameless = match kind {
        OrderKind::Provision if hashed && service != nil => {
            Some(Draft::new(kind, order, nil, present.clone(), wanted(nil)?))
        }
        _ => None,
    };
    let draft = Draft::new(kind, order, service, present, wanted(service)?);
    draft.check(yang_of)?;
    Ok(Drafted { draft, hashed, nameless })
}

impl Drafted {
    /// Of which [`turnup_plan::Questions`] are asked.
    #[must_use]
    pub const fn draft(&self) -> &Draft {
        &self.draft
    }

    /// The plan, with its hash where that is wanted, from the answers to the draft's questions.
    ///
    /// # Errors
    /// Every node that can't be had: the order is Invalid.
    pub fn finish(
        self,
        owners: &[(String, String, ServiceId)],
        holders: &[Holder],
    ) -> Result<(Plan, Option<String>), Vec<Failure>> {
        self.finish_beside(owners, holders, &BTreeSet::new())
    }

    /// The same, where other orders of the same deployment want the `joint` nodes as well.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub fn finish_beside(
        self,
        owners: &[(String, String, ServiceId)],
        holders: &[Holder],
        joint: &BTreeSet<Node>,
    ) -> Result<(Plan, Option<String>), Vec<Failure>> {
        let holders: Vec<turnup_plan::Holder> = holders
            .iter()
            .cloned()
            .map(|Holder { device, node, service, value }| turnup_plan::Holder {
                device,
                node,
                service,
                value,
            })
            .collect();
        let plan = self.draft.finish_beside(owners, &holders, joint)?;
        let hash = match self.nameless {
            _ if !self.hashed => None,
            Some(nameless) => Some(nameless.finish(owners, &holders)?.hash()),
            None => Some(plan.hash()),
        };
        Ok((plan, hash))
    }
}
