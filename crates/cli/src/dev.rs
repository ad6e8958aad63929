//! `turnup dev`: every role in one process, with simulated devices. And `turnup device-sim`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, TryLockError},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use turnup_core::{
    ask::SchemaText,
    name::{CredentialRef, DeviceName, RegionName},
    policy::Role,
};
use turnup_device_sim::{DeviceSpec, Options, Personality, Simulator, schema};
use turnup_store::{NewToken, Store};

use crate::{
    admin,
    client::{http::Api, output::line},
    config::Config,
    failure::Failure,
    ops, serve,
};

/// Name of the simulated devices' credentials.
const CREDENTIAL: &str = "sim";
/// Where simulated devices listen.
const LOOPBACK: &str = "127.0.0.1";
/// How long the intake may take to answer.
const READY: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// Simulated devices in all
    #[arg(long, default_value_t = 8)]
    devices: usize,
    /// Regions, with commas; instead of those of the configuration
    #[arg(long, value_delimiter = ',')]
    regions: Vec<RegionName>,
    /// Folder for the simulator's state and the token
    #[arg(long, default_value = ".turnup/dev")]
    state: PathBuf,
    #[command(flatten)]
    personalities: Personalities,
}

/// Which devices play which real NETCONF server.
#[derive(Debug, Args)]
struct Personalities {
    #[arg(long, value_name = "NAME[:COUNT]", value_parser = counted, help = personality_help())]
    personality: Vec<(Personality, Option<usize>)>,
    /// What one device plays, such as sim-eu-west-1=clixon; may be repeated
    #[arg(long, value_name = "DEVICE=NAME", value_parser = of_device)]
    personality_of: Vec<(String, Personality)>,
}

fn personality_help() -> String {
    format!(
        "What the devices play: clixon means all of them, clixon:3 the next three; may be repeated. Names: {}",
        Personality::names()
    )
}

fn personality(name: &str) -> Result<Personality, String> {
    Personality::named(name)
        .ok_or_else(|| format!("there is no personality {name:?}; take one of {}", Personality::names()))
}

fn counted(text: &str) -> Result<(Personality, Option<usize>), String> {
    let Some((name, count)) = text.split_once(':') else { return Ok((personality(text)?, None)) };
    let count = count.parse().map_err(|_| format!("{count:?} is no number of devices"))?;
    Ok((personality(name)?, Some(count)))
}

fn of_device(text: &str) -> Result<(String, Personality), String> {
    let (device, name) = text.split_once('=').ok_or("write DEVICE=NAME, such as sim-eu-west-1=clixon")?;
    Ok((device.to_owned(), personality(name)?))
}

