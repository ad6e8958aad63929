//! The worker on a real RabbitMQ, at 127.0.0.1:5672 or where `TURNUP_TEST_AMQP` says
//! (`user:password@host:port`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests; the exception in clippy.toml does not cover their helpers"
)]

use std::{collections::BTreeMap, panic::AssertUnwindSafe, path::PathBuf, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use secrecy::SecretString;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use turnup_broker::{
    Broker, ConsumeOptions, Consumer, Delivery, DeployClass, Names, Outgoing, PublishError, RequestError,
    Settings as BrokerSettings, declare, delete, parked,
    topology::{Options, Table, Target},
};
use turnup_core::{
    ask::{Answer, Ask, Question},
    audit::{AuditWork, ConfigAudit, ConfigWork},
    id::{DeploymentId, OrderId},
    lifecycle::DeploymentEvent,
    message::{
        Body as _, Claim, ClaimAnswer, ClaimKind, Condition, Deployment, DeviceEdit, DeviceWork, InForce,
        Limits, Purpose, REPUBLISHED, StateChange,
    },
    name::{CredentialRef, DeviceName, PlatformName, RegionName},
    transcript::Transcript,
};
use turnup_device_sim::{DeviceSpec, Options as SimOptions, SimDevice, Simulator, behaviour::Behaviour};
use turnup_worker::{Assignment, CredentialSource, Settings, Worker};
use uuid::Uuid;

const REGION: &str = "eu-west";
const PATIENCE: Duration = Duration::from_secs(30);

/// A topology of one's own, removed afterwards whatever happens.
struct Scope {
    broker: Broker,
    names: Names,
}

fn run(test: impl AsyncFnOnce(Scope)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let authority =
            std::env::var("TURNUP_TEST_AMQP").unwrap_or_else(|_| "guest:guest@127.0.0.1:5672".to_owned());
        let id = Uuid::now_v7().simple().to_string();
        let prefix = format!("test-worker-{}", &id[20..]);
        let settings = BrokerSettings {
            prefix,
            ladder_levels: 1,
            ..BrokerSettings::new(format!("amqp://{authority}/%2f"))
        };
        let broker = Broker::new(settings).unwrap();
        let names = broker.names().clone();
        let options = Options { regions: vec![REGION.to_owned()], ladder_levels: 1, ..Options::default() };
        let mut table = Table::new(&names, &options);
        let wanted = |name: &str| {
            let rest = name.strip_prefix(names.prefix()).unwrap_or_default();
            [".deploy.", ".state.", ".claim", ".ask.", ".parked"].iter().any(|start| rest.starts_with(start))
        };
        table.queues.retain(|queue| wanted(&queue.name));
        table.bindings.retain(|binding| match &binding.target {
            Target::Queue(name) => wanted(name),
            Target::Exchange(_) => false,
        });
        declare(&broker, &table).await.unwrap();
        let scope = Scope { broker: broker.clone(), names };
        let test = tokio::time::timeout(Duration::from_secs(120), test(scope));
        let outcome = AssertUnwindSafe(test).catch_unwind().await;
        delete(&broker, &table).await.unwrap();
        match outcome {
            Ok(in_time) => in_time.expect("the test took too long"),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
}

impl Scope {
    /// Starts a worker without credentials: for devices on paper.
    fn worker(&self, concurrency: usize) -> (CancellationToken, JoinHandle<()>) {
        self.worker_with(concurrency, BTreeMap::new())
    }

    fn worker_with(
        &self,
        concurrency: usize,
        credentials: BTreeMap<CredentialRef, CredentialSource>,
    ) -> (CancellationToken, JoinHandle<()>) {
        let assignment = Assignment {
            worker_name: "worker-1".to_owned(),
            regions: vec![RegionName::new(REGION).unwrap()],
            credentials,
        };
        let settings = Settings {
            allow_null_platform: true,
            concurrency,
            transcripts: turnup_worker::Transcripts::All,
            ..Settings::default()
        };
        // A handle of its own, as in a process of its own.
        let broker = Broker::new(self.broker.settings().clone()).unwrap();
        let worker = Worker::new(settings, assignment, broker).unwrap();
        let shutdown = CancellationToken::new();
        (shutdown.clone(), tokio::spawn(worker.run(shutdown)))
    }

    fn message(&self, deployment: &Deployment, class: DeployClass) -> Outgoing {
        let key = Names::deploy_key(REGION, class);
        Outgoing::new(self.names.deploy(), key, deployment.encode().unwrap())
            .with_header("traceparent", "00-ab")
    }

    async fn publish(&self, message: Outgoing) {
        self.broker.publisher().publish(message, PATIENCE).await.unwrap();
    }

    /// Reads the state changes of one deployment's shard.
    fn reports(&self, deployment: &Deployment) -> Consumer {
        let queue = self.names.state_queue(Names::state_shard(deployment.deployment.0));
        self.broker.consume(queue, ConsumeOptions::new(10))
    }

    async fn depth(&self, queue: &str) -> u32 {
        self.broker.depth(queue).await.unwrap().messages
    }

    /// After the worker has ended, what it had not acknowledged would be back in its queue.
    async fn assert_empty(&self, class: DeployClass) {
        assert_eq!(self.depth(&self.names.deploy_queue(REGION, class)).await, 0);
    }
}

fn deployment() -> Deployment {
    let device = DeviceWork {
        device: DeviceName::new("paper-1").unwrap(),
        address: "192.0.2.1".to_owned(),
        port: 830,
        platform: PlatformName::new("null").unwrap(),
        host_key: None,
        credential: None,
        epoch: 1,
        profile: Default::default(),
        pending_tokens: Vec::new(),
        before_confirm: None,
        inside: turnup_core::nodes::NodeFacts::default(),
        edits: vec![],
        audit: None,
    };
    Deployment {
        deployment: DeploymentId(Uuid::now_v7()),
        attempt: 3,
        generation: 1,
        region: RegionName::new(REGION).unwrap(),
        orders: vec![OrderId(Uuid::now_v7())],
        purpose: Purpose::Change,
        past_unknown: false,
        devices: vec![device],
        limits: Limits::default(),
    }
}

async fn next(consumer: &mut Consumer) -> Delivery {
    tokio::time::timeout(PATIENCE, consumer.next()).await.expect("in time").unwrap()
}

async fn end((shutdown, running): (CancellationToken, JoinHandle<()>)) {
    shutdown.cancel();
    tokio::time::timeout(PATIENCE, running).await.expect("drained in time").unwrap();
}

/// The next report, and the transcript that came before it.
async fn next_report(reports: &mut Consumer) -> (StateChange, Option<Transcript>) {
    let mut transcript = None;
    loop {
        let delivery = next(reports).await;
        let read = StateChange::decode(&delivery.body);
        if read.is_err() {
            transcript = Some(Transcript::decode(&delivery.body).unwrap());
        }
        // The next one may be in the same shard.
        delivery.ack().await;
        if let Ok(report) = read {
            return (report, transcript);
        }
    }
}

#[test]
fn a_deployment_is_reported_on_its_shard_and_acknowledged() {
    run(async |scope: Scope| {
        let worker = scope.worker(4);
        for class in DeployClass::ALL {
            let deployment = deployment();
            let mut reports = scope.reports(&deployment);
            scope.publish(scope.message(&deployment, class)).await;
            let delivery = next(&mut reports).await;
            assert_eq!(delivery.headers.text("traceparent"), Some("00-ab"));
            assert_eq!(delivery.correlation_id, Some(deployment.orders[0].to_string()));
            let report = StateChange::decode(&delivery.body).unwrap();
            assert_eq!(report.deployment, deployment.deployment);
            assert_eq!((report.attempt, report.sequence), (3, 1));
            assert_eq!((report.event, report.worker.as_str()), (DeploymentEvent::Committed, "worker-1"));
            assert_eq!(report.devices[0].in_force, InForce::New);
            assert_eq!(report.orders[0].order, deployment.orders[0]);
            delivery.ack().await;
        }
        end(worker).await;
        for class in DeployClass::ALL {
            scope.assert_empty(class).await;
        }
    });
}

/// A scheduler that lets everybody go on: who takes long asks.
fn scheduler(scope: &Scope) -> tokio::task::JoinHandle<()> {
    let broker = scope.broker.clone();
    let mut claims = broker.consume(scope.names.claim(), ConsumeOptions::new(1));
    tokio::spawn(async move {
        while let Some(delivery) = claims.next().await {
            let attempt = Claim::decode(&delivery.body).unwrap().attempt;
            let reply = answered(&delivery, Some(attempt));
            broker.publisher().publish(reply, PATIENCE).await.unwrap();
            delivery.ack().await;
        }
    })
}

fn answered(claim: &Delivery, attempt: Option<i32>) -> Outgoing {
    let body = ClaimAnswer { attempt }.encode().unwrap();
    Outgoing::reply(claim.reply_to.clone().unwrap(), claim.correlation_id.clone(), body)
}

/// Answers one claim.
async fn answer(scope: &Scope, claims: &mut Consumer, attempt: Option<i32>) -> Claim {
    let delivery = next(claims).await;
    let claim = Claim::decode(&delivery.body).unwrap();
    scope.publish(answered(&delivery, attempt)).await;
    delivery.ack().await;
    claim
}

#[test]
fn what_was_delivered_before_is_claimed_first() {
    run(async |scope: Scope| {
        let deployment = deployment();
        scope.publish(scope.message(&deployment, DeployClass::Normal)).await;
        // Another worker had it and died.
        let queue = scope.names.deploy_queue(REGION, DeployClass::Normal);
        let mut other = scope.broker.consume(queue, ConsumeOptions::new(1));
        let had = next(&mut other).await;
        other.stop();
        had.release().await;

        let mut claims = scope.broker.consume(scope.names.claim(), ConsumeOptions::new(1));
        let mut reports = scope.reports(&deployment);
        let worker = scope.worker(4);
        let claim = answer(&scope, &mut claims, Some(7)).await;
        assert_eq!((claim.deployment, claim.attempt), (deployment.deployment, 3));
        assert_eq!((claim.claim, claim.worker.as_str()), (ClaimKind::TakeOver, "worker-1"));
        let delivery = next(&mut reports).await;
        assert_eq!(StateChange::decode(&delivery.body).unwrap().attempt, 7);
        delivery.ack().await;
        end(worker).await;
        scope.assert_empty(DeployClass::Normal).await;
    });
}

#[test]
fn what_has_ended_is_forgotten() {
    run(async |scope: Scope| {
        let deployment = deployment();
        let message = scope.message(&deployment, DeployClass::Urgent).with_header(REPUBLISHED, 1);
        scope.publish(message).await;
        let mut claims = scope.broker.consume(scope.names.claim(), ConsumeOptions::new(1));
        let worker = scope.worker(4);
        answer(&scope, &mut claims, None).await;
        end(worker).await;
        scope.assert_empty(DeployClass::Urgent).await;
        let shard = scope.names.state_queue(Names::state_shard(deployment.deployment.0));
        assert_eq!(scope.depth(&shard).await, 0, "and not reported on");
    });
}

#[test]
fn what_cannot_be_read_is_parked_with_the_reason() {
    run(async |scope: Scope| {
        let worker = scope.worker(4);
        let key = Names::deploy_key(REGION, DeployClass::Bulk);
        scope.publish(Outgoing::new(scope.names.deploy(), key, r#"{"schema":"turnup.deployment.v9"}"#)).await;
        let queue = scope.names.parked();
        let until = tokio::time::Instant::now() + PATIENCE;
        while scope.depth(&queue).await == 0 {
            assert!(tokio::time::Instant::now() < until, "not parked");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        end(worker).await;
        scope.assert_empty(DeployClass::Bulk).await;
        let parked = parked::list(&scope.broker, 10).await.unwrap();
        assert!(parked[0].reason.contains("turnup.deployment.v1"), "{parked:?}");
    });
}

#[test]
fn many_flow_and_none_is_lost() {
    run(async |scope: Scope| {
        let count = 2_000;
        let deployments: Vec<Deployment> = (0..count).map(|_| deployment()).collect();
        let messages = deployments.iter().map(|d| scope.message(d, DeployClass::Normal)).collect();
        let results = scope.broker.publisher().publish_all(messages, PATIENCE).await;
        assert!(results.iter().all(Result::is_ok));
        let began = std::time::Instant::now();
        let worker = scope.worker(200);
        let mut reported = std::collections::BTreeSet::new();
        let mut shards: Vec<Consumer> = (0..8)
            .map(|shard| scope.broker.consume(scope.names.state_queue(shard), ConsumeOptions::new(500)))
            .collect();
        while reported.len() < count {
            for shard in &mut shards {
                let batch = shard.next_batch(500, Duration::ZERO).now_or_never().unwrap_or_default();
                for delivery in &batch {
                    reported.insert(StateChange::decode(&delivery.body).unwrap().deployment);
                }
                turnup_broker::ack_many(batch).await;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "only {} were reported", reported.len());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        println!("{count} deployments on paper in {:?}", began.elapsed());
        end(worker).await;
        scope.assert_empty(DeployClass::Normal).await;
        assert_eq!(reported, deployments.iter().map(|d| d.deployment).collect());
    });
}

#[test]
fn a_worker_that_is_to_stop_ends_what_it_has_and_takes_no_more() {
    run(async |scope: Scope| {
        let site = Site::start(Behaviour { commit_delay_ms: 500, ..Behaviour::default() }).await;
        let device = Arc::clone(&site.device);
        let [first, second] =
            [deployment(), deployment()].map(|d| Deployment { devices: vec![site.work(d.orders[0])], ..d });
        let mut reports = scope.reports(&first);
        let scheduler = scheduler(&scope);
        let (shutdown, running) = scope.worker_with(1, site.credentials());
        scope.publish(scope.message(&first, DeployClass::Normal)).await;
        site.until_begun().await;
        scope.publish(scope.message(&second, DeployClass::Normal)).await;
        end((shutdown, running)).await;
        let report = next_report(&mut reports).await.0;
        assert_eq!(report.deployment, first.deployment);
        let last = match report.event {
            DeploymentEvent::Progressed => next_report(&mut reports).await.0,
            _ => report,
        };
        assert_eq!(last.event, DeploymentEvent::Committed, "{last:?}");
        assert!(!device.has_pending_commit());
        let queue = scope.names.deploy_queue(REGION, DeployClass::Normal);
        assert_eq!(scope.depth(&queue).await, 1, "the second is for another worker");
        scheduler.abort();
    });
}

#[test]
fn questions_are_answered_while_deployments_run() {
    run(async |scope: Scope| {
        let site = Site::start(Behaviour { commit_delay_ms: 1_500, ..Behaviour::default() }).await;
        let deployment = deployment();
        let deployment = Deployment { devices: vec![site.work(deployment.orders[0])], ..deployment };
        let mut reports = scope.reports(&deployment);
        let scheduler = scheduler(&scope);
        // One deployment at a time, so that this one takes all of its room.
        let worker = scope.worker_with(1, site.credentials());
        scope.publish(scope.message(&deployment, DeployClass::Normal)).await;
        site.until_begun().await;
        let requester = scope.broker.requester();
        let ask = async |work: DeviceWork, question: Question| {
            let ask = Ask { device: work, question, timeout_ms: 10_000 };
            let message = Outgoing::new(scope.names.ask(), REGION, ask.encode().unwrap());
            let reply = requester.request(message, Duration::from_secs(10)).await.unwrap();
            Answer::decode(&reply.body).unwrap()
        };
        let work = site.work(OrderId(Uuid::now_v7()));
        let answer = ask(work.clone(), Question::Check).await;
        assert_eq!(answer.worker, "worker-1");
        assert_eq!(answer.check.unwrap().trusted, Some(true));
        assert!(site.device.candidate_is_changed(), "the deployment is still at work");
        let (first, second) = tokio::join!(
            ask(DeviceWork { host_key: None, ..work.clone() }, Question::Check),
            ask(work.clone(), Question::Schemas(vec![("turnup-sim".to_owned(), None)])),
        );
        assert_eq!(first.check.unwrap().trusted, None);
        assert!(second.schemas[0].text.contains("module turnup-sim"));
        let last = loop {
            let (report, _) = next_report(&mut reports).await;
            if report.event != DeploymentEvent::Progressed {
                break report;
            }
        };
        assert_eq!(last.event, DeploymentEvent::Committed, "{last:?}");
        let tried = ask(work, Question::TryEdit).await;
        assert!(tried.failures.is_empty(), "{tried:?}");
        end(worker).await;
        scheduler.abort();
        assert_eq!(scope.depth(&scope.names.ask_queue(REGION)).await, 0);
    });
}

#[test]
fn questions_nobody_can_answer_fail_at_once_and_rubbish_is_passed_over() {
    run(async |scope: Scope| {
        let requester = scope.broker.requester();
        let elsewhere = Outgoing::new(scope.names.ask(), "nowhere", "{}");
        let error = requester.request(elsewhere, PATIENCE).await.unwrap_err();
        assert!(matches!(error, RequestError::Publish(PublishError::Returned { .. })), "{error:?}");
        let worker = scope.worker(1);
        scope.publish(Outgoing::new(scope.names.ask(), REGION, "rubbish")).await;
        let question = |timeout_ms: u64| {
            let device = deployment().devices.remove(0);
            let ask = Ask { device, question: Question::TryEdit, timeout_ms };
            Outgoing::new(scope.names.ask(), REGION, ask.encode().unwrap())
        };
        // Its asker says that it doesn't wait.
        let error = requester.request(question(0), Duration::from_millis(500)).await.unwrap_err();
        assert!(matches!(error, RequestError::Timeout { .. }), "{error:?}");
        let reply = requester.request(question(10_000), PATIENCE).await.unwrap();
        assert!(Answer::decode(&reply.body).unwrap().failures.is_empty());
        end(worker).await;
        assert_eq!(scope.depth(&scope.names.ask_queue(REGION)).await, 0);
    });
}

#[test]
fn an_audit_goes_through_the_broker_too() {
    run(async |scope: Scope| {
        let site = Site::start(Behaviour::default()).await;
        let worker = scope.worker_with(1, site.credentials());
        for device in [site.work(OrderId(Uuid::now_v7())), deployment().devices.remove(0)] {
            let on_paper = device.host_key.is_none();
            let edit = edit(OrderId(Uuid::now_v7()));
            let config = ConfigWork {
                footprint: edit.edit,
                filter: edit.filter,
                owned: vec!["/interfaces/interface[name='ge-0']".to_owned()],
                keys: edit.keys,
                nodes: edit.nodes,
            };
            let audit = Some(AuditWork { config: Some(config), checks: vec![] });
            let audit = Deployment {
                purpose: Purpose::Audit,
                past_unknown: false,
                devices: vec![DeviceWork { audit, edits: vec![], ..device }],
                ..deployment()
            };
            let mut reports = scope.reports(&audit);
            scope.publish(scope.message(&audit, DeployClass::Bulk)).await;
            let (report, transcript) = next_report(&mut reports).await;
            let said = transcript.map(|transcript| (transcript.deployment, transcript.attempt));
            // On paper nothing is said.
            assert_eq!(said, (!on_paper).then_some((audit.deployment, audit.attempt)));
            assert_eq!((report.deployment, report.event), (audit.deployment, DeploymentEvent::Committed));
            let wanted = if on_paper { ConfigAudit::InSync } else { ConfigAudit::Drifted };
            assert_eq!(report.devices[0].audit.as_ref().unwrap().config, wanted);
        }
        end(worker).await;
        scope.assert_empty(DeployClass::Bulk).await;
    });
}

/// One simulated device.
struct Site {
    _simulator: Simulator,
    device: Arc<SimDevice>,
    folder: PathBuf,
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Site {
    async fn start(behaviour: Behaviour) -> Self {
        let folder = std::env::temp_dir().join(format!("turnup-worker-{}", Uuid::now_v7()));
        let specs = DeviceSpec::many(REGION, 1, 0);
        let simulator = Simulator::start(SimOptions {
            behaviour,
            ..SimOptions::new(specs, folder.clone(), SecretString::from("pass"))
        })
        .await
        .unwrap();
        std::fs::write(folder.join("password"), "pass").unwrap();
        let device = simulator.devices().next().unwrap().clone();
        Self { _simulator: simulator, device, folder }
    }

    fn work(&self, order: OrderId) -> DeviceWork {
        DeviceWork {
            device: DeviceName::new(self.device.name()).unwrap(),
            address: self.device.address().ip().to_string(),
            port: self.device.address().port(),
            platform: PlatformName::new("sim").unwrap(),
            host_key: Some(self.device.host_key()),
            credential: Some(CredentialRef::new("lab").unwrap()),
            epoch: 1,
            profile: Default::default(),
            pending_tokens: Vec::new(),
            before_confirm: None,
            inside: turnup_core::nodes::NodeFacts::default(),
            edits: vec![edit(order)],
            audit: None,
        }
    }

    fn credentials(&self) -> BTreeMap<CredentialRef, CredentialSource> {
        let password: serde_json::Value = serde_json::json!({
            "username": "ncdev", "password_file": self.folder.join("password"),
        });
        BTreeMap::from([(CredentialRef::new("lab").unwrap(), serde_json::from_value(password).unwrap())])
    }

    /// Waits until a deployment has put its edit into the candidate.
    async fn until_begun(&self) {
        let until = tokio::time::Instant::now() + PATIENCE;
        while !self.device.candidate_is_changed() {
            assert!(tokio::time::Instant::now() < until, "not begun");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn edit(order: OrderId) -> DeviceEdit {
    let text = r#"<interfaces xmlns="urn:turnup:sim"><interface><name>ge-0</name><description>x</description></interface></interfaces>"#;
    let filter =
        r#"<interfaces xmlns="urn:turnup:sim"><interface><name>ge-0</name></interface></interfaces>"#;
    DeviceEdit {
        order,
        edit: text.to_owned(),
        inverse: text.to_owned(),
        filter: filter.to_owned(),
        after: Condition::Contains(text.to_owned()),
        before: Condition::Lacks(filter.to_owned()),
        keys: BTreeMap::from([("interface".to_owned(), vec!["name".to_owned()])]),
        nodes: turnup_core::nodes::NodeFacts::default(),
        joint: Vec::new(),
        whole: None,
    }
}
