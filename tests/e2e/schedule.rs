//! Times: later, another time, none, cancelled; never early.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use turnup_tests::{
    Cluster, Options,
    cluster::eline,
    invariants,
    wait::{PATIENCE, until},
};

const A: &str = "sim-eu-west-1";
const Z: &str = "sim-eu-west-2";

fn in_seconds(seconds: i64) -> String {
    (Timestamp::now() + SignedDuration::from_secs(seconds)).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_start_at_their_time_and_never_before() {
    // A lead of one second puts all of these on the ladder; the ladder reaches 7 s, so the last
    // waits in the outbox first.
    let config = "[scheduler]\nlead_ms = 1000\n".to_owned();
    let cluster = Cluster::running(Options { config, ladder_levels: 3, ..Options::default() }).await;
    for (n, seconds) in [(1, 2), (2, 5), (3, 9)] {
        let mut order = eline(n, A, Z);
        order["schedule"] = json!(in_seconds(seconds));
        let answer = cluster.api.post("/v1/orders", &order).await;
        assert_eq!((answer.status.as_u16(), &answer.body["state"]), (201, &json!("scheduled")), "{answer:?}");
    }
    cluster.all_settled(3).await;
    let early = cluster
        .count(
            "SELECT count(*) FROM events JOIN orders ON orders.id::text = events.entity_id \
             WHERE to_state = 'in_progress' AND events.at < orders.scheduled_for",
        )
        .await;
    assert_eq!(early, 0);
    assert_eq!(cluster.count("SELECT count(*) FROM orders WHERE state = 'completed'").await, 3);
    invariants::history_is_lawful(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reschedule_unschedule_cancel() {
    let cluster = Cluster::running(Options::default()).await;
    let mut order = eline(1, A, Z);
    order["schedule"] = json!(in_seconds(3600));
    let id = cluster.api.post("/v1/orders", &order).await.body["id"].as_str().unwrap().to_owned();
    let call = |action: &'static str, body| {
        let (api, path) = (cluster.api.clone(), format!("/v1/orders/{id}/{action}"));
        async move { api.post(&path, &body).await }
    };
    let unscheduled = call("unschedule", json!({})).await;
    assert_eq!((unscheduled.status.as_u16(), &unscheduled.body["state"]), (200, &json!("requested")));
    let refused = call("unschedule", json!({})).await;
    assert_eq!(refused.status, 409);
    assert_eq!(refused.body["legal"], json!(["schedule", "cancel"]));
    let scheduled = call("schedule", json!({"at": in_seconds(7200)})).await;
    assert_eq!(scheduled.body["schedule_revision"], 3, "{scheduled:?}");
    let now = call("schedule", json!({})).await;
    assert_eq!(now.status, 200, "{now:?}");
    cluster.order_in(&id, "completed").await;
    assert_eq!(call("cancel", json!({})).await.status, 409);

    let mut order = eline(2, A, Z);
    order["schedule"] = json!(in_seconds(3));
    let id = cluster.api.post("/v1/orders", &order).await.body["id"].as_str().unwrap().to_owned();
    let cancelled =
        cluster.api.post(&format!("/v1/orders/{id}/cancel"), &json!({"reason": "customer moved"})).await;
    assert_eq!(cancelled.body["state"], "cancelled", "{cancelled:?}");
    assert_eq!(cancelled.body["history"].as_array().unwrap().last().unwrap()["why"], "customer moved");
    // Its message still comes, and does nothing: an order due later has been through by then.
    let mut after = eline(3, A, Z);
    after["schedule"] = json!(in_seconds(4));
    let after = cluster.api.post("/v1/orders", &after).await.body["id"].as_str().unwrap().to_owned();
    cluster.order_in(&after, "completed").await;
    cluster.order_in(&id, "cancelled").await;
    invariants::history_is_lawful(&cluster).await;
    invariants::nothing_is_stuck(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_lost_is_sent_again() {
    let cluster = {
        let mut cluster = Cluster::new(Options::default()).await;
        cluster.start("intake", &["serve", "intake"], &[]);
        cluster.intake_ready().await;
        cluster.register_devices().await;
        cluster
    };
    let answer = cluster.api.post("/v1/orders", &eline(1, A, Z)).await;
    let id = answer.body["id"].as_str().unwrap().to_owned();
    // As if it had been published and lost: the outbox is empty, the queue too.
    cluster.query("DELETE FROM outbox").await;
    let output = cluster.command(&["reconcile"]);
    assert!(output.contains("1 scheduled orders"), "{output}");
    let mut cluster = cluster;
    cluster.start_roles().await;
    cluster.order_in(&id, "completed").await;
    until("the outbox to be empty", PATIENCE, || async {
        (cluster.count("SELECT count(*) FROM outbox").await == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn order_for_an_unconfigured_region_stays_scheduled_and_can_be_cancelled() {
    let config = "[scheduler]\noverdue_ms = 500\nsweep_every_ms = 200\n".to_owned();
    let cluster = Cluster::running(Options { config, ..Options::default() }).await;
    let mut order = eline(1, A, Z);
    order["schedule"] = json!(in_seconds(3));
    let id = cluster.api.post("/v1/orders", &order).await.body["id"].as_str().unwrap().to_owned();
    // The region is removed from the configuration, or a release before did not check it.
    let _ = cluster.query(&format!("UPDATE devices SET region = 'eu-wst' WHERE name = '{A}'")).await;
    until("the order to be put off and brought again", PATIENCE, || async {
        let seen = cluster.processes["scheduler"].output().matches("region that is not configured").count();
        (seen > 1).then_some(())
    })
    .await;
    let shown = cluster.api.get(&format!("/v1/orders/{id}")).await.body;
    assert_eq!(shown["state"], "scheduled", "{shown}");
    let explained = cluster.api.get(&format!("/v1/orders/{id}/explain")).await.body;
    let sentence = explained["explanation"].as_str().unwrap();
    assert!(
        sentence.contains(&format!("device {A} is in region eu-wst, which is not configured")),
        "{sentence}"
    );

    let refused = cluster.api.post("/v1/orders", &eline(2, Z, A)).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    assert_eq!(refused.body["errors"][0]["pointer"], "/endpoints/1/device", "{refused:?}");
    assert_eq!(refused.body["errors"][0]["code"], "unknown_region", "{refused:?}");

    let cancelled = cluster.api.post(&format!("/v1/orders/{id}/cancel"), &json!({})).await;
    assert_eq!((cancelled.status.as_u16(), &cancelled.body["state"]), (200, &json!("cancelled")));
    // The device is moved back; nothing of the order is left in the queues.
    let _ = cluster.query(&format!("UPDATE devices SET region = 'eu-west' WHERE name = '{A}'")).await;
    let mut next = eline(3, A, Z);
    next["schedule"] = json!("now");
    // The intake may know the device as it was for a moment.
    let next = until("an order for the device to be accepted", PATIENCE, || async {
        cluster.api.post("/v1/orders", &next).await.body["id"].as_str().map(str::to_owned)
    });
    cluster.order_in(&next.await, "completed").await;
}
