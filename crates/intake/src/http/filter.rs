//! Names in the filters of lists. A list that is empty because a name is mistyped looks like one that is empty
//! because there is nothing, so the names are looked at where nothing was found.

use std::collections::BTreeSet;

use turnup_core::{
    inventory::did_you_mean,
    name::{DefinitionName, DeviceName, MULTI},
    problem::Problem,
};

use super::{answer::Refusal, call::Call};

/// Refuses names in the filter that nothing has.
pub(super) async fn check_names(
    call: &Call,
    region: Option<&str>,
    device: Option<&str>,
    definition: Option<&str>,
) -> Result<(), Refusal> {
    if let Some(region) = region.filter(|region| *region != MULTI) {
        // Devices and what is on them may be left of a region that is not configured any more.
        let of_devices = call.app.store.regions().await?;
        let configured = call.app.regions.iter().map(|region| region.as_str());
        let known: BTreeSet<&str> = configured.chain(of_devices.iter().map(String::as_str)).collect();
        let known: Vec<&str> = known.into_iter().collect();
        if !known.contains(&region) {
            return Err(unknown("region", region, &did_you_mean(region, &known)).into());
        }
    }
    if let Some(device) = device
        && let Ok(name) = DeviceName::new(device)
    {
        let inventory = call.app.inventory.with(&[&name]).await?;
        if !inventory.devices.contains_key(&name) {
            return Err(
                Problem::unreadable(format!("query parameter device: {}", inventory.unknown(&name))).into()
            );
        }
    }
    if let Some(definition) = definition {
        let name = DefinitionName::new(definition).ok();
        let wanted: Vec<_> = name.iter().map(|name| (name, None)).collect();
        let catalogue = call.app.library.with(&wanted).await?;
        if !name.as_ref().is_some_and(|name| catalogue.knows(name, None)) {
            let known: Vec<&str> = catalogue.names().map(DefinitionName::as_str).collect();
            return Err(unknown("definition", definition, &did_you_mean(definition, &known)).into());
        }
    }
    Ok(())
}

fn unknown(what: &str, given: &str, hint: &str) -> Problem {
    let given: String = given.chars().take(64).collect();
    Problem::unreadable(format!("query parameter {what}: there is no {what} {given:?}; {hint}"))
}
