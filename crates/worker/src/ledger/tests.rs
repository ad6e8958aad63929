use turnup_core::{
    id::{DeploymentId, OrderId},
    lifecycle::DeploymentEvent,
    message::{Condition, DeviceEdit, Limits, Purpose},
    name::{PlatformName, RegionName},
};
use uuid::Uuid;

use super::*;

/// Devices 0.. by the orders that have an edit there.
fn deployment(orders: u128, devices: &[&[u128]]) -> Deployment {
    let edit = |order: &u128| DeviceEdit {
        order: OrderId(Uuid::from_u128(*order)),
        edit: format!("<unit><id>{order}</id></unit>"),
        inverse: String::new(),
        filter: String::new(),
        after: Condition::Contains(String::new()),
        before: Condition::Contains(String::new()),
        keys: BTreeMap::new(),
        nodes: turnup_core::nodes::NodeFacts::default(),
        joint: Vec::new(),
        whole: None,
    };
    let devices = devices.iter().enumerate().map(|(n, orders)| DeviceWork {
        device: DeviceName::new(format!("d{n}")).unwrap(),
        address: String::new(),
        port: 830,
        platform: PlatformName::new("sim").unwrap(),
        host_key: None,
        credential: None,
        epoch: 1,
        profile: Default::default(),
        pending_tokens: Vec::new(),
        before_confirm: None,
        inside: turnup_core::nodes::NodeFacts::default(),
        edits: orders.iter().map(edit).collect(),
        audit: None,
    });
    Deployment {
        deployment: DeploymentId(Uuid::from_u128(9)),
        attempt: 1,
        generation: 1,
        region: RegionName::new("r").unwrap(),
        orders: (0..orders).map(|n| OrderId(Uuid::from_u128(n))).collect(),
        purpose: Purpose::Change,
        past_unknown: false,
        devices: devices.collect(),
        limits: Limits::default(),
    }
}

fn found(place: usize, in_force: InForce, failure: Option<(FailureClass, &str)>) -> Found {
    let failures = failure.map(|(class, phase)| Failure::new(class, phase, "why")).into_iter().collect();
    Found { place, in_force, failures }
}

const BAD: Option<(FailureClass, &str)> = Some((FailureClass::Invalid, "edit-config"));

#[test]
fn a_refused_content_is_searched_for_and_ends_alone() {
    let deployment = deployment(3, &[&[0, 1, 2], &[2]]);
    let mut ledger = Ledger::new(&deployment);
    let both = [found(0, InForce::Old, BAD), found(1, InForce::Old, None)];
    assert_eq!(ledger.judge(&[0, 1, 2], &both, "undo"), Tried::Refused(None));
    assert_eq!(ledger.left(), [0, 1, 2]);
    assert_eq!(ledger.judge(&[0], &[found(0, InForce::Old, BAD)], "undo"), Tried::Refused(None));
    let done = [found(0, InForce::New, None), found(1, InForce::New, None)];
    assert_eq!(ledger.judge(&[1, 2], &done, "confirm"), Tried::Over);
    let ending = ledger.ending("confirm");
    assert_eq!(ending.event, DeploymentEvent::PartlyCommitted);
    assert_eq!(
        ending.devices.iter().map(|d| d.in_force).collect::<Vec<_>>(),
        [InForce::Partly, InForce::New]
    );
    assert_eq!(ending.orders[0].failures[0].device.as_ref().unwrap().as_str(), "d0");
    assert!(ending.orders[1].failures.is_empty());
}

#[test]
fn want_of_time_is_no_devices_trouble() {
    let deployment = deployment(3, &[&[0, 1, 2], &[2]]);
    let mut ledger = Ledger::new(&deployment);
    let late = Some((FailureClass::Unreachable, attempt::DEADLINE));
    let both = [found(0, InForce::Old, late), found(1, InForce::Old, late)];
    assert_eq!(ledger.judge(&[0, 1, 2], &both, "undo"), Tried::Refused(None));
    assert_eq!(ledger.judge(&[2], &both, "undo"), Tried::Refused(None));
    assert!(
        ledger.shut_out().is_empty() && ledger.left() == [0, 1],
        "those that are left have their own time"
    );
}

#[test]
fn a_devices_own_trouble_ends_those_that_need_it() {
    let deployment = deployment(4, &[&[0, 1, 2, 3], &[1, 3]]);
    let mut ledger = Ledger::new(&deployment);
    let part =
        [found(0, InForce::Old, BAD), found(1, InForce::Old, Some((FailureClass::Unreachable, "connect")))];
    assert_eq!(ledger.judge(&[0, 1], &part, "undo"), Tried::Without(vec![1]));
    // 3 was not of the part, but needs it.
    assert_eq!(ledger.shut_out(), [3]);
    assert_eq!(ledger.left(), [0, 2]);
    let ending = ledger.ending("undo");
    assert!(ending.orders[3].failures[0].message.contains("not tried"));
    assert_eq!(settle::order_event(&ending.orders[3].failures), turnup_core::lifecycle::OrderEvent::Failed);
}

