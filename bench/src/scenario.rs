//! The scenarios.

use std::{
    future::Future,
    pin::Pin,
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use turnup_device_sim::{behaviour::Behaviour, datastore::Kind};
use turnup_tests::{Cluster, Options, cluster::eline, wait::until};

/// One line of the result.
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) result: String,
    pub(crate) wanted: Option<String>,
}

impl Figure {
    fn new(name: impl Into<String>, result: impl Into<String>, wanted: Option<&str>) -> Self {
        Self { name: name.into(), result: result.into(), wanted: wanted.map(str::to_owned) }
    }
}

mod regions;

type Running = Pin<Box<dyn Future<Output = Vec<Figure>>>>;
type Run = fn() -> Running;

/// Name and function of each scenario.
pub(crate) const ALL: [(&str, Run); 11] = [
    ("null", || Box::pin(null())),
    ("netconf", || Box::pin(netconf())),
    ("slow-commits", || Box::pin(slow_commits())),
    ("latency", || Box::pin(latency())),
    ("regions", || Box::pin(regions::regions())),
    ("punctual", || Box::pin(punctual())),
    ("ladder", || Box::pin(ladder())),
    ("worker-memory", || Box::pin(worker_memory())),
    ("intake", || Box::pin(intake())),
    ("plans", || Box::pin(plans())),
    ("group", || Box::pin(group())),
];

const PATIENCE: Duration = Duration::from_secs(900);
const REGION: &str = "eu-west";

fn scaled(count: u32) -> u32 {
    let scale: f64 =
        std::env::var("TURNUP_BENCH_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small positive numbers")]
    let scaled = (f64::from(count) * scale) as u32;
    scaled.max(20)
}

/// A cluster with `count` devices of the null platform.
async fn null_cluster(count: u16) -> Cluster {
    let options = Options {
        regions: vec![(REGION.to_owned(), 0)],
        config: "[worker]\nallow_null_platform = true\nconcurrency = 256\n".to_owned(),
        ladder_levels: 20,
        ..Options::default()
    };
    let cluster = Cluster::running(options).await;
    let devices: Vec<Value> = (0..count)
        .map(|n| json!({"name": format!("null-{n}"), "region": REGION, "platform": "null", "address": format!("null-{n}.example")}))
        .collect();
    for some in devices.chunks(1000) {
        let answer = cluster.api.post("/v1/devices", &Value::Array(some.to_vec())).await;
        assert!(answer.status.is_success(), "{answer:?}");
    }
    cluster
}

/// `count` orders, each on a pair of devices; pairs take turns.
fn orders(from: u32, count: u32, pairs: &[(String, String)]) -> Vec<Value> {
    (from..from + count)
        .map(|n| {
            let (a, z) = &pairs[n as usize % pairs.len()];
            let mut order = eline(n, a, z);
            // A unit of its own per order: the port carries what the VLAN id has no room for.
            for endpoint in 0..2 {
                order["endpoints"][endpoint]["attributes"]["port"] =
                    json!(format!("ge-{}/0/{endpoint}", n / 4094));
            }
            order
        })
        .collect()
}

fn pairs(prefix: &str, from: usize, count: usize) -> Vec<(String, String)> {
    (0..count / 2)
        .map(|n| (format!("{prefix}{}", from + 2 * n), format!("{prefix}{}", from + 2 * n + 1)))
        .collect()
}

/// Submits through the bulk endpoint, then waits until all are Completed and every event is
/// published. Gives orders per second over the whole.
async fn through(cluster: &Cluster, orders: &[Value], before: i64) -> f64 {
    let begin = Instant::now();
    let parts: Vec<&[Value]> = orders.chunks(orders.len().div_ceil(4)).collect();
    let answers = futures_util::future::join_all(parts.into_iter().map(|part| cluster.api.bulk(part))).await;
    let refused = answers.iter().flatten().find(|answer| answer.get("order").is_none());
    assert!(refused.is_none(), "{refused:?}");
    let wanted = before + i64::try_from(orders.len()).unwrap();
    until("all orders completed and told", PATIENCE, || async {
        let done = cluster.count("SELECT count(*) FROM orders WHERE state = 'completed'").await;
        if done < wanted {
            // Seldom: counting costs the very database that is measured.
            tokio::time::sleep(Duration::from_millis(500)).await;
            return None;
        }
        let open = cluster
            .count(
                "SELECT (SELECT numbered - published FROM event_log) + (SELECT count(*) FROM fresh_events)",
            )
            .await;
        (open == 0).then_some(())
    })
    .await;
    orders.len() as f64 / begin.elapsed().as_secs_f64()
}

