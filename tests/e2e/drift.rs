//! Services that were changed by hand before they are modified: refused, repaired along or marked, as the definition says.

use serde_json::{Value, json};
use turnup_tests::{Cluster, Options, cluster::eline, invariants};

const A: &str = "sim-eu-west-1";
const Z: &str = "sim-eu-west-2";
const EAST: &str = "sim-us-east-1";

/// Publishes a version of `eline` with this line.
fn publish(cluster: &Cluster, version: u32, line: &str) {
    let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/services/eline");
    let copy = cluster.dir.join(format!("{version}")).join("eline");
    std::fs::create_dir_all(&copy).unwrap();
    for entry in std::fs::read_dir(shipped).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let main = copy.join("definition.yaml");
    let text = std::fs::read_to_string(&main).unwrap();
    let text = text.replace("version: 1\n", &format!("version: {version}\n{line}\n"));
    std::fs::write(&main, text).unwrap();
    let said = cluster.command(&["definition", "publish", &copy.display().to_string()]);
    assert_eq!(said, format!("eline version {version}: published\n"));
}

async fn order(cluster: &Cluster, mut order: Value, state: &str) -> Value {
    order["schedule"] = json!("now");
    let answer = cluster.api.post("/v1/orders", &order).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    cluster.order_in(answer.body["id"].as_str().unwrap(), state).await
}

/// The id of a new service between two devices, and the order that changes its MTU.
async fn provision(cluster: &Cluster, n: u32, z: &str) -> (String, Value) {
    let mut request = eline(n, A, z);
    let done = order(cluster, request.clone(), "completed").await;
    let fields = request.as_object_mut().unwrap();
    for field in ["schedule", "external_id", "definition"] {
        fields.remove(field);
    }
    let service = done["service_id"].as_str().unwrap().to_owned();
    request["kind"] = json!("modify");
    request["service_id"] = json!(service);
    request["attributes"]["mtu"] = json!(9000);
    (service, request)
}

/// The pseudowire of the service loses its control word, which no order here changes.
fn by_hand(cluster: &Cluster, device: &str, service: &str) {
    let edit = format!(
        "<config xmlns='urn:ietf:params:xml:ns:netconf:base:1.0' xmlns:nc='urn:ietf:params:xml:ns:netconf:base:1.0'>\
         <pseudowires xmlns='urn:turnup:sim'><pseudowire><name>eline-{service}</name>\
         <control-word nc:operation='delete'/></pseudowire></pseudowires></config>"
    );
    cluster.simulator.device(device).unwrap().edit_running(&edit).unwrap();
    assert!(!has_control_word(cluster, device, service));
}

fn has_control_word(cluster: &Cluster, device: &str, service: &str) -> bool {
    let path = format!("/pseudowires/pseudowire[name='eline-{service}']/control-word");
    cluster.simulator.device(device).unwrap().running().contains_key(&path)
}

async fn service(cluster: &Cluster, id: &str) -> Value {
    cluster.api.get(&format!("/v1/services/{id}")).await.body
}

