//! The topology on a real broker.

use crate::support::{REGION, run, settings};
use turnup_broker::topology::{Options, Table, Value};
use turnup_broker::{Broker, DeployClass, Difference, Names, check, declare, delete, parked};

#[test]
fn declaring_twice_and_with_more_regions_is_fine_and_a_check_finds_nothing() {
    run(&[], async |scope| {
        declare(&scope.broker, &scope.table).await.unwrap();
        assert_eq!(check(&scope.broker, &scope.table).await.unwrap(), []);

        let options = Options {
            regions: vec![REGION.to_owned(), "us-east".to_owned()],
            ladder_levels: 3,
            ..Options::default()
        };
        let more = Table::new(scope.broker.names(), &options);
        let names = scope.broker.names();
        let deploy = DeployClass::ALL.map(|class| names.deploy_queue("us-east", class));
        let missing: Vec<_> = deploy
            .into_iter()
            .chain([names.ask_queue("us-east")])
            .map(|name| Difference::Missing { what: "queue", name })
            .collect();
        assert_eq!(check(&scope.broker, &more).await.unwrap(), missing);
        declare(&scope.broker, &more).await.unwrap();
        assert_eq!(check(&scope.broker, &more).await.unwrap(), []);
        delete(&scope.broker, &more).await.unwrap();
        let gone = check(&scope.broker, &more).await.unwrap();
        assert_eq!(gone.len(), more.queues.len() + more.exchanges.len());
    });
}

#[test]
fn a_check_says_what_differs() {
    run(&["parked", "due", "delay.v1.00"], async |scope| {
        let mut table = scope.only(&["parked", "due", "delay.v1.00"]);
        table.exchanges.truncate(1);
        let level = table.queues.iter_mut().find(|q| q.name.ends_with(".00")).unwrap();
        level.arguments.retain(|(name, _)| *name != "x-message-ttl");
        level.arguments.push(("x-message-ttl", Value::Int(1500)));
        let found = check(&scope.broker, &table).await.unwrap();
        let [Difference::Differs { what: "queue", name, how }] = &found[..] else { panic!("{found:?}") };
        assert_eq!(*name, scope.broker.names().delay_level(0));
        assert!(how.contains("x-message-ttl") && how.contains("1500") && how.contains("1000"), "{how}");
        assert!(found[0].to_string().contains("turnup migrate"));
        declare(&scope.broker, &table).await.unwrap_err();
    });
}

/// The largest ladder that can be configured is one that the broker accepts.
#[test]
fn all_levels_of_the_ladder_can_be_declared() {
    run(&["parked"], async |scope| {
        let options = Options { ladder_levels: 25, ..Options::default() };
        let mut table = Table::new(scope.broker.names(), &options);
        // The upper ones; the lower are in use everywhere.
        table.queues.retain(|q| q.name.ends_with(".23") || q.name.ends_with(".24"));
        table.bindings.clear();
        declare(&scope.broker, &table).await.unwrap();
        delete(&scope.broker, &table).await.unwrap();
    });
}

/// Everything that a role awaits in a task of its own can be sent there.
#[test]
fn futures_can_move_between_threads() {
    fn is_send<T: Send>(_: T) {}
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _guard = runtime.enter();
    let broker = Broker::new(settings("test-never-used")).unwrap();
    let table = Table::new(&Names::new("x"), &Options::default());
    is_send(check(&broker, &table));
    is_send(declare(&broker, &table));
    is_send(delete(&broker, &table));
    is_send(parked::list(&broker, 1));
    is_send(parked::show(&broker, ""));
    is_send(parked::replay(&broker, ""));
    is_send(broker.depth(""));
    let publisher = broker.publisher();
    is_send(publisher.publish_all(vec![], std::time::Duration::ZERO));
    let mut consumer = broker.consume("", turnup_broker::ConsumeOptions::new(1));
    is_send(consumer.next_batch(1, std::time::Duration::ZERO));
    is_send(turnup_broker::ack_many(vec![]));
    is_send(async { consumer.next().await.unwrap().park("").await });
}
