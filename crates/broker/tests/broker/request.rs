//! Request and reply over a real broker.

use std::time::Duration;

use turnup_broker::{Broker, ConsumeOptions, Consumer, Outgoing, PublishError, RequestError, StopHandle};

use crate::support::{Proxy, SECONDS_30, run};

/// Answers every request with its body reversed, until stopped.
fn answer(broker: &Broker) -> (StopHandle, tokio::task::JoinHandle<()>) {
    let mut consumer: Consumer = broker.consume(broker.names().claim(), ConsumeOptions::new(100));
    let (stop, publisher) = (consumer.stop_handle(), broker.publisher());
    let task = tokio::spawn(async move {
        while let Some(request) = consumer.next().await {
            let body: Vec<u8> = request.body.iter().rev().copied().collect();
            let reply_to = request.reply_to.clone().unwrap();
            let reply = Outgoing::reply(reply_to, request.correlation_id.clone(), body).with_header("n", 7);
            publisher.publish(reply, SECONDS_30).await.unwrap();
            request.ack().await;
        }
    });
    (stop, task)
}

#[test]
fn many_requests_at_once_each_get_their_own_reply() {
    run(&["parked", "claim"], async |scope| {
        let (stop, task) = answer(&scope.broker);
        let requester = scope.broker.requester();
        let mut tasks = tokio::task::JoinSet::new();
        for n in 100..400 {
            let (requester, claim) = (requester.clone(), scope.broker.names().claim());
            tasks.spawn(async move {
                let reply = requester
                    .request(Outgoing::new(claim, "claim", n.to_string()), SECONDS_30)
                    .await
                    .unwrap();
                let wanted: String = n.to_string().chars().rev().collect();
                assert_eq!(reply.body, wanted);
                assert_eq!(reply.headers.int("n"), Some(7));
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        stop.stop();
        task.await.unwrap();
    });
}

#[test]
fn no_queue_is_told_at_once_and_no_reply_after_the_deadline() {
    run(&["parked", "claim"], async |scope| {
        let (requester, claim) = (scope.broker.requester(), scope.broker.names().claim());
        let error = requester.request(Outgoing::new(&claim, "nobody", ""), SECONDS_30).await.unwrap_err();
        assert!(matches!(error, RequestError::Publish(PublishError::Returned { .. })), "{error}");
        let after = Duration::from_millis(200);
        let error = requester.request(Outgoing::new(&claim, "claim", ""), after).await.unwrap_err();
        assert_eq!(error, RequestError::Timeout { after });
        // What nobody waits for any more is not kept.
        scope.wait_depth(&claim, 0).await;
    });
}

#[test]
fn requests_work_again_after_the_connection_was_lost() {
    run(&["parked", "claim"], async |scope| {
        let claim = scope.broker.names().claim();
        let proxy = Proxy::start().await;
        let requester = scope.through(&proxy).requester();
        // Nobody answers yet.
        let waiting = requester.request(Outgoing::new(&claim, "claim", "lost"), SECONDS_30);
        let cut = async {
            scope.wait_depth(&claim, 1).await;
            proxy.cut();
        };
        let (result, ()) = tokio::join!(waiting, cut);
        assert!(matches!(result, Err(RequestError::Lost { .. })), "{result:?}");

        let (stop, task) = answer(&scope.broker);
        let reply = requester.request(Outgoing::new(&claim, "claim", "abc"), SECONDS_30).await.unwrap();
        assert_eq!(reply.body, "cba");
        stop.stop();
        task.await.unwrap();

        proxy.close();
        let error = loop {
            let after = Duration::from_millis(200);
            match requester.request(Outgoing::new(&claim, "claim", "x"), after).await {
                Err(RequestError::Lost { .. }) => {}
                other => break other.unwrap_err(),
            }
        };
        assert!(matches!(error, RequestError::Publish(PublishError::NotSent { .. })), "{error}");
    });
}
