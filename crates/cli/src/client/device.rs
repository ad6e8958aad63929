//! `turnup device …`

mod check;
mod exam;
mod import;

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use turnup_core::failure::FailureClass;
use turnup_netconf::ssh::{SshAlgorithms, Target, WeakAlgorithm, learn_host_key};

use self::import::Import;
use super::{
    http::{Api, encode, query},
    output::{Format, items, json as print_json, line, list, note, print, text},
    paint::Paint,
    table::{cut, whole},
};
use crate::failure::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// Add one device
    Add(Add),
    /// Add devices from a list (CSV, YAML, JSON) or from NetBox (CSV export, API's JSON)
    Import(Box<Import>),
    /// Change what the inventory has of a device
    Set(Set),
    /// List devices
    List {
        #[arg(long)]
        region: Option<String>,
        #[arg(long, default_value_t = 100)]
        limit: u16,
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Show one device
    Show { name: String },
    /// Ask a device what it is: host key, capabilities, clock, YANG modules; changes nothing there
    Check {
        name: String,
        /// Get the texts of its YANG modules too, and keep them for its platform: plans are checked with them
        #[arg(long, conflicts_with = "last")]
        fetch_yang: bool,
        /// With --fetch-yang: leave this module, and what needs it, out of the YANG of the device's platform; may be
        /// repeated, and stays so until --use-module
        #[arg(long, value_name = "MODULE", requires = "fetch_yang")]
        ignore_module: Vec<String>,
        /// With --fetch-yang: use a module again that was left out by --ignore-module
        #[arg(long, value_name = "MODULE", requires = "fetch_yang")]
        use_module: Vec<String>,
        /// Show what the last check found, without asking the device
        #[arg(long)]
        last: bool,
    },
    /// Find out how a device behaves, by some eighty probes in a scratch of its configuration, and which profile fits it
    Exam(Box<exam::Exam>),
    /// Read the host key that a device presents and pin it: compare the fingerprint first
    Trust {
        name: String,
        /// Pin it only if it has this SHA256 fingerprint
        #[arg(long)]
        fingerprint: Option<String>,
        /// Pin whatever key it presents
        #[arg(long)]
        yes: bool,
        /// A weak SSH algorithm that the device needs, such as ssh-rsa; may be repeated. The workers take those of the
        /// platform's profile
        #[arg(long = "ssh-algorithm", value_name = "NAME")]
        ssh_algorithms: Vec<WeakAlgorithm>,
    },
    /// Remove a device on which nothing is
    Remove { name: String },
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    name: String,
    #[arg(long)]
    region: String,
    #[arg(long)]
    platform: String,
    #[arg(long)]
    address: String,
    #[arg(long, default_value_t = 830)]
    port: u16,
    /// OpenSSH public key, or SHA256:… fingerprint; without it the device is not trusted yet
    #[arg(long)]
    host_key: Option<String>,
    /// Name of the credentials in the workers' configuration
    #[arg(long)]
    credential: Option<String>,
    #[arg(long)]
    description: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    name: String,
    #[arg(long)]
    region: Option<String>,
    #[arg(long)]
    platform: Option<String>,
    /// Host name or IP address; with the port it belongs to one device
    #[arg(long)]
    address: Option<String>,
    #[arg(long)]
    port: Option<u16>,
    /// OpenSSH public key, or SHA256:… fingerprint; 'turnup device trust' reads it from the device
    #[arg(long)]
    host_key: Option<String>,
    /// Name of the credentials in the workers' configuration
    #[arg(long)]
    credential: Option<String>,
    #[arg(long)]
    description: Option<String>,
    /// Remove a value: host_key, credential or description; several with commas
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FIELD")]
    unset: Vec<Optional>,
}

/// What a device need not have.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Optional {
    HostKey,
    Credential,
    Description,
}

impl Set {
    /// The merge patch (RFC 7396) that makes the changes.
    fn patch(&self) -> Result<Value, Failure> {
        let mut patch = serde_json::Map::new();
        for (field, value) in [
            ("region", &self.region),
            ("platform", &self.platform),
            ("address", &self.address),
            ("host_key", &self.host_key),
            ("credential", &self.credential),
            ("description", &self.description),
        ] {
            if let Some(value) = value {
                patch.insert(field.to_owned(), json!(value));
            }
        }
        if let Some(port) = self.port {
            patch.insert("port".to_owned(), json!(port));
        }
        for field in &self.unset {
            let field = match field {
                Optional::HostKey => "host_key",
                Optional::Credential => "credential",
                Optional::Description => "description",
            };
            if patch.insert(field.to_owned(), Value::Null).is_some() {
                return Err(Failure::Usage(format!("{field} is both given and removed with --unset")));
            }
        }
        if patch.is_empty() {
            return Err(Failure::Usage(
                "nothing to change: give --region, --platform, --address, --port, --host-key, --credential, \
                 --description or --unset"
                    .to_owned(),
            ));
        }
        Ok(Value::Object(patch))
    }
}