async fn null() -> Vec<Figure> {
    let cluster = null_cluster(8000).await;
    let pairs = pairs("null-", 0, 8000);
    let warm = scaled(1000);
    through(&cluster, &orders(0, warm, &pairs), 0).await;
    let count = scaled(20_000);
    let rate = through(&cluster, &orders(warm, count, &pairs), i64::from(warm)).await;
    vec![Figure::new(
        format!("{count} orders, bulk accepted to Completed and published, null platform"),
        format!("{rate:.0} orders/s"),
        Some(">= 2000/s"),
    )]
}

async fn netconf() -> Vec<Figure> {
    let options = Options {
        regions: vec![(REGION.to_owned(), 200)],
        config: "[worker]\nconcurrency = 128\n".to_owned(),
        ladder_levels: 20,
        ..Options::default()
    };
    let cluster = Cluster::running(options).await;
    let pairs = pairs("sim-eu-west-", 1, 200);
    let warm = scaled(400);
    through(&cluster, &orders(0, warm, &pairs), 0).await;
    let count = scaled(5000);
    let rate = through(&cluster, &orders(warm, count, &pairs), i64::from(warm)).await;
    vec![Figure::new(
        format!("{count} two-device orders, simulated NETCONF over SSH, warm sessions"),
        format!("{rate:.0} orders/s"),
        Some(">= 500/s"),
    )]
}

/// Devices that take their time to commit, of which many are at work at once.
async fn slow_commits() -> Vec<Figure> {
    const DELAY_MS: u64 = 50;
    let options = Options {
        regions: vec![(REGION.to_owned(), 400)],
        config: "[worker]\nconcurrency = 256\n".to_owned(),
        ladder_levels: 20,
        ..Options::default()
    };
    let cluster = Cluster::running(options).await;
    for n in 1..=400 {
        let slow = Behaviour { commit_delay_ms: DELAY_MS, ..Behaviour::default() };
        cluster.behave(&format!("sim-{REGION}-{n}"), slow).await;
    }
    let pairs = pairs("sim-eu-west-", 1, 400);
    let warm = scaled(400);
    through(&cluster, &orders(0, warm, &pairs), 0).await;
    let count = scaled(5000);
    let rate = through(&cluster, &orders(warm, count, &pairs), i64::from(warm)).await;
    vec![Figure::new(
        format!("{count} two-device orders, 400 simulated devices that take {DELAY_MS} ms to commit"),
        format!("{rate:.0} orders/s"),
        Some(">= 500/s"),
    )]
}

