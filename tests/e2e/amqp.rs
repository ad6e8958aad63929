//! Orders over AMQP, as a foreign system publishes them.

use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, Consumer,
    options::{BasicConsumeOptions, BasicPublishOptions, QueueDeclareOptions},
    types::FieldTable,
};
use serde_json::{Value, json};
use turnup_tests::{
    Cluster, Options,
    cluster::eline,
    wait::{PATIENCE, until},
};

async fn upstream(cluster: &Cluster) -> (Channel, String, Consumer) {
    let connection = Connection::connect(cluster.amqp_url(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let exclusive =
        QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let queue =
        channel.queue_declare("".into(), exclusive, FieldTable::default()).await.unwrap().name().to_string();
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let answers =
        channel.basic_consume(queue.clone().into(), "".into(), options, FieldTable::default()).await.unwrap();
    (channel, queue, answers)
}

async fn publish(cluster: &Cluster, channel: &Channel, body: &[u8], properties: BasicProperties) {
    channel
        .basic_publish(
            format!("{}.orders", cluster.prefix).into(),
            "order".into(),
            BasicPublishOptions::default(),
            body,
            properties.with_delivery_mode(2),
        )
        .await
        .unwrap();
}

async fn answer(answers: &mut Consumer) -> (String, Value) {
    let delivery =
        tokio::time::timeout(Duration::from_secs(30), answers.next()).await.unwrap().unwrap().unwrap();
    let id = delivery.properties.correlation_id().as_ref().map(ToString::to_string).unwrap_or_default();
    (id, serde_json::from_slice(&delivery.data).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_with_and_without_an_answer() {
    let cluster = Cluster::running(Options::default()).await;
    let (channel, queue, mut answers) = upstream(&cluster).await;
    let with_answer = |id: &str, correlation: &str| {
        BasicProperties::default()
            .with_message_id(id.into())
            .with_user_id("guest".into())
            .with_reply_to(queue.clone().into())
            .with_correlation_id(correlation.into())
    };
    let order = eline(1, "sim-eu-west-1", "sim-eu-west-2").to_string();
    for correlation in ["first", "again"] {
        publish(&cluster, &channel, order.as_bytes(), with_answer("m-1", correlation)).await;
    }
    let (first, again) = (answer(&mut answers).await, answer(&mut answers).await);
    assert_eq!((first.0.as_str(), again.0.as_str()), ("first", "again"));
    let id = first.1["accepted"]["id"].as_str().unwrap_or_else(|| panic!("{first:?}")).to_owned();
    assert_eq!(again.1["accepted"]["id"], id.as_str(), "one order for one message id");
    cluster.order_in(&id, "completed").await;

    publish(&cluster, &channel, br#"{"kind": "provision", "definition": "elin"}"#, with_answer("m-2", "bad"))
        .await;
    let (_, refused) = answer(&mut answers).await;
    assert_eq!(refused["problem"]["status"], 422, "{refused}");
    assert!(
        refused["problem"]["errors"][0]["detail"].as_str().unwrap().contains("eline"),
        "names the near miss: {refused}"
    );

    // Without reply_to: told by an event, and parked.
    let silent = BasicProperties::default().with_message_id("m-3".into()).with_user_id("guest".into());
    publish(&cluster, &channel, br#"{"kind": "provision", "definition": "elin"}"#, silent).await;
    publish(
        &cluster,
        &channel,
        b"\xff not json",
        BasicProperties::default().with_message_id("m-4".into()).with_user_id("guest".into()),
    )
    .await;
    publish(&cluster, &channel, order.as_bytes(), BasicProperties::default().with_message_id("m-5".into()))
        .await;
    let parked = until("three messages to be parked", PATIENCE, || async {
        let parked: Value =
            serde_json::from_str(&cluster.command(&["--output", "json", "parked", "list"])).ok()?;
        (parked.as_array()?.len() == 3).then_some(parked)
    })
    .await;
    assert!(
        parked.as_array().unwrap().iter().all(|message| !message["reason"].as_str().unwrap().is_empty()),
        "{parked}"
    );
    until("the event order.rejected", PATIENCE, || async {
        let events = cluster.api.get("/v1/events?type=dev.turnup.order.rejected.v1").await.body;
        (!events["items"].as_array()?.is_empty()).then_some(())
    })
    .await;
    assert_eq!(cluster.count("SELECT count(*) FROM orders").await, 1);
    let first = parked[0]["id"].as_str().unwrap();
    assert!(cluster.command(&["parked", "show", first]).contains("reason"));
    let _ = cluster.command(&["parked", "drop", first]);
    let left: Value =
        serde_json::from_str(&cluster.command(&["--output", "json", "parked", "list"])).unwrap();
    assert_eq!(left.as_array().unwrap().len(), 2);
    assert_eq!(json!(left[0]["id"]), json!(parked[1]["id"]));
}
