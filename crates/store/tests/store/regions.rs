//! Orders over several regions: parts that are locked together, and their stages.

use jiff::Timestamp;
use turnup_core::{
    failure::{Failure, FailureClass},
    id::{DeploymentId, OrderId, ServiceId},
    lifecycle::{DeploymentState, OrderState, ServiceState},
    message::{Body as _, Claim, ClaimKind, Deployment, DeviceReport, InForce, Part, Stage},
    name::RegionName,
    order::OrderKind,
};
use turnup_store::{
    Decision, DeploymentChange, Device, DueOrder, OrderFilter, ServiceChange, ServiceFilter, Settled,
    StageChange, Start, Starting, Store, StoreError, Work, testing::Database,
};
use uuid::Uuid;

use crate::support::{
    accept, count, deployment, device, failure, history, in_s, moved, name, now, order, settled, state, until,
};

const WEST: [&str; 2] = ["w1", "w2"];
const EAST: &str = "e1";

async fn add(store: &Store) {
    let of = |name: &str, region: &str| Device { region: RegionName::new(region).unwrap(), ..device(name) };
    let devices = [of(WEST[0], "west"), of(WEST[1], "west"), of(EAST, "east")];
    store.add_devices(&devices, "test").await.unwrap();
}

/// The parts of an order, as the scheduler dispatches them: east comes first and has all footprints.
fn parts(due: &DueOrder, starting: &Starting, stage: Stage) -> Vec<Start> {
    let whole = deployment(due, starting);
    let message = Deployment::decode(&whole.message).unwrap();
    let ids = [DeploymentId(Uuid::now_v7()), DeploymentId(Uuid::now_v7())];
    let part = |(at, region): (usize, &str)| {
        let is_here = |name| starting.devices[name].region.as_str() == region;
        let message = Deployment {
            deployment: ids[at],
            region: RegionName::new(region).unwrap(),
            devices: message.devices.iter().filter(|work| is_here(&work.device)).cloned().collect(),
            ..message.clone()
        };
        Start {
            deployment: ids[at],
            region: region.to_owned(),
            transaction: Some(ids[0]),
            stage,
            priority: whole.priority,
            message: message.encode().unwrap(),
            footprints: if at == 0 { whole.footprints.clone() } else { serde_json::json!([]) },
        }
    };
    ["east", "west"].into_iter().enumerate().map(part).collect()
}

/// Starts an order over both regions; gives the parts in the east and in the west.
async fn begin(store: &Store, id: OrderId, stage: Stage) -> [DeploymentId; 2] {
    let starting = store.begin_start(&[(id, 1)]).await.unwrap();
    let due = &starting.orders[0];
    let starts = parts(due, &starting, stage);
    let ids = [starts[0].deployment, starts[1].deployment];
    let at = now();
    let entry = moved(due, 1, OrderState::Scheduled, OrderState::InProgress, at);
    starting.finish(&[Decision::Start(starts)], &[entry], at).await.unwrap();
    ids
}

async fn over_both(store: &Store) -> (OrderId, ServiceId, [DeploymentId; 2]) {
    let mut new = order(&[WEST[0], EAST]);
    new.facts.region = "multi".to_owned();
    let service = new.facts.service_id;
    let id = accept(store, new).await;
    (id, service, begin(store, id, Stage::Prepare).await)
}

fn change(id: DeploymentId, state: DeploymentState, sequence: i32) -> DeploymentChange {
    let found = DeviceReport {
        device: name("d"),
        in_force: InForce::Provisional,
        steps: vec![],
        failures: vec![failure(FailureClass::Busy)],
        audit: None,
        guarantee: None,
        tokens_cancelled: false,
        remarks: Vec::new(),
    };
    DeploymentChange {
        id,
        state,
        sequence,
        phase: "hold".to_owned(),
        worker: "w1".to_owned(),
        devices: vec![found],
        in_doubt_since: None,
        confirm_by: (state == DeploymentState::Prepared).then(|| in_s(60)),
    }
}

fn stage(id: DeploymentId, stage: Stage, reasons: &[Failure]) -> StageChange {
    StageChange { id, stage, reasons: reasons.to_vec() }
}

async fn write(store: &Store, settled: Settled) -> Result<(), StoreError> {
    let ids: Vec<DeploymentId> = settled.deployments.iter().map(|change| change.id).collect();
    store.begin_settle(&ids).await.unwrap().finish(&settled, now()).await
}

async fn claim(store: &Store, deployment: DeploymentId, attempt: i32, claim: ClaimKind) -> Option<i32> {
    store.claim(&Claim { deployment, attempt, claim, worker: "w2".to_owned() }).await.unwrap().attempt
}

