//! What is this device?

use std::time::Duration;

use tokio::time::Instant;
use turnup_core::{ask::DeviceCheck, failure::Failure};
use turnup_netconf::{
    capability::Capabilities,
    ssh::{ConnectError, learn_host_key, verify_host_key},
};

use super::{clock, modules};
use crate::{audit::cut, classify, device::Device, work::Work};

/// Longest time for the key exchange alone.
const KEY_EXCHANGE: Duration = Duration::from_secs(10);
/// Most capabilities told, and the most bytes of each.
const MAX_CAPABILITIES: usize = 2_000;
const MAX_URI_BYTES: usize = 1_000;

/// Finds out what the device is. Its host key is looked at first; nothing else is asked of a device that
/// isn't trusted, and no credentials are sent to it.
pub(super) async fn check(
    device: &mut Device<'_>,
    work: &Work,
    by: Instant,
) -> (Option<DeviceCheck>, Vec<Failure>) {
    let limit = by.saturating_duration_since(Instant::now()).min(KEY_EXCHANGE);
    let algorithms = &work.algorithms;
    let shown = match &work.host_key {
        None => learn_host_key(&work.target, algorithms, limit).await.map(|key| (key.fingerprint(), None)),
        Some(pinned) => match verify_host_key(&work.target, pinned, algorithms, limit).await {
            Ok(key) => Ok((key.fingerprint(), Some(true))),
            Err(ConnectError::HostKeyMismatch { presented, .. }) => Ok((presented, Some(false))),
            Err(error) => Err(error),
        },
    };
    let (host_key, trusted) = match shown {
        Ok(shown) => shown,
        Err(error) => return (None, vec![classify::of_connect(&error)]),
    };
    let mut found = DeviceCheck {
        host_key: Some(host_key),
        trusted,
        capabilities: Vec::new(),
        method: None,
        clock: None,
        clock_skew_ms: None,
        modules: Vec::new(),
        connect_ms: 0,
    };
    if trusted != Some(true) {
        return (Some(found), Vec::new());
    }
    let began = Instant::now();
    if let Err(failure) = device.open(by, false).await {
        return (Some(found), vec![failure]);
    }
    found.connect_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let can = device.capabilities().cloned().unwrap_or_default();
    found.capabilities = can.uris().take(MAX_CAPABILITIES).map(|uri| cut(uri, MAX_URI_BYTES)).collect();
    found.method = method(&can).map(str::to_owned);
    found.modules = modules::of(device, &can).await;
    if let Some((clock, skew_ms)) = clock::ask(device, by).await {
        found.clock = Some(clock);
        found.clock_skew_ms = Some(skew_ms);
    }
    (Some(found), Vec::new())
}

/// The strongest way of changing a device that it offers.
fn method(can: &Capabilities) -> Option<&'static str> {
    match can {
        can if can.candidate() && can.confirmed_commit_1_1() => Some("confirmed-commit:1.1"),
        can if can.candidate() && can.confirmed_commit_1_0() => Some("confirmed-commit:1.0"),
        can if can.candidate() => Some("candidate"),
        can if can.writable_running() => Some("writable-running"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_way_wins() {
        let can = |names: &[&str]| {
            let uris = names.iter().map(|name| format!("urn:ietf:params:netconf:capability:{name}"));
            method(&Capabilities::new(uris))
        };
        assert_eq!(
            can(&["candidate:1.0", "confirmed-commit:1.0", "confirmed-commit:1.1"]),
            Some("confirmed-commit:1.1")
        );
        assert_eq!(can(&["candidate:1.0", "confirmed-commit:1.0"]), Some("confirmed-commit:1.0"));
        assert_eq!(can(&["writable-running:1.0", "candidate:1.0"]), Some("candidate"));
        assert_eq!(can(&["writable-running:1.0", "confirmed-commit:1.1"]), Some("writable-running"));
        assert_eq!(can(&["startup:1.0"]), None);
    }
}
