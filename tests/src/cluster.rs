//! A whole turnup of its own: database, broker prefix, simulated devices, processes.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::{Value, json};
use tokio_postgres::NoTls;
use turnup_broker::{Broker, DeployClass, Settings, topology};
use turnup_core::message::STATE_SHARDS;
use turnup_device_sim::{DeviceSpec, Personality, Simulator, behaviour::Behaviour};

use crate::{
    api::Api,
    process::{Process, binary},
    runs::Run,
    servers::Servers,
    wait::{PATIENCE, until},
};

/// What kind of cluster.
#[derive(Debug, Clone)]
pub struct Options {
    /// Region → number of simulated devices.
    pub regions: Vec<(String, u16)>,
    /// More lines of configuration. Orders are tried once, unless they have `[recorder.retry]`.
    pub config: String,
    /// Levels of the delay ladder.
    pub ladder_levels: u8,
    /// What the devices play that are not in `personalities`.
    pub personality: Personality,
    /// Device → what it plays.
    pub personalities: BTreeMap<String, Personality>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            regions: vec![("eu-west".to_owned(), 4), ("us-east".to_owned(), 4)],
            config: String::new(),
            ladder_levels: 6,
            personality: Personality::DEFAULT,
            personalities: BTreeMap::new(),
        }
    }
}

/// A running system. Dropping it removes everything it made; after a failure its folder and its database stay
/// (see [`crate::runs`]).
#[derive(Debug)]
pub struct Cluster {
    /// Its folder: configuration, logs, simulator state.
    pub dir: PathBuf,
    /// URL of its database.
    pub database_url: String,
    /// First word of its broker names.
    pub prefix: String,
    /// Its simulated devices.
    pub simulator: Simulator,
    /// Its processes by name.
    pub processes: BTreeMap<String, Process>,
    /// Client with an admin's token.
    pub api: Api,
    options: Options,
    amqp_url: String,
    run: Run,
}

/// Password of the simulated devices, which listen on loopback only.
const SIM_PASSWORD: &str = "a password for tests";

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A port nobody listens on.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn variable(name: &str, otherwise: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| otherwise.to_owned())
}

impl Cluster {
    /// Makes database, queues, devices and a token; starts no role yet.
    ///
    /// # Panics
    /// If Postgres or RabbitMQ can't be reached.
    pub async fn new(options: Options) -> Self {
        let database_url = variable("TURNUP_DATABASE_URL", "postgres://postgres@127.0.0.1:5432/postgres");
        let amqp_url = variable("TURNUP_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2f");
        Self::at(database_url, amqp_url, options).await
    }

