//! The servers are killed with kill -9 under a load of orders over two regions, and come back. Nothing is lost,
//! nothing is half, and nobody has to help.

use std::time::Duration;

use serde_json::Value;
use turnup_tests::{
    Cluster, Options,
    cluster::eline,
    servers::Servers,
    wait::{PATIENCE, until},
};

use crate::{check, settled, submit};

const KILLS: u32 = 2;
const ORDERS: u32 = 40;

/// Orders between the regions, so that each has two parts.
fn orders(numbers: std::ops::Range<u32>) -> Vec<Value> {
    let pair = |n: u32| (format!("sim-eu-west-{}", 1 + n % 8), format!("sim-us-east-{}", 1 + n % 8));
    numbers.map(|n| eline(n, &pair(n).0, &pair(n).1)).collect()
}

async fn killed(kill: impl Fn(&Servers)) {
    let mut servers = Servers::start();
    let options = Options {
        regions: vec![("eu-west".to_owned(), 8), ("us-east".to_owned(), 8)],
        config: "[scheduler]\nsweep_every_ms = 1000\noverdue_ms = 5000\nlost_after_ms = 15000\n\
                 [scheduler.limits]\nconfirm_timeout_s = 60\n"
            .to_owned(),
        ladder_levels: 6,
        ..Options::default()
    };
    let cluster = Cluster::running_on(&servers, options).await;
    servers.restart_broker();
    for round in 1..=KILLS {
        let begun = i64::from(ORDERS * (round - 1));
        let load = tokio::spawn(submit(cluster.api.clone(), orders(ORDERS * (round - 1)..ORDERS * round)));
        // In the midst of it.
        until("some orders to be done", PATIENCE, || async {
            (settled(&cluster).await >= begun + 5).then_some(())
        })
        .await;
        kill(&servers);
        servers.up();
        load.await.unwrap();
        until("every order to end", Duration::from_secs(240), || async {
            (settled(&cluster).await == i64::from(ORDERS * round)).then_some(())
        })
        .await;
        check(&cluster, ORDERS * round).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_is_killed() {
    killed(Servers::kill_broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_killed() {
    killed(Servers::kill_database).await;
}
