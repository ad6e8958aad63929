//! What it costs that an order lies in two regions.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::Value;
use turnup_tests::{Cluster, Options};

use super::{Figure, completed_events, orders, percentile, scaled};

/// One order at a time, in one region and over two, in turns.
pub(super) async fn regions() -> Vec<Figure> {
    let regions = [("eu-west", 4), ("us-east", 2)].map(|(name, devices)| (name.to_owned(), devices));
    let options =
        Options { regions: regions.to_vec(), config: String::new(), ladder_levels: 20, ..Options::default() };
    let cluster = Cluster::running(options).await;
    let mut events = completed_events(&cluster).await;
    let pair = |a: &str, z: &str| vec![(format!("sim-{a}"), format!("sim-{z}"))];
    let (within, over) = (pair("eu-west-1", "eu-west-2"), pair("eu-west-3", "us-east-1"));
    let count = scaled(200);
    let mut took = [Vec::new(), Vec::new()];
    let one: Vec<Value> = orders(0, count, &within);
    let two: Vec<Value> = orders(count, count, &over);
    for (one, two) in one.iter().zip(&two) {
        for (order, took) in [one, two].into_iter().zip(&mut took) {
            let begin = Instant::now();
            let answer = cluster.api.post("/v1/orders", order).await;
            assert!(answer.status.is_success(), "{answer:?}");
            tokio::time::timeout(Duration::from_secs(30), events.next()).await.unwrap().unwrap().unwrap();
            took.push(begin.elapsed().as_secs_f64() * 1000.0);
        }
    }
    let [one, two] = took.map(|mut times| {
        times.drain(..times.len().min(10));
        times.sort_by(f64::total_cmp);
        (percentile(&times, 0.5), percentile(&times, 0.99))
    });
    vec![
        Figure::new(
            "one order at a time, two devices of one region, POST to its Completed event",
            format!("p50 {:.1} ms, p99 {:.1} ms", one.0, one.1),
            None,
        ),
        Figure::new(
            "the same with its devices in two regions",
            format!("p50 {:.1} ms, p99 {:.1} ms: {:.1} ms more", two.0, two.1, two.0 - one.0),
            Some("< 30 ms more"),
        ),
    ]
}
