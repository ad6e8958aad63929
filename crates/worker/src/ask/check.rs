//! What is this device?

use std::time::Duration;

use tokio::time::Instant;
use turnup_core::{
    ask::DeviceCheck,
    failure::Failure,
    profile::{ConfirmedCommitUse, Locks, Profile, Startup},
};
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
        remarks: Vec::new(),
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
    found.remarks = remarks(&device.asked.profile, &can);
    found.remarks.append(&mut device.remarks);
    (Some(found), Vec::new())
}

/// What an operator should know of how the device is changed: what it lacks, and what its profile gives up.
fn remarks(profile: &Profile, can: &Capabilities) -> Vec<String> {
    let mut found = Vec::new();
    let confirmed = can.confirmed_commit_1_0() || can.confirmed_commit_1_1();
    match can.candidate() {
        false => found.push(
            "the device has no candidate: running is edited at once, and undone by the inverse edit".to_owned(),
        ),
        true if profile.locks == Locks::Candidate => found.push(
            "only the candidate is locked (profile: locks = \"candidate\"): another client may change running meanwhile"
                .to_owned(),
        ),
        true => {}
    }
    match (can.candidate(), confirmed, profile.confirmed_commit) {
        (true, true, ConfirmedCommitUse::Never) => found.push(
            "its confirmed commits are not used (profile: confirmed_commit = \"never\"): a commit is final, and undone \
             by the inverse edit"
                .to_owned(),
        ),
        (true, true, ConfirmedCommitUse::AsOffered) if !can.confirmed_commit_1_1() => found.push(
            "it offers confirmed-commit 1.0 only: a pending commit ends with its session".to_owned(),
        ),
        (true, false, _) => found.push(
            "it offers no confirmed commit: a commit is final, and undone by the inverse edit".to_owned(),
        ),
        _ => {}
    }
    if profile.startup == Startup::Untouched && can.startup() {
        found.push(
            "running is not copied to startup (profile: startup = \"untouched\"): a reboot loses changes"
                .to_owned(),
        );
    }
    if !profile.ssh_algorithms.is_empty() {
        let names = profile.ssh_algorithms.join(", ");
        found.push(format!("weak SSH algorithms are allowed for its platform: {names}"));
    }
    found
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
    fn remarks_name_what_the_device_lacks_and_the_profile_gives_up() {
        let can = |names: &[&str]| {
            Capabilities::new(names.iter().map(|name| format!("urn:ietf:params:netconf:capability:{name}")))
        };
        let whole = can(&["candidate:1.0", "confirmed-commit:1.1"]);
        assert_eq!(remarks(&Profile::default(), &whole), [""; 0]);
        let profile = Profile {
            locks: Locks::Candidate,
            confirmed_commit: ConfirmedCommitUse::Never,
            ssh_algorithms: vec!["ssh-rsa".to_owned()],
            ..Profile::default()
        };
        let said = remarks(&profile, &whole);
        assert_eq!(said.len(), 3, "{said:?}");
        for (said, wanted) in
            said.iter().zip(["only the candidate is locked", "confirmed commits are not used", "ssh-rsa"])
        {
            assert!(said.contains(wanted), "{said}");
        }
        let lesser = remarks(&Profile::default(), &can(&["candidate:1.0", "confirmed-commit:1.0"]));
        assert!(lesser[0].contains("confirmed-commit 1.0 only"), "{lesser:?}");
        assert!(remarks(&Profile::default(), &can(&["writable-running:1.0"]))[0].contains("no candidate"));
    }

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
