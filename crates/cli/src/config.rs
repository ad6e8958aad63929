//! Configuration: `config/turnup.toml` (embedded: every key with its default), a file, the environment.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::{Table, Value};
use turnup_core::name::{CredentialRef, MULTI, RegionName, near_misses};
use turnup_worker::SecretSource;

use crate::{client::output::note, failure::Failure};

/// Every key with its default.
const DEFAULTS: &str = include_str!("../../../config/turnup.toml");

/// The whole configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) regions: Vec<RegionName>,
    pub(crate) catalogue: PathBuf,
    pub(crate) catalogue_refresh_ms: u64,
    pub(crate) yang_dir: PathBuf,
    pub(crate) platforms_dir: PathBuf,
    pub(crate) database: Database,
    pub(crate) broker: Broker,
    pub(crate) ops: Ops,
    pub(crate) log: Log,
    pub(crate) intake: turnup_intake::Settings,
    pub(crate) scheduler: turnup_scheduler::Settings,
    pub(crate) recorder: turnup_recorder::Settings,
    pub(crate) worker: turnup_worker::Settings,
    #[serde(default)]
    pub(crate) credentials: BTreeMap<CredentialRef, turnup_worker::CredentialSource>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) max_connections: usize,
    pub(crate) timeout_ms: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Broker {
    pub(crate) url: String,
    pub(crate) prefix: String,
    pub(crate) ladder_levels: u8,
    pub(crate) heartbeat_s: u16,
    pub(crate) publish_window: usize,
    pub(crate) events_max_bytes: i64,
    pub(crate) events_max_age_days: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ops {
    pub(crate) listen: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) filter: String,
    pub(crate) format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl Config {
    /// Reads defaults, then `file`, then the environment.
    pub(crate) fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Failure> {
        let text = match file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?,
            None => String::new(),
        };
        let place = file.map_or_else(|| "configuration".to_owned(), |path| path.display().to_string());
        let environment: Vec<(String, String)> = environment.collect();
        let faulty = |error| Failure::Usage(format!("{place}: {error}"));
        let config = read(&text, environment.iter().cloned()).map_err(faulty)?;
        check_folders(&text, &environment, &|path| path.is_dir()).map_err(faulty)?;
        for warning in unknown_variables(&config, environment.iter().map(|(name, _)| name.as_str())) {
            note(format!("turnup: {warning}"));
        }
        Ok(config)
    }

    /// Checks that the catalogue is there, which the intake, the scheduler and `turnup dev` need.
    ///
    /// # Errors
    /// Says what to do, if it isn't.
    pub(crate) fn check_catalogue(&self) -> Result<(), Failure> {
        if self.catalogue.is_dir() {
            return Ok(());
        }
        Err(Failure::Usage(format!(
            "{}, and the service definitions come from there: start turnup in the folder that has it (of turnup's \
             source, the topmost one), or name another with TURNUP_CATALOGUE or with 'catalogue' in the file of --config",
            no_folder(&self.catalogue)
        )))
    }
}

/// Keys that name a folder.
const FOLDERS: [&str; 3] = ["catalogue", "yang_dir", "platforms_dir"];

/// A folder that is named must be there: without it, what stands in it would be missing without a word. The folders
/// of the defaults need not be.
fn check_folders(
    text: &str,
    environment: &[(String, String)],
    is_dir: &dyn Fn(&Path) -> bool,
) -> Result<(), String> {
    let own: Table = text.parse().unwrap_or_default();
    for key in FOLDERS {
        let variable = format!("TURNUP_{}", key.to_uppercase());
        let of_variable = environment.iter().rev().find(|(name, _)| *name == variable);
        let (name, given) = match (of_variable, own.get(key).and_then(Value::as_str)) {
            (Some((_, given)), _) => (variable.as_str(), given.as_str()),
            (None, Some(given)) => (key, given),
            (None, None) => continue,
        };
        if !given.is_empty() && !is_dir(Path::new(given)) {
            let folder = no_folder(Path::new(given));
            return Err(format!("{name}: {folder}; create it, or name another"));
        }
    }
    Ok(())
}

