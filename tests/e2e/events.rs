//! News: over HTTP, SSE with resume, AMQP topics and the stream.

use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::{
    Connection, ConnectionProperties,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use serde_json::Value;
use turnup_tests::{Cluster, Options, cluster::eline};

/// Reads server-sent events after `last` until `count` have come: their ids and data.
async fn sse(cluster: &Cluster, last: &str, count: usize) -> Vec<(String, Value)> {
    let response = reqwest::Client::new()
        .get(format!("{}/v1/events?type=dev.turnup.order", cluster.api.base))
        .bearer_auth(&cluster.api.token)
        .header("accept", "text/event-stream")
        .header("last-event-id", last)
        .send()
        .await
        .unwrap();
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let mut bytes = response.bytes_stream();
    let (mut text, mut events) = (String::new(), Vec::new());
    while events.len() < count {
        let chunk =
            tokio::time::timeout(Duration::from_secs(30), bytes.next()).await.unwrap().unwrap().unwrap();
        text.push_str(&String::from_utf8_lossy(&chunk));
        while let Some(end) = text.find("\n\n") {
            let event: String = text.drain(..end + 2).collect();
            let field = |name: &str| {
                event.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
            };
            if let (Some(id), Some(data)) = (field("id:"), field("data:")) {
                events.push((id, serde_json::from_str(&data).unwrap()));
            }
        }
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_tells_the_same() {
    let cluster = Cluster::running(Options::default()).await;
    let connection = Connection::connect(cluster.amqp_url(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let exclusive =
        QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let queue =
        channel.queue_declare("".into(), exclusive, FieldTable::default()).await.unwrap().name().clone();
    channel
        .queue_bind(
            queue.clone(),
            format!("{}.events", cluster.prefix).into(),
            "order.eu-west.eline.#".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    let mut bound = channel
        .basic_consume(
            queue,
            "".into(),
            BasicConsumeOptions { no_ack: true, ..Default::default() },
            FieldTable::default(),
        )
        .await
        .unwrap();

    for n in 1..=3 {
        let answer = cluster.api.post("/v1/orders", &eline(n, "sim-eu-west-1", "sim-eu-west-2")).await;
        assert_eq!(answer.status, 201);
    }
    cluster.all_settled(3).await;

    let first = sse(&cluster, "0", 12).await;
    let resumed = sse(&cluster, &first[4].0, 7).await;
    assert_eq!(resumed[0], first[5], "resumes right after the last id");

    let listed = cluster.api.get("/v1/events?type=dev.turnup.order&after=0").await.body;
    let listed: Vec<&Value> = listed["items"].as_array().unwrap().iter().collect();
    assert_eq!(listed.len(), 12);
    assert_eq!(
        listed.iter().map(|event| &event["id"]).collect::<Vec<_>>(),
        first.iter().map(|(_, event)| &event["id"]).collect::<Vec<_>>()
    );

    let mut over_amqp = Vec::new();
    while over_amqp.len() < 12 {
        let delivery =
            tokio::time::timeout(Duration::from_secs(30), bound.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(
            delivery.properties.content_type().as_ref().unwrap().as_str(),
            "application/cloudevents+json; charset=utf-8"
        );
        over_amqp.push(serde_json::from_slice::<Value>(&delivery.data).unwrap());
    }
    assert_eq!(over_amqp.iter().collect::<Vec<_>>(), listed, "the same events in the same order");
    for order in
        over_amqp.iter().map(|event| event["subject"].clone()).collect::<std::collections::HashSet<_>>()
    {
        let sequences: Vec<&str> = over_amqp
            .iter()
            .filter(|event| event["subject"] == order)
            .map(|event| event["sequence"].as_str().unwrap())
            .collect();
        assert_eq!(sequences, ["0000000001", "0000000002", "0000000003", "0000000004"]);
    }

    // The stream, from its beginning.
    let replay = connection.create_channel().await.unwrap();
    replay.basic_qos(100, BasicQosOptions::default()).await.unwrap();
    let mut arguments = FieldTable::default();
    arguments.insert("x-stream-offset".into(), AMQPValue::LongString("first".into()));
    let mut stream = replay
        .basic_consume(
            format!("{}.events.log", cluster.prefix).into(),
            "".into(),
            BasicConsumeOptions::default(),
            arguments,
        )
        .await
        .unwrap();
    let mut replayed = Vec::new();
    while replayed.len() < 12 {
        let delivery =
            tokio::time::timeout(Duration::from_secs(30), stream.next()).await.unwrap().unwrap().unwrap();
        delivery.ack(BasicAckOptions::default()).await.unwrap();
        let event: Value = serde_json::from_slice(&delivery.data).unwrap();
        if event["type"].as_str().unwrap().starts_with("dev.turnup.order.") {
            replayed.push(event);
        }
    }
    assert_eq!(replayed, over_amqp);
}