    async fn at(server: String, amqp_url: String, options: Options) -> Self {
        let name = format!("t{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let run = Run::new(&name, &server).await;
        let (dir, database_url) = (run.dir.clone(), run.database_url());
        let play = |device: DeviceSpec| {
            let personality = options.personalities.get(&device.name).copied().unwrap_or(options.personality);
            device.with_personality(personality)
        };
        let devices = options
            .regions
            .iter()
            .flat_map(|(region, count)| DeviceSpec::many(region, *count, 0))
            .map(play)
            .collect();
        let sim = turnup_device_sim::Options::new(devices, dir.join("sim"), SIM_PASSWORD.to_owned().into());
        let simulator = Simulator::start(sim).await.unwrap();
        let prefix = format!("turnup-{name}");
        let port = free_port();
        let cluster = Self {
            api: Api::new(format!("http://127.0.0.1:{port}"), String::new()),
            dir,
            database_url,
            prefix,
            simulator,
            processes: BTreeMap::new(),
            options,
            amqp_url,
            run,
        };
        cluster.write_config(port);
        cluster.prepared().await
    }

    fn write_config(&self, port: u16) {
        let regions: Vec<&str> = self.options.regions.iter().map(|(region, _)| region.as_str()).collect();
        let catalogue = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/services");
        let once = match self.options.config.contains("[recorder.retry]") {
            true => "",
            false => "[recorder.retry]\nattempts = 1\n",
        };
        let text = format!(
            "regions = {regions:?}\ncatalogue = {catalogue:?}\n\
             [database]\nurl = {:?}\n[broker]\nurl = {:?}\nprefix = {:?}\nladder_levels = {}\n\
             [intake]\nlisten = \"127.0.0.1:{port}\"\n\
             [credentials.sim]\nusername = \"ncdev\"\npassword_env = \"TURNUP_TEST_SIM_PASSWORD\"\n{once}{}",
            self.database_url, self.amqp_url, self.prefix, self.options.ladder_levels, self.options.config
        );
        std::fs::write(self.dir.join("turnup.toml"), text).unwrap();
    }

    async fn prepared(mut self) -> Self {
        let _ = self.command(&["migrate"]);
        let output = self.command(&["token", "create", "tester", "--role", "admin"]);
        self.api.token = output.trim().to_owned();
        self
    }

    /// Registers the simulated devices, through the API.
    ///
    /// # Panics
    /// If the API refuses.
    pub async fn register_devices(&self) {
        let devices: Vec<Value> = self
            .simulator
            .inventory()
            .iter()
            .map(|device| {
                json!({
                    "name": device.name, "region": device.region, "platform": "sim", "address": device.address,
                    "port": device.port, "host_key": device.host_key, "credential": "sim",
                })
            })
            .collect();
        let answer = self.api.post("/v1/devices", &Value::Array(devices)).await;
        assert!(answer.status.is_success(), "{answer:?}");
    }

    /// A cluster with every role running and its devices registered: one worker per region.
    ///
    /// # Panics
    /// If something does not start.
    pub async fn running(options: Options) -> Self {
        Self::new(options).await.started().await
    }

    /// The same, on servers of its own.
    ///
    /// # Panics
    /// If something does not start.
    pub async fn running_on(servers: &Servers, options: Options) -> Self {
        let (database_url, amqp_url) = (servers.database_url().to_owned(), servers.amqp_url().to_owned());
        Self::at(database_url, amqp_url, options).await.started().await
    }

    async fn started(mut self) -> Self {
        self.start_roles().await;
        self.register_devices().await;
        self
    }

    /// Starts intake, scheduler, recorder and one worker per region, and waits for the intake.
    pub async fn start_roles(&mut self) {
        for role in ["intake", "scheduler", "recorder"] {
            self.start(role, &["serve", role], &[]);
        }
        let regions: Vec<String> = self.options.regions.iter().map(|(region, _)| region.clone()).collect();
        for region in regions {
            self.start(&format!("worker-{region}"), &["serve", "worker", "--region", &region], &[]);
        }
        self.intake_ready().await;
    }

    /// Waits until the intake answers that it is ready.
    pub async fn intake_ready(&self) {
        until("the intake to be ready", PATIENCE, || async {
            let answer = self.api.try_call(reqwest::Method::GET, "/readyz", None, &[]).await?;
            answer.status.is_success().then_some(())
        })
        .await;
    }

    /// Starts a process of this cluster under `name`, in place of one of that name.
    pub fn start(&mut self, name: &str, arguments: &[&str], variables: &[(&str, &str)]) {
        self.processes.remove(name);
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut all = self.variables();
        all.extend(variables.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let process = Process::start(name, &self.dir, &arguments, &all);
        self.processes.insert(name.to_owned(), process);
    }

    fn variables(&self) -> Vec<(String, String)> {
        vec![
            ("TURNUP_CONFIG".to_owned(), self.dir.join("turnup.toml").display().to_string()),
            ("TURNUP_URL".to_owned(), self.api.base.clone()),
            ("TURNUP_TOKEN".to_owned(), self.api.token.clone()),
            ("TURNUP_TEST_SIM_PASSWORD".to_owned(), SIM_PASSWORD.to_owned()),
            // The harness's own URL must not override the cluster's.
            ("TURNUP_DATABASE_URL".to_owned(), self.database_url.clone()),
            ("TURNUP_AMQP_URL".to_owned(), self.amqp_url.clone()),
        ]
    }

    /// A process by name.
    ///
    /// # Panics
    /// If there is none.
    pub fn process(&mut self, name: &str) -> &mut Process {
        self.processes.get_mut(name).unwrap_or_else(|| panic!("no process {name}"))
    }

    /// Runs a command to its end and gives its standard output.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.try_command(arguments);
        assert_eq!(code, 0, "turnup {arguments:?}: {out}{err}");
        out
    }

    /// Runs a command to its end: exit code, standard output, standard error.
    ///
    /// # Panics
    /// If it can't be run.
    #[must_use]
    pub fn try_command(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(binary()).args(arguments).envs(self.variables()).output().unwrap();
        (
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    /// Changes how a simulated device behaves.
    ///
    /// # Panics
    /// If there is no such device.
    pub async fn behave(&self, device: &str, behaviour: Behaviour) {
        self.simulator.device(device).unwrap().set_behaviour(behaviour).await.unwrap();
    }

    /// A device's running configuration as XML.
    ///
    /// # Panics
    /// If there is no such device.
    #[must_use]
    pub fn running_config(&self, device: &str) -> String {
        self.simulator.device(device).unwrap().running_xml()
    }

    /// A direct look into the database.
    ///
    /// # Panics
    /// If the statement fails.
    pub async fn query(&self, sql: &str) -> Vec<tokio_postgres::Row> {
        let (client, connection) = tokio_postgres::connect(&self.database_url, NoTls).await.unwrap();
        let driver = tokio::spawn(connection);
        let rows = client.query(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        drop(client);
        let _ = driver.await;
        rows
    }

    /// One number from the database.
    pub async fn count(&self, sql: &str) -> i64 {
        self.query(sql).await[0].get(0)
    }

    /// Waits until every order has ended (Failed Deploy included).
    pub async fn all_settled(&self, orders: i64) {
        until("every order to end", PATIENCE * 3, || async {
            let settled = self
                .count("SELECT count(*) FROM orders WHERE state IN ('completed', 'invalid', 'failed_deploy', 'cancelled')")
                .await;
            (settled == orders).then_some(())
        })
        .await;
    }

    /// Waits until an order is in `state`, and gives it.
    pub async fn order_in(&self, id: &str, state: &str) -> Value {
        until(&format!("order {id} to be {state}"), PATIENCE, || async {
            let order = self.api.get(&format!("/v1/orders/{id}")).await.body;
            (order["state"] == state).then_some(order)
        })
        .await
    }

    /// Waits until an order is in `state` after having been started so often, and gives it.
    pub async fn order_in_generation(&self, id: &str, state: &str, generation: i64) -> Value {
        until(&format!("order {id} to be {state} in generation {generation}"), PATIENCE, || async {
            let order = self.api.get(&format!("/v1/orders/{id}")).await.body;
            (order["state"] == state && order["generation"] == generation).then_some(order)
        })
        .await
    }

    /// The broker, as this cluster uses it.
    ///
    /// # Panics
    /// If its settings are wrong.
    #[must_use]
    pub fn broker(&self) -> Broker {
        let mut settings = Settings::new(self.amqp_url.clone());
        settings.prefix.clone_from(&self.prefix);
        settings.ladder_levels = self.options.ladder_levels;
        Broker::new(settings).unwrap()
    }

    /// Whether no work and no report waits in a queue.
    pub async fn queues_are_empty(&self) -> bool {
        let broker = self.broker();
        let names = broker.names();
        let mut queues = vec![names.due()];
        queues.extend((0..STATE_SHARDS).map(|shard| names.state_queue(shard.into())));
        for (region, _) in &self.options.regions {
            queues.extend(DeployClass::ALL.map(|class| names.deploy_queue(region, class)));
        }
        for queue in queues {
            match broker.depth(&queue).await {
                Ok(depth) if depth.messages == 0 => {}
                _ => return false,
            }
        }
        true
    }

    /// URL of the broker.
    #[must_use]
    pub fn amqp_url(&self) -> &str {
        &self.amqp_url
    }

    /// The logs of all processes, for messages.
    #[must_use]
    pub fn logs(&self) -> String {
        self.processes.values().map(|p| format!("--- {}\n{}\n", p.name, p.output())).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.processes.clear();
        let table = topology::Table::new(
            &turnup_broker::Names::new(self.prefix.clone()),
            &topology::Options {
                regions: self.options.regions.iter().map(|(region, _)| region.clone()).collect(),
                ladder_levels: self.options.ladder_levels,
                ..topology::Options::default()
            },
        );
        let (broker, dir, failed) = (self.broker(), self.run.dir.clone(), std::thread::panicking());
        // A drop can't wait, and the test's runtime may be ending: a thread with a runtime of its own.
        let cleaning = std::thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
                return;
            };
            runtime.block_on(async {
                let _ = turnup_broker::delete(&broker, &table).await;
                Run::end(&dir, failed).await;
            });
        });
        let _ = cleaning.join();
    }
}

/// A good `eline` order between two simulated devices of one region.
#[must_use]
pub fn eline(n: u32, a: &str, z: &str) -> Value {
    json!({
        "kind": "provision", "definition": "eline", "schedule": "now", "external_id": format!("E-{n}"),
        "attributes": {"vc_id": n + 1},
        "endpoints": [
            {"role": "a", "device": a, "attributes": {"port": "ge-0/0/0", "vlan": 1 + n % 4094}},
            {"role": "z", "device": z, "attributes": {"port": "ge-0/0/1", "vlan": 1 + n % 4094}},
        ],
    })
}
