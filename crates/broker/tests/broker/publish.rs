//! Publishing to a real broker: what is reported is what happened.

use std::collections::HashSet;
use std::time::Duration;

use crate::support::{Proxy, SECONDS_30, run};
use turnup_broker::{ConsumeOptions, Outgoing, PublishError};

fn message(exchange: &str, key: &str, n: usize) -> Outgoing {
    Outgoing::new(exchange, key, n.to_string()).with_message_id(format!("m{n}"))
}

#[test]
fn an_unroutable_message_in_a_full_window_is_reported_for_exactly_that_message() {
    run(&["parked", "due"], async |scope| {
        let (broker, due) = (&scope.broker, scope.broker.names().due());
        // Single ones, and runs of them.
        let lost = |n: usize| n % 37 == 5 || n % 7 == 3 || (n / 50) % 4 == 1;
        let all = (0..20_000).map(|n| message(&due, if lost(n) { "nowhere" } else { "due" }, n)).collect();
        let results = broker.publisher().publish_all(all, SECONDS_30).await;
        for (n, result) in results.iter().enumerate() {
            match result {
                Ok(()) => assert!(!lost(n), "{n} was unroutable and counted as published"),
                Err(PublishError::Returned { exchange, routing_key, .. }) => {
                    assert!(lost(n), "{n} was routable and counted as returned");
                    assert_eq!((exchange, routing_key.as_str()), (&due, "nowhere"));
                }
                Err(other) => panic!("{n}: {other}"),
            }
        }
        let published = (0..20_000).filter(|n| !lost(*n)).count();
        scope.wait_depth(&due, u32::try_from(published).unwrap()).await;
    });
}

#[test]
fn messages_arrive_in_the_order_of_the_call_with_all_their_properties() {
    run(&["parked", "due"], async |scope| {
        let (broker, due) = (&scope.broker, scope.broker.names().due());
        let all = (0..1500)
            .map(|n| {
                message(&due, "due", n)
                    .with_correlation_id("order-1")
                    .with_header("traceparent", "00-ab")
                    .with_header("attempt", 3)
                    .with_header("x-death", "never carried on")
            })
            .collect();
        let results = broker.publisher().publish_all(all, SECONDS_30).await;
        assert!(results.iter().all(Result::is_ok));

        let mut consumer = broker.consume(&due, ConsumeOptions::new(200));
        for n in 0..1500 {
            let delivery = consumer.next().await.unwrap();
            assert_eq!(delivery.body, n.to_string());
            assert_eq!(delivery.message_id, Some(format!("m{n}")));
            assert_eq!(delivery.correlation_id.as_deref(), Some("order-1"));
            assert_eq!(delivery.content_type.as_deref(), Some("application/json"));
            assert_eq!(delivery.headers.text("traceparent"), Some("00-ab"));
            assert_eq!(delivery.headers.int("attempt"), Some(3));
            assert_eq!(delivery.headers.len(), 2);
            assert!(!delivery.redelivered);
            assert!(delivery.age().unwrap() < Duration::from_secs(120));
            delivery.ack().await;
        }
    });
}

