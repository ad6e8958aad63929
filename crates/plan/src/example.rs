//! The example order of a definition: what mistakes show when it is planned.

use std::path::PathBuf;

use serde_json::{Map, Value};
use turnup_core::{id::ServiceId, name::PlatformName, order::Endpoint};

use crate::{
    bundle::MAIN,
    check::Checked,
    definition::{Definition, Platform},
    error::{BadContent, PlanError},
    mistake::Mistake,
    yang::Yang,
};

/// An order that shows what can be ordered. It has been checked.
#[derive(Debug)]
pub(crate) struct Example {
    pub(crate) attributes: Map<String, Value>,
    pub(crate) endpoints: Vec<Endpoint>,
    /// Line in `definition.yaml`.
    pub(crate) line: u32,
}

/// A mistake in a file of the definition: name, line and message.
type Found = (String, usize, String);

impl Definition {
    /// What is wrong with the example order: it is planned on every platform, with lists as YANG says where
    /// `yang_of` has it, and the result checked against that. More than what loading the definition finds,
    /// which has no YANG at hand and so lets pass what may be right with it: a platform without `keys`.
    /// Files are named `definition/file`.
    #[must_use]
    pub fn example_mistakes(&self, yang_of: &dyn Fn(&PlatformName) -> Option<Yang>) -> Vec<Mistake> {
        let folder = PathBuf::from(self.name.as_str());
        self.try_example(yang_of, false)
            .into_iter()
            .map(|(file, line, message)| Mistake {
                file: folder.join(file),
                line: u32::try_from(line).unwrap_or(u32::MAX),
                message,
            })
            .collect()
    }

    /// Plans the example on every platform, and renders its checks. `lenient`: lets pass what may be right
    /// with YANG.
    pub(crate) fn try_example(
        &self,
        yang_of: &dyn Fn(&PlatformName) -> Option<Yang>,
        lenient: bool,
    ) -> Vec<Found> {
        let Some(example) = &self.example else { return Vec::new() };
        let mut found = Vec::new();
        for (name, platform) in &self.platforms {
            let checked = self.check(&example.attributes, &example.endpoints, |_| Some(name.clone()));
            let Ok(checked) = checked else { continue };
            let yang = yang_of(name);
            let lenient = lenient && !platform.declares_lists;
            if let Err(error) = self.try_plan(&checked, platform, yang.as_ref(), lenient, &mut found) {
                let (file, line, what) = match &error {
                    PlanError::Template { template, source, .. } => {
                        (file_in(template), source.line, source.reason.clone())
                    }
                    PlanError::Content { template, source, .. } => (file_in(template), 1, source.to_string()),
                    error => (MAIN.to_owned(), usize::try_from(example.line).unwrap_or(1), error.to_string()),
                };
                found.push((file, line, format!("the example on {name}: {what}")));
            }
        }
        found
    }

    fn try_plan(
        &self,
        checked: &Checked,
        platform: &Platform,
        yang: Option<&Yang>,
        lenient: bool,
        found: &mut Vec<Found>,
    ) -> Result<(), PlanError> {
        let Checked { attributes, endpoints, platforms } = checked;
        let service = ServiceId(uuid::Uuid::nil());
        for device in platforms.keys() {
            self.checks(service, attributes, endpoints, platforms, device)?;
        }
        let planned = self.footprints_with(service, attributes, endpoints, platforms, &|_| yang.cloned());
        let footprints = match planned {
            Ok(footprints) => footprints,
            // Without a word about lists only YANG can say more.
            Err(PlanError::Content {
                source:
                    BadContent::MissingKey { .. } | BadContent::Duplicate { .. } | BadContent::NotOwned { .. },
                ..
            }) if lenient => return Ok(()),
            Err(error) => return Err(error),
        };
        let Some(yang) = yang else { return Ok(()) };
        for footprint in footprints.values() {
            for violation in footprint.check(yang).err().unwrap_or_default() {
                let message = format!("the example on {}: {violation}", footprint.platform());
                found.push((platform.template.clone(), 1, message));
            }
        }
        Ok(())
    }
}

/// The file in `definition/file`.
fn file_in(template: &str) -> String {
    template.rsplit('/').next().unwrap_or(template).to_owned()
}
