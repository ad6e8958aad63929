//! The sentences for every state and every class of failure, word for word: they are read by people.

use uuid::Uuid;

use super::*;
use crate::message::Step;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn name(name: &str) -> DeviceName {
    DeviceName::new(name).unwrap()
}

fn order(n: u128) -> OrderId {
    OrderId(Uuid::from_u128(n))
}

fn facts(state: OrderState) -> Facts<'static> {
    Facts {
        kind: OrderKind::Provision,
        state,
        since: at(0),
        by: Some("crm"),
        why: None,
        scheduled_for: Some(at(0)),
        attempt: None,
        errors: &[],
        waiting_for: vec![],
        unserved: vec![],
        deployment: None,
    }
}

fn failure(class: FailureClass, device: &str, phase: &str, message: &str) -> Failure {
    Failure::new(class, phase, message).at(name(device))
}

fn device(device: &str, in_force: InForce, steps: &[&str]) -> DeviceReport {
    let step = |step: &&str| Step { step: (*step).to_owned(), at: at(1), took_us: 5 };
    DeviceReport {
        device: name(device),
        in_force,
        steps: steps.iter().map(step).collect(),
        failures: vec![],
        audit: None,
        guarantee: None,
        tokens_cancelled: false,
        remarks: Vec::new(),
    }
}

fn deployed(state: DeploymentState, devices: &[DeviceReport]) -> Deployed<'_> {
    Deployed {
        state,
        stage: Stage::Whole,
        reasons: &[],
        region: "eu",
        attempt: 1,
        phase: Some("commit"),
        worker: Some("w1"),
        devices,
        in_doubt_since: None,
        created_at: at(0),
        updated_at: at(10),
    }
}

#[test]
fn requested_and_cancelled() {
    assert_eq!(
        explain(&facts(OrderState::Requested), at(5)),
        "Requested since 2027-01-15T08:00:00Z: it has no time to start at; schedule it, or cancel it."
    );
    let cancelled = Facts { why: Some("no longer wanted."), ..facts(OrderState::Cancelled) };
    assert_eq!(explain(&cancelled, at(5)), "Cancelled since 2027-01-15T08:00:00Z by crm: no longer wanted.");
    assert_eq!(explain(&facts(OrderState::Cancelled), at(5)), "Cancelled since 2027-01-15T08:00:00Z by crm.");
}

#[test]
fn scheduled() {
    let order_of = |waiting_for| Facts { waiting_for, ..facts(OrderState::Scheduled) };
    assert_eq!(
        explain(&order_of(vec![]), at(-300)),
        "Scheduled for 2027-01-15T08:00:00Z, in 5 min: it starts then, or as soon as its devices are free."
    );
    assert_eq!(
        explain(&order_of(vec![]), at(1)),
        "Scheduled for 2027-01-15T08:00:00Z: its time has come, it is about to start."
    );
    let late = explain(&order_of(vec![]), at(60));
    assert!(late.contains("60 s ago") && late.contains("the scheduler is behind"), "{late}");
    let front = |device: &str, state| Front { device: name(device), order: order(7), is_exam: false, state };
    let waiting = order_of(vec![
        front("pe1", Some((OrderState::InProgress, at(-60)))),
        front("pe2", Some((OrderState::Scheduled, at(-60)))),
        front("pe3", None),
    ]);
    assert_eq!(
        explain(&waiting, at(5)),
        "Scheduled for 2027-01-15T08:00:00Z, waits for \
         pe1, which order 00000000-0000-0000-0000-000000000007 holds since 2027-01-15T07:59:00Z, and for \
         pe2, for which order 00000000-0000-0000-0000-000000000007 (Scheduled) came earlier, and for \
         pe3, which order 00000000-0000-0000-0000-000000000007 holds or has asked for earlier."
    );
    let many = order_of((0..6).map(|n| front(&format!("pe{n}"), None)).collect());
    assert!(explain(&many, at(5)).ends_with(" and 2 more."));
}