fn drift_of<'o>(order: &'o Value, device: &str) -> &'o Value {
    let errors = order["errors"].as_array().unwrap();
    let found = errors.iter().find(|error| error["phase"] == "drift" && error["device"] == device);
    found.unwrap_or_else(|| panic!("{order:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_on_one_device_refuses_a_modify_on_both_until_it_is_repaired() {
    let cluster = Cluster::running(Options::default()).await;
    let (id, modify) = provision(&cluster, 1, Z).await;
    by_hand(&cluster, Z, &id);
    let before = [A, Z].map(|device| cluster.running_config(device));

    let plan = cluster.api.post("/v1/orders?dry_run=true&on_device=true", &modify).await;
    assert_eq!(plan.status, 200, "{plan:?}");
    let tried = plan.body["on_device"].as_array().unwrap();
    let of_z = tried.iter().find(|tried| tried["device"] == Z).unwrap();
    assert_eq!((&of_z["ok"], &of_z["failures"][0]["phase"]), (&json!(false), &json!("drift")), "{of_z:#}");
    assert!(tried.iter().any(|tried| tried["device"] == A && tried["ok"] == true), "{tried:#?}");

    // The second one finds a service whose last attempt failed, which writes all of it again: refused as well.
    for _ in 0..2 {
        let refused = order(&cluster, modify.clone(), "invalid").await;
        let failure = drift_of(&refused, Z);
        assert_eq!(failure["class"], "invalid");
        let message = failure["message"].as_str().unwrap();
        assert!(message.contains("control-word is missing"), "{message}");
        assert!(
            message.contains("turnup service audit") && message.contains("turnup service redeploy"),
            "{message}"
        );
        assert_eq!(
            [A, Z].map(|device| cluster.running_config(device)),
            before,
            "nothing is changed anywhere"
        );
        assert_eq!(service(&cluster, &id).await["attributes"]["mtu"], 1500);
    }
    let shown = cluster.command(&["order", "list", "--state", "invalid"]);
    assert!(shown.contains("modify"), "{shown}");

    order(&cluster, json!({"kind": "redeploy", "service_id": id}), "completed").await;
    assert!(has_control_word(&cluster, Z, &id));
    order(&cluster, modify, "completed").await;
    assert_eq!(service(&cluster, &id).await["attributes"]["mtu"], 9000);
    // What is gone by hand doesn't keep a service from being removed.
    by_hand(&cluster, Z, &id);
    order(&cluster, json!({"kind": "decommission", "service_id": id}), "completed").await;
    assert!([A, Z].iter().all(|device| !cluster.running_config(device).contains(&id)));
    invariants::history_is_lawful(&cluster).await;
    invariants::network_is_as_recorded(&cluster).await;
    invariants::nothing_is_stuck(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_in_one_region_refuses_a_modify_in_both() {
    let cluster = Cluster::running(Options::default()).await;
    let (id, modify) = provision(&cluster, 1, EAST).await;
    by_hand(&cluster, EAST, &id);
    let before = [A, EAST].map(|device| cluster.running_config(device));
    let refused = order(&cluster, modify, "invalid").await;
    drift_of(&refused, EAST);
    assert_eq!(refused["deployments"].as_array().unwrap().len(), 2, "{refused:#}");
    assert_eq!([A, EAST].map(|device| cluster.running_config(device)), before);
    invariants::history_is_lawful(&cluster).await;
    invariants::nothing_is_stuck(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_repaired_along_also_where_the_order_changes_nothing() {
    let cluster = Cluster::running(Options::default()).await;
    publish(&cluster, 2, "drift: {found: repair, untouched_devices: true}");
    for (n, z) in [(1, Z), (2, EAST)] {
        let (id, modify) = provision(&cluster, n, z).await;
        by_hand(&cluster, z, &id);
        // A change of nothing: the device is only read, and repaired.
        let mut same = modify.clone();
        same["attributes"].as_object_mut().unwrap().remove("mtu");
        let done = order(&cluster, same.clone(), "completed").await;
        assert!(has_control_word(&cluster, z, &id), "{done:#}");
        let devices = done["deployments"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|deployment| deployment["devices"].as_array().unwrap().clone());
        let repaired: Vec<Value> = devices
            .filter(|device| device["remarks"].to_string().contains("repaired along"))
            .map(|device| device["device"].clone())
            .collect();
        assert_eq!(repaired, [z], "{done:#}");
        let from = cluster.simulator.journal().unwrap().len();
        order(&cluster, same, "completed").await;
        assert_eq!(cluster.simulator.journal().unwrap().len(), from, "no device is committed to for nothing");

        by_hand(&cluster, z, &id);
        order(&cluster, modify, "completed").await;
        assert!(has_control_word(&cluster, z, &id));
        invariants::network_is_as_recorded(&cluster).await;
    }
    invariants::history_is_lawful(&cluster).await;
    invariants::nothing_is_stuck(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn order_that_proceeds_beside_drift_marks_its_service() {
    let cluster = Cluster::running(Options::default()).await;
    publish(&cluster, 2, "drift: {found: proceed, untouched_devices: true}");
    for (n, z) in [(1, Z), (2, EAST)] {
        let (id, modify) = provision(&cluster, n, z).await;
        by_hand(&cluster, z, &id);
        let done = order(&cluster, modify, "completed").await;
        assert!(!has_control_word(&cluster, z, &id), "{done:#}");
        assert!([A, z].iter().all(|device| cluster.running_config(device).contains("9000")));
        let shown = service(&cluster, &id).await;
        assert_eq!(
            (&shown["state"], &shown["config_audit"]),
            (&json!("deployed"), &json!("drifted")),
            "{shown:#}"
        );
        let audit = cluster.api.get(&format!("/v1/services/{id}/audit")).await.body;
        assert_eq!(audit["order"], done["id"], "{audit:#}");
        let differences = audit["devices"].to_string();
        assert!(differences.contains("control-word"), "{audit:#}");
        assert!(cluster.command(&["service", "show", &id, "--audit"]).contains("Drifted"));
        let events = cluster.api.get("/v1/events?type=dev.turnup.service.audited.v1").await.body;
        let events = events["items"].as_array().unwrap();
        assert_eq!(events.len(), usize::try_from(n).unwrap(), "{events:#?}");
        assert_eq!(events.last().unwrap()["data"]["config"], "drifted", "{events:#?}");
    }
    invariants::history_is_lawful(&cluster).await;
    invariants::nothing_is_stuck(&cluster).await;
}