impl Personalities {
    fn assign(&self, devices: &mut [DeviceSpec]) -> Result<(), Failure> {
        let mut at = 0usize;
        for (personality, count) in &self.personality {
            let end = count.map_or(devices.len(), |count| at.saturating_add(count));
            let Some(next) = devices.get_mut(at..end) else {
                let message = format!("--personality names more devices than there are ({})", devices.len());
                return Err(Failure::Usage(message));
            };
            next.iter_mut().for_each(|device| device.personality = *personality);
            at = end;
        }
        for (name, personality) in &self.personality_of {
            let device = devices.iter_mut().find(|device| device.name == *name).ok_or_else(|| {
                Failure::Usage(format!("--personality-of: there is no simulated device {name:?}"))
            })?;
            device.personality = *personality;
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(crate) struct DeviceSim {
    /// How many devices
    #[arg(long, default_value_t = 8)]
    devices: usize,
    /// Regions over which the devices are spread, with commas
    #[arg(long, value_delimiter = ',', default_value = "eu-west,us-east")]
    regions: Vec<RegionName>,
    /// Address and port of the first device; the others have the ports after it
    #[arg(long, default_value = "127.0.0.1:17000")]
    listen: SocketAddr,
    /// Folder for host keys, journal, and devices.json (to import into the inventory)
    #[arg(long)]
    state: PathBuf,
    /// Address under which turnup's workers reach the devices, in devices.json
    #[arg(long)]
    advertise: Option<String>,
    /// Loopback address for scripting the devices' behaviour while they run (JSON lines)
    #[arg(long)]
    control: Option<SocketAddr>,
    /// User name of the devices; the password is TURNUP_DEVICE_PASSWORD
    #[arg(long, default_value = "turnup")]
    username: String,
    #[command(flatten)]
    personalities: Personalities,
}

/// `count` devices, spread over the regions, named `sim-<region>-<n>`.
pub(crate) fn devices(count: usize, regions: &[RegionName], first_port: u16) -> Vec<DeviceSpec> {
    (0..count)
        .map(|i| {
            let region = &regions[i % regions.len()];
            let port = if first_port == 0 {
                0
            } else {
                first_port.saturating_add(u16::try_from(i).unwrap_or(u16::MAX))
            };
            DeviceSpec {
                name: format!("sim-{region}-{}", i / regions.len() + 1),
                region: region.to_string(),
                port,
                personality: Personality::DEFAULT,
            }
        })
        .collect()
}

/// The inventory of simulated devices as the API takes it.
pub(crate) fn inventory(simulator: &Simulator, address: Option<&str>) -> Vec<Value> {
    simulator
        .inventory()
        .iter()
        .map(|device| {
            json!({
                "name": device.name, "region": device.region, "platform": "sim",
                "address": address.unwrap_or(&device.address),
                "port": device.port, "host_key": device.host_key, "credential": CREDENTIAL,
                "description": "simulated",
            })
        })
        .collect()
}

pub(crate) async fn run_device_sim(args: DeviceSim) -> Result<(), Failure> {
    let password = std::env::var("TURNUP_DEVICE_PASSWORD").map_err(|_| {
        Failure::Usage("set TURNUP_DEVICE_PASSWORD, the password of the simulated devices".to_owned())
    })?;
    let shutdown = serve::on_signal()?;
    let mut specs = devices(args.devices, &args.regions, args.listen.port());
    args.personalities.assign(&mut specs)?;
    let options = Options {
        listen: args.listen.ip(),
        username: args.username,
        control: args.control,
        ..Options::new(specs, args.state.clone(), password.into())
    };
    let simulator = start(options).await?;
    let file = args.state.join("devices.json");
    std::fs::write(
        &file,
        serde_json::to_string_pretty(&inventory(&simulator, args.advertise.as_deref())).unwrap_or_default(),
    )?;
    line(format!("{} devices; 'turnup device import {}' makes them known", args.devices, file.display()));
    shutdown.cancelled().await;
    simulator.shutdown().await;
    Ok(())
}

async fn start(options: Options) -> Result<Simulator, Failure> {
    Simulator::start(options).await.map_err(|error| Failure::Failed(format!("simulated devices: {error}")))
}

/// A whole system in this process.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) api: Api,
    pub(crate) simulator: Simulator,
    pub(crate) url: String,
    pub(crate) token: String,
    shutdown: CancellationToken,
    roles: Vec<tokio::task::JoinHandle<Result<(), Failure>>>,
    /// Held as long as the system runs.
    _lock: File,
}

impl System {
    /// Starts everything: schema and queues, simulated devices (registered), roles, a token.
    pub(crate) async fn start(
        mut config: Config,
        mut devices: Vec<DeviceSpec>,
        state: &Path,
        shutdown: CancellationToken,
    ) -> Result<Self, Failure> {
        config.check_catalogue()?;
        std::fs::create_dir_all(state)?;
        // Before anything is written: what a running system uses must stay as it is.
        let lock = lock(state)?;
        check_port(config.intake.listen)?;
        admin::migrate(&config).await?;
        let store = admin::store(&config)?;
        choose_ports(&store, &mut devices).await?;
        let password = uuid::Uuid::new_v4().simple().to_string();
        let secret = state.join("device-password");
        write_secret(&secret, &password)?;
        let options = Options::new(devices, state.join("devices"), password.into());
        let source = json!({"username": options.username, "password_file": secret});
        let simulator = start(options).await?;
        let source = serde_json::from_value(source).map_err(|error| Failure::Failed(error.to_string()))?;
        let reference = CredentialRef::new(CREDENTIAL).map_err(|error| Failure::Failed(error.to_string()))?;
        config.credentials.insert(reference, source);

        // What the devices would tell when asked: orders are checked against it from the beginning.
        let yang = SchemaText {
            name: schema::MODULE.to_owned(),
            revision: Some(schema::REVISION.to_owned()),
            text: schema::YANG.to_owned(),
        };
        store.keep_modules("sim", &[yang], jiff::Timestamp::now()).await?;
        let token = token(&store, state).await?;
        let metrics = ops::metrics()?;
        let mut roles = Vec::new();
        let mut wanted = vec![serve::Role::Intake, serve::Role::Scheduler, serve::Role::Recorder];
        wanted.extend(
            config
                .regions
                .iter()
                .map(|region| serve::Role::Worker { regions: vec![region.clone()], concurrency: None }),
        );
        for role in wanted {
            let (config, store, metrics, shutdown) =
                (config.clone(), store.clone(), metrics.clone(), shutdown.clone());
            let broker =
                admin::broker(&config, &format!("dev {role:?}").chars().take(60).collect::<String>())?;
            roles.push(tokio::spawn(async move {
                let result =
                    serve::run_role(&config, role, Some(store), broker, metrics, shutdown.clone()).await;
                shutdown.cancel();
                result
            }));
        }
        let url = format!("http://{}", config.intake.listen);
        let api = Api::new(&url, Some(&token))?;
        let system = Self { api, simulator, url, token, shutdown, roles, _lock: lock };
        let ready = async {
            system.ready().await?;
            system.register().await
        };
        match ready.await {
            Ok(()) => Ok(system),
            // A role that has failed knows the reason.
            Err(failure) => {
                system.stop().await?;
                Err(failure)
            }
        }
    }

    async fn ready(&self) -> Result<(), Failure> {
        let begin = std::time::Instant::now();
        loop {
            match self.api.get("/v1/definitions").await {
                Ok(_) => return Ok(()),
                Err(Failure::Unreachable(_)) if begin.elapsed() < READY && !self.shutdown.is_cancelled() => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Makes the simulated devices known, or brings what is known of them up to date.
    async fn register(&self) -> Result<(), Failure> {
        for device in inventory(&self.simulator, None) {
            match self.api.post("/v1/devices", &device).await {
                Ok(_) => {}
                Err(failure) if failure.has_code("device_exists") => {
                    let name = device["name"].as_str().unwrap_or_default().to_owned();
                    let mut changes = device;
                    if let Value::Object(changes) = &mut changes {
                        changes.remove("name");
                    }
                    self.api.patch(&format!("/v1/devices/{name}"), &changes).await?;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Drains the roles and stops the devices.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        self.shutdown.cancel();
        let mut result = Ok(());
        for role in self.roles {
            let ended =
                role.await.unwrap_or_else(|error| Err(Failure::Failed(format!("a role broke: {error}"))));
            if result.is_ok() {
                result = ended;
            }
        }
        self.simulator.shutdown().await;
        result
    }
}

/// Takes the state folder for this process.
fn lock(state: &Path) -> Result<File, Failure> {
    let path = state.join("lock");
    let file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Failure::Refused(format!(
                "turnup dev runs already with the folder {}; use that one, or stop it with Ctrl-C in its terminal",
                state.display()
            )));
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    Ok(file)
}

/// Checks that the intake's port is free.
fn check_port(listen: SocketAddr) -> Result<(), Failure> {
    TcpListener::bind(listen).map(drop).map_err(|error| {
        Failure::Failed(format!(
            "can't listen on {listen} ({error}): another turnup or another program uses it; stop that one, or choose \
             another port, such as TURNUP_INTAKE_LISTEN={}:{}",
            listen.ip(),
            listen.port().wrapping_add(10).max(1024)
        ))
    })
}

/// Gives every device without a port the one that it has in the inventory, if that is free, or else one that no
/// other device of the inventory has: after a crash the inventory still holds the ports of the last time.
async fn choose_ports(store: &Store, devices: &mut [DeviceSpec]) -> Result<(), Failure> {
    let mut taken = BTreeSet::new();
    let mut after: Option<String> = None;
    let mut known = BTreeMap::new();
    loop {
        let page = store.devices(None, after.as_deref(), 1000).await?;
        for device in page.items.iter().filter(|device| device.address == LOOPBACK) {
            taken.insert(device.port);
            known.insert(device.name.clone(), device.port);
        }
        after = page.next_cursor;
        if after.is_none() {
            break;
        }
    }
    // Held until all are chosen, so that the system does not give one twice.
    let mut held = Vec::with_capacity(devices.len());
    for device in devices.iter_mut().filter(|device| device.port == 0) {
        let last = DeviceName::new(device.name.as_str()).ok().and_then(|name| known.get(&name).copied());
        let again = last.and_then(|port| TcpListener::bind((LOOPBACK, port)).ok());
        let listener = match again {
            Some(listener) => listener,
            None => loop {
                let listener = TcpListener::bind((LOOPBACK, 0))?;
                if taken.insert(listener.local_addr()?.port()) {
                    break listener;
                }
                held.push(listener);
            },
        };
        device.port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(())
}

/// The token of the last time if it is still good, or a new one.
async fn token(store: &Store, state: &Path) -> Result<String, Failure> {
    let file = state.join("token");
    if let Ok(secret) = std::fs::read_to_string(&file)
        && store.token(&secret).await?.is_some_and(|token| token.is_valid(Timestamp::now()))
    {
        return Ok(secret);
    }
    let token = NewToken {
        name: format!("dev-{}", uuid::Uuid::now_v7()),
        roles: vec![Role::Admin],
        expires_at: None,
    };
    let secret = store
        .create_token(&token, Timestamp::now())
        .await?
        .ok_or_else(|| Failure::Failed("a token of that name exists already".to_owned()))?;
    write_secret(&file, &secret)?;
    Ok(secret)
}

/// Writes a file that only its owner may read.
fn write_secret(path: &Path, secret: &str) -> Result<(), Failure> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let _ = std::fs::remove_file(path);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(secret.as_bytes())?;
    Ok(())
}

pub(crate) async fn run(mut config: Config, dev: Dev) -> Result<(), Failure> {
    ops::logging(&config)?;
    if !dev.regions.is_empty() {
        config.regions = dev.regions;
    }
    let shutdown = serve::on_signal()?;
    let mut specs = devices(dev.devices, &config.regions, 0);
    dev.personalities.assign(&mut specs)?;
    let system = System::start(config, specs, &dev.state, shutdown.clone()).await?;
    line(format!("turnup is up with {} simulated devices; stop it with Ctrl-C", dev.devices));
    line(format!("export TURNUP_URL={}", system.url));
    line(format!("export TURNUP_TOKEN={}", system.token));
    shutdown.cancelled().await;
    system.stop().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(personality: &[&str], of: &[&str]) -> Result<Vec<&'static str>, Failure> {
        let personalities = Personalities {
            personality: personality.iter().map(|text| counted(text).unwrap()).collect(),
            personality_of: of.iter().map(|text| of_device(text).unwrap()).collect(),
        };
        let mut devices = devices(4, &["a".parse().unwrap(), "b".parse().unwrap()], 0);
        personalities.assign(&mut devices)?;
        Ok(devices.iter().map(|device| device.personality.name).collect())
    }

    #[test]
    fn personalities_are_assigned_by_count_and_by_device() {
        assert_eq!(played(&[], &[]).unwrap(), ["default"; 4]);
        assert_eq!(played(&["clixon"], &["sim-b-1=yuma"]).unwrap(), ["clixon", "yuma", "clixon", "clixon"]);
        assert_eq!(played(&["clixon:1", "yuma:2"], &[]).unwrap(), ["clixon", "yuma", "yuma", "default"]);
        assert!(played(&["clixon:5"], &[]).is_err());
        assert!(played(&["clixon:2", "yuma:3"], &[]).is_err());
        assert!(played(&[], &["sim-c-1=yuma"]).is_err());
    }

    #[test]
    fn unknown_personality_is_refused_with_the_known_ones() {
        assert!(counted("clixxon").unwrap_err().contains("netopeer2, clixon, yuma"));
        assert!(counted("clixon:many").is_err() && of_device("sim-a-1").is_err());
    }
}