#[test]
fn nobody_goes_on_where_something_is_in_doubt() {
    let deployment = deployment(3, &[&[0, 1], &[1, 2]]);
    let mut ledger = Ledger::new(&deployment);
    let mixed = [found(0, InForce::New, None), found(1, InForce::Unknown, None)];
    assert_eq!(ledger.judge(&[0, 1], &mixed, "settle"), Tried::Over);
    assert_eq!(ledger.shut_out(), [2]);
    let ending = ledger.ending("settle");
    assert_eq!(ending.event, DeploymentEvent::GivenUp);
    assert!(ending.orders[0].failures.is_empty() && !ending.orders[1].failures.is_empty());
    assert_eq!(
        ending.orders[1].in_force.values().copied().collect::<Vec<_>>(),
        [InForce::New, InForce::Unknown]
    );
    assert_eq!(ending.devices[1].in_force, InForce::Unknown);
}

#[test]
fn strikes_are_not_for_contents() {
    let deployment = deployment(3, &[&[0, 1, 2]]);
    for (class, left) in [(FailureClass::Invalid, vec![2]), (FailureClass::Busy, vec![])] {
        let mut ledger = Ledger::new(&deployment);
        for order in [0, 1] {
            ledger.judge(&[order], &[found(0, InForce::Old, Some((class, "edit-config")))], "undo");
        }
        ledger.shut_out();
        assert_eq!(ledger.left(), left);
    }
}

#[test]
fn a_survey_tells_done_from_halfway_and_unknown() {
    use InForce::{New, Old, Partly};
    let deployment = deployment(4, &[&[0, 1, 2], &[0, 1, 3]]);
    let mut ledger = Ledger::new(&deployment);
    let asked = ledger.part(&[0, 1, 2, 3]);
    let halfway =
        ledger.surveyed(&[0, 1, 2, 3], &asked, vec![Ok(vec![New, New, Old]), Ok(vec![New, Old, Old])]);
    assert_eq!(halfway, [[1]]);
    assert_eq!(ledger.left(), [1, 2, 3]);
    let silent = Answer::Failed { failures: Vec::new(), touched: true };
    let halfway =
        ledger.surveyed(&[1, 2, 3], &ledger.part(&[1, 2, 3]), vec![Ok(vec![New, Old]), Err(silent)]);
    assert!(halfway.is_empty());
    assert_eq!(ledger.left(), [2]);
    assert_eq!(ledger.surveyed(&[2], &ledger.part(&[2]), vec![Ok(vec![Partly])]), [[2]], "done in part");
}

#[test]
fn an_error_path_names_a_suspect_if_it_fits_one() {
    let deployment = deployment(3, &[&[0, 1, 2]]);
    let ledger = Ledger::new(&deployment);
    let named = |path: &str| {
        let mut one = found(0, InForce::Old, BAD);
        one.failures[0].path = Some(path.to_owned());
        ledger.suspect(&[0, 1, 2], &[one])
    };
    assert_eq!(named("/a:unit[a:id='1']/a:vlan"), Some(1));
    assert_eq!(named("/unit[id=\"2\"]"), Some(2));
    assert_eq!((named("/unit[id='7']"), named("/unit"), named("/unit[id=']")), (None, None, None));
}

/// Nobody is Invalid for what was refused in company, when there is no finding out whose it was.
#[test]
fn who_is_refused_in_company_is_not_called_invalid() {
    let both = || {
        let mut one = found(0, InForce::Old, BAD);
        one.failures.push(Failure::new(FailureClass::InDoubt, "cancel-commit", "no answer"));
        one
    };
    for in_force in [InForce::Old, InForce::Unknown] {
        let deployment = deployment(4, &[&[0, 1, 2], &[1, 3]]);
        let mut ledger = Ledger::new(&deployment);
        let part = [Found { in_force, ..both() }, found(1, InForce::Old, BAD)];
        // 3 doesn't need the device in trouble: the search goes on.
        assert_eq!(ledger.judge(&[0, 1, 3], &part, "undo"), Tried::Without(vec![0, 1]), "{in_force}");
        assert_eq!(ledger.shut_out(), [2]);
        assert_eq!(ledger.left(), [3], "{in_force}: the other device isn't shut");
        ledger.judge(&[3], &[found(1, InForce::Old, BAD)], "undo");
        let ending = ledger.ending("undo");
        let events: Vec<_> = ending.orders.iter().map(|order| settle::order_event(&order.failures)).collect();
        use turnup_core::lifecycle::OrderEvent::{Failed, Invalid};
        assert_eq!(events, [Failed, Failed, Failed, Invalid], "{in_force}");
    }
}

#[test]
fn strikes_are_for_what_has_no_reason_and_end_with_a_success() {
    let deployment = deployment(8, &[&[0, 1, 2, 3, 4, 5, 6, 7]]);
    let refused = |path: Option<&str>| {
        let mut one = found(0, InForce::Old, Some((FailureClass::Distrusted, "edit-config")));
        one.failures[0].path = path.map(str::to_owned);
        [one]
    };
    let mut ledger = Ledger::new(&deployment);
    // A right that these orders lack says nothing about others.
    for order in [0, 1, 2] {
        ledger.judge(&[order], &refused(Some("/unit[id='1']")), "undo");
    }
    ledger.judge(&[3], &refused(None), "undo");
    ledger.judge(&[4], &[found(0, InForce::New, None)], "confirm");
    ledger.judge(&[5], &refused(None), "undo");
    ledger.shut_out();
    assert_eq!(ledger.left(), [6, 7]);
    ledger.judge(&[6], &refused(None), "undo");
    assert_eq!(ledger.shut_out(), [7]);
}