/// That a folder is missing; of a relative path also where it was looked for.
fn no_folder(path: &Path) -> String {
    let from = match path.is_absolute() {
        true => String::new(),
        false => std::env::current_dir()
            .map(|dir| format!(" in {}, where turnup was started", dir.display()))
            .unwrap_or_default(),
    };
    format!("there is no folder {}{from}", path.display())
}

/// Variables that are read elsewhere than here.
const OTHER_VARIABLES: [&str; 6] = [
    "TURNUP_CONFIG",
    "TURNUP_URL",
    "TURNUP_TOKEN",
    "TURNUP_DEVICE_PASSWORD",
    "TURNUP_CRASH_POINT",
    "TURNUP_REQUIRE_NETCONFD",
];

/// The environment variable of every key, and the key.
fn known_variables(table: &Table) -> BTreeMap<String, Vec<String>> {
    let mut names =
        BTreeMap::from([("TURNUP_AMQP_URL".to_owned(), vec!["broker".to_owned(), "url".to_owned()])]);
    variables(table, &mut Vec::new(), &mut names);
    names
}

/// What to say of variables that look like keys and are none: a mistyped one would be ignored without a word.
fn unknown_variables<'a>(config: &Config, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let defaults: Table = DEFAULTS.parse().unwrap_or_default();
    let known = known_variables(&defaults);
    let secrets: Vec<&str> = config
        .credentials
        .values()
        .filter_map(|source| match &source.secret {
            SecretSource::PasswordEnv(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    let is_unknown = |name: &&str| {
        name.starts_with("TURNUP_")
            && !name.starts_with("TURNUP_TEST_")
            && !known.contains_key(*name)
            && !OTHER_VARIABLES.contains(name)
            && !secrets.contains(name)
    };
    let warning = |name: &str| {
        let near = near_misses(name, known.keys().map(String::as_str)).into_iter().next();
        let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        format!("the environment variable {name} is ignored, as there is no such key{hint}")
    };
    names.filter(is_unknown).map(warning).collect()
}

/// Credentials of which the secret is not there.
pub(crate) fn missing_secrets(config: &Config, is_set: impl Fn(&str) -> bool) -> Vec<String> {
    let missing = config.credentials.iter().filter_map(|(name, source)| match &source.secret {
        SecretSource::PasswordEnv(variable) if !is_set(variable) => {
            Some(format!("credentials.{name}: the environment variable {variable} is not set"))
        }
        SecretSource::PasswordFile(path) | SecretSource::PrivateKeyFile(path) if !path.exists() => {
            Some(format!("credentials.{name}: the file {} is not there", path.display()))
        }
        _ => None,
    });
    missing.collect()
}

fn read(text: &str, environment: impl Iterator<Item = (String, String)>) -> Result<Config, String> {
    let mut table: Table = DEFAULTS.parse().map_err(|error| format!("built-in defaults: {error}"))?;
    let own: Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    merge(&mut table, own);
    let names = known_variables(&table);
    for (name, value) in environment {
        if let Some(path) = names.get(&name) {
            set(&mut table, path, &value).map_err(|error| format!("{name}: {error}"))?;
        }
    }
    let config: Config = table.try_into().map_err(|error| error.to_string())?;
    check(&config)?;
    Ok(config)
}

/// What no type says.
fn check(config: &Config) -> Result<(), String> {
    config.recorder.check().map_err(|(section, error)| format!("{section}: {error}"))?;
    for region in config.recorder.retry_regions.keys() {
        if region != MULTI && !config.regions.iter().any(|known| known.as_str() == region) {
            return Err(format!(
                "recorder.retry_regions.{region}: there is no such region; take one of 'regions', or {MULTI} for \
                 orders over several"
            ));
        }
    }
    let (given, most) = (config.scheduler.limits.total_timeout_ms, turnup_scheduler::MAX_TOTAL_TIMEOUT_MS);
    if given > most {
        return Err(format!(
            "scheduler.limits.total_timeout_ms is {given}, but the broker takes a message away from a worker that has \
             it for 30 minutes: at most {most}"
        ));
    }
    Ok(())
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// The environment variable of every key.
fn variables(table: &Table, path: &mut Vec<String>, names: &mut BTreeMap<String, Vec<String>>) {
    for (key, value) in table {
        path.push(key.clone());
        match value {
            Value::Table(inner) => variables(inner, path, names),
            _ => {
                names.insert(
                    format!("TURNUP_{}", path.join("_").to_uppercase().replace('-', "_")),
                    path.clone(),
                );
            }
        }
        path.pop();
    }
}

/// Sets a key from text, as the type that it has.
fn set(table: &mut Table, path: &[String], text: &str) -> Result<(), String> {
    let Some((first, rest)) = path.split_first() else { return Ok(()) };
    let Some(slot) = table.get_mut(first) else { return Ok(()) };
    if let (Value::Table(inner), false) = (&mut *slot, rest.is_empty()) {
        return set(inner, rest, text);
    }
    *slot = match slot {
        Value::Integer(_) => {
            Value::Integer(text.parse().map_err(|_| format!("{text:?} is not a whole number"))?)
        }
        Value::Boolean(_) => {
            Value::Boolean(text.parse().map_err(|_| format!("{text:?} is neither true nor false"))?)
        }
        Value::Float(_) => Value::Float(text.parse().map_err(|_| format!("{text:?} is not a number"))?),
        Value::Array(_) => Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(|part| Value::String(part.to_owned()))
                .collect(),
        ),
        _ => Value::String(text.to_owned()),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        read(text, environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn a_file_and_then_the_environment_override() {
        let config = with(
            "[broker]\nprefix = \"mine\"\n[scheduler.limits]\ntries = 9\n",
            &[
                ("TURNUP_AMQP_URL", "amqp://b/"),
                ("TURNUP_DATABASE_MAX_CONNECTIONS", "3"),
                ("TURNUP_REGIONS", "a, b"),
                ("TURNUP_SCHEDULER_LIMITS_CONFIRM_TIMEOUT_S", "7"),
                ("TURNUP_UNRELATED", "x"),
            ],
        )
        .unwrap();
        assert_eq!(config.broker.prefix, "mine");
        assert_eq!(config.broker.url, "amqp://b/");
        assert_eq!(config.database.max_connections, 3);
        assert_eq!(config.regions.len(), 2);
        assert_eq!(config.scheduler.limits.tries, 9);
        assert_eq!(config.scheduler.limits.confirm_timeout_s, 7);
        assert_eq!(config.scheduler.batch, 500);
    }

    #[test]
    fn mistyped_variables_and_missing_secrets_are_named() {
        let config = with(
            "[credentials.lab]\nusername = \"x\"\npassword_env = \"TURNUP_LAB\"\n\
             [credentials.core]\nusername = \"x\"\nprivate_key_file = \"/no/such/file\"\n",
            &[],
        )
        .unwrap();
        let given = ["TURNUP_BROKER_PREFFIX", "TURNUP_LAB", "TURNUP_URL", "TURNUP_BROKER_PREFIX", "HOME"];
        assert_eq!(
            unknown_variables(&config, given.into_iter()),
            [
                "the environment variable TURNUP_BROKER_PREFFIX is ignored, as there is no such key; did you mean \
              TURNUP_BROKER_PREFIX?"
            ]
        );
        let missing = missing_secrets(&config, |_| false);
        assert_eq!(missing.len(), 2, "{missing:?}");
        assert!(missing.iter().any(|text| text.contains("TURNUP_LAB")), "{missing:?}");
        assert_eq!(missing_secrets(&config, |_| true).len(), 1, "the file is not there");
    }

    #[test]
    fn named_folders_must_exist() {
        let check = |text: &str, environment: &[(&str, &str)]| {
            let environment: Vec<(String, String)> =
                environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            check_folders(text, &environment, &|path| path == Path::new("/there"))
        };
        assert_eq!(check("", &[]), Ok(()), "the defaults may be missing");
        assert_eq!(check("yang_dir = \"\"\nplatforms_dir = \"/there\"\n", &[]), Ok(()));
        for variable in ["TURNUP_PLATFORMS_DIR", "TURNUP_YANG_DIR", "TURNUP_CATALOGUE"] {
            let error = check("", &[(variable, "/gone")]).unwrap_err();
            assert!(error.starts_with(&format!("{variable}: there is no folder /gone; ")), "{error}");
            assert_eq!(check("", &[(variable, "")]), Ok(()));
        }
        let error = check("platforms_dir = \"gone\"\n", &[]).unwrap_err();
        assert!(error.starts_with("platforms_dir: there is no folder gone in /"), "{error}");
        let hidden = [("TURNUP_PLATFORMS_DIR", "/there")];
        assert_eq!(check("platforms_dir = \"gone\"\n", &hidden), Ok(()), "the environment overrides");
        let table: Table = DEFAULTS.parse().unwrap();
        let folders = table.keys().filter(|key| key.ends_with("_dir"));
        assert!(folders.into_iter().all(|key| FOLDERS.contains(&key.as_str())), "every folder is checked");
    }

    #[test]
    fn mistakes_are_named() {
        assert!(with("[broker]\nprefx = \"x\"\n", &[]).unwrap_err().contains("prefx"));
        assert!(
            with("", &[("TURNUP_SCHEDULER_BATCH", "many")]).unwrap_err().contains("TURNUP_SCHEDULER_BATCH")
        );
        assert!(with("regions = [\"a.b\"]", &[]).unwrap_err().contains("region name"));
        assert!(with("regions = [\"multi\"]", &[]).unwrap_err().contains("reserved"));
        for (text, wanted) in [
            ("[recorder.retry]\nattempts = 0\n", "recorder.retry: attempts is 0, but must be from 1 to 100"),
            ("[recorder.retry_regions.eu-west]\nmax_ms = 0\n", "recorder.retry_regions.eu-west: max_ms is 0"),
            ("[recorder.retry_regions.eu-wets]\n", "recorder.retry_regions.eu-wets: there is no such region"),
            ("[recorder.retry_regions.eu-west]\nfrist_ms = 1\n", "frist_ms"),
            ("[scheduler.limits]\ntotal_timeout_ms = 1500001\n", "at most 1500000"),
        ] {
            let error = with(text, &[]).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }

    /// The file says what the code does: every key of every role's settings is in it with its default.
    #[test]
    fn the_file_holds_the_defaults_of_the_code() {
        let file = with("", &[]).unwrap();
        let debug = |value: &dyn std::fmt::Debug| format!("{value:#?}");
        assert_eq!(debug(&file.intake), debug(&turnup_intake::Settings::default()));
        assert_eq!(debug(&file.scheduler), debug(&turnup_scheduler::Settings::default()));
        assert_eq!(debug(&file.recorder), debug(&turnup_recorder::Settings::default()));
        assert_eq!(debug(&file.worker), debug(&turnup_worker::Settings::default()));
    }

    #[test]
    fn the_file_holds_every_key() {
        let table: Table = DEFAULTS.parse().unwrap();
        let keys = |section: &str, debug: String| {
            let section = table[section].as_table().unwrap();
            for name in debug.lines().filter_map(|line| {
                line.strip_prefix("    ")
                    .filter(|rest| !rest.starts_with(' '))?
                    .split_once(':')
                    .map(|(name, _)| name.trim())
            }) {
                assert!(section.contains_key(name), "{name} is missing in config/turnup.toml");
            }
        };
        keys("intake", format!("{:#?}", turnup_intake::Settings::default()));
        keys("scheduler", format!("{:#?}", turnup_scheduler::Settings::default()));
        keys("recorder", format!("{:#?}", turnup_recorder::Settings::default()));
        keys("worker", format!("{:#?}", turnup_worker::Settings::default()));
    }
}
