//! `turnup definition …`

use std::path::PathBuf;

use clap::Subcommand;

use super::{
    http::Api,
    output::{Format, line, list},
};
use crate::failure::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum DefinitionCommand {
    /// List the service definitions that can be ordered
    List,
    /// Check a catalogue folder and name every mistake with file and line
    Check { folder: PathBuf },
}

/// Checks a folder; needs no server.
pub(crate) fn check(folder: &std::path::Path) -> Result<(), Failure> {
    match turnup_plan::Catalogue::load(folder) {
        Ok(catalogue) => {
            for definition in catalogue.iter() {
                line(format!("{} version {}: good", definition.name(), definition.version()));
            }
            Ok(())
        }
        Err(mistakes) => {
            for mistake in &mistakes {
                line(mistake);
            }
            Err(Failure::Failed(format!("{} mistakes", mistakes.len())))
        }
    }
}

pub(crate) async fn run(api: &Api, format: Format) -> Result<(), Failure> {
    let page = api.get("/v1/definitions").await?;
    list(
        format,
        &page,
        &[("definition", "/name"), ("version", "/version"), ("title", "/title"), ("platforms", "/platforms")],
    )
}
