//! What the broker carries may arrive twice, late, and in another order: reports of workers and deployments
//! are copied on their way and published again. Nothing may come of it.

use futures_util::StreamExt as _;
use lapin::{
    Channel, Connection, ConnectionProperties, Consumer,
    message::Delivery,
    options::{BasicConsumeOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use serde_json::{Value, json};
use tokio::sync::watch;
use turnup_tests::{
    Cluster, Options,
    cluster::eline,
    invariants,
    wait::{PATIENCE, until},
};

/// In a message that this test has published.
const COPY: &str = "copied-by-test";
/// Shards of the workers' reports.
const SHARDS: u16 = 8;

/// A queue that gets a copy of everything that goes through these exchanges, with its reader.
async fn tap(cluster: &Cluster, bindings: &[(&str, String)]) -> (Channel, Consumer) {
    let connection = Connection::connect(cluster.amqp_url(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare("".into(), exclusive, FieldTable::default()).await.unwrap();
    let queue = queue.name().clone();
    for (exchange, key) in bindings {
        let exchange = format!("{}.{exchange}", cluster.prefix);
        let options = QueueBindOptions::default();
        channel
            .queue_bind(queue.clone(), exchange.into(), key.as_str().into(), options, FieldTable::default())
            .await
            .unwrap();
    }
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let reader = channel.basic_consume(queue, "".into(), options, FieldTable::default()).await.unwrap();
    (channel, reader)
}

fn bindings() -> Vec<(&'static str, String)> {
    let reports = (0..SHARDS).map(|shard| ("state", shard.to_string()));
    let deployments = ["urgent", "normal", "bulk"].map(|class| ("deploy", format!("eu-west.{class}")));
    reports.chain(deployments).collect()
}

fn is_report(message: &Delivery) -> bool {
    message.exchange.as_str().ends_with(".state")
}

fn is_copy(message: &Delivery) -> bool {
    let headers = message.properties.headers().as_ref();
    headers.is_some_and(|headers| headers.inner().contains_key(COPY))
}

/// Publishes a message again, as it was. A deployment is marked, as whoever sends one again does.
async fn publish(channel: &Channel, message: &Delivery) {
    let mut headers = message.properties.headers().clone().unwrap_or_default();
    headers.insert(COPY.into(), AMQPValue::LongLongInt(1));
    if !is_report(message) {
        headers.insert("turnup-republished".into(), AMQPValue::LongLongInt(1));
    }
    let properties = message.properties.clone().with_headers(headers);
    let (exchange, key) = (message.exchange.clone(), message.routing_key.clone());
    channel
        .basic_publish(exchange, key, BasicPublishOptions::default(), &message.data, properties)
        .await
        .unwrap();
}

/// Copies what comes, until told to stop. With `again`, each is published again at once, and the one before it
/// after it.
async fn copy(
    (channel, mut reader): (Channel, Consumer),
    mut stop: watch::Receiver<bool>,
    again: bool,
) -> Vec<Delivery> {
    let mut copies: Vec<Delivery> = Vec::new();
    loop {
        let message = tokio::select! {
            biased;
            message = reader.next() => message.unwrap().unwrap(),
            _ = stop.wait_for(|stop| *stop) => return copies,
        };
        if is_copy(&message) {
            continue;
        }
        if again {
            publish(&channel, &message).await;
            if let Some(before) = copies.last() {
                publish(&channel, before).await;
            }
        }
        copies.push(message);
    }
}

/// All that is recorded, and all that the network has. Without times, and without the log entries' cursors.
async fn everything(cluster: &Cluster) -> Vec<String> {
    let mut all = Vec::new();
    for sql in [
        "SELECT concat_ws(' ', id, state, errors::text, service_id) FROM orders ORDER BY id",
        "SELECT concat_ws(' ', entity, entity_id, sequence, from_state, to_state) FROM events \
         ORDER BY entity, entity_id, sequence",
        "SELECT concat_ws(' ', id, state, audit_state, attributes::text) FROM services ORDER BY id",
        "SELECT concat_ws(' ', service_id, device) FROM footprints ORDER BY service_id, device",
        "SELECT concat_ws(' ', id, state, attempt, sequence, phase, worker) FROM deployments ORDER BY id",
    ] {
        all.extend(cluster.query(sql).await.iter().map(|row| row.get::<_, String>(0)));
    }
    all.extend(cluster.simulator.journal().unwrap().iter().map(|record| format!("{record:?}")));
    all
}

/// Ends the reader of these queues when it is through with what they hold.
async fn drained(cluster: &mut Cluster, role: &str, arguments: &[&str], queues: &[String]) {
    let broker = cluster.broker();
    let is_empty = async |queue: &String| broker.depth(queue).await.is_ok_and(|depth| depth.messages == 0);
    loop {
        for queue in queues {
            until(&format!("{queue} to be read"), PATIENCE, || async { is_empty(queue).await.then_some(()) })
                .await;
        }
        let status = cluster.process(role).terminate(PATIENCE);
        assert!(status.success(), "{role} ended with {status}");
        // What it had taken and not begun is back in its queue by now.
        let mut left = 0;
        for queue in queues {
            left += broker.depth(queue).await.unwrap().messages;
        }
        if left == 0 {
            return;
        }
        cluster.start(role, arguments, &[]);
    }
}

/// Ends worker and recorder when they are through with everything.
async fn all_drained(cluster: &mut Cluster) {
    let names = turnup_broker::Names::new(cluster.prefix.clone());
    let deployments = turnup_broker::DeployClass::ALL.map(|class| names.deploy_queue("eu-west", class));
    let worker = ["serve", "worker", "--region", "eu-west"];
    drained(cluster, "worker-eu-west", &worker, &deployments).await;
    let reports: Vec<String> = (0..SHARDS).map(|shard| names.state_queue(shard)).collect();
    drained(cluster, "recorder", &["serve", "recorder"], &reports).await;
}

/// Some orders that provision, one that decommissions and one that modifies, all ended.
async fn orders(cluster: &Cluster) {
    let pairs = [(1, 2), (3, 4)].map(|(a, z)| (format!("sim-eu-west-{a}"), format!("sim-eu-west-{z}")));
    let mut services = Vec::new();
    let provisions: Vec<Value> = (0..16)
        .map(|n| {
            let (a, z) = &pairs[n as usize % 2];
            eline(n, a, z)
        })
        .collect();
    let accepted = cluster.api.bulk(&provisions).await;
    for order in &accepted {
        let order = cluster.order_in(order["order"]["id"].as_str().unwrap(), "completed").await;
        services.push(order["service_id"].as_str().unwrap().to_owned());
    }
    let more = [
        json!({"kind": "decommission", "schedule": "now", "service_id": services[0]}),
        json!({"kind": "decommission", "schedule": "now", "service_id": services[1]}),
        json!({"kind": "modify", "schedule": "now", "service_id": services[2],
            "attributes": {"vc_id": 3, "mtu": 9000}, "endpoints": provisions[2]["endpoints"]}),
        json!({"kind": "validate", "schedule": "now", "service_id": services[3]}),
    ];
    for order in more {
        let answer = cluster.api.post("/v1/orders", &order).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        cluster.order_in(answer.body["id"].as_str().unwrap(), "completed").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_arrive_when_all_is_over_change_nothing() {
    let mut cluster =
        Cluster::running(Options { regions: vec![("eu-west".to_owned(), 4)], ..Options::default() }).await;
    let (stop, stopped) = watch::channel(false);
    let tapped = tap(&cluster, &bindings()).await;
    let channel = tapped.0.clone();
    let copying = tokio::spawn(copy(tapped, stopped, false));
    orders(&cluster).await;
    stop.send_replace(true);
    let copies = copying.await.unwrap();
    let reports = copies.iter().filter(|message| is_report(message)).count();
    // Several orders may have gone as one deployment.
    assert!(reports >= 5 && copies.len() - reports >= 5, "{reports} reports of {} messages", copies.len());
    let before = everything(&cluster).await;
    // From the last to the first, and from the first to the last.
    for message in copies.iter().rev().chain(&copies) {
        publish(&channel, message).await;
    }
    all_drained(&mut cluster).await;
    assert_eq!(everything(&cluster).await, before);
    let parked: Value =
        serde_json::from_str(&cluster.command(&["--output", "json", "parked", "list"])).unwrap();
    assert_eq!(parked, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_arrive_amid_everything_change_nothing() {
    let mut cluster =
        Cluster::running(Options { regions: vec![("eu-west".to_owned(), 4)], ..Options::default() }).await;
    let (stop, stopped) = watch::channel(false);
    let copying = tokio::spawn(copy(tap(&cluster, &bindings()).await, stopped, true));
    orders(&cluster).await;
    stop.send_replace(true);
    let copies = copying.await.unwrap();
    assert!(copies.len() >= 10, "{} messages", copies.len());
    all_drained(&mut cluster).await;
    invariants::history_is_lawful(&cluster).await;
    invariants::nothing_is_stuck(&cluster).await;
    invariants::network_is_as_recorded(&cluster).await;
}
