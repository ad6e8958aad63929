//! Reading from a real broker.

use std::collections::HashSet;
use std::time::Duration;

use turnup_broker::{ConsumeOptions, Outgoing, Settled, StreamOffset, ack_many};

use crate::support::{Proxy, SECONDS_30, Scope, run, wait};

async fn publish(scope: &Scope, count: usize) -> String {
    let due = scope.broker.names().due();
    let all = (0..count).map(|n| Outgoing::new(&due, "due", n.to_string())).collect();
    let results = scope.broker.publisher().publish_all(all, SECONDS_30).await;
    assert!(results.iter().all(Result::is_ok));
    due
}

#[test]
fn after_a_lost_connection_deliveries_are_stale_and_come_again() {
    run(&["parked", "due"], async |scope| {
        let due = publish(&scope, 10).await;
        let proxy = Proxy::start().await;
        let mut consumer = scope.through(&proxy).consume(&due, ConsumeOptions::new(7));
        let mut held = vec![];
        for _ in 0..6 {
            held.extend(consumer.next().await);
        }
        assert_eq!(ack_many(held.drain(..4).collect()).await, [Settled::Sent; 4]);
        // The acks have arrived when the broker sends the last three. These and one more are in
        // our hands and not handed out.
        scope.wait_depth(&due, 0).await;
        let last = held.pop().unwrap();
        proxy.cut();
        wait("the cut to be noticed", async || last.is_stale()).await;
        assert_eq!(last.ack().await, Settled::Stale);
        assert_eq!(ack_many(held).await, [Settled::Stale; 1]);

        let mut again = HashSet::new();
        while again.len() < 6 {
            let delivery = consumer.next().await.unwrap();
            assert!(delivery.redelivered);
            assert!(delivery.delivery_count >= 1);
            again.insert(delivery.body.clone());
            assert_eq!(delivery.ack().await, Settled::Sent);
        }
        let wanted: HashSet<_> = (4..10).map(|n: u32| n.to_string().into()).collect();
        assert_eq!(again, wanted);
        drop(consumer);
        scope.wait_depth(&due, 0).await;
    });
}

#[test]
fn a_consumer_survives_one_cut_after_another_and_a_broker_that_is_away() {
    run(&["parked", "due"], async |scope| {
        let due = scope.broker.names().due();
        let proxy = Proxy::start().await;
        let broker = scope.through(&proxy);
        let mut consumer = broker.consume(&due, ConsumeOptions::new(50));
        for round in 0..5 {
            publish(&scope, 20).await;
            let mut seen = HashSet::new();
            while seen.len() < 20 {
                let delivery = consumer.next().await.unwrap();
                seen.insert(delivery.body.clone());
                delivery.ack().await;
            }
            if round == 3 {
                proxy.close();
                wait("the loss to be noticed", async || !broker.healthy()).await;
                proxy.reopen();
            } else {
                proxy.cut();
            }
        }
        wait("the consumer to be back", async || broker.healthy()).await;
    });
}

/// A connection that is open and silent is no connection.
#[test]
fn a_frozen_connection_is_unhealthy_and_left_for_a_new_one() {
    run(&["parked", "due"], async |scope| {
        let due = scope.broker.names().due();
        let proxy = Proxy::start().await;
        let broker = scope.through(&proxy);
        let mut consumer = broker.consume(&due, ConsumeOptions::new(10));
        publish(&scope, 1).await;
        let delivery = consumer.next().await.unwrap();
        broker.publisher().publish(Outgoing::new(&due, "due", "second"), SECONDS_30).await.unwrap();
        assert!(broker.healthy());
        proxy.freeze(true);
        wait("the silence to be noticed", async || !broker.healthy()).await;
        wait("the delivery to be given up", async || delivery.is_stale()).await;
        proxy.freeze(false);
        wait("a new connection", async || broker.healthy()).await;
        let mut seen = HashSet::new();
        while seen.len() < 2 {
            let delivery = consumer.next().await.unwrap();
            seen.insert(delivery.body.clone());
            delivery.ack().await;
        }
    });
}

