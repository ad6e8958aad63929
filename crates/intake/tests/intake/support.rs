//! What the tests share: an intake of one's own, and clients that are not ours.

use std::{
    net::SocketAddr,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::FutureExt as _;
use jiff::Timestamp;
use lapin::{BasicProperties, Connection, ConnectionProperties, options::BasicPublishOptions};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use turnup_broker::{Broker, topology};
use turnup_core::{
    name::{DeviceName, PlatformName, RegionName},
    order::Endpoint,
    policy::Role,
};
use turnup_intake::{Environment, Settings};
use turnup_library::Library;
use turnup_plan::Catalogue;
use turnup_store::{Device, NewToken, Store, testing::Database};

use crate::proxy::Proxy;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

fn variable(name: &str, otherwise: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| otherwise.to_owned())
}

pub(crate) fn amqp_url() -> String {
    variable("TURNUP_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2f")
}

/// Host and port of a URL.
pub(crate) fn authority(url: &str) -> String {
    let rest = url.split_once("://").unwrap().1;
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    rest.split('/').next().unwrap().to_owned()
}

/// Waits for a condition.
pub(crate) async fn wait(what: &str, condition: impl AsyncFn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < until, "waited too long for {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// An environment of one's own.
pub(crate) struct Scope {
    pub(crate) prefix: String,
    pub(crate) database: Database,
    pub(crate) store: Store,
    pub(crate) broker: Broker,
    /// Secrets of tokens, by role.
    tokens: Vec<(Role, String)>,
    pub(crate) http: reqwest::Client,
}

/// Runs a test with an environment of its own and an intake in it.
pub(crate) fn run(test: impl AsyncFnOnce(&Scope, &Intake)) {
    run_bare(async |scope| {
        let intake = scope.intake(Settings::default()).await;
        test(scope, &intake).await;
        intake.stop().await;
    });
}

/// Runs a test with an environment of its own.
pub(crate) fn run_bare(test: impl AsyncFnOnce(&Scope)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let scope = Scope::new().await;
        let outcome = AssertUnwindSafe(timeout(PATIENCE * 3, test(&scope))).catch_unwind().await;
        scope.remove().await;
        match outcome {
            Ok(in_time) => in_time.expect("the test took too long"),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
}

/// A URL, through a proxy in front of its server.
fn through(url: &str, proxy: &Proxy) -> String {
    url.replacen(&authority(url), &proxy.address.to_string(), 1)
}

pub(crate) fn store_at(url: String) -> Store {
    Store::new(&turnup_store::Settings { url, max_connections: 8, timeout_ms: 3_000 }).unwrap()
}

pub(crate) fn broker_at(prefix: &str, proxy: Option<&Proxy>) -> Broker {
    let url = amqp_url();
    let url = proxy.map_or_else(|| url.clone(), |proxy| through(&url, proxy));
    let settings = turnup_broker::Settings::new(url);
    Broker::new(turnup_broker::Settings {
        prefix: prefix.to_owned(),
        ladder_levels: 3,
        heartbeat_s: 1,
        rpc_timeout_ms: 2_000,
        ..settings
    })
    .unwrap()
}

/// The folder of the repository's own catalogue.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/services")
}

/// The repository's own catalogue.
pub(crate) fn catalogue() -> Catalogue {
    Catalogue::load(&folder()).unwrap()
}

/// A library over `store` that publishes the repository's own catalogue.
pub(crate) async fn library(store: Store) -> Library {
    let settings = turnup_library::Settings { folder: folder(), ..turnup_library::Settings::default() };
    Library::open(store, settings, true).await.unwrap()
}

/// The configured regions.
pub(crate) fn regions() -> Vec<RegionName> {
    ["eu", "us"].map(|name| RegionName::new(name).unwrap()).into()
}

/// A device as the inventory holds it.
pub(crate) fn device(name: &str, region: &str, platform: &str) -> Device {
    let now = Timestamp::now();
    Device {
        name: DeviceName::new(name).unwrap(),
        region: RegionName::new(region).unwrap(),
        platform: PlatformName::new(platform).unwrap(),
        address: format!("{name}.example"),
        port: 830,
        host_key: None,
        credential: None,
        description: None,
        created_at: now,
        updated_at: now,
    }
}

impl Scope {
    /// What an intake needs of the topology, and one queue of a region; the whole of it would cost
    /// the broker two file handles per queue.
    fn table(broker: &Broker) -> topology::Table {
        let options = topology::Options {
            regions: vec!["eu".to_owned()],
            ladder_levels: 3,
            ..topology::Options::default()
        };
        let names = broker.names();
        let mut table = topology::Table::new(names, &options);
        let wanted = [
            names.intake(),
            names.due(),
            names.parked(),
            names.deploy_queue("eu", turnup_broker::DeployClass::Normal),
            names.ask_queue("eu"),
        ];
        table.queues.retain(|queue| wanted.contains(&queue.name));
        table.bindings.retain(|binding| match &binding.target {
            topology::Target::Queue(queue) => wanted.contains(queue),
            topology::Target::Exchange(_) => true,
        });
        table
    }

    async fn new() -> Self {
        // reqwest wants one although nothing here is encrypted; the second test of a process finds it there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::new();
        let id = uuid::Uuid::now_v7().simple().to_string();
        let prefix = format!("test-{}", &id[20..]);
        let database = Database::new().await;
        let store = store_at(database.url());
        let broker = broker_at(&prefix, None);
        if let Err(error) = turnup_broker::declare(&broker, &Self::table(&broker)).await {
            let _ = turnup_broker::delete(&broker, &Self::table(&broker)).await;
            panic!("{error}");
        }
        let devices: Vec<Device> = [
            ("sim-eu-1", "eu", "sim"),
            ("sim-eu-2", "eu", "sim"),
            ("sim-us-1", "us", "sim"),
            ("null-eu-1", "eu", "null"),
            ("cpe-eu-1", "eu", "ietf"),
        ]
        .map(|(name, region, platform)| device(name, region, platform))
        .into();
        store.add_devices(&devices, "test").await.unwrap();
        let mut tokens = Vec::new();
        for role in Role::ALL {
            let token = NewToken { name: role.word().to_owned(), roles: vec![*role], expires_at: None };
            tokens.push((*role, store.create_token(&token, Timestamp::now()).await.unwrap().unwrap()));
        }
        Self { prefix, database, store, broker, tokens, http }
    }

    async fn remove(self) {
        turnup_broker::delete(&self.broker, &Self::table(&self.broker)).await.unwrap();
    }

    /// The store through a proxy.
    pub(crate) fn store_through(&self, proxy: &Proxy) -> Store {
        store_at(through(&self.database.url(), proxy))
    }

    pub(crate) fn token(&self, role: Role) -> &str {
        &self.tokens.iter().find(|(of, _)| *of == role).unwrap().1
    }

    /// An intake on a port of its own; where `settings` has no grants, `guest` may order.
    pub(crate) async fn intake(&self, settings: Settings) -> Intake {
        self.intake_with(settings, self.store.clone(), self.broker.clone()).await
    }

    pub(crate) async fn intake_with(&self, mut settings: Settings, store: Store, broker: Broker) -> Intake {
        settings.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        if settings.amqp_grants.is_empty() {
            settings.amqp_grants.insert("guest".to_owned(), vec![Role::Provisioner]);
        }
        let listener = turnup_intake::bind(&settings).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let library = library(store.clone()).await;
        let environment = Environment { settings, regions: regions(), store, broker, library, metrics: None };
        let running = turnup_intake::run_on(listener, environment, shutdown.clone());
        let task = tokio::spawn(async move { running.await.unwrap() });
        let token = self.token(Role::Admin).to_owned();
        let intake = Intake { base, token, http: self.http.clone(), shutdown, task };
        wait("the intake to be ready", async || {
            intake.get("/readyz").send().await.is_ok_and(|answer| answer.status() == StatusCode::OK)
        })
        .await;
        intake
    }

    /// Rows that a query counts.
    pub(crate) async fn count(&self, query: &str) -> i64 {
        let session = self.database.session().await.unwrap();
        session.query_one(&format!("SELECT count(*) FROM {query}"), &[]).await.unwrap().get(0)
    }

    /// Runs a statement: what another role would have done.
    pub(crate) async fn execute(&self, statement: &str) {
        self.database.session().await.unwrap().batch_execute(statement).await.unwrap();
    }

    /// Numbers what is new in the event log, as the relay does.
    pub(crate) async fn number_events(&self) {
        let lease = self.store.lead_relay().await.unwrap().unwrap();
        while lease.number_events(1_000).await.unwrap() > 0 {}
    }

    pub(crate) async fn intake_depth(&self) -> u32 {
        self.broker.depth(&self.broker.names().intake()).await.unwrap().messages
    }

    pub(crate) async fn parked(&self) -> u32 {
        self.broker.depth(&self.broker.names().parked()).await.unwrap().messages
    }
}

/// A running intake, and an administrator's client for it.
pub(crate) struct Intake {
    pub(crate) base: String,
    token: String,
    http: reqwest::Client,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that it is this problem.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status, &self.body["code"]), (status, &json!(code)), "{}", self.body);
        assert_eq!(self.body["status"], status);
        assert_eq!(self.header("content-type"), "application/problem+json");
        for field in ["type", "title", "detail"] {
            assert!(self.body[field].is_string(), "{field}");
        }
    }

    /// Pointer and code of each fault.
    pub(crate) fn faults(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let faults = self.body["errors"].as_array().unwrap_or_else(|| panic!("no faults in {}", self.body));
        faults.iter().map(|fault| (text(&fault["pointer"]), text(&fault["code"]))).collect()
    }

    #[track_caller]
    pub(crate) fn has_fault(&self, pointer: &str, code: &str) {
        let faults = self.faults();
        assert!(faults.contains(&(pointer.to_owned(), code.to_owned())), "{pointer} {code} in {faults:?}");
    }
}