#[test]
fn an_order_that_waits_for_its_next_attempt_says_why() {
    let errors = [
        failure(FailureClass::Unreachable, "pe4", "connect", "connection refused"),
        failure(FailureClass::Undone, "pe1", "prepare", "undone"),
    ];
    let devices =
        [device("pe1", InForce::Old, &["connect", "lock"]), device("pe4", InForce::Old, &["connect"; 3])];
    let waits = Facts {
        attempt: Some((2, 3)),
        errors: &errors,
        deployment: Some(deployed(DeploymentState::RolledBack, &devices)),
        ..facts(OrderState::Scheduled)
    };
    assert_eq!(
        explain(&waits, at(-25)),
        "Scheduled for 2027-01-15T08:00:00Z, in 25 s, when it is tried again (attempt 2 of 3): pe4 could not be \
         reached (connect: connection refused) after 3 tries; pe1 was undone; schedule it for now or another time, \
         or cancel it, if it should not wait."
    );
    assert!(explain(&waits, at(1)).ends_with("its time has come, it is about to start."));
    let running = Facts { state: OrderState::InProgress, deployment: None, ..waits.clone() };
    assert_eq!(
        explain(&running, at(1)),
        "In Progress since 2027-01-15T08:00:00Z for attempt 2 of 3: its deployment is not known."
    );
    let over = Facts { state: OrderState::FailedDeploy, attempt: Some((3, 3)), ..waits };
    let over = explain(&over, at(1));
    assert!(
        over.starts_with("Failed Deploy since 2027-01-15T08:00:00Z, after 3 attempts: pe4 could"),
        "{over}"
    );
}

#[test]
fn in_progress() {
    let of = |deployment| Facts { deployment: Some(deployment), ..facts(OrderState::InProgress) };
    let mut pending = deployed(DeploymentState::Pending, &[]);
    assert_eq!(
        explain(&of(pending), at(5)),
        "In Progress since 2027-01-15T08:00:00Z: sent to the workers of eu at 2027-01-15T08:00:00Z, the first \
         report is due."
    );
    pending.region = "us";
    let long = explain(&of(pending), at(300));
    assert!(long.contains("the workers of us 5 min ago, and none has reported yet"), "{long}");
    let mut slow = device("pe4", InForce::Old, &[]);
    slow.failures = vec![failure(FailureClass::Busy, "pe4", "lock", "held by session 7")];
    let devices = [device("pe1", InForce::Old, &[]), slow];
    let mut running = deployed(DeploymentState::Running, &devices);
    running.attempt = 2;
    assert_eq!(
        explain(&of(running), at(12)),
        "In Progress since 2027-01-15T08:00:00Z: w1 is in the phase commit (2 s ago, attempt 2); pe4 was busy \
         (lock: held by session 7)."
    );
    let devices = [device("pe1", InForce::Unknown, &[]), device("pe2", InForce::New, &[])];
    let doubt = Deployed { in_doubt_since: Some(at(8)), ..deployed(DeploymentState::InDoubt, &devices) };
    assert_eq!(
        explain(&of(doubt), at(20)),
        "In Progress: a commit was sent to pe1, and since 2027-01-15T08:00:08Z there is no answer; w1 is reading \
         back what is in force (in doubt for 12 s)."
    );
    for state in DeploymentState::ALL.iter().copied().filter(|state| state.is_final()) {
        let ended = explain(&of(deployed(state, &[])), at(20));
        assert!(ended.contains(state.title()) && ended.contains("being recorded"), "{ended}");
    }
    assert!(explain(&facts(OrderState::InProgress), at(5)).contains("not known"));
}

