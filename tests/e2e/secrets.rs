//! Secrets on the whole system: sent to devices, and in no output of any kind.

use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::{BasicConsumeOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use serde_json::{Value, json};
use turnup_device_sim::behaviour::{Act, Behaviour, Fault, Refusal};
use turnup_netconf::{crypt_hash, message::ErrorTag};
use turnup_tests::{
    Cluster, Options,
    wait::{PATIENCE, until},
};

const DEVICE: &str = "sim-eu-west-1";
const FIRST: &str = "Klabauter <&> \"mann' ä?";
const SECOND: &str = "$Rumpelstilz/42+.*";
const REFUSED: &str = "Schneewittchen[0-9]";
/// Against the schema: a number.
const NUMBER: u64 = 8_675_309_811;

fn user(name: &str, password: &Value) -> Value {
    json!({
        "kind": "provision", "definition": "user", "schedule": "now", "external_id": format!("U-{name}"),
        "attributes": {"name": name, "password": password, "public_key": "MADEBYATEST"},
        "endpoints": [{"role": "device", "device": DEVICE}],
    })
}

/// Everything that was shown to anybody.
#[derive(Default)]
struct Shown(Vec<(String, String)>);

impl Shown {
    fn add(&mut self, what: impl Into<String>, text: impl Into<String>) {
        self.0.push((what.into(), text.into()));
    }

    async fn get(&mut self, cluster: &Cluster, path: &str) -> Value {
        let answer = cluster.api.get(path).await;
        self.add(format!("GET {path}"), answer.body.to_string());
        answer.body
    }

    async fn post(&mut self, cluster: &Cluster, path: &str, body: &Value) -> (u16, Value) {
        let answer = cluster.api.post(path, body).await;
        self.add(format!("POST {path}"), answer.body.to_string());
        (answer.status.as_u16(), answer.body)
    }

    fn command(&mut self, cluster: &Cluster, arguments: &[&str]) -> (i32, String) {
        let (code, out, err) = cluster.try_command(arguments);
        self.add(format!("turnup {arguments:?}"), format!("{out}\n{err}"));
        (code, out)
    }

    fn assert_hides(&self, secret: &str) {
        let json = serde_json::to_string(secret).unwrap();
        let xml = secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let both = serde_json::to_string(&xml).unwrap();
        let beginning: String = secret.chars().take(9).collect();
        for written in [secret, json.trim_matches('"'), &xml, both.trim_matches('"'), &beginning] {
            for (what, text) in &self.0 {
                assert!(!text.contains(written), "{written:?} is shown by {what}: {text}");
            }
        }
    }
}

/// Whether the device has the user with this password.
fn has(cluster: &Cluster, name: &str, password: &str) -> bool {
    let device = cluster.simulator.device(DEVICE).unwrap();
    let kept = device.running().get(&format!("/users/user[name='{name}']/password")).map(|it| it.to_string());
    kept.is_some_and(|kept| kept.starts_with("$6$") && crypt_hash::may_be(&kept, &format!("$0${password}")))
}

/// All that a client can ask about an order and its service.
async fn look_at(cluster: &Cluster, shown: &mut Shown, order: &str, service: &str) {
    for path in
        [format!("/v1/orders/{order}"), format!("/v1/orders/{order}/explain"), "/v1/orders".to_owned()]
    {
        shown.get(cluster, &path).await;
    }
    for path in ["", "/config", "/audit"] {
        shown.get(cluster, &format!("/v1/services/{service}{path}")).await;
    }
    shown.get(cluster, "/v1/services").await;
    let whole = shown.get(cluster, &format!("/v1/orders/{order}")).await;
    for deployment in whole["deployments"].as_array().into_iter().flatten() {
        let id = deployment["id"].as_str().unwrap();
        shown.get(cluster, &format!("/v1/deployments/{id}")).await;
        shown.get(cluster, &format!("/v1/deployments/{id}/transcript")).await;
        shown.command(cluster, &["deployment", "transcript", id]);
    }
    for arguments in [
        &["order", "show", order][..],
        &["--output", "json", "order", "show", order],
        &["order", "plan", order],
        &["order", "explain", order],
        &["order", "list"],
        &["--output", "json", "order", "list"],
        &["service", "show", service],
        &["--output", "json", "service", "show", service],
        &["service", "config", service],
        &["--output", "json", "service", "config", service],
        &["service", "list"],
        &["definition", "show", "user"],
    ] {
        shown.command(cluster, arguments);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secret_is_sent_and_shown_nowhere() {
    let config = "[worker]\ntranscripts = \"all\"\nsecret_names = []\n[log]\nfilter = \"debug\"\n".to_owned();
    let mut cluster = Cluster::running(Options { config, ..Options::default() }).await;
    let mut shown = Shown::default();
    let (_connection, mut news) = subscribe(&cluster).await;

    // Success: planned, ordered, repeated.
    let order = user("noc", &json!(FIRST));
    let (status, plan) = shown.post(&cluster, "/v1/orders?dry_run=true", &order).await;
    assert_eq!(status, 200, "{plan}");
    let diff = plan["devices"][0]["diff"].as_str().unwrap();
    assert!(diff.contains("password: (secret)") && diff.contains("MADEBYATEST"), "{diff}");
    let file = cluster.dir.join("order.json");
    std::fs::write(&file, order.to_string()).unwrap();
    let file = file.to_str().unwrap().to_owned();
    for planned in [&["order", "submit", &file, "--dry-run"][..], &["order", "plan", &file, "--xml"]] {
        for format in ["table", "json"] {
            let (code, out) = shown.command(&cluster, &[&["--output", format], planned].concat());
            assert_eq!(code, 0, "{out}");
        }
    }
    let (status, created) = shown.post(&cluster, "/v1/orders", &order).await;
    assert_eq!((status, &created["attributes"]["password"]), (201, &json!("(secret)")), "{created}");
    assert_eq!(created["secrets"], json!(["/attributes/password"]));
    let id = created["id"].as_str().unwrap().to_owned();
    let service = created["service_id"].as_str().unwrap().to_owned();
    let done = cluster.order_in(&id, "completed").await;
    shown.add("order", done.to_string());
    assert!(has(&cluster, "noc", FIRST));
    let (status, again) = shown.post(&cluster, "/v1/orders", &order).await;
    assert_eq!((status, &again["id"]), (200, &json!(id)), "the same order, not another");
    look_at(&cluster, &mut shown, &id, &service).await;

    // What was shown is sent back: the password stays.
    let (code, out) =
        shown.command(&cluster, &["order", "modify", &service, "--set", "public_key=ANOTHER", "--watch"]);
    assert_eq!(code, 0, "{out}");
    assert!(has(&cluster, "noc", FIRST), "{}", cluster.running_config(DEVICE));
    assert!(cluster.running_config(DEVICE).contains("ANOTHER"), "{}", cluster.running_config(DEVICE));

    // Another password is a change, and it is shown as one.
    let set = format!("password={SECOND}");
    let planned = ["order", "modify", &service, "--set", &set, "--dry-run", "--xml"];
    let (code, diff) = shown.command(&cluster, &planned);
    assert!(code == 0 && diff.contains("password: (secret, changed)"), "{diff}");
    let (code, out) = shown.command(&cluster, &["order", "modify", &service, "--set", &set, "--watch"]);
    assert_eq!(code, 0, "{out}");
    assert!(has(&cluster, "noc", SECOND));
    let orders = shown.get(&cluster, "/v1/orders").await;
    let modified = orders["items"][0]["id"].as_str().unwrap().to_owned();
    look_at(&cluster, &mut shown, &modified, &service).await;

    // Taken back.
    let path = format!("/v1/orders/{modified}/undo");
    let (status, plan) = shown.post(&cluster, &format!("{path}?dry_run=true"), &json!({})).await;
    assert_eq!(status, 200, "{plan}");
    shown.command(&cluster, &["order", "undo", &modified, "--dry-run"]);
    let (status, undo) = shown.post(&cluster, &path, &json!({"schedule": "now"})).await;
    assert_eq!(status, 201, "{undo}");
    let undo = undo["id"].as_str().unwrap().to_owned();
    cluster.order_in(&undo, "completed").await;
    assert!(has(&cluster, "noc", FIRST));
    look_at(&cluster, &mut shown, &undo, &service).await;

    // Redeployed and audited: what is stored is the value itself.
    for kind in ["redeploy", "validate"] {
        let again = json!({"kind": kind, "service_id": service, "schedule": "now"});
        let (status, order) = shown.post(&cluster, "/v1/orders", &again).await;
        assert_eq!(status, 201, "{order}");
        let order = order["id"].as_str().unwrap().to_owned();
        cluster.order_in(&order, "completed").await;
        look_at(&cluster, &mut shown, &order, &service).await;
    }
    assert!(has(&cluster, "noc", FIRST));
    let audit = shown.get(&cluster, &format!("/v1/services/{service}/audit")).await;
    assert_eq!(audit["config"], "in_sync", "{audit}");

    refused(&cluster, &mut shown).await;
    by_amqp(&cluster, &mut shown).await;

    // News, metrics, logs, and what the database keeps to show it.
    shown.get(&cluster, "/v1/events?limit=1000").await;
    shown.command(&cluster, &["events", "--after", "0"]);
    while let Ok(Some(Ok(delivery))) = tokio::time::timeout(Duration::from_secs(2), news.next()).await {
        shown.add("an event over AMQP", String::from_utf8_lossy(&delivery.data));
    }
    shown.add("metrics", cluster.api.get("/metrics").await.body.to_string());
    for sql in
        ["SELECT data::text FROM events", "SELECT plan::text FROM plans", "SELECT errors::text FROM orders"]
    {
        for row in cluster.query(sql).await {
            shown.add(sql, row.get::<_, Option<String>>(0).unwrap_or_default());
        }
    }
    for name in cluster.processes.keys().cloned().collect::<Vec<_>>() {
        let output = cluster.process(&name).output();
        assert!(!output.is_empty(), "{name} logs nothing");
        shown.add(format!("log of {name}"), output);
    }
    assert!(shown.0.len() > 100, "{}", shown.0.len());
    for secret in [FIRST, SECOND, REFUSED, &NUMBER.to_string()] {
        shown.assert_hides(secret);
    }
}

/// A device refuses, and quotes the password; the order is corrected without repeating it.
async fn refused(cluster: &Cluster, shown: &mut Shown) {
    let message = format!("password '$0${REFUSED}' or {REFUSED} of user ops is in the dictionary");
    let refusal = Refusal {
        message: Some(message),
        path: Some(format!("/users/user[name='ops']/password[.='{REFUSED}']")),
        ..Refusal::new(ErrorTag::InvalidValue)
    };
    let faults = vec![Fault { occurrence: 0, ..Fault::before("edit-config", Act::Refuse(refusal)) }];
    cluster.behave(DEVICE, Behaviour { faults, ..Behaviour::default() }).await;
    let (status, order) = shown.post(cluster, "/v1/orders", &user("ops", &json!(REFUSED))).await;
    assert_eq!(status, 201, "{order}");
    let (id, service) =
        (order["id"].as_str().unwrap().to_owned(), order["service_id"].as_str().unwrap().to_owned());
    let (status, tried) =
        shown.post(cluster, "/v1/orders?dry_run=true&on_device=true", &user("ops2", &json!(REFUSED))).await;
    assert_eq!(status, 200, "{tried}");
    let order = cluster.order_in(&id, "invalid").await;
    let said = order["errors"][0]["message"].as_str().unwrap();
    assert!(said.contains("of user ops is in the dictionary") && said.contains("(secret)"), "{said}");
    look_at(cluster, shown, &id, &service).await;
    cluster.behave(DEVICE, Behaviour::default()).await;
    let changes = json!({"changes": {"schedule": "now", "attributes": order["attributes"]}});
    let (status, corrected) = shown.post(cluster, &format!("/v1/orders/{id}/recreate"), &changes).await;
    assert_eq!(status, 201, "{corrected}");
    let corrected = corrected["id"].as_str().unwrap().to_owned();
    cluster.order_in(&corrected, "completed").await;
    assert!(has(cluster, "ops", REFUSED), "the mask stood for the password");
    // Nothing that the mask could stand for, and a value of the wrong type.
    let (status, problem) = shown.post(cluster, "/v1/orders", &user("new", &json!("(secret)"))).await;
    assert_eq!((status, &problem["errors"][0]["code"]), (422, &json!("masked_secret")), "{problem}");
    let (status, problem) = shown.post(cluster, "/v1/orders", &user("new", &json!(NUMBER))).await;
    assert_eq!((status, &problem["errors"][0]["code"]), (422, &json!("wrong_type")), "{problem}");
    let long = SECOND.repeat(20);
    let (status, problem) = shown.post(cluster, "/v1/orders", &user("new", &json!(long))).await;
    assert_eq!((status, &problem["errors"][0]["code"]), (422, &json!("length")), "{problem}");
}

/// Refused messages are told as events, and parked.
async fn by_amqp(cluster: &Cluster, shown: &mut Shown) {
    let connection = Connection::connect(cluster.amqp_url(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let mut unknown = user("new", &json!(FIRST));
    unknown["definition"] = json!("usr");
    let bodies = [user("new", &json!(NUMBER)).to_string(), unknown.to_string(), format!("no json: {FIRST}")];
    for (n, body) in bodies.iter().enumerate() {
        let properties = BasicProperties::default()
            .with_message_id(format!("s-{n}").into())
            .with_user_id("guest".into())
            .with_delivery_mode(2);
        let exchange = format!("{}.orders", cluster.prefix);
        let options = BasicPublishOptions::default();
        channel
            .basic_publish(exchange.into(), "order".into(), options, body.as_bytes(), properties)
            .await
            .unwrap();
    }
    let parked = until("three messages to be parked", PATIENCE, || async {
        let (_, out, _) = cluster.try_command(&["--output", "json", "parked", "list"]);
        let parked: Value = serde_json::from_str(&out).ok()?;
        (parked.as_array()?.len() == 3).then_some(parked)
    })
    .await;
    shown.command(cluster, &["parked", "list"]);
    for message in parked.as_array().unwrap() {
        let id = message["id"].as_str().unwrap();
        let (code, _) = shown.command(cluster, &["parked", "show", id]);
        assert_eq!(code, 0);
        let raw = cluster.command(&["parked", "show", id, "--raw"]);
        assert!(
            raw.contains("Klabauter") || raw.contains(&NUMBER.to_string()),
            "asked for explicitly: {raw}"
        );
    }
}

/// All events, as a consumer gets them.
async fn subscribe(cluster: &Cluster) -> (Connection, lapin::Consumer) {
    let connection = Connection::connect(cluster.amqp_url(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let exclusive =
        QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let queue =
        channel.queue_declare("".into(), exclusive, FieldTable::default()).await.unwrap().name().clone();
    let exchange = format!("{}.events", cluster.prefix);
    let options = QueueBindOptions::default();
    channel
        .queue_bind(queue.clone(), exchange.into(), "#".into(), options, FieldTable::default())
        .await
        .unwrap();
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let news = channel.basic_consume(queue, "".into(), options, FieldTable::default()).await.unwrap();
    (connection, news)
}