pub(crate) async fn send(request: RequestBuilder) -> Answer {
    let answer = timeout(PATIENCE, request.send()).await.expect("an answer in time").unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let bytes = timeout(PATIENCE, answer.bytes()).await.expect("a body in time").unwrap();
    let body =
        if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap_or(Value::Null) };
    Answer { status, headers, body }
}

impl Intake {
    /// The administrator's token.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path).bearer_auth(&self.token)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.request(Method::POST, path).bearer_auth(&self.token).json(body)
    }

    pub(crate) async fn show(&self, path: &str) -> Answer {
        send(self.get(path)).await
    }

    /// Orders and expects it to be accepted.
    pub(crate) async fn order(&self, body: &Value) -> Value {
        let answer = send(self.post("/v1/orders", body)).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.body
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.task).await.expect("the intake to end in time").unwrap();
    }
}

/// A good order for an Ethernet line in region eu, with all values left to the pools: it can be repeated.
pub(crate) fn eline() -> Value {
    json!({
        "kind": "provision", "definition": "eline", "attributes": {},
        "endpoints": [
            {"role": "a", "device": "sim-eu-1", "attributes": {"port": "ge-0/0/1"}},
            {"role": "z", "device": "sim-eu-2", "attributes": {"port": "ge-0/0/2"}}],
    })
}

