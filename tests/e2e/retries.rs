//! Orders that failed and are tried again by themselves, on devices that come back or do not.

use serde_json::{Value, json};
use turnup_device_sim::behaviour::{Act, Behaviour, Fault, PhantomLock, Refusal};
use turnup_netconf::message::ErrorTag;
use turnup_tests::{
    Cluster, Options,
    cluster::eline,
    invariants,
    wait::{PATIENCE, until},
};

const A: &str = "sim-eu-west-1";
const Z: &str = "sim-eu-west-2";
const B: &str = "sim-eu-west-3";

/// Attempts that fail soon.
const SHORT: &str = "[scheduler.limits]\nlock_wait_ms = 300\ntries = 1\nconnect_timeout_ms = 5000\n";

fn options(retry: &str) -> Options {
    let config = format!("{SHORT}[worker]\nconcurrency = 1\n[recorder.retry]\n{retry}\n");
    Options { regions: vec![("eu-west".to_owned(), 4)], config, ..Options::default() }
}

fn down() -> Behaviour {
    Behaviour { down: true, ..Behaviour::default() }
}

fn locked() -> Behaviour {
    Behaviour { phantom_lock: Some(PhantomLock::default()), ..Behaviour::default() }
}

async fn submit(cluster: &Cluster, order: &Value) -> String {
    let answer = cluster.api.post("/v1/orders", order).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body["id"].as_str().unwrap().to_owned()
}

async fn get(cluster: &Cluster, path: &str) -> Value {
    cluster.api.get(path).await.body
}

/// Waits until an order is tried again for the time that begins `number`.
async fn waits_for(cluster: &Cluster, id: &str, number: u64) -> Value {
    until(&format!("attempt {number} of order {id} to be waited for"), PATIENCE, || async {
        let order = get(cluster, &format!("/v1/orders/{id}")).await;
        (order["retry"]["at"].is_string() && order["retry"]["attempt"] == number).then_some(order)
    })
    .await
}

fn states(order: &Value) -> Vec<&str> {
    order["history"].as_array().unwrap().iter().map(|entry| entry["to"].as_str().unwrap()).collect()
}

/// Another MTU for the service of the first example.
fn modify(service: &str, mtu: u32) -> Value {
    let mut order = eline(1, A, Z);
    order["kind"] = json!("modify");
    order["service_id"] = json!(service);
    order["attributes"]["mtu"] = json!(mtu);
    order.as_object_mut().unwrap().retain(|key, _| key != "definition" && key != "external_id");
    order
}