/// Whatever is settled in whatever order and from several tasks: the channel survives it, and
/// exactly what was not settled comes again.
#[test]
fn acknowledging_out_of_order_and_at_once_never_acknowledges_anything_else() {
    run(&["parked", "due"], async |scope| {
        let due = publish(&scope, 600).await;
        let mut consumer = scope.broker.consume(&due, ConsumeOptions::new(600));
        let mut all = vec![];
        while all.len() < 600 {
            all.extend(consumer.next_batch(600, Duration::from_millis(5)).await);
        }
        let number =
            |d: &turnup_broker::Delivery| std::str::from_utf8(&d.body).unwrap().parse::<usize>().unwrap();
        let (mut kept, mut rest) = (vec![], vec![]);
        for delivery in all {
            if number(&delivery) % 100 == 50 { kept.push(delivery) } else { rest.push(delivery) }
        }
        // Reversed, and in parts by several tasks.
        rest.reverse();
        let mut tasks = tokio::task::JoinSet::new();
        while !rest.is_empty() {
            let part = rest.split_off(rest.len().saturating_sub(37));
            tasks.spawn(ack_many(part));
        }
        while let Some(done) = tasks.join_next().await {
            assert!(done.unwrap().iter().all(|s| *s == Settled::Sent));
        }
        assert!(kept.iter().all(|d| !d.is_stale()), "the channel survived");
        let wanted: HashSet<_> = kept.iter().map(number).collect();
        assert_eq!(wanted.len(), 6);
        // Dropping unsettled deliveries gives them back.
        drop(kept);
        let mut again = HashSet::new();
        while again.len() < 6 {
            let delivery = consumer.next().await.unwrap();
            assert!(delivery.redelivered);
            again.insert(number(&delivery));
            assert_eq!(delivery.ack().await, Settled::Sent);
        }
        assert_eq!(again, wanted);
        drop(consumer);
        scope.wait_depth(&due, 0).await;
    });
}

#[test]
fn stopping_lets_what_is_in_hand_be_settled_and_gives_the_rest_back() {
    run(&["parked", "due"], async |scope| {
        let due = publish(&scope, 20).await;
        let mut consumer = scope.broker.consume(&due, ConsumeOptions::new(10));
        let first = consumer.next().await.unwrap();
        let stop = consumer.stop_handle();
        stop.stop();
        assert!(consumer.next().await.is_none());
        assert!(consumer.next_batch(5, SECONDS_30).await.is_empty());
        scope.wait_depth(&due, 19).await;
        assert_eq!(first.ack().await, Settled::Sent);
        // The broker counts a reader until everything in its hands is settled.
        wait("the reader to be gone", async || scope.broker.depth(&due).await.unwrap().consumers == 0).await;
        scope.wait_depth(&due, 19).await;
    });
}

#[test]
fn a_released_delivery_comes_again_at_once() {
    run(&["parked", "due"], async |scope| {
        let due = publish(&scope, 1).await;
        let mut consumer = scope.broker.consume(&due, ConsumeOptions::new(1));
        let delivery = consumer.next().await.unwrap();
        assert!(!delivery.redelivered);
        assert_eq!(delivery.release().await, Settled::Sent);
        let delivery = consumer.next().await.unwrap();
        assert!(delivery.redelivered);
        assert_eq!(delivery.delivery_count, 1);
        delivery.ack().await;
    });
}

/// In `select!` the futures of a consumer are dropped all the time.
#[test]
fn nothing_is_lost_when_waiting_is_given_up() {
    run(&["parked", "due"], async |scope| {
        let due = scope.broker.names().due();
        let mut consumer = scope.broker.consume(&due, ConsumeOptions::new(100));
        let mut seen = HashSet::new();
        let feed = publish(&scope, 500);
        tokio::pin!(feed);
        let mut fed = false;
        while seen.len() < 500 {
            tokio::select! {
                _ = &mut feed, if !fed => fed = true,
                batch = consumer.next_batch(40, Duration::from_millis(20)) => {
                    assert!(batch.len() <= 40);
                    seen.extend(batch.iter().map(|d| d.body.clone()));
                    ack_many(batch).await;
                }
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
        }
    });
}

#[test]
fn a_consumer_waits_for_a_queue_that_is_not_there_yet() {
    run(&["parked"], async |scope| {
        let due = scope.broker.names().due();
        let mut consumer = scope.broker.consume(&due, ConsumeOptions::new(10));
        turnup_broker::declare(&scope.broker, &scope.only(&["due"])).await.unwrap();
        publish(&scope, 1).await;
        consumer.next().await.unwrap().ack().await;
    });
}

#[test]
fn the_stream_of_events_can_be_read_again() {
    run(&["parked", "events.log"], async |scope| {
        let events = scope.broker.names().events();
        let all = (0..100)
            .map(|n| Outgoing::new(&events, "order.eu-west.l3vpn.completed", n.to_string()))
            .collect();
        assert!(scope.broker.publisher().publish_all(all, SECONDS_30).await.iter().all(Result::is_ok));
        for (offset, first) in
            [(StreamOffset::First, 0), (StreamOffset::First, 0), (StreamOffset::At(40), 40)]
        {
            let options = ConsumeOptions { stream_offset: Some(offset), ..ConsumeOptions::new(100) };
            let mut reader = scope.broker.consume(scope.broker.names().events_log(), options);
            for n in first..100 {
                let delivery = reader.next().await.unwrap();
                assert_eq!(delivery.body, n.to_string());
                delivery.ack().await;
            }
        }
    });
}