#[test]
fn over_several_regions() {
    let of = |deployment| {
        explain(&Facts { deployment: Some(deployment), ..facts(OrderState::InProgress) }, at(12))
    };
    let prepared = of(Deployed { stage: Stage::Prepare, ..deployed(DeploymentState::Prepared, &[]) });
    assert!(prepared.contains("provisionally in force in eu since 2027-01-15T08:00:10Z"), "{prepared}");
    let confirm = Deployed { stage: Stage::Confirm, ..deployed(DeploymentState::Running, &[]) };
    assert_eq!(
        of(confirm),
        "In Progress since 2027-01-15T08:00:00Z, ready in all regions and to be confirmed in all: w1 is in the \
         phase commit (2 s ago)."
    );
    let why = [failure(FailureClass::Busy, "pe4", "lock", "held by session 7")];
    let undo = Deployed { stage: Stage::Undo, ..deployed(DeploymentState::Pending, &[]) };
    assert_eq!(
        of(Deployed { reasons: &why, ..undo }),
        "In Progress since 2027-01-15T08:00:00Z, to be undone in all regions as pe4 was busy (lock: held by \
         session 7): sent to the workers of eu at 2027-01-15T08:00:00Z, the first report is due."
    );
    let late = [Failure::new(FailureClass::Unreachable, "decide", "x")];
    let late = of(Deployed { reasons: &late, ..undo });
    assert!(late.contains("to be undone in all regions as not all were ready in time: sent"), "{late}");
}

#[test]
fn completed() {
    let devices = [device("pe1", InForce::New, &[]), device("pe2", InForce::New, &[])];
    let of = |kind| Facts {
        kind,
        deployment: Some(deployed(DeploymentState::Committed, &devices)),
        ..facts(OrderState::Completed)
    };
    for (kind, wanted) in [
        (OrderKind::Provision, "it is in force on pe1 and pe2, by w1."),
        (OrderKind::Modify, "it is in force on pe1 and pe2, by w1."),
        (OrderKind::Redeploy, "it is in force on pe1 and pe2, by w1."),
        (OrderKind::Decommission, "what the service had on pe1 and pe2 is removed, by w1."),
        (
            OrderKind::Validate,
            "pe1 and pe2 were looked at; 'turnup service audit' shows what was found, by w1.",
        ),
    ] {
        assert_eq!(
            explain(&of(kind), at(5)),
            format!("Completed since 2027-01-15T08:00:00Z: {wanted}"),
            "{kind}"
        );
    }
    assert!(explain(&facts(OrderState::Completed), at(5)).contains("its devices"));
}

#[test]
fn failed_deploy_names_the_device_the_line_the_tries_and_what_became_of_the_others() {
    let refused = "TCP connect: connection refused";
    let errors = [
        failure(FailureClass::Undone, "pe1", "undo", "undone with the others, because of pe4"),
        failure(FailureClass::Unreachable, "pe4", "connect", refused),
    ];
    let devices = [
        device("pe1", InForce::Old, &["connect", "lock", "undo"]),
        device("pe2", InForce::Old, &[]),
        device("pe4", InForce::Old, &["connect", "connect", "connect"]),
    ];
    let failed = Facts {
        errors: &errors,
        deployment: Some(deployed(DeploymentState::RolledBack, &devices)),
        ..facts(OrderState::FailedDeploy)
    };
    assert_eq!(
        explain(&failed, at(60)),
        "Failed Deploy since 2027-01-15T08:00:00Z: pe4 could not be reached (connect: TCP connect: connection \
         refused) after 3 tries; pe1 was undone; schedule it again once pe4 answers."
    );
}

#[test]
fn failed_deploy_in_every_class() {
    for (class, wanted) in [
        (
            FailureClass::Busy,
            "pe4 was busy (lock: said); schedule it again when no other client is at work on pe4.",
        ),
        (
            FailureClass::Unreachable,
            "pe4 could not be reached (lock: said); schedule it again once pe4 answers.",
        ),
        (
            FailureClass::Distrusted,
            "pe4 and turnup do not trust each other (lock: said); put the host key ('turnup device trust') or \
             the login of pe4 right, then schedule it again.",
        ),
        (
            FailureClass::InDoubt,
            "what is in force on pe4 is not known (lock: said); look at pe4, then schedule it again: that puts \
             in force what is missing.",
        ),
        (
            FailureClass::BrokenPeer,
            "pe4 does not keep to the protocol (lock: said); 'turnup deployment transcript' shows what was \
             said; schedule it again when it is put right.",
        ),
        (
            FailureClass::Misconfigured,
            "the work at pe4 could not be done as configured (lock: said); put the configuration of the worker \
             or of the device right, then schedule it again.",
        ),
        (
            FailureClass::NotWorking,
            "the service did not work at pe4 (lock: said); find out why the service does not come up at pe4, then \
             schedule it again.",
        ),
        (FailureClass::Undone, "pe4 was undone (lock: said); schedule it again, or cancel it."),
        (FailureClass::Invalid, "pe4 refuses the content (lock: said); schedule it again, or cancel it."),
    ] {
        let errors = [failure(class, "pe4", "lock", "said.\nand more")];
        let failed = Facts { errors: &errors, ..facts(OrderState::FailedDeploy) };
        assert_eq!(
            explain(&failed, at(60)),
            format!("Failed Deploy since 2027-01-15T08:00:00Z: {wanted}"),
            "{class}"
        );
    }
    let all: std::collections::BTreeSet<&str> = FailureClass::ALL.iter().map(|class| class.word()).collect();
    assert_eq!(all.len(), 9, "a new class needs its sentence above");
}