fn percentile(sorted: &[f64], part: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let index = ((sorted.len() as f64 - 1.0) * part).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// A consumer of its own on `turnup.events`, as a foreign system would bind it.
async fn completed_events(cluster: &Cluster) -> lapin::Consumer {
    use lapin::{
        Connection, ConnectionProperties,
        options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions},
        types::FieldTable,
    };
    let connection = Connection::connect(cluster.amqp_url(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let exclusive =
        QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare("".into(), exclusive, FieldTable::default()).await.unwrap();
    let (name, exchange) = (queue.name().clone(), format!("{}.events", cluster.prefix));
    channel
        .queue_bind(
            name.clone(),
            exchange.into(),
            "order.*.*.completed".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    channel.basic_consume(name, "bench".into(), options, FieldTable::default()).await.unwrap()
}

async fn latency() -> Vec<Figure> {
    let options = Options {
        regions: vec![(REGION.to_owned(), 2)],
        config: String::new(),
        ladder_levels: 20,
        ..Options::default()
    };
    let cluster = Cluster::running(options).await;
    let mut events = completed_events(&cluster).await;
    let pairs = pairs("sim-eu-west-", 1, 2);
    let mut times = Vec::new();
    for order in orders(0, scaled(300), &pairs) {
        let begin = Instant::now();
        let answer = cluster.api.post("/v1/orders", &order).await;
        assert!(answer.status.is_success(), "{answer:?}");
        tokio::time::timeout(Duration::from_secs(30), events.next()).await.unwrap().unwrap().unwrap();
        times.push(begin.elapsed().as_secs_f64() * 1000.0);
    }
    times.drain(..times.len().min(10));
    times.sort_by(f64::total_cmp);
    let spans = cluster
        .query(
            "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM started - accepted))::float8 * 1000, \
             percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM ended - started))::float8 * 1000 \
             FROM (SELECT min(at) AS accepted, min(at) FILTER (WHERE to_state = 'in_progress') AS started, \
             max(at) AS ended FROM events WHERE entity = 'order' GROUP BY entity_id) AS spans",
        )
        .await;
    let spans = format!(
        "accepted to In Progress {:.1} ms, to Completed {:.1} ms",
        spans[0].get::<_, f64>(0),
        spans[0].get::<_, f64>(1)
    );
    vec![
        Figure::new("of that (p50)", spans, None),
        Figure::new(
            "one immediate order at a time, POST to its Completed event at an AMQP consumer, two simulated devices",
            format!("p50 {:.1} ms, p99 {:.1} ms", percentile(&times, 0.5), percentile(&times, 0.99)),
            Some("p50 < 50 ms"),
        ),
    ]
}

async fn punctual() -> Vec<Figure> {
    let cluster = null_cluster(10_000).await;
    let pairs = pairs("null-", 0, 10_000);
    let count = scaled(5000);
    let due = Timestamp::now() + SignedDuration::from_secs(40);
    let mut all = orders(0, count, &pairs);
    for order in &mut all {
        order["schedule"] = json!(due.to_string());
    }
    through(&cluster, &all, 0).await;
    let late: Vec<f64> = cluster
        .query(
            "SELECT extract(epoch FROM events.at - orders.scheduled_for)::float8 * 1000 FROM events \
             JOIN orders ON orders.id::text = events.entity_id WHERE events.to_state = 'in_progress' ORDER BY 1",
        )
        .await
        .iter()
        .map(|row| row.get(0))
        .collect();
    vec![Figure::new(
        format!("{count} orders due at one instant: start after their time"),
        format!(
            "first {:.0} ms, p50 {:.0} ms, p99 {:.0} ms",
            percentile(&late, 0.0),
            percentile(&late, 0.5),
            percentile(&late, 0.99)
        ),
        Some("never early, p99 <= 1000 ms"),
    )]
}

/// Memory that the broker says it uses, where `rabbitmqctl` may be asked.
fn broker_memory_mib() -> Option<f64> {
    let script = "erlang:memory(total).";
    let output = std::process::Command::new("rabbitmqctl").args(["eval", script]).output().ok()?;
    let bytes: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().ok()?;
    Some(bytes / 1024.0 / 1024.0)
}

async fn ladder() -> Vec<Figure> {
    let cluster = null_cluster(400).await;
    let pairs = pairs("null-", 0, 400);
    let count = scaled(100_000);
    let before = broker_memory_mib();
    let due = Timestamp::now() + SignedDuration::from_hours(24);
    for part in 0..count.div_ceil(5000) {
        let mut some = orders(part * 5000, 5000.min(count - part * 5000), &pairs);
        for order in &mut some {
            order["schedule"] = json!(due.to_string());
        }
        cluster.api.bulk(&some).await;
    }
    until("the outbox to be empty", PATIENCE, || async {
        (cluster.count("SELECT count(*) FROM outbox").await == 0).then_some(())
    })
    .await;
    let result = match (before, broker_memory_mib()) {
        (Some(before), Some(after)) => format!("{:.0} MiB more", after - before),
        _ => "rabbitmqctl can't be asked here".to_owned(),
    };
    vec![Figure::new(
        format!("{count} orders waiting in the delay queues: broker memory"),
        result,
        Some("< 200 MB"),
    )]
}

fn resident_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse::<f64>().unwrap_or(f64::NAN) / 1024.0
}

async fn worker_memory() -> Vec<Figure> {
    let mut cluster = null_cluster(400).await;
    let pairs = pairs("null-", 0, 400);
    let tenth = scaled(10_000);
    let mut sizes = Vec::new();
    for part in 0..10 {
        through(&cluster, &orders(part * tenth, tenth, &pairs), i64::from(part * tenth)).await;
        let pid = cluster.process(&format!("worker-{REGION}")).id();
        sizes.push(format!("{:.1}", resident_mib(pid)));
    }
    vec![Figure::new(
        format!("a worker's resident memory after each {tenth} of {} orders", tenth * 10),
        format!("{} MiB", sizes.join(" ")),
        Some("flat"),
    )]
}

async fn intake() -> Vec<Figure> {
    let cluster = null_cluster(400).await;
    let pairs = pairs("null-", 0, 400);
    let mut all = orders(0, scaled(20_000), &pairs);
    for order in &mut all {
        if let Value::Object(order) = order {
            order.remove("schedule");
        }
    }
    let begin = Instant::now();
    let parts: Vec<&[Value]> = all.chunks(all.len().div_ceil(4)).collect();
    futures_util::future::join_all(parts.into_iter().map(|part| cluster.api.bulk(part))).await;
    let rate = all.len() as f64 / begin.elapsed().as_secs_f64();
    vec![Figure::new(
        format!("{} orders accepted over bulk HTTP, not scheduled", all.len()),
        format!("{rate:.0} orders/s"),
        None,
    )]
}

/// What a plan costs where devices have few services, and where they have many.
async fn plans() -> Vec<Figure> {
    let cluster = null_cluster(4).await;
    let many = scaled(10_000);
    let sizes = [(0, 10), (2, many)];
    let mut done = 0;
    let mut modifies = Vec::new();
    for (first, services) in sizes {
        let pair = pairs("null-", first, 2);
        let new = orders(u32::try_from(done).unwrap(), services, &pair);
        through(&cluster, &new, done).await;
        done += i64::from(services);
        let device = format!("/v1/services?device={}&limit=1", pair[0].0);
        let service = cluster.api.get(&device).await.body["items"][0].clone();
        let mut attributes = service["attributes"].clone();
        attributes["mtu"] = json!(9000);
        modifies.push(json!({
            "kind": "modify", "service_id": service["id"], "attributes": attributes, "endpoints": service["endpoints"],
        }));
    }
    let mut took = [Vec::new(), Vec::new()];
    // In turns, so that both see the same machine.
    for _ in 0..300 {
        for (modify, took) in modifies.iter().zip(&mut took) {
            let begin = Instant::now();
            let answer = cluster.api.post("/v1/orders?dry_run=true", modify).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            took.push(begin.elapsed());
        }
    }
    let [few, most] = took.map(|mut took| {
        took.sort();
        took[took.len() / 2].as_secs_f64() * 1000.0
    });
    vec![
        Figure::new(
            "a modify planned (dry run), 10 services on its devices",
            format!("p50 {few:.2} ms"),
            None,
        ),
        Figure::new(
            format!("the same with {many} services on them"),
            format!("p50 {most:.2} ms, {:.2} times", most / few),
            Some("<= 1.2 times"),
        ),
    ]
}

/// Orders that wait for one device which takes its time to commit: together, and one by one.
async fn group() -> Vec<Figure> {
    const DELAY_MS: u64 = 2000;
    let (many, few) = (scaled(100), 5);
    let mut figures = Vec::new();
    let mut each = [0.0, 0.0];
    for (at, (most, count)) in [(100, many), (1, few)].into_iter().enumerate() {
        let options = Options {
            regions: vec![(REGION.to_owned(), 2)],
            config: format!("[scheduler]\ngroup_max_orders = {most}\n"),
            ladder_levels: 20,
            ..Options::default()
        };
        let cluster = Cluster::running(options).await;
        let device = format!("sim-{REGION}-1");
        for name in [device.clone(), format!("sim-{REGION}-2")] {
            let slow = Behaviour { commit_delay_ms: DELAY_MS, ..Behaviour::default() };
            cluster.behave(&name, slow).await;
        }
        let pairs = pairs("sim-eu-west-", 1, 2);
        let rate = through(&cluster, &orders(0, count, &pairs), 0).await;
        let journal = cluster.simulator.journal().unwrap();
        let commits = journal.iter().filter(|r| r.device == device && r.kind == Kind::Provisional).count();
        each[at] = 1000.0 / rate;
        let how = if most > 1 { "together" } else { "one by one" };
        figures.push(Figure::new(
            format!("{count} orders for one device that takes {DELAY_MS} ms to commit, {how}"),
            format!(
                "{commits} commits, {:.1} orders each, {:.1} s in all, {:.0} ms an order",
                f64::from(count) / commits as f64,
                f64::from(count) / rate,
                each[at]
            ),
            (most > 1).then_some("<= 4 commits for 100"),
        ));
    }
    figures.push(Figure::new(
        "of that, together against one by one",
        format!("{:.0} times as fast", each[1] / each[0]),
        None,
    ));
    figures
}