pub(crate) async fn run(
    api: &Api,
    format: Format,
    paint: Paint,
    command: DeviceCommand,
) -> Result<(), Failure> {
    match command {
        DeviceCommand::Add(add) => {
            let mut device = json!({
                "name": add.name, "region": add.region, "platform": add.platform, "address": add.address, "port": add.port,
            });
            for (field, value) in
                [("host_key", add.host_key), ("credential", add.credential), ("description", add.description)]
            {
                if let Some(value) = value {
                    device[field] = json!(value);
                }
            }
            show(format, &api.post("/v1/devices", &device).await?)
        }
        DeviceCommand::Import(import) => import::run(api, format, &import).await,
        DeviceCommand::List { region, limit, cursor } => {
            let limit = limit.to_string();
            let filters = query([
                ("region", region.as_deref()),
                ("limit", Some(&*limit)),
                ("cursor", cursor.as_deref()),
            ]);
            let page = api.get(&format!("/v1/devices?{filters}")).await?;
            list(
                format,
                &page,
                "devices",
                &[
                    whole(0, "device", "/name"),
                    whole(2, "region", "/region"),
                    whole(3, "platform", "/platform"),
                    whole(1, "address", "/address"),
                    whole(1, "port", "/port"),
                    whole(5, "credential", "/credential"),
                    cut(4, 14, "host key", "/fingerprint"),
                ],
            )
        }
        DeviceCommand::Set(set) => show(format, &api.patch(&path(&set.name), &set.patch()?).await?),
        DeviceCommand::Show { name } => show(format, &api.get(&path(&name)).await?),
        DeviceCommand::Trust { name, fingerprint, yes, ssh_algorithms } => {
            let algorithms = SshAlgorithms { extra: ssh_algorithms };
            trust(api, format, &name, fingerprint.as_deref(), yes, &algorithms).await
        }
        DeviceCommand::Check { name, fetch_yang, ignore_module, use_module, last } => {
            let mut question = json!({"fetch_yang": fetch_yang});
            for (field, names) in [("ignore_modules", ignore_module), ("use_modules", use_module)] {
                if !names.is_empty() {
                    question[field] = json!(names);
                }
            }
            run_check(api, format, paint, &name, &question, last).await
        }
        DeviceCommand::Exam(exam) => exam::run(api, format, paint, &exam).await,
        DeviceCommand::Remove { name } => api.delete(&path(&name)).await,
    }
}

async fn run_check(
    api: &Api,
    format: Format,
    paint: Paint,
    name: &str,
    question: &Value,
    last: bool,
) -> Result<(), Failure> {
    let at = format!("{}/check", path(name));
    let answer = if last { api.get(&at).await? } else { api.patient().post(&at, question).await? };
    if format == Format::Json {
        print_json(&answer)?;
    } else {
        // It is there: it was asked just now.
        print(&check::lines(&answer, &api.get(&path(name)).await?, paint));
    }
    let failures = items(&answer["failures"]);
    if !failures.is_empty() || answer.pointer("/check/trusted") == Some(&json!(false)) {
        let why = format!("{name} can't be used as it is");
        // As 'device trust' ends, which asks it directly.
        let unreachable = failures.iter().any(|failure| failure["class"] == FailureClass::Unreachable.word());
        return Err(if unreachable { Failure::Unreachable(why) } else { Failure::Failed(why) });
    }
    Ok(())
}

fn path(name: &str) -> String {
    format!("/v1/devices/{}", encode(name))
}

fn show(format: Format, device: &Value) -> Result<(), Failure> {
    if format == Format::Json {
        return print_json(device);
    }
    for field in [
        "name",
        "region",
        "platform",
        "address",
        "port",
        "credential",
        "host_key",
        "fingerprint",
        "description",
        "updated_at",
    ] {
        line(format!("{field:<12} {}", text(device.get(field))));
    }
    warn_of_twins(device);
    Ok(())
}

/// Warns if other devices have the same host key: it then does not tell them apart.
fn warn_of_twins(device: &Value) {
    let twins = items(&device["same_host_key"]);
    if !twins.is_empty() {
        note(check::twins(twins));
    }
}

async fn trust(
    api: &Api,
    format: Format,
    name: &str,
    fingerprint: Option<&str>,
    yes: bool,
    algorithms: &SshAlgorithms,
) -> Result<(), Failure> {
    let device = api.get(&path(name)).await?;
    let address = device["address"].as_str().unwrap_or_default();
    let port = device["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(830);
    let target = Target::new(address, port);
    let presented = learn_host_key(&target, algorithms, Duration::from_secs(10))
        .await
        .map_err(|error| Failure::Unreachable(format!("{name}: {error}")))?;
    let said = format!("{name} at {address} port {port} presents {}", presented.fingerprint());
    if format == Format::Table {
        line(said)
    } else {
        note(said)
    }
    match fingerprint {
        Some(wanted) if wanted == presented.fingerprint() => {}
        Some(wanted) => return Err(Failure::Refused(format!("that is not {wanted}; nothing was pinned"))),
        None if yes => {}
        None => {
            return Err(Failure::Usage(
                "compare the fingerprint with the device's own, then repeat with --fingerprint, or --yes"
                    .to_owned(),
            ));
        }
    }
    show(format, &api.patch(&path(name), &json!({"host_key": presented.to_openssh()})).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(unset: Vec<Optional>, credential: Option<&str>) -> Set {
        Set {
            name: "pe1".to_owned(),
            region: None,
            platform: None,
            address: None,
            port: Some(2830),
            host_key: None,
            credential: credential.map(str::to_owned),
            description: None,
            unset,
        }
    }

    #[test]
    fn device_set_changes_only_what_is_given() {
        let patch = set(vec![Optional::HostKey], Some("lab")).patch().unwrap();
        assert_eq!(patch, json!({"port": 2830, "credential": "lab", "host_key": null}));
        assert_eq!(set(vec![Optional::Credential], Some("lab")).patch().unwrap_err().exit_code(), 2);
        let nothing = Set { port: None, ..set(vec![], None) };
        assert!(nothing.patch().unwrap_err().to_string().contains("--address"));
    }
}