#[test]
fn what_is_in_force_here_and_not_known_there_is_said() {
    let errors = [failure(FailureClass::InDoubt, "pe3", "confirm", "no answer")];
    let devices = [
        device("pe1", InForce::New, &[]),
        device("pe2", InForce::Unknown, &[]),
        device("pe3", InForce::Unknown, &[]),
    ];
    let failed = Facts {
        errors: &errors,
        deployment: Some(deployed(DeploymentState::Unresolved, &devices)),
        ..facts(OrderState::FailedDeploy)
    };
    let said = explain(&failed, at(60));
    assert!(said.contains("on pe1 it is in force; what is in force on pe2 is not known"), "{said}");
}

#[test]
fn invalid_says_what_the_device_refuses_first() {
    let mut bad = failure(FailureClass::Invalid, "pe2", "edit-config", "mtu out of range");
    bad.error_tag = Some("invalid-value".to_owned());
    bad.path = Some("/interfaces/interface/mtu".to_owned());
    let errors = [failure(FailureClass::Busy, "pe1", "lock", "held"), bad];
    let invalid = Facts { errors: &errors, ..facts(OrderState::Invalid) };
    assert_eq!(
        explain(&invalid, at(60)),
        "Invalid since 2027-01-15T08:00:00Z: pe2 refuses the content (edit-config: invalid-value: mtu out of \
         range, at /interfaces/interface/mtu); pe1 was busy (lock: held); correct it with 'turnup order recreate'."
    );
    let errors = [Failure::new(FailureClass::Invalid, "plan", "vlan 7 is taken")];
    let invalid = Facts { errors: &errors, ..facts(OrderState::Invalid) };
    assert!(explain(&invalid, at(60)).contains(": plan: vlan 7 is taken; correct it"));
}

#[test]
fn many_devices_and_long_lines_stay_a_sentence() {
    let errors: Vec<Failure> = (0..9)
        .map(|n| failure(FailureClass::Unreachable, &format!("pe{n}"), "connect", &"ä".repeat(1_000)))
        .collect();
    let failed = Facts { errors: &errors, ..facts(OrderState::FailedDeploy) };
    let said = explain(&failed, at(60));
    assert!(said.contains("5 more failures") && said.contains("pe3 and 5 more answer"), "{said}");
    assert!(said.chars().count() < 1_500, "{said}");
}

#[test]
fn spans_are_in_their_greatest_unit() {
    for (seconds, wanted) in
        [(-5, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (172_800, "2 days")]
    {
        assert_eq!(span(at(0), at(seconds)), wanted);
    }
}

#[test]
fn scheduled_order_names_the_region_that_is_not_configured() {
    let region = RegionName::new("eu-wst").unwrap();
    let facts = Facts { unserved: vec![(name("pe2"), region)], ..facts(OrderState::Scheduled) };
    assert_eq!(
        explain(&facts, at(60)),
        "Scheduled for 2027-01-15T08:00:00Z, but it can't start: device pe2 is in region eu-wst, which is not \
         configured, so no worker can reach it; move the device with 'turnup device set pe2 --region REGION', or add \
         the region to 'regions', run 'turnup migrate' and start a worker for it; or cancel the order."
    );
}
