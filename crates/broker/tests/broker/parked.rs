//! The parking lot on a real broker.

use turnup_broker::{BrokerError, ConsumeOptions, MAX_BODY_BYTES, Outgoing, declare, parked};

use crate::support::{SECONDS_30, run};

#[test]
fn a_parked_message_can_be_seen_and_replayed_to_where_it_was_first_sent() {
    run(&["parked", "due"], async |scope| {
        let (broker, names) = (&scope.broker, scope.broker.names());
        let message = Outgoing::new(names.due(), "due", "{\"broken\"")
            .with_message_id("m1")
            .with_correlation_id("order-1")
            .with_header("traceparent", "00-ab");
        broker.publisher().publish(message, SECONDS_30).await.unwrap();
        let mut consumer = broker.consume(names.due(), ConsumeOptions::new(10));
        consumer.next().await.unwrap().park("not JSON: EOF at column 9").await.unwrap();

        let list = parked::list(broker, 100).await.unwrap();
        let [found] = &list[..] else { panic!("{list:?}") };
        assert_eq!(found.id, "m1");
        assert_eq!(found.reason, "not JSON: EOF at column 9");
        assert_eq!(
            (&found.queue, &found.exchange, found.routing_key.as_str()),
            (&names.due(), &names.due(), "due")
        );
        assert_eq!(found.correlation_id.as_deref(), Some("order-1"));
        assert_eq!(found.size_bytes, 9);
        let (_, body) = parked::show(broker, "m1").await.unwrap();
        assert_eq!(body, "{\"broken\"");
        assert!(matches!(parked::show(broker, "m2").await, Err(BrokerError::NotParked { .. })));
        // Looking took nothing away.
        scope.wait_depth(&names.parked(), 1).await;

        parked::replay(broker, "m1").await.unwrap();
        let again = consumer.next().await.unwrap();
        assert_eq!(again.message_id.as_deref(), Some("m1"));
        assert_eq!(again.correlation_id.as_deref(), Some("order-1"));
        assert_eq!(again.headers.iter().map(|(n, _)| n).collect::<Vec<_>>(), ["traceparent"]);
        again.ack().await;
        scope.wait_depth(&names.parked(), 0).await;
    });
}

#[test]
fn what_cannot_be_replayed_stays_and_what_is_dropped_is_gone() {
    run(&["parked", "due"], async |scope| {
        let (broker, names) = (&scope.broker, scope.broker.names());
        let all =
            (0..5).map(|n| Outgoing::new(names.due(), "due", "x").with_message_id(format!("m{n}"))).collect();
        broker.publisher().publish_all(all, SECONDS_30).await;
        let mut consumer = broker.consume(names.due(), ConsumeOptions::new(10));
        for _ in 0..5 {
            consumer.next().await.unwrap().park("why").await.unwrap();
        }
        drop(consumer);
        // Their way back is gone: nothing is bound any more.
        turnup_broker::delete(
            broker,
            &turnup_broker::topology::Table { queues: scope.only(&["due"]).queues, ..Default::default() },
        )
        .await
        .unwrap();
        assert!(matches!(parked::replay(broker, "m3").await, Err(BrokerError::Replay { .. })));
        scope.wait_depth(&names.parked(), 5).await;
        parked::drop(broker, "m3").await.unwrap();
        scope.wait_depth(&names.parked(), 4).await;
        assert!(matches!(parked::drop(broker, "m3").await, Err(BrokerError::NotParked { .. })));

        declare(broker, &scope.only(&["due"])).await.unwrap();
        for n in [0, 1, 2, 4] {
            parked::replay(broker, &format!("m{n}")).await.unwrap();
        }
        scope.wait_depth(&names.due(), 4).await;
        scope.wait_depth(&names.parked(), 0).await;
    });
}

/// A reader that can't cope gives a message back until the broker has had enough; then it can
/// be replayed, and is really delivered, although the broker has written its notes on it.
#[test]
fn a_message_delivered_too_often_is_parked_by_the_broker_and_can_be_replayed() {
    run(&["parked", "due"], async |scope| {
        let (broker, names) = (&scope.broker, scope.broker.names());
        let message = Outgoing::new(names.due(), "due", "poison").with_message_id("p");
        broker.publisher().publish(message, SECONDS_30).await.unwrap();
        let mut consumer = broker.consume(names.due(), ConsumeOptions::new(1));
        for round in 0..2 {
            for _ in 0..=20 {
                consumer.next().await.unwrap().release().await;
            }
            scope.wait_depth(&names.parked(), 1).await;
            let list = parked::list(broker, 10).await.unwrap();
            assert_eq!(list[0].reason, "delivered too often without being acknowledged", "round {round}");
            assert_eq!((&list[0].queue, &list[0].exchange), (&names.due(), &names.due()));
            parked::replay(broker, "p").await.unwrap();
        }
        let delivery = consumer.next().await.unwrap();
        assert_eq!(delivery.body, "poison");
        assert_eq!(delivery.delivery_count, 0);
        delivery.ack().await;
    });
}

/// Parks what a foreign publisher sends that we would never publish ourselves.
#[test]
fn a_message_that_is_too_large_goes_to_the_parking_lot() {
    run(&["parked", "due"], async |scope| {
        let (broker, names) = (&scope.broker, scope.broker.names());
        let url = scope.amqp_url();
        let connection =
            lapin::Connection::connect(&url, lapin::ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let body = vec![b'x'; MAX_BODY_BYTES + 1];
        channel
            .basic_publish(
                names.due().into(),
                "due".into(),
                lapin::options::BasicPublishOptions::default(),
                &body,
                lapin::BasicProperties::default(),
            )
            .await
            .unwrap();
        let mut consumer = broker.consume(names.due(), ConsumeOptions::new(1));
        broker.publisher().publish(Outgoing::new(names.due(), "due", "small"), SECONDS_30).await.unwrap();
        let delivery = consumer.next().await.unwrap();
        assert_eq!(delivery.body, "small");
        delivery.ack().await;
        scope.wait_depth(&names.parked(), 1).await;
        let list = parked::list(broker, 10).await.unwrap();
        assert_eq!(list[0].size_bytes, MAX_BODY_BYTES + 1);
        assert!(list[0].reason.contains("too large"), "{}", list[0].reason);
        // It had no id; the one that was made up for it finds it.
        parked::drop(broker, &list[0].id).await.unwrap();
        scope.wait_depth(&names.parked(), 0).await;
    });
}