#[tokio::test]
async fn parts_are_locked_together_and_know_their_order() {
    let database = Database::new().await;
    let store = database.store();
    add(store).await;
    let (id, _, [east, west]) = over_both(store).await;
    let alone = accept(store, order(&[WEST[1]])).await;
    let alone = crate::support::start(store, &[(alone, 1)]).await[0].1;
    let prepared = change(west, DeploymentState::Prepared, 3);
    let confirm_by = prepared.confirm_by;
    write(store, Settled { deployments: vec![prepared], ..Default::default() }).await.unwrap();

    // A report of the one, and of one that has nothing to do with it.
    let settling = store.begin_settle(&[east, alone]).await.unwrap();
    assert_eq!(settling.deployments.len(), 3, "the sibling comes along");
    let of = |id| settling.deployments[&id].part.as_ref().unwrap();
    assert_eq!((of(west).transaction, of(west).order), (east, id));
    assert_eq!((of(east).transaction, of(east).order), (east, id));
    assert_eq!((of(west).confirm_by, of(west).devices.len()), (confirm_by, 1));
    assert_eq!(
        (settling.deployments[&west].state, settling.deployments[&west].stage),
        (DeploymentState::Prepared, Stage::Prepare)
    );
    assert!(settling.deployments[&alone].part.is_none());
    assert_eq!(settling.deployments[&alone].stage, Stage::Whole);
    assert!(settling.orders.contains_key(&id));

    // Somebody with a report of the other waits until this one is done.
    let other = {
        let store = store.clone();
        tokio::spawn(
            async move { store.begin_settle(&[west]).await.map(|settling| settling.deployments.len()) },
        )
    };
    let session = database.session().await.unwrap();
    until("the other to wait", async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        session.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    drop(settling);
    assert_eq!(other.await.unwrap().unwrap(), 2);
}

#[tokio::test]
async fn a_decision_is_sent_under_an_attempt_of_its_own() {
    let database = Database::new().await;
    let store = database.store();
    add(store).await;
    let lease = store.lead_relay().await.unwrap().unwrap();
    let sent = async || -> Vec<(bool, Part)> {
        let rows = lease.take(0, 100).await.unwrap();
        lease.done(&rows.iter().map(|row| row.id).collect::<Vec<_>>()).await.unwrap();
        let part = |row: turnup_store::OutboxRow| match row.work {
            Work::Due(_) => None,
            Work::Deployment { id, region, message, .. } => {
                let part = Part::decode(&message).unwrap();
                assert_eq!(
                    (part.deployment.deployment, part.deployment.region.as_str()),
                    (id, region.as_str())
                );
                Some((row.again, part))
            }
        };
        rows.into_iter().filter_map(part).collect()
    };
    let (id, _, [east, west]) = over_both(store).await;
    let prepare = sent().await;
    let short = |sent: &[(bool, Part)]| -> Vec<_> {
        sent.iter()
            .map(|(again, part)| (*again, part.deployment.deployment, part.stage, part.attempt))
            .collect()
    };
    assert_eq!(short(&prepare), [(false, east, Stage::Prepare, 1), (false, west, Stage::Prepare, 1)]);
    assert_eq!(claim(store, west, 1, ClaimKind::TakeOver).await, Some(2), "within a stage as ever");

    let both = |state| vec![change(east, state, 1), change(west, state, 1)];
    let confirm = || vec![stage(east, Stage::Confirm, &[]), stage(west, Stage::Confirm, &[])];
    let early = write(
        store,
        Settled { deployments: both(DeploymentState::Running), stages: confirm(), ..Default::default() },
    );
    assert!(
        matches!(early.await, Err(StoreError::Refused(_))),
        "nothing is decided of what has not answered"
    );
    assert_eq!(sent().await, [], "and nothing of it has happened");
    let decided =
        Settled { deployments: both(DeploymentState::Prepared), stages: confirm(), ..Default::default() };
    write(store, decided).await.unwrap();
    let confirm = sent().await;
    assert_eq!(short(&confirm), [(false, east, Stage::Confirm, 2), (false, west, Stage::Confirm, 3)]);
    assert_eq!(confirm[1].1.deployment, prepare[1].1.deployment, "the same work");
    let view = store.order(id).await.unwrap().unwrap().deployments.unwrap();
    let shown: Vec<_> =
        view.iter().map(|part| (part.transaction_id, part.stage, part.state, part.confirm_by)).collect();
    assert_eq!(shown, [(Some(east), Stage::Confirm, DeploymentState::Pending, None); 2]);
    assert_eq!(view[1].devices.len(), 1, "what is known of them is known still");

    // What was sent of the stage before gets nothing, whatever its attempt was.
    for attempt in [1, 2] {
        assert_eq!(claim(store, west, attempt, ClaimKind::TakeOver).await, None, "{attempt}");
        assert_eq!(claim(store, west, attempt, ClaimKind::Check).await, None, "{attempt}");
    }
    assert_eq!(claim(store, west, 3, ClaimKind::Check).await, Some(3));
    assert_eq!(claim(store, west, 3, ClaimKind::TakeOver).await, Some(4));
    // Sent again it is of the same stage, and whoever gets it asks.
    let swept = store.sweep(Timestamp::UNIX_EPOCH, in_s(1), None, 100).await.unwrap();
    assert_eq!(swept.deployments, 2);
    assert_eq!(short(&sent().await), [(true, east, Stage::Confirm, 2), (true, west, Stage::Confirm, 3)]);
    assert_eq!(claim(store, west, 3, ClaimKind::TakeOver).await, Some(5));

    // One that has answered is not sent again, nor taken over: the decision comes with the last answer.
    write(
        store,
        Settled { deployments: vec![change(west, DeploymentState::Confirmed, 1)], ..Default::default() },
    )
    .await
    .unwrap();
    assert_eq!(claim(store, west, 5, ClaimKind::TakeOver).await, None);
    assert_eq!(claim(store, west, 5, ClaimKind::Check).await, None);
    assert_eq!(store.sweep(Timestamp::UNIX_EPOCH, in_s(2), None, 100).await.unwrap().deployments, 1);
    assert_eq!(short(&sent().await), [(true, east, Stage::Confirm, 2)]);
    assert_eq!(store.reconcile(now(), 1000).await.unwrap().deployments, 1);
    assert_eq!(short(&sent().await), [(true, east, Stage::Confirm, 2)]);

    let why = [failure(FailureClass::Busy)];
    let undone = Settled {
        deployments: vec![change(east, DeploymentState::Unresolved, 1)],
        stages: vec![stage(east, Stage::Undo, &why), stage(west, Stage::Undo, &why)],
        ..Default::default()
    };
    write(store, undone).await.unwrap();
    assert_eq!(short(&sent().await), [(false, east, Stage::Undo, 3), (false, west, Stage::Undo, 6)]);
    let view = store.deployment(west).await.unwrap().unwrap().0;
    assert_eq!((view.reasons.as_slice(), view.stage), (&why[..], Stage::Undo));
    let settling = store.begin_settle(&[east]).await.unwrap();
    assert_eq!(settling.deployments[&west].part.as_ref().unwrap().reasons, why);
}

/// What the order leaves behind when its parts have ended, as in one region.
async fn end(store: &Store, order: OrderId, [east, west]: [DeploymentId; 2], failures: &[Failure]) {
    let settling = store.begin_settle(&[west]).await.unwrap();
    let at = now();
    let mut done = settled(&settling, &[(order, east)], failures, at);
    let state = if failures.is_empty() { DeploymentState::Confirmed } else { DeploymentState::RolledBack };
    done.deployments = vec![change(east, state, 9), change(west, state, 9)];
    if failures.is_empty() {
        done.confirmed = vec![east];
    }
    for service in &mut done.services {
        if let ServiceChange::Fail { in_force, .. } = service {
            *in_force = vec![(name(WEST[0]), InForce::New), (name(EAST), InForce::Unknown)];
        }
    }
    settling.finish(&done, at).await.unwrap();
}

#[tokio::test]
async fn an_order_over_two_regions_leaves_what_one_in_one_region_leaves() {
    let database = Database::new().await;
    let store = database.store();
    add(store).await;
    let (id, service, parts) = over_both(store).await;
    end(store, id, parts, &[]).await;
    assert_eq!(history(store, id).await.last(), Some(&OrderState::Completed));
    let view = store.order(id).await.unwrap().unwrap();
    let states: Vec<DeploymentState> = view.deployments.unwrap().iter().map(|part| part.state).collect();
    assert_eq!(states, [DeploymentState::Committed; 2]);
    assert_eq!(count(&database, "SELECT count(*) FROM leases WHERE order_id IS NOT NULL").await, 0);
    let on = |footprints: Vec<turnup_store::FootprintRow>| -> Vec<String> {
        footprints.into_iter().map(|footprint| footprint.device).collect()
    };
    assert_eq!(on(store.footprints(service).await.unwrap()), [EAST, WEST[0]]);
    assert_eq!(count(&database, "SELECT count(*) FROM owned_nodes").await, 2);

    // Each of its regions finds it.
    let by_region = async |region: &str| {
        let region = Some(region.to_owned());
        let services = ServiceFilter { region: region.clone(), limit: 9, ..Default::default() };
        let orders = OrderFilter { region, limit: 9, ..Default::default() };
        (
            store.services(&services).await.unwrap().items.len(),
            store.orders(&orders).await.unwrap().items.len(),
        )
    };
    assert_eq!(
        (by_region("east").await, by_region("west").await, by_region("multi").await),
        ((1, 1), (1, 1), (1, 1))
    );
    assert_eq!(by_region("eu").await, (0, 0));

    // A modify order that fails leaves strays in both regions.
    let again = |kind, devices: &[&str], region: &str| {
        let mut new = order(devices);
        (new.facts.kind, new.facts.service_id, new.facts.region) = (kind, service, region.to_owned());
        new
    };
    let modify = accept(store, again(OrderKind::Modify, &[WEST[0], EAST], "multi")).await;
    let parts = begin(store, modify, Stage::Prepare).await;
    end(store, modify, parts, &[failure(FailureClass::Unreachable)]).await;
    assert_eq!(state(store, modify).await, OrderState::FailedDeploy);
    let found = store.footprints(service).await.unwrap();
    assert!(found.iter().all(|row| row.in_force == InForce::Unknown && row.strays.len() == 1), "{found:?}");

    // One that leaves the east: the service is in one region then.
    let mut leave = again(OrderKind::Modify, &[WEST[0], EAST], "multi");
    leave.endpoints.retain(|endpoint| endpoint.device.as_str() == WEST[0]);
    let leave = accept(store, leave).await;
    let parts = begin(store, leave, Stage::Prepare).await;
    end(store, leave, parts, &[]).await;
    let view = store.service(service).await.unwrap().unwrap();
    assert_eq!(
        (view.region.as_str(), view.devices, view.state),
        ("west", vec![WEST[0].to_owned()], ServiceState::Deployed)
    );
    let back = accept(store, again(OrderKind::Modify, &[WEST[1], EAST], "multi")).await;
    let parts = begin(store, back, Stage::Prepare).await;
    end(store, back, parts, &[]).await;
    assert_eq!(store.service(service).await.unwrap().unwrap().region, "multi");

    let gone = accept(store, again(OrderKind::Decommission, &[WEST[0], WEST[1], EAST], "multi")).await;
    let parts = begin(store, gone, Stage::Prepare).await;
    end(store, gone, parts, &[]).await;
    assert!(store.service(service).await.unwrap().is_none());
    let left = "SELECT (SELECT count(*) FROM footprints) + (SELECT count(*) FROM owned_nodes)";
    assert_eq!(count(&database, left).await, 0);
}

#[tokio::test]
async fn each_part_in_doubt_is_told_with_a_number_of_its_own() {
    let database = Database::new().await;
    let store = database.store();
    add(store).await;
    let (id, _, [east, west]) = over_both(store).await;
    let doubt =
        |id| DeploymentChange { in_doubt_since: Some(in_s(-400)), ..change(id, DeploymentState::InDoubt, 1) };
    write(store, Settled { deployments: vec![doubt(east), doubt(west)], ..Default::default() })
        .await
        .unwrap();
    assert_eq!(store.tell_doubts(in_s(-300), now(), 10).await.unwrap(), 2);
    assert_eq!(store.order(id).await.unwrap().unwrap().sequence, 5);
    let numbers = "SELECT sum(sequence)::bigint FROM events WHERE what = 'in_doubt'";
    assert_eq!(count(&database, numbers).await, 4 + 5);
}

#[tokio::test]
async fn audits_over_two_regions_are_whole_in_each() {
    let database = Database::new().await;
    let store = database.store();
    add(store).await;
    let lease = store.lead_relay().await.unwrap().unwrap();
    let mut new = order(&[WEST[0], EAST]);
    new.facts.region = "multi".to_owned();
    let id = accept(store, new).await;
    let [east, west] = begin(store, id, Stage::Whole).await;
    let rows = lease.take(0, 100).await.unwrap();
    let messages = rows.iter().filter_map(|row| match &row.work {
        Work::Deployment { message, .. } => Some(Deployment::decode(message).unwrap().deployment),
        Work::Due(_) => None,
    });
    assert_eq!(messages.collect::<Vec<_>>(), [east, west], "as ever");
    let settling = store.begin_settle(&[west]).await.unwrap();
    assert_eq!(settling.deployments[&east].part.as_ref().unwrap().order, id);
}
