//! The shipped definitions on the simulator's own datastores: devices take what is rendered, the checks hold
//! then and don't when something is down, and decommissioning leaves nothing but ports.

use std::time::Instant;

use serde_json::json;
use turnup_core::{
    audit::{Check, CheckAsk, CheckCondition, Test},
    name::DeviceName,
};
use turnup_device_sim::{
    datastore::{Commit, Datastores, Edit, SessionId},
    path::Path,
};
use turnup_netconf::{
    namespace::BASE,
    operation::{DefaultOperation, ErrorOption, TestOption},
    xml::{Element, Limits, parse_str},
};
use turnup_plan::{Definition, Footprint};

use crate::{change, definition, service, shipped, shipped::example};

const SESSION: SessionId = SessionId { boot: 0, number: 1 };

fn element(name: &str, content: &str) -> Element {
    parse_str(&format!("<{name} xmlns='{BASE}'>{content}</{name}>"), &Limits::default()).unwrap()
}

fn edit(device: &mut Datastores, content: &str) {
    let config = element("config", content);
    let edit = Edit {
        default_operation: DefaultOperation::Merge,
        test_option: TestOption::TestThenSet,
        error_option: ErrorOption::RollbackOnError,
        config: &config,
    };
    device.edit_candidate(SESSION, edit).unwrap_or_else(|errors| panic!("{content}\n{errors:?}"));
    let transition = device
        .plan_commit(SESSION, &Commit::default(), Instant::now())
        .unwrap_or_else(|errors| panic!("{content}\n{errors:?}"));
    device.apply(transition);
}

/// The values at a path, whose predicates the filter of the question has seen to.
fn values(top: &Element, path: &str) -> Vec<String> {
    let mut nodes = vec![top];
    for step in
        path.split("[name=").flat_map(|part| part.rsplit(']').next()).collect::<String>().split('/').skip(1)
    {
        nodes = nodes.into_iter().flat_map(Element::children).filter(|child| child.name() == step).collect();
    }
    nodes.into_iter().map(|node| node.text().into_owned()).collect()
}

fn holds(condition: &CheckCondition, top: &Element) -> bool {
    assert_eq!(condition.test, Test::Is, "the others are the worker's matter");
    let found = values(top, &condition.path);
    !found.is_empty() && found.iter().all(|value| *value == condition.value)
}

fn passes(device: &Datastores, check: &Check) -> bool {
    // Pings are answered by the device around the datastores.
    let CheckAsk::Get(asked) = &check.ask else { return true };
    let read = device.get(jiff::Timestamp::now(), Vec::new, Some(&element("filter", asked)));
    check.conditions.iter().all(|condition| holds(condition, &read))
}

/// The first device of a definition's example: name, footprint and checks.
fn first(definition: &Definition) -> (DeviceName, Footprint, Vec<Check>) {
    let (attributes, endpoints) = example(definition);
    let checked = definition.check(&attributes, &endpoints, |_| Some("sim".parse().unwrap())).unwrap();
    let (attributes, endpoints) = (&checked.attributes, &checked.endpoints);
    let mut planned = definition.footprints(service(), attributes, endpoints, &checked.platforms).unwrap();
    let device = endpoints[0].device.clone();
    let checks = definition.checks(service(), attributes, endpoints, &checked.platforms, &device).unwrap();
    let footprint = planned.remove(&device).unwrap();
    (device, footprint, checks)
}

#[test]
fn examples_live_and_go_on_the_simulator() {
    // Whether a user can log in, no check can ask.
    for definition in shipped().iter().filter(|definition| definition.name().as_str() != "user") {
        let (_, footprint, checks) = first(definition);
        let mut device = Datastores::default();
        device.open_session(SESSION);
        assert!(!checks.is_empty(), "{definition:?}");
        assert!(
            checks.iter().any(|check| !passes(&device, check)),
            "{definition:?} works before it is there"
        );

        edit(&mut device, footprint.config());
        for check in &checks {
            assert!(passes(&device, check), "{definition:?}: {}", check.name);
        }

        let port = footprint.owned_nodes()[0].split(']').next().unwrap().to_owned() + "]/oper-status";
        device.set_state(Path::parse(&port).unwrap(), Some("down")).unwrap();
        assert!(checks.iter().any(|check| !passes(&device, check)), "{definition:?} works without its port");

        edit(&mut device, &change(Some(&footprint), None).unwrap().edit);
        let left: Vec<String> = device.running().keys().map(ToString::to_string).collect();
        assert!(
            left.iter().all(|path| path.starts_with("/interfaces/interface") && path.ends_with("/name")),
            "{definition:?} leaves {left:?}"
        );
    }
}

/// Names in operations are the module's.
#[test]
fn pings_are_what_the_module_has() {
    let (_, _, checks) = first(definition(shipped(), "l3vpn"));
    let ping = checks.iter().find_map(|check| match &check.ask {
        CheckAsk::Rpc(asked) => Some((asked, &check.conditions)),
        CheckAsk::Get(_) => None,
    });
    let (asked, conditions) = ping.unwrap();
    let module = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../device-sim/yang/turnup-sim.yang");
    let module = std::fs::read_to_string(module).unwrap();
    let (input, output) = module.split_once("rpc ping").unwrap().1.split_once("output").unwrap();
    let ping = element("rpc", asked);
    for parameter in ping.children().flat_map(Element::children) {
        assert!(input.contains(&format!("leaf {} ", parameter.name())), "{}", parameter.name());
    }
    for condition in conditions {
        assert!(
            output.contains(&format!("leaf {} ", condition.path.trim_start_matches('/'))),
            "{condition:?}"
        );
    }
    assert_eq!(values(&ping, "/ping/count"), [json!(5).to_string()]);
}
