//! Which attributes take their values from pools.

use super::{Reader, find};
use turnup_files::{Entry, Node};

use crate::{
    definition::ResourceUse,
    schema::{Schema, unknown},
};

impl Reader<'_> {
    /// The attributes that are resources. `of_endpoint`: those of an endpoint role, which has a device.
    pub(super) fn resources(&mut self, node: Option<&Node>, of_endpoint: bool) -> Vec<ResourceUse> {
        let known: &[&str] = if of_endpoint { &["pool", "within"] } else { &["pool"] };
        let mut resources = Vec::new();
        let Some(node) = node else { return resources };
        for Entry { line, key, value } in self.map(node, "'resources'", None) {
            let fields = self.map(value, &format!("resource {key:?}"), Some(known));
            let pool = self.required(fields, "pool", *line).and_then(|node| self.text(node, "pool"));
            let within = find(fields, "within").map(|node| self.names(node, "'within'", true));
            if let Some(pool) = pool {
                let within = within.unwrap_or_default();
                resources.push(ResourceUse {
                    attribute: key.clone(),
                    pool,
                    within,
                    of_endpoint,
                    line: *line,
                });
            }
        }
        resources
    }

    /// Resources are attributes that the schema has.
    pub(super) fn attributes_of_resources(&mut self, schema: &Schema, resources: &[ResourceUse]) {
        let known: Vec<&str> = schema.names().collect();
        for ResourceUse { attribute, within, line, .. } in resources {
            for name in within.iter().chain([attribute]) {
                if !known.contains(&name.as_str()) {
                    self.mistake(*line, unknown("attribute", name, &known));
                }
            }
            let picked = |name: &&String| resources.iter().any(|other| other.attribute == **name);
            if let Some(name) = within.iter().find(picked) {
                let message = format!(
                    "{attribute:?} can't be unique within {name:?}, which may itself have to be picked"
                );
                self.mistake(*line, message);
            }
        }
    }
}