/// The same with all values given.
pub(crate) fn given() -> Value {
    let mut order = eline();
    order["attributes"]["vc_id"] = json!(1001);
    order["endpoints"][0]["attributes"]["vlan"] = json!(100);
    order["endpoints"][1]["attributes"]["vlan"] = json!(200);
    order
}

/// `value` with `changes` merged in at the top.
pub(crate) fn with(mut value: Value, changes: Value) -> Value {
    let Value::Object(changes) = changes else { panic!("an object") };
    value.as_object_mut().unwrap().extend(changes);
    value
}

/// Makes the service that this provision order for an Ethernet line would have left.
pub(crate) async fn deployed(scope: &Scope, order: &Value) -> String {
    let text = |field: &str| order[field].as_str().unwrap();
    let devices: Vec<&str> =
        order["devices"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let (id, attributes, endpoints) = (text("service_id"), &order["attributes"], &order["endpoints"]);
    scope
        .execute(&format!(
            "INSERT INTO services (id, definition, definition_version, region, attributes, endpoints, devices, \
             requester, created_at, state, last_order, wanted_by, sequence, updated_at) \
             VALUES ('{id}', '{}', {}, '{}', '{attributes}', '{endpoints}', '{{{}}}', 'admin', now(), \
             'deployed', '{order}', '{order}', 1, now())",
            text("definition"),
            order["definition_version"],
            text("region"),
            devices.join(","),
            order = text("id"),
        ))
        .await;
    let catalogue = catalogue();
    let footprints = catalogue.get(&text("definition").parse().unwrap()).unwrap().footprints(
        id.parse().unwrap(),
        attributes.as_object().unwrap(),
        &serde_json::from_value::<Vec<Endpoint>>(endpoints.clone()).unwrap(),
        &devices.iter().map(|name| (name.parse().unwrap(), "sim".parse().unwrap())).collect(),
    );
    for (device, footprint) in footprints.unwrap() {
        for node in footprint.owned_nodes() {
            let node = node.replace('\'', "''");
            scope.execute(&format!("INSERT INTO owned_nodes VALUES ('{device}', '{node}', '{id}')")).await;
        }
        for (node, value) in footprint.shared_nodes() {
            let (node, value) = (node.replace('\'', "''"), value.replace('\'', "''"));
            scope
                .execute(&format!(
                    "INSERT INTO shared_nodes VALUES ('{device}', '{node}', '{id}', '{value}')"
                ))
                .await;
        }
        let footprint = serde_json::to_string(&footprint).unwrap().replace('\'', "''");
        scope
            .execute(&format!(
                "INSERT INTO footprints (service_id, device, footprint) VALUES ('{id}', '{device}', '{footprint}')"
            ))
            .await;
    }
    scope
        .execute(&format!(
            "UPDATE orders SET state = 'completed', generation = 1 WHERE id = '{}'",
            text("id")
        ))
        .await;
    id.to_owned()
}

/// A client of the broker that is not ours.
pub(crate) struct Foreign {
    _connection: Connection,
    pub(crate) channel: lapin::Channel,
    exchange: String,
}

impl Foreign {
    pub(crate) async fn connect(scope: &Scope) -> Self {
        let connection = Connection::connect(&amqp_url(), ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(lapin::options::ConfirmSelectOptions::default()).await.unwrap();
        Self { _connection: connection, channel, exchange: scope.broker.names().orders() }
    }

    /// Publishes an order as user `guest`.
    pub(crate) async fn publish(&self, body: &[u8], properties: BasicProperties) {
        self.publish_as(body, properties.with_user_id("guest".into())).await;
    }

    pub(crate) async fn publish_as(&self, body: &[u8], properties: BasicProperties) {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = properties.with_delivery_mode(2);
        let exchange = self.exchange.as_str().into();
        let publish = self.channel.basic_publish(exchange, "order".into(), options, body, properties);
        let confirm = publish.await.unwrap().await.unwrap();
        assert!(confirm.is_ack() && confirm.take_message().is_none(), "a queue takes orders");
    }
}
