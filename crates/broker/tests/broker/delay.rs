//! The delay ladder on a real broker.

use std::time::Instant;

use turnup_broker::delay::{OutOfReach, delayed};
use turnup_broker::{ConsumeOptions, DeployClass, Names, Outgoing};

use crate::support::{REGION, SECONDS_30, run};

const LADDER: [&str; 4] = ["parked", "delay.v1.00", "delay.v1.01", "delay.v1.02"];

#[test]
fn delayed_messages_come_in_the_order_of_their_delays_and_none_too_early() {
    let queues = [&LADDER[..], &["due", "intake"]].concat();
    run(&queues, async |scope| {
        let (names, levels) = (scope.broker.names(), scope.broker.settings().ladder_levels);
        let make = |delay_s: u32| {
            let message = Outgoing::new("", "", delay_s.to_string());
            delayed(names, levels, delay_s, "due", message).unwrap()
        };
        assert_eq!(
            delayed(names, levels, 8, "due", Outgoing::new("", "", "")),
            Err(OutOfReach { delay_s: 8, reach_s: 7 })
        );
        let mut due = scope.broker.consume(names.due(), ConsumeOptions::new(100));
        let mut intake = scope.broker.consume(names.intake(), ConsumeOptions::new(1));
        let sent = Instant::now();
        let mut all: Vec<_> = [3, 1, 2, 5, 0, 3, 1].into_iter().map(make).collect();
        // Another address: not mixed up.
        all.push(delayed(names, levels, 2, "intake", Outgoing::new("", "", "in")).unwrap());
        let results = scope.broker.publisher().publish_all(all, SECONDS_30).await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        for wanted in [0, 1, 1, 2, 3, 3, 5_u64] {
            let delivery = due.next().await.unwrap();
            let waited_ms = sent.elapsed().as_millis();
            assert_eq!(delivery.body, wanted.to_string());
            assert!(waited_ms >= u128::from(wanted) * 1000, "{wanted} s came after {waited_ms} ms");
            delivery.ack().await;
        }
        let delivery = intake.next().await.unwrap();
        assert_eq!(delivery.body, "in");
        delivery.ack().await;
        assert_eq!(scope.depth(&names.parked()).await, 0);
    });
}

/// A message that is delayed again, as a retry is, has no trace of its first way down.
#[test]
fn a_message_can_go_down_the_ladder_again_and_again() {
    let queue = format!("deploy.{REGION}.normal");
    let queues = [&LADDER[..], &[queue.as_str()]].concat();
    run(&queues, async |scope| {
        let (names, levels) = (scope.broker.names(), scope.broker.settings().ladder_levels);
        let address = format!("deploy.{}", Names::deploy_key(REGION, DeployClass::Normal));
        let mut consumer =
            scope.broker.consume(names.deploy_queue(REGION, DeployClass::Normal), ConsumeOptions::new(1));
        let mut message = Outgoing::new("", "", "retry").with_header("attempt", 1);
        for attempt in 1..=4 {
            message.headers.insert("attempt", attempt);
            let again = delayed(names, levels, 1, &address, message.clone()).unwrap();
            scope.broker.publisher().publish(again, SECONDS_30).await.unwrap();
            let delivery = consumer.next().await.unwrap();
            assert_eq!(delivery.headers.int("attempt"), Some(attempt));
            assert_eq!(delivery.headers.len(), 1, "{:?}", delivery.headers);
            message.headers = delivery.headers.clone();
            delivery.ack().await;
        }
    });
}

#[test]
fn an_unknown_address_is_returned_at_the_foot_of_the_ladder() {
    run(&LADDER, async |scope| {
        let message = delayed(scope.broker.names(), 3, 0, "nobody", Outgoing::new("", "", "")).unwrap();
        let error = scope.broker.publisher().publish(message, SECONDS_30).await.unwrap_err();
        assert!(matches!(error, turnup_broker::PublishError::Returned { .. }), "{error}");
    });
}
