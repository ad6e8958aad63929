//! `turnup definition …`

mod check;
mod show;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;
use turnup_core::problem::Problem;
use turnup_plan::{Bundle, Mistake};

use super::{
    http::{Api, encode},
    output::{Format, counted, json as print_json, line, list, print},
    table::{cut, whole},
};
use crate::failure::Failure;

/// The file that makes a folder a definition's.
const MAIN: &str = "definition.yaml";

#[derive(Debug, Subcommand)]
pub(crate) enum DefinitionCommand {
    /// List the service definitions that can be ordered, each with its published versions
    List,
    /// Show a service definition: its attributes, endpoints and platforms
    #[command(disable_version_flag = true)]
    Show {
        name: String,
        /// This version; else the newest
        #[arg(long = "version", id = "definition_version", value_name = "N")]
        version: Option<u32>,
    },
    /// Check a definition's folder, or a catalogue of them: every mistake with file and line, and the example
    /// rendered on every platform; needs no server
    Check {
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Check what is rendered against YANG modules: DIR/PLATFORM/*.yang
        #[arg(long, value_name = "DIR")]
        yang: Option<PathBuf>,
    },
    /// Publish definitions' folders, or catalogues of them; a published version stays as it is
    Publish {
        #[arg(required = true, value_name = "DIR")]
        folders: Vec<PathBuf>,
    },
}

/// Checks a folder; needs no server.
pub(crate) fn check(format: Format, folder: &Path, yang: Option<&Path>) -> Result<(), Failure> {
    let found = check::run(folder, yang);
    if format == Format::Json {
        let mistake = |mistake: &Mistake| json!({"file": mistake.file, "line": mistake.line, "message": mistake.message});
        let mistakes: Vec<_> = found.as_ref().err().into_iter().flatten().map(mistake).collect();
        print_json(&json!({"mistakes": mistakes, "report": found.as_deref().unwrap_or_default()}))?;
    }
    let mistakes = match (found, format) {
        (Ok(lines), Format::Table) => {
            print(&lines);
            return Ok(());
        }
        (Ok(_), Format::Json) => return Ok(()),
        (Err(mistakes), _) => mistakes,
    };
    if format == Format::Table {
        mistakes.iter().for_each(line);
    }
    Err(Failure::Failed(counted(mistakes.len(), "mistake")))
}

pub(crate) async fn run(api: &Api, format: Format, command: DefinitionCommand) -> Result<(), Failure> {
    match command {
        DefinitionCommand::Check { folder, yang } => check(format, &folder, yang.as_deref()),
        DefinitionCommand::Publish { folders } => publish(api, format, &folders).await,
        DefinitionCommand::Show { name, version } => {
            let version = version.map(|version| format!("?version={version}")).unwrap_or_default();
            let definition = api.get(&format!("/v1/definitions/{}{version}", encode(&name))).await?;
            if format == Format::Json {
                return print_json(&definition);
            }
            print(&show::lines(&definition));
            Ok(())
        }
        DefinitionCommand::List => {
            let page = api.get("/v1/definitions").await?;
            list(
                format,
                &page,
                "definitions",
                &[
                    whole(0, "definition", "/name"),
                    whole(1, "newest", "/version"),
                    cut(2, 8, "versions", "/versions"),
                    cut(3, 12, "platforms", "/platforms"),
                    cut(4, 12, "title", "/title"),
                ],
            )
        }
    }
}

/// The folders of definitions that a folder stands for: itself, or those in it.
fn definitions_in(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    if folder.join(MAIN).is_file() {
        return Ok(vec![folder.to_owned()]);
    }
    let unreadable = |error: std::io::Error| Failure::Usage(format!("{}: {error}", folder.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.join(MAIN).is_file() {
            found.push(path);
        }
    }
    if found.is_empty() {
        let text = format!("{}: neither it nor a folder in it has a {MAIN}", folder.display());
        return Err(Failure::Usage(text));
    }
    found.sort();
    Ok(found)
}

async fn publish(api: &Api, format: Format, folders: &[PathBuf]) -> Result<(), Failure> {
    let mut found = Vec::new();
    for folder in folders {
        found.extend(definitions_in(folder)?);
    }
    let (mut answers, mut failures) = (Vec::new(), Vec::new());
    for folder in &found {
        match publish_one(api, folder).await {
            Ok((new, definition)) => {
                if format == Format::Table {
                    let what = if new { "published" } else { "the same is published already" };
                    let name = super::output::text(definition.get("name"));
                    line(format!("{name} version {}: {what}", definition["version"]));
                }
                answers.push(json!({"folder": folder, "new": new, "definition": definition}));
            }
            // Without a server there is no use in going on.
            Err(failure @ Failure::Unreachable(_)) => return Err(failure),
            Err(failure) => {
                if found.len() > 1 {
                    line(format!("{}: {failure}", folder.display()));
                }
                failures.push(failure);
            }
        }
    }
    if format == Format::Json {
        print_json(&json!({"items": answers}))?;
    }
    match (failures.pop(), failures.len() + 1) {
        (None, _) => Ok(()),
        (Some(failure), 1) if found.len() == 1 => Err(failure),
        (Some(_), count) => {
            Err(Failure::Failed(format!("{count} of {} definitions were not published", found.len())))
        }
    }
}

async fn publish_one(api: &Api, folder: &Path) -> Result<(bool, serde_json::Value), Failure> {
    let bundle = Bundle::read(folder).map_err(|mistakes| Failure::Failed(listed(&mistakes)))?;
    let answer = api.create("/v1/definitions", &json!({"files": bundle.files()})).await;
    answer.map_err(|failure| match failure {
        Failure::Problem(problem) => located(*problem, folder, &bundle),
        other => other,
    })
}

fn listed(mistakes: &[Mistake]) -> String {
    let lines: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
    lines.join("\n")
}

/// Mistakes in a definition's files as mistakes in the files here.
fn located(problem: Problem, folder: &Path, bundle: &Bundle) -> Failure {
    let here = |pointer: &str| -> Option<String> {
        let (file, line) = pointer.rsplit_once(':')?;
        let name = Path::new(file).file_name()?.to_str()?;
        bundle.files().contains_key(name).then(|| format!("{}:{line}", folder.join(name).display()))
    };
    let lines: Vec<String> = problem
        .errors
        .iter()
        .filter(|fault| fault.code == "mistake")
        .map(|fault| {
            let place = here(&fault.pointer).unwrap_or_else(|| fault.pointer.clone());
            format!("{place}: {}", fault.detail)
        })
        .collect();
    if lines.is_empty() { problem.into() } else { Failure::Failed(lines.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnup_core::problem::Fault;

    fn catalogue() -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/services"))
    }

    #[test]
    fn a_catalogue_stands_for_the_definitions_in_it() {
        let all = definitions_in(&catalogue()).unwrap();
        assert!(all.iter().any(|folder| folder.ends_with("eline")), "{all:?}");
        let one = catalogue().join("eline");
        assert_eq!(definitions_in(&one).unwrap(), [one]);
        let none = std::env::temp_dir().join(format!("turnup-no-definition-{}", std::process::id()));
        std::fs::create_dir_all(&none).unwrap();
        assert!(definitions_in(&none).unwrap_err().to_string().contains(MAIN));
        std::fs::remove_dir(&none).unwrap();
        assert_eq!(definitions_in(&none).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn mistakes_are_named_by_the_file_they_came_from() {
        let folder = catalogue().join("eline");
        let bundle = Bundle::read(&folder).unwrap();
        let problem = Problem::invalid(vec![
            Fault::new("eline/sim.xml.j2:3", "mistake", "unknown attribute"),
            Fault::new("definition.yaml:12", "mistake", "unknown field"),
        ]);
        let failure = located(problem, &folder, &bundle).to_string();
        let file = |name: &str| folder.join(name).display().to_string();
        assert_eq!(
            failure,
            format!(
                "{}:3: unknown attribute\n{}:12: unknown field",
                file("sim.xml.j2"),
                file("definition.yaml")
            )
        );
        let published =
            Problem { code: "version_published".into(), ..Problem::conflict("raise the number", vec![]) };
        assert_eq!(located(published, &folder, &bundle).exit_code(), 3);
    }
}
