//! Questions to devices through the workers: what a device is, its YANG, and plans tried on it.

use serde_json::json;
use turnup_tests::{Cluster, Options, cluster::eline};

const A: &str = "sim-eu-west-1";
const Z: &str = "sim-eu-west-2";

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_checked_and_plans_are_tried_on_it() {
    let cluster = Cluster::running(Options::default()).await;
    let check = cluster.api.post(&format!("/v1/devices/{A}/check"), &json!({"fetch_yang": true})).await;
    assert_eq!(check.status, 200, "{check:?}");
    let found = &check.body["check"];
    assert_eq!((&found["trusted"], &found["method"].is_string()), (&json!(true), &true), "{check:?}");
    assert_eq!(check.body["failures"], json!([]), "{check:?}");
    let modules = check.body["schemas"].as_array().unwrap().len();
    assert!(modules > 0, "{check:?}");
    assert_eq!(cluster.api.get(&format!("/v1/devices/{A}/check")).await.body, check.body);

    // From now on plans are checked with the device's own modules.
    let before = [A, Z].map(|device| cluster.running_config(device));
    let path = "/v1/orders?dry_run=true&on_device=true";
    let good = cluster.api.post(path, &eline(1, A, Z)).await;
    assert_eq!(good.status, 200, "{good:?}");
    let checked =
        json!({"platform": "sim", "checked": true, "modules": modules, "left_out": [], "unchecked": []});
    assert_eq!(good.body["yang"], json!([checked]));
    for device in good.body["on_device"].as_array().unwrap() {
        assert_eq!((&device["ok"], &device["failures"]), (&json!(true), &json!([])), "{good:?}");
    }
    assert_eq!([A, Z].map(|device| cluster.running_config(device)), before, "only tried");
    let mut wrong = eline(2, A, Z);
    wrong["attributes"]["mtu"] = json!(9600);
    let refused = cluster.api.post(path, &wrong).await;
    assert_eq!(refused.status, 422, "the device takes 9216: {refused:?}");
    assert!(refused.body["errors"][0]["detail"].as_str().unwrap().contains("/mtu"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_says_what_yang_is_not_at_hand_for() {
    let cluster = Cluster::running(Options::default()).await;
    let mut wrong = eline(1, A, Z);
    wrong["attributes"]["mtu"] = json!(9600);
    let tried = cluster.api.post("/v1/orders?dry_run=true&on_device=true", &wrong).await;
    assert_eq!(tried.status, 200, "{tried:?}");
    assert_eq!(tried.body["yang"][0]["checked"], false);
    for device in tried.body["on_device"].as_array().unwrap() {
        assert_eq!(
            (&device["ok"], &device["failures"][0]["class"]),
            (&json!(false), &json!("invalid")),
            "{tried:?}"
        );
    }
}
