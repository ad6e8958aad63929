//! Checking definitions where they are written.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use turnup_core::{id::ServiceId, name::PlatformName, order::Endpoint};
use turnup_files::{Fault, yaml};
use turnup_plan::{Catalogue, Definition, Footprint, Mistake, Pools, Yang};
use uuid::Uuid;

use super::MAIN;
use crate::client::input;

/// The pools that stand beside definitions.
const POOLS: &str = "pools.yaml";

/// Checks a definition's folder or a catalogue; `yang` has a folder of modules per platform. Gives what to
/// say of it.
pub(super) fn run(folder: &Path, yang: Option<&Path>) -> Result<Vec<String>, Vec<Mistake>> {
    let mut lines = Vec::new();
    let mut mistakes = Vec::new();
    let mut one = |definition: &Definition, folder: &Path| match example(definition, folder, yang) {
        Ok(more) => {
            lines.push(format!("{} version {}: good", definition.name(), definition.version()));
            lines.extend(more.iter().map(|line| format!("  {line}")));
        }
        Err(found) => mistakes.extend(found),
    };
    if folder.join(MAIN).is_file() {
        // "." has no name, but the definition must have its folder's.
        let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        one(&single(&whole).map_err(|found| relative(found, &whole, folder))?, folder);
    } else {
        for definition in Catalogue::load(folder)?.iter() {
            one(definition, &folder.join(definition.name().as_str()));
        }
    }
    if mistakes.is_empty() { Ok(lines) } else { Err(mistakes) }
}

/// A definition by itself, with the pools beside it.
fn single(folder: &Path) -> Result<Definition, Vec<Mistake>> {
    let definition = Definition::load(folder)?;
    let file = folder.parent().unwrap_or(folder).join(POOLS);
    if !file.is_file() {
        return Ok(definition);
    }
    let text = input::text_of(&file).map_err(|faults| {
        let mistake = |fault: Fault| Mistake {
            file: file.clone(),
            line: fault.line.unwrap_or(1),
            message: fault.message,
        };
        faults.into_iter().map(mistake).collect::<Vec<_>>()
    })?;
    let pools = Pools::parse(&text).map_err(|found| {
        found.into_iter().map(|mistake| Mistake { file: file.clone(), ..mistake }).collect::<Vec<_>>()
    })?;
    let found = definition.pool_mistakes(&pools);
    if found.is_empty() {
        return Ok(definition);
    }
    Err(found.into_iter().map(|mistake| Mistake { file: folder.join(MAIN), ..mistake }).collect())
}

/// Mistakes as in the folder that was named.
fn relative(found: Vec<Mistake>, whole: &Path, named: &Path) -> Vec<Mistake> {
    let here = |file: PathBuf| file.strip_prefix(whole).map(|rest| named.join(rest)).unwrap_or(file);
    found.into_iter().map(|mistake| Mistake { file: here(mistake.file), ..mistake }).collect()
}

/// Renders the example on every platform, and checks it against the platform's YANG.
fn example(definition: &Definition, folder: &Path, yang: Option<&Path>) -> Result<Vec<String>, Vec<Mistake>> {
    let file = folder.join(MAIN);
    let at = |line: u32, message: String| Mistake { file: file.clone(), line, message };
    let text = input::text_of(&file).map_err(|faults| {
        faults.into_iter().map(|fault| at(fault.line.unwrap_or(1), fault.message)).collect::<Vec<_>>()
    })?;
    let platforms: Vec<&PlatformName> = definition.platforms().collect();
    let Some((attributes, endpoints)) = read_example(&text) else {
        let names: Vec<&str> = platforms.iter().map(|name| name.as_str()).collect();
        return Ok(vec![format!(
            "there is no readable example, so nothing was rendered; platforms are {}",
            names.join(", ")
        )]);
    };
    let line = text.lines().position(|line| line.starts_with("example:")).map_or(1, |at| at + 1);
    let line = u32::try_from(line).unwrap_or(1);
    let mut lines = Vec::new();
    let mut mistakes = Vec::new();
    for platform in platforms {
        let footprints = match rendered(definition, &attributes, &endpoints, platform) {
            Ok(footprints) => footprints,
            Err(reason) => {
                mistakes.push(at(line, format!("the example on {platform}: {reason}")));
                continue;
            }
        };
        let devices: Vec<&str> = footprints.iter().map(|(device, _)| device.as_str()).collect();
        let checked = match yang.map(|dir| modules(dir, platform)).transpose() {
            Ok(None) => "",
            Ok(Some(None)) => "; no YANG modules of this platform",
            Ok(Some(Some(yang))) => {
                for (device, footprint) in &footprints {
                    let found = footprint.check(&yang).err().unwrap_or_default();
                    mistakes.extend(found.iter().map(|violation| {
                        at(line, format!("the example on {platform}, {device}: YANG: {violation}"))
                    }));
                }
                "; fits its YANG modules"
            }
            Err(found) => {
                mistakes.extend(found);
                continue;
            }
        };
        lines.push(format!("{platform}: the example is rendered for {}{checked}", devices.join(", ")));
    }
    if mistakes.is_empty() { Ok(lines) } else { Err(mistakes) }
}