async fn all_is_well(cluster: &Cluster) {
    invariants::history_is_lawful(cluster).await;
    invariants::nothing_is_stuck(cluster).await;
    invariants::network_is_as_recorded(cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_tried_again_until_its_device_is_back() {
    let mut cluster =
        Cluster::running(options("attempts = 100\nfirst_ms = 200\nmax_ms = 400\ntotal_ms = 600000")).await;
    for (n, behaviour) in [(1, down()), (2, locked())] {
        cluster.behave(Z, behaviour).await;
        let id = submit(&cluster, &eline(n, A, Z)).await;
        let name = format!("watch-{n}");
        cluster.start(&name, &["order", "show", &id, "--watch"], &[]);
        waits_for(&cluster, &id, 3).await;
        cluster.behave(Z, Behaviour::default()).await;
        let order = cluster.order_in(&id, "completed").await;
        let generation = order["generation"].as_u64().unwrap();
        assert!(generation >= 3, "{order}");
        assert_eq!(
            (&order["retry"]["attempt"], &order["retry"]["at"]),
            (&json!(generation), &Value::Null),
            "{order}"
        );
        // Every attempt is in the history, and each but the last ends in Failed Deploy.
        let mut wanted = vec!["requested", "scheduled"];
        for _ in 1..generation {
            wanted.extend(["in_progress", "failed_deploy", "scheduled"]);
        }
        wanted.extend(["in_progress", "completed"]);
        assert_eq!(states(&order), wanted);
        let again = &order["history"][4];
        assert_eq!(again["by"], "recorder");
        let why = again["why"].as_str().unwrap();
        assert!(why.starts_with("attempt 2 of 100 at ") && why.contains(&format!(", after: {Z}: ")), "{why}");
        // A watch shows the state first and ends with the real end.
        assert!(cluster.process(&name).wait(PATIENCE).success());
        let watched = cluster.process(&name).output();
        assert!(watched.contains(&format!("\n{id}  Completed")), "{watched}");
    }
    all_is_well(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_waits_for_its_next_attempt_holds_nothing_but_its_numbers() {
    let cluster =
        Cluster::running(options("attempts = 3\nfirst_ms = 7200000\nmax_ms = 7200000\ntotal_ms = 36000000"))
            .await;
    cluster.behave(Z, down()).await;
    let mut line = eline(1, A, Z);
    line["attributes"].as_object_mut().unwrap().remove("vc_id");
    let id = submit(&cluster, &line).await;
    let order = waits_for(&cluster, &id, 2).await;
    assert_eq!((&order["state"], &order["retry"]["of"]), (&json!("scheduled"), &json!(3)));
    assert_eq!(order["scheduled_for"], order["retry"]["at"]);
    assert_eq!(order["errors"][0]["class"], "unreachable", "why it waits: {order}");
    // The worker takes one deployment at a time, and the other device is needed by others.
    let other = submit(&cluster, &eline(2, A, B)).await;
    cluster.order_in(&other, "completed").await;
    let held = cluster.count("SELECT count(*) FROM leases WHERE order_id IS NOT NULL").await;
    assert_eq!(held, 0, "no device is held");
    let service = order["service_id"].as_str().unwrap();
    let numbers = format!("SELECT count(*) FROM resources WHERE service_id = '{service}'");
    assert_eq!(cluster.count(&numbers).await, 3, "its circuit and both VLANs stay its own");

    let explained = cluster.command(&["order", "explain", &id]);
    let wanted = format!("when it is tried again (attempt 2 of 3): {Z} could not be reached");
    assert!(explained.contains(&wanted), "{explained}");
    let shown = cluster.command(&["order", "show", &id]);
    assert!(shown.contains("attempt      2 of 3, waited for"), "{shown}");

    // Whoever gives it another time begins anew.
    cluster.behave(Z, Behaviour::default()).await;
    let now = cluster.api.post(&format!("/v1/orders/{id}/schedule"), &json!({})).await;
    assert_eq!((now.status.as_u16(), &now.body["retry"]), (200, &Value::Null));
    let order = cluster.order_in(&id, "completed").await;
    assert_eq!(order["generation"], 2);

    // Or withdraws it.
    cluster.behave(Z, down()).await;
    let id = submit(&cluster, &eline(3, A, Z)).await;
    waits_for(&cluster, &id, 2).await;
    let cancelled = cluster.api.post(&format!("/v1/orders/{id}/cancel"), &json!({})).await;
    assert_eq!((cancelled.status.as_u16(), &cancelled.body["state"]), (200, &json!("cancelled")));
    let service = cancelled.body["service_id"].as_str().unwrap();
    let numbers = format!("SELECT count(*) FROM resources WHERE service_id = '{service}'");
    assert_eq!(cluster.count(&numbers).await, 0, "its numbers are free");
    all_is_well(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_run_out_and_what_does_not_pass_is_not_tried_again() {
    let mut options = options("attempts = 3\nfirst_ms = 200\nmax_ms = 400\ntotal_ms = 600000");
    options.regions.push(("us-east".to_owned(), 2));
    options.config.push_str("[recorder.retry_regions.us-east]\nattempts = 1\n");
    let cluster = Cluster::running(options).await;
    let good = submit(&cluster, &eline(1, A, Z)).await;
    let service = cluster.order_in(&good, "completed").await["service_id"].as_str().unwrap().to_owned();

    cluster.behave(Z, locked()).await;
    let mut modify = eline(1, A, Z);
    modify["kind"] = json!("modify");
    modify["service_id"] = json!(service);
    modify["attributes"]["mtu"] = json!(9000);
    modify.as_object_mut().unwrap().retain(|key, _| key != "definition" && key != "external_id");
    let id = submit(&cluster, &modify).await;
    let order = cluster.order_in(&id, "failed_deploy").await;
    assert_eq!((&order["generation"], &order["retry"]["attempt"]), (&json!(3), &json!(3)), "{order}");
    assert_eq!(
        (&order["retry"]["at"], &order["errors"][0]["class"]),
        (&Value::Null, &json!("busy")),
        "{order}"
    );
    let explained = cluster.command(&["order", "explain", &id]);
    assert!(explained.contains(", after 3 attempts: "), "{explained}");
    let shown = get(&cluster, &format!("/v1/services/{service}")).await;
    assert_eq!(shown["state"], "fail_deploy");
    let events = get(&cluster, &format!("/v1/events?subject=services/{service}")).await;
    let kinds: Vec<&str> =
        events["items"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    let wanted = ["dev.turnup.service.deployed.v1", "dev.turnup.service.fail_deploy.v1"];
    assert_eq!(kinds, wanted, "the service has failed once, with the last attempt");

    // A time given by hand begins a new series.
    let again = cluster.api.post(&format!("/v1/orders/{id}/schedule"), &json!({})).await;
    assert_eq!(again.status, 200, "{again:?}");
    waits_for(&cluster, &id, 2).await;
    cluster.behave(Z, Behaviour::default()).await;
    cluster.order_in(&id, "completed").await;
    assert_eq!(get(&cluster, &format!("/v1/services/{service}")).await["state"], "deployed");

    let mut refused = eline(2, A, B);
    refused["attributes"]["mtu"] = json!(9600);
    let id = submit(&cluster, &refused).await;
    let order = cluster.order_in(&id, "invalid").await;
    assert_eq!((&order["generation"], &order["retry"]), (&json!(1), &Value::Null), "{order}");

    // Down for a moment, as a session that is open would know its key already.
    cluster.behave(B, down()).await;
    cluster.behave(B, Behaviour { wrong_host_key: true, ..Behaviour::default() }).await;
    let id = submit(&cluster, &eline(3, A, B)).await;
    let order = cluster.order_in(&id, "failed_deploy").await;
    assert_eq!(order["errors"][0]["class"], "distrusted", "{order}");
    assert_eq!((&order["generation"], &order["retry"]), (&json!(1), &Value::Null), "{order}");

    // The region says that its orders are tried once.
    cluster.behave("sim-us-east-2", down()).await;
    let id = submit(&cluster, &eline(4, "sim-us-east-1", "sim-us-east-2")).await;
    let order = cluster.order_in(&id, "failed_deploy").await;
    assert_eq!((&order["generation"], &order["retry"]), (&json!(1), &Value::Null), "{order}");
    all_is_well(&cluster).await;
}

/// The recorder dies between its commit and its acknowledgement, so that the report comes again.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_comes_again_schedules_no_second_attempt() {
    let mut cluster =
        Cluster::running(options("attempts = 2\nfirst_ms = 7200000\nmax_ms = 7200000\ntotal_ms = 36000000"))
            .await;
    cluster.process("recorder").kill();
    cluster.start("recorder", &["serve", "recorder"], &[("TURNUP_CRASH_POINT", "recorder.after_commit")]);
    cluster.behave(Z, down()).await;
    let id = submit(&cluster, &eline(1, A, Z)).await;
    let status = cluster.process("recorder").wait(PATIENCE);
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(6));
    cluster.start("recorder", &["serve", "recorder"], &[]);
    let order = waits_for(&cluster, &id, 2).await;
    until("the repeated report to be read", PATIENCE, || async {
        cluster.queues_are_empty().await.then_some(())
    })
    .await;
    // What it has read is recorded before it ends, or is in the queue again.
    assert!(cluster.process("recorder").terminate(PATIENCE).success());
    assert!(cluster.queues_are_empty().await, "the repeated report was recorded");
    let after = get(&cluster, &format!("/v1/orders/{id}")).await;
    assert_eq!(after["history"], order["history"]);
    assert_eq!((&after["schedule_revision"], &after["retry"]), (&json!(2), &order["retry"]));
    invariants::history_is_lawful(&cluster).await;
}

/// What was ordered later and is deployed already is not undone by an earlier order that comes back.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_was_overtaken_by_a_later_order_is_given_up() {
    let cluster =
        Cluster::running(options("attempts = 100\nfirst_ms = 3000\nmax_ms = 3000\ntotal_ms = 600000")).await;
    let good = submit(&cluster, &eline(1, A, Z)).await;
    let service = cluster.order_in(&good, "completed").await["service_id"].as_str().unwrap().to_owned();
    cluster.behave(Z, locked()).await;
    let first = submit(&cluster, &modify(&service, 2000)).await;
    waits_for(&cluster, &first, 2).await;
    let second = submit(&cluster, &modify(&service, 3000)).await;
    cluster.behave(Z, Behaviour::default()).await;
    cluster.order_in(&second, "completed").await;
    let first = until("the first order to end", PATIENCE, || async {
        let order = get(&cluster, &format!("/v1/orders/{first}")).await;
        ["completed", "invalid"].iter().any(|state| order["state"] == *state).then_some(order)
    })
    .await;
    let shown = get(&cluster, &format!("/v1/services/{service}")).await;
    assert_eq!(shown["attributes"]["mtu"], 3000, "{first}");
    assert_eq!(shown["state"], "deployed", "{first}");
    if first["state"] == "invalid" {
        let why = first["errors"][0]["message"].as_str().unwrap();
        assert!(why.contains(&format!("order {second}, which came later, has changed the service")), "{why}");
    }
    all_is_well(&cluster).await;
}

/// Where deployments have little time.
async fn hurried() -> Cluster {
    let limits = "[scheduler.limits]\ntries = 1\nconfirm_timeout_s = 4\ntotal_timeout_ms = 8000\n";
    let regions = vec![("eu-west".to_owned(), 2)];
    Cluster::running(Options { regions, config: limits.to_owned(), ..Options::default() }).await
}

/// Deploys an order so that it ends in doubt: the one device confirms, the other never answers, until its timer
/// has taken it back.
async fn ends_in_doubt(cluster: &Cluster, order: &Value) -> Value {
    let never = ["confirming-commit", "discard-changes"].map(|what| Fault::before(what, Act::Drop).at(0));
    cluster.behave(Z, Behaviour { faults: never.to_vec(), ..Behaviour::default() }).await;
    let id = submit(cluster, order).await;
    let order = cluster.order_in(&id, "failed_deploy").await;
    assert_eq!(order["deployments"][0]["state"], "unresolved", "{order}");
    until("the timer to end", PATIENCE, || async {
        (!cluster.simulator.device(Z).unwrap().has_pending_commit()).then_some(())
    })
    .await;
    order
}

/// The second device refuses the next edit.
async fn refuses(cluster: &Cluster) {
    let refuse = Act::Refuse(Refusal::new(ErrorTag::InvalidValue));
    let faults = vec![Fault::before("edit-config", refuse)];
    cluster.behave(Z, Behaviour { faults, ..Behaviour::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_attempt_left_in_doubt_is_taken_back_by_the_next_one_that_fails() {
    let cluster = hurried().await;
    let order = ends_in_doubt(&cluster, &eline(1, A, Z)).await;
    let (id, service) = (order["id"].as_str().unwrap(), order["service_id"].as_str().unwrap());
    assert!(cluster.running_config(A).contains(service), "{order}");
    // The next attempt knows that it does not know, and so finds out what is the first one's.
    refuses(&cluster).await;
    let answer = cluster.api.post(&format!("/v1/orders/{id}/schedule"), &json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let order = cluster.order_in(id, "invalid").await;
    let said =
        order["deployments"].as_array().unwrap().iter().find(|of| of["state"] != "unresolved").unwrap();
    let found: Vec<&Value> = said["devices"].as_array().unwrap().iter().map(|at| &at["in_force"]).collect();
    assert_eq!(found, ["old", "old"], "{order}");
    for device in [A, Z] {
        assert!(!cluster.running_config(device).contains(service), "{device}: {order}");
    }
    invariants::history_is_lawful(&cluster).await;
    invariants::nothing_is_stuck(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_order_left_in_doubt_is_taken_back_by_another_that_fails() {
    let cluster = hurried().await;
    let mtu = |mtu: u32| format!("<mtu>{mtu}</mtu>");
    let id = submit(&cluster, &eline(1, A, Z)).await;
    let service = cluster.order_in(&id, "completed").await["service_id"].as_str().unwrap().to_owned();
    let before = [A, Z].map(|device| cluster.running_config(device));
    assert!(before[0].contains(&mtu(1500)), "{}", before[0]);
    ends_in_doubt(&cluster, &modify(&service, 9000)).await;
    assert!(cluster.running_config(A).contains(&mtu(9000)));
    refuses(&cluster).await;
    let id = submit(&cluster, &modify(&service, 3000)).await;
    let order = cluster.order_in(&id, "invalid").await;
    assert_eq!([A, Z].map(|device| cluster.running_config(device)), before, "{order}");
    // And by one that does not fail it is replaced.
    let id = submit(&cluster, &modify(&service, 3000)).await;
    cluster.order_in(&id, "completed").await;
    assert!([A, Z].iter().all(|device| cluster.running_config(device).contains(&mtu(3000))));
    all_is_well(&cluster).await;
}