/// Cuts the connection again and again under load. What is reported as published is there, what
/// is reported as not sent is not, and only the rest is uncertain.
#[test]
fn over_lost_connections_every_report_is_true() {
    run(&["parked", "due"], async |scope| {
        let due = scope.broker.names().due();
        let proxy = Proxy::start().await;
        let publisher = scope.through(&proxy).publisher();
        let (mut published, mut not_sent, mut uncertain) = (HashSet::new(), HashSet::new(), HashSet::new());
        for round in 0..8 {
            let numbers = round * 3000..(round + 1) * 3000;
            let all = numbers.clone().map(|n| message(&due, "due", n)).collect();
            let cut = async {
                // Somewhere in the middle: as soon as the queue has grown by some hundred.
                let before = scope.depth(&due).await;
                while scope.depth(&due).await < before + 300 {}
                proxy.cut();
            };
            let (results, ()) = tokio::join!(publisher.publish_all(all, SECONDS_30), cut);
            for (n, result) in numbers.zip(results) {
                let set = match result {
                    Ok(()) => &mut published,
                    Err(PublishError::NotSent { .. }) => &mut not_sent,
                    Err(PublishError::Uncertain { .. }) => &mut uncertain,
                    Err(other) => panic!("{n}: {other}"),
                };
                set.insert(format!("m{n}"));
            }
        }
        assert!(!not_sent.is_empty() && !uncertain.is_empty(), "the cuts did not hit");
        publisher.publish(message(&due, "due", 999_999), SECONDS_30).await.unwrap();
        published.insert("m999999".to_owned());

        let mut there = HashSet::new();
        let mut consumer = scope.broker.consume(&due, ConsumeOptions::new(1000));
        loop {
            let batch = consumer.next_batch(1000, Duration::ZERO).await;
            there.extend(batch.iter().filter_map(|d| d.message_id.clone()));
            turnup_broker::ack_many(batch).await;
            if there.contains("m999999") {
                break;
            }
        }
        let lost: Vec<_> = published.difference(&there).collect();
        assert!(lost.is_empty(), "reported as published and not there: {lost:?}");
        let surprising: Vec<_> = there.intersection(&not_sent).collect();
        assert!(surprising.is_empty(), "reported as not sent and there: {surprising:?}");
        println!("published {}, not sent {}, uncertain {}", published.len(), not_sent.len(), uncertain.len());
    });
}

#[test]
fn without_a_broker_nothing_is_sent_and_afterwards_everything_is() {
    run(&["parked", "due"], async |scope| {
        let due = scope.broker.names().due();
        let proxy = Proxy::start().await;
        proxy.close();
        let broker = scope.through(&proxy);
        let publisher = broker.publisher();
        let error = publisher.publish(message(&due, "due", 1), Duration::from_millis(300)).await.unwrap_err();
        assert!(matches!(error, PublishError::NotSent { .. }), "{error}");
        assert!(!broker.healthy());
        proxy.reopen();
        publisher.publish(message(&due, "due", 2), SECONDS_30).await.unwrap();
        assert!(broker.healthy());
        // What was given up on is not sent later.
        scope.wait_depth(&due, 1).await;
    });
}

#[test]
fn a_silent_connection_leaves_a_written_message_uncertain() {
    run(&["parked", "due"], async |scope| {
        let due = scope.broker.names().due();
        let proxy = Proxy::start().await;
        let publisher = scope.through(&proxy).publisher();
        publisher.publish(message(&due, "due", 1), SECONDS_30).await.unwrap();
        proxy.freeze(true);
        let error = publisher.publish(message(&due, "due", 2), Duration::from_millis(300)).await.unwrap_err();
        assert!(error.maybe_published(), "{error}");
        proxy.freeze(false);
        // And indeed it was.
        scope.wait_depth(&due, 2).await;
    });
}

#[test]
fn a_missing_exchange_is_reported_and_does_not_take_the_publisher_down() {
    run(&["parked", "due"], async |scope| {
        let due = scope.broker.names().due();
        let publisher = scope.broker.publisher();
        let error = publisher.publish(message("no-such-exchange", "k", 1), SECONDS_30).await.unwrap_err();
        assert!(matches!(error, PublishError::Returned { .. }), "{error}");
        publisher.publish(message(&due, "due", 2), SECONDS_30).await.unwrap();
    });
}

#[test]
fn a_message_that_amqp_cannot_carry_fails_alone() {
    run(&["parked", "due"], async |scope| {
        let due = scope.broker.names().due();
        let bad = message(&due, &"k".repeat(256), 1);
        let all = vec![message(&due, "due", 0), bad, message(&due, "due", 2)];
        let results = scope.broker.publisher().publish_all(all, SECONDS_30).await;
        assert_eq!(results[0], Ok(()));
        assert!(matches!(results[1], Err(PublishError::Invalid { .. })));
        assert_eq!(results[2], Ok(()));
    });
}