fn read_example(text: &str) -> Option<(Map<String, Value>, Vec<Endpoint>)> {
    let mut example = yaml::parse(text).ok()?.get("example")?.to_json();
    let attributes = match example.get_mut("attributes").map(Value::take) {
        Some(Value::Object(attributes)) => attributes,
        _ => Map::new(),
    };
    let endpoints = serde_json::from_value(example.get_mut("endpoints")?.take()).ok()?;
    Some((attributes, endpoints))
}

/// The example's footprints, by device.
fn rendered(
    definition: &Definition,
    attributes: &Map<String, Value>,
    endpoints: &[Endpoint],
    platform: &PlatformName,
) -> Result<Vec<(String, Footprint)>, String> {
    let checked = definition.check(attributes, endpoints, |_| Some(platform.clone())).map_err(|faults| {
        let faults: Vec<String> =
            faults.iter().map(|fault| format!("{}: {}", fault.pointer, fault.detail)).collect();
        faults.join("; ")
    })?;
    let service = ServiceId(Uuid::nil());
    definition
        .footprints(service, &checked.attributes, &checked.endpoints, &checked.platforms)
        .map(|all| all.into_iter().map(|(device, footprint)| (device.to_string(), footprint)).collect())
        .map_err(|error| error.to_string())
}

/// A platform's modules; none if there is no folder for them.
fn modules(dir: &Path, platform: &PlatformName) -> Result<Option<Yang>, Vec<Mistake>> {
    if !dir.is_dir() {
        let message = "there is no such folder; --yang has a folder of modules for each platform".to_owned();
        return Err(vec![Mistake { file: dir.to_owned(), line: 1, message }]);
    }
    let folder = dir.join(platform.as_str());
    if folder.is_dir() { Yang::load_folder(&folder).map(Some) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue() -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/services"))
    }

    /// A folder that goes with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("turnup-check-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }

        fn write(&self, file: &str, text: &str) {
            let file = self.0.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_catalogue_is_good_and_says_what_it_rendered() {
        let lines = run(&catalogue(), None).unwrap();
        assert!(
            lines.iter().any(|line| line.starts_with("eline version ") && line.ends_with(": good")),
            "{lines:?}"
        );
        assert!(
            lines.iter().any(|line| line.starts_with("  sim: the example is rendered for ")),
            "{lines:?}"
        );
        let one = run(&catalogue().join("eline"), None).unwrap();
        assert!(one[0].starts_with("eline version "), "{one:?}");
    }

    const DEFINITION: &str = "name: port\nversion: 1\ntitle: A port\ndescription: A port with an MTU.\n\
        attributes:\n  properties:\n    mtu: {title: MTU, type: integer}\n  required: [mtu]\n\
        endpoints:\n  device: {title: The device}\n\
        platforms:\n  box:\n    template: box.xml.j2\n    keys: {port: [name]}\n    owns: [port]\n\
        example:\n  attributes: {mtu: 9000}\n  endpoints:\n    - {role: device, device: box1}\n";
    const TEMPLATE: &str = "<port xmlns=\"urn:box\"><name>p1</name><mtu>{{ attributes.mtu }}</mtu></port>\n";

    #[test]
    fn the_example_is_held_against_yang() {
        let folder = Folder::new("yang");
        folder.write("port/definition.yaml", DEFINITION);
        folder.write("port/box.xml.j2", TEMPLATE);
        let module = |range: &str| {
            format!(
                "module box {{ yang-version 1.1; namespace \"urn:box\"; prefix box;\n  list port {{ key name;\n    \
                 leaf name {{ type string; }}\n    leaf mtu {{ type uint16 {{ range \"{range}\"; }} }}\n  }}\n}}\n"
            )
        };
        folder.write("yang/box/box.yang", &module("1..9216"));
        let yang = folder.0.join("yang");
        let port = folder.0.join("port");
        assert_eq!(
            run(&port, Some(&yang)).unwrap(),
            ["port version 1: good", "  box: the example is rendered for box1; fits its YANG modules"]
        );
        folder.write("yang/box/box.yang", &module("1..1500"));
        let found = run(&port, Some(&yang)).unwrap_err();
        assert_eq!(found.len(), 1, "{found:?}");
        let said = found[0].to_string();
        assert!(said.contains("port/definition.yaml:16: the example on box, box1: YANG: /port"), "{said}");
        folder.write("yang/box/box.yang", "module box {");
        assert!(run(&port, Some(&yang)).unwrap_err()[0].to_string().contains("box/box.yang:"));
        std::fs::remove_dir_all(yang.join("box")).unwrap();
        assert!(run(&port, Some(&yang)).unwrap()[1].ends_with("no YANG modules of this platform"));
        assert!(run(&port, Some(&folder.0.join("none"))).is_err());
    }

    #[test]
    fn mistakes_are_placed_in_the_folder_that_was_named() {
        let folder = Folder::new("mistakes");
        folder.write("port/definition.yaml", DEFINITION);
        folder.write("port/box.xml.j2", &TEMPLATE.replace("attributes.mtu", "attributes.mtv"));
        let found = run(&folder.0.join("port"), None).unwrap_err();
        let said = found[0].to_string();
        assert!(said.contains("port/box.xml.j2:1: "), "{said}");
        assert_eq!(run(&folder.0, None).unwrap_err().len(), found.len());
    }
}
