//! Why an order is where it is, in one sentence for people: made from what is stored, by rules alone.

use jiff::{SignedDuration, Timestamp};

use crate::{
    failure::{Failure, FailureClass},
    id::OrderId,
    lifecycle::{DeploymentState, OrderState},
    message::{DeviceReport, InForce, Stage},
    name::{DeviceName, RegionName},
    order::OrderKind,
};

/// Most characters of what a device said.
const LONGEST_LINE: usize = 300;
/// Most devices named one by one.
const MOST_NAMES: usize = 4;
/// An order that is due for longer has not just come.
const SOON: SignedDuration = SignedDuration::from_secs(10);
/// A deployment that nobody has taken for longer is waiting for workers.
const TAKEN_WITHIN: SignedDuration = SignedDuration::from_secs(30);

/// What is known of an order.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// What it asks for.
    pub kind: OrderKind,
    /// Its state.
    pub state: OrderState,
    /// Since when.
    pub since: Timestamp,
    /// Who or what brought it there.
    pub by: Option<&'a str>,
    /// Why, as its history says.
    pub why: Option<&'a str>,
    /// When it is to start.
    pub scheduled_for: Option<Timestamp>,
    /// Which attempt of how many, if it was tried again by itself.
    pub attempt: Option<(u32, u32)>,
    /// Why it is Invalid or Failed Deploy, or is tried again.
    pub errors: &'a [Failure],
    /// Who is in front of it.
    pub waiting_for: Vec<Front>,
    /// Devices in a region that is not configured, with that region.
    pub unserved: Vec<(DeviceName, RegionName)>,
    /// Its newest deployment; of several regions the part that is waited for, with the devices of all.
    pub deployment: Option<Deployed<'a>>,
}

/// An order in front of this one.
#[derive(Debug, Clone)]
pub struct Front {
    /// The device both want.
    pub device: DeviceName,
    /// The order that holds it, or has asked earlier.
    pub order: OrderId,
    /// A device exam holds it, and no order.
    pub is_exam: bool,
    /// That order's state, where it is known, and since when.
    pub state: Option<(OrderState, Timestamp)>,
}

/// What is known of a deployment.
#[derive(Debug, Clone, Copy)]
pub struct Deployed<'a> {
    /// State.
    pub state: DeploymentState,
    /// The stage of which that is told.
    pub stage: Stage,
    /// Why it is undone.
    pub reasons: &'a [Failure],
    /// Its region.
    pub region: &'a str,
    /// Current attempt.
    pub attempt: i32,
    /// Phase last reported.
    pub phase: Option<&'a str>,
    /// Worker that last reported.
    pub worker: Option<&'a str>,
    /// Per device.
    pub devices: &'a [DeviceReport],
    /// Since when a commit's outcome is unknown.
    pub in_doubt_since: Option<Timestamp>,
    /// When it, or its stage, was dispatched.
    pub created_at: Timestamp,
    /// When it was last heard of.
    pub updated_at: Timestamp,
}

/// One sentence: where the order is, why, and what can be done about it.
#[must_use]
pub fn explain(facts: &Facts<'_>, now: Timestamp) -> String {
    let title = facts.state.title();
    let since = time(facts.since);
    match facts.state {
        OrderState::Requested => {
            format!("{title} since {since}: it has no time to start at; schedule it, or cancel it.")
        }
        OrderState::Scheduled => scheduled(facts, now),
        OrderState::InProgress => in_progress(facts, now),
        OrderState::Completed => completed(facts),
        OrderState::Invalid => {
            format!(
                "{title} since {since}: {}; correct it with 'turnup order recreate'.",
                clauses(facts).join("; ")
            )
        }
        OrderState::FailedDeploy => {
            let after = facts.attempt.map(|(number, _)| format!(", after {number} attempts"));
            let after = after.unwrap_or_default();
            format!("{title} since {since}{after}: {}; {}.", clauses(facts).join("; "), advice(facts))
        }
        OrderState::Cancelled => {
            let by = facts.by.map(|by| format!(" by {by}")).unwrap_or_default();
            let why = facts.why.map(|why| format!(": {}", line(why))).unwrap_or_default();
            format!("{title} since {since}{by}{why}.")
        }
    }
}

fn scheduled(facts: &Facts<'_>, now: Timestamp) -> String {
    let Some(at) = facts.scheduled_for else {
        return format!("Scheduled since {}.", time(facts.since));
    };
    if let Some((device, region)) = facts.unserved.first() {
        let more = match facts.unserved.len() {
            1 => String::new(),
            many => format!(" (and {} more devices are in such regions)", many - 1),
        };
        return format!(
            "Scheduled for {}, but it can't start: device {device} is in region {region}, which is not configured, so \
             no worker can reach it{more}; move the device with 'turnup device set {device} --region REGION', or add \
             the region to 'regions', run 'turnup migrate' and start a worker for it; or cancel the order.",
            time(at)
        );
    }
    if at > now
        && let Some((number, of)) = facts.attempt
    {
        return format!(
            "Scheduled for {}, in {}, when it is tried again (attempt {number} of {of}): {}; schedule it for now or \
             another time, or cancel it, if it should not wait.",
            time(at),
            span(now, at),
            clauses(facts).join("; ")
        );
    }
    if at > now {
        return format!(
            "Scheduled for {}, in {}: it starts then, or as soon as its devices are free.",
            time(at),
            span(now, at)
        );
    }
    if facts.waiting_for.is_empty() {
        return match now.duration_since(at) <= SOON {
            true => format!("Scheduled for {}: its time has come, it is about to start.", time(at)),
            false => format!(
                "Scheduled for {}, which is {} ago, and nobody is in front of it: the scheduler is behind or not \
                 running; 'turnup fleet' shows what waits.",
                time(at),
                span(at, now)
            ),
        };
    }
    let fronts: Vec<String> = facts.waiting_for.iter().take(MOST_NAMES).map(front).collect();
    let more = facts.waiting_for.len().saturating_sub(MOST_NAMES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("Scheduled for {}, waits for {}{more}.", time(at), fronts.join(", and for "))
}

fn front(front: &Front) -> String {
    let Front { device, order, is_exam, state } = front;
    if *is_exam {
        return format!("{device}, which is under a device exam: that ends by itself");
    }
    match state {
        Some((OrderState::InProgress, since)) => {
            format!("{device}, which order {order} holds since {}", time(*since))
        }
        Some((state, _)) => format!("{device}, for which order {order} ({}) came earlier", state.title()),
        None => format!("{device}, which order {order} holds or has asked for earlier"),
    }
}

fn in_progress(facts: &Facts<'_>, now: Timestamp) -> String {
    let again = facts.attempt.map(|(number, of)| format!(" for attempt {number} of {of}"));
    let begin = format!("In Progress since {}{}", time(facts.since), again.unwrap_or_default());
    let Some(of) = facts.deployment else {
        return format!("{begin}: its deployment is not known.");
    };
    let begin = format!("{begin}{}", decided(&of));
    let worker = of.worker.unwrap_or("a worker");
    let attempt = if of.attempt > 1 { format!(", attempt {}", of.attempt) } else { String::new() };
    match of.state {
        DeploymentState::Pending if now.duration_since(of.created_at) <= TAKEN_WITHIN => {
            format!(
                "{begin}: sent to the workers of {} at {}, the first report is due.",
                of.region,
                time(of.created_at)
            )
        }
        DeploymentState::Pending => format!(
            "{begin}: sent to the workers of {region} {} ago, and none has reported yet; see with 'turnup fleet' \
             whether workers of {region} are running and how much they have to do.",
            span(of.created_at, now),
            region = of.region
        ),
        DeploymentState::Running => {
            let phase = of.phase.unwrap_or("start");
            let troubles = troubles(of.devices);
            let troubles =
                if troubles.is_empty() { String::new() } else { format!("; {}", troubles.join("; ")) };
            format!(
                "{begin}: {worker} is in the phase {phase} ({} ago{attempt}){troubles}.",
                span(of.updated_at, now)
            )
        }
        DeploymentState::InDoubt => {
            let unknown = named(of.devices, InForce::Unknown);
            let to = match unknown.is_empty() {
                true => "a device".to_owned(),
                false => names(&unknown),
            };
            let doubt = of.in_doubt_since.unwrap_or(of.updated_at);
            format!(
                "In Progress: a commit was sent to {to}, and since {} there is no answer; {worker} is reading back \
                 what is in force (in doubt for {}{attempt}).",
                time(doubt),
                span(doubt, now)
            )
        }
        DeploymentState::Prepared => format!(
            "{begin}: provisionally in force in {} since {}; the other regions are waited for, then it is confirmed \
             everywhere or undone everywhere.",
            of.region,
            time(of.updated_at)
        ),
        DeploymentState::Confirmed => format!(
            "{begin}: confirmed in {} since {}; the other regions are waited for.",
            of.region,
            time(of.updated_at)
        ),
        DeploymentState::Committed
        | DeploymentState::RolledBack
        | DeploymentState::Rejected
        | DeploymentState::Partly
        | DeploymentState::Unresolved => {
            format!("{begin}: its deployment has ended ({}), which is being recorded.", of.state.title())
        }
    }
}

/// What is decided about a transaction over several regions.
fn decided(of: &Deployed<'_>) -> String {
    match (of.stage, of.reasons.first()) {
        (Stage::Whole | Stage::Prepare, _) => String::new(),
        (Stage::Confirm, _) => ", ready in all regions and to be confirmed in all".to_owned(),
        (Stage::Undo, Some(reason)) if reason.device.is_some() => {
            format!(", to be undone in all regions as {}", clause(reason, of.devices))
        }
        (Stage::Undo, _) => ", to be undone in all regions as not all were ready in time".to_owned(),
    }
}

fn completed(facts: &Facts<'_>) -> String {
    let devices = facts.deployment.map(|of| of.devices).unwrap_or_default();
    let all: Vec<&DeviceName> = devices.iter().map(|report| &report.device).collect();
    let on = if all.is_empty() { "its devices".to_owned() } else { names(&all) };
    let done = match facts.kind {
        OrderKind::Provision | OrderKind::Modify | OrderKind::Redeploy => format!("it is in force on {on}"),
        OrderKind::Decommission => format!("what the service had on {on} is removed"),
        OrderKind::Validate => {
            format!("{on} were looked at; 'turnup service audit' shows what was found")
        }
    };
    let by = facts.deployment.and_then(|of| of.worker).map(|worker| format!(", by {worker}"));
    format!("Completed since {}: {done}{}.", time(facts.since), by.unwrap_or_default())
}

/// What went wrong, and what became of the devices that were not to blame.
fn clauses(facts: &Facts<'_>) -> Vec<String> {
    let devices = facts.deployment.map(|of| of.devices).unwrap_or_default();
    let culprits = culprits(facts.errors);
    let mut clauses: Vec<String> =
        culprits.iter().take(MOST_NAMES).map(|failure| clause(failure, devices)).collect();
    let more = culprits.len().saturating_sub(MOST_NAMES);
    if more > 0 {
        clauses.push(format!("{more} more failures"));
    }
    if clauses.is_empty() {
        clauses.extend(facts.errors.first().map(|failure| clause(failure, devices)));
    }
    if clauses.is_empty() {
        clauses.push(facts.why.map_or_else(|| "the reason is not known".to_owned(), line));
    }
    let blamed = |device: &DeviceName| culprits.iter().any(|failure| failure.device.as_ref() == Some(device));
    let others = |in_force: InForce| -> Vec<&DeviceName> {
        named(devices, in_force).into_iter().filter(|device| !blamed(device)).collect()
    };
    // A device that was never reached has nothing to be undone.
    let undone: Vec<&DeviceName> = others(InForce::Old)
        .into_iter()
        .filter(|name| devices.iter().any(|report| report.device == **name && !report.steps.is_empty()))
        .collect();
    if !undone.is_empty() {
        clauses.push(format!("{} {} undone", names(&undone), if undone.len() == 1 { "was" } else { "were" }));
    }
    let in_force = others(InForce::New);
    if !in_force.is_empty() {
        clauses.push(format!("on {} it is in force", names(&in_force)));
    }
    let unknown = others(InForce::Unknown);
    if !unknown.is_empty() {
        clauses.push(format!("what is in force on {} is not known", names(&unknown)));
    }
    clauses
}

/// The failures that decided: the gravest, each device once.
fn culprits(errors: &[Failure]) -> Vec<&Failure> {
    let mut found: Vec<&Failure> = Vec::new();
    let mut sorted: Vec<&Failure> =
        errors.iter().filter(|failure| failure.class != FailureClass::Undone).collect();
    sorted.sort_by_key(|failure| failure.class != FailureClass::Invalid);
    for failure in sorted {
        if !found.iter().any(|known| known.device == failure.device && known.class == failure.class) {
            found.push(failure);
        }
    }
    found
}

fn clause(failure: &Failure, devices: &[DeviceReport]) -> String {
    let steps = |step: &str| {
        let of = devices.iter().find(|report| Some(&report.device) == failure.device.as_ref());
        of.map_or(0, |report| report.steps.iter().filter(|taken| taken.step == step).count())
    };
    let tries = |step: &str| match steps(step) {
        0 | 1 => String::new(),
        tries => format!(" after {tries} tries"),
    };
    let said = format!("{}: {}", failure.phase, said(failure));
    let Some(device) = &failure.device else {
        return match failure.class {
            FailureClass::Undone => format!("it was undone ({said})"),
            _ => said,
        };
    };
    match failure.class {
        FailureClass::Invalid => format!("{device} refuses the content ({said})"),
        FailureClass::Busy => format!("{device} was busy ({said}){}", tries("lock")),
        FailureClass::Unreachable => format!("{device} could not be reached ({said}){}", tries("connect")),
        FailureClass::Distrusted => format!("{device} and turnup do not trust each other ({said})"),
        FailureClass::InDoubt => format!("what is in force on {device} is not known ({said})"),
        FailureClass::BrokenPeer => format!("{device} does not keep to the protocol ({said})"),
        FailureClass::Misconfigured => {
            format!("the work at {device} could not be done as configured ({said})")
        }
        FailureClass::NotWorking => format!("the service did not work at {device} ({said})"),
        FailureClass::Undone => format!("{device} was undone ({said})"),
    }
}

/// The deciding line: what the device said, or what was seen of it.
fn said(failure: &Failure) -> String {
    let mut said = line(&failure.message);
    if let Some(tag) = &failure.error_tag
        && !said.contains(tag.as_str())
    {
        said = format!("{tag}: {said}");
    }
    if let Some(path) = &failure.path
        && !said.contains(path.as_str())
    {
        said = format!("{said}, at {}", line(path));
    }
    let bad = failure.error_info.iter().find(|info| info.name == "bad-element");
    if let Some(bad) = bad.filter(|bad| !bad.value.is_empty() && !said.contains(bad.value.as_str())) {
        said = format!("{said}, at element {}", line(&bad.value));
    }
    said
}

fn advice(facts: &Facts<'_>) -> String {
    let culprits = culprits(facts.errors);
    let Some(first) = culprits.first() else {
        return "schedule it again, or cancel it".to_owned();
    };
    let of_class: Vec<&DeviceName> = culprits
        .iter()
        .filter(|failure| failure.class == first.class)
        .filter_map(|failure| failure.device.as_ref())
        .collect();
    let devices = if of_class.is_empty() { "the cause".to_owned() } else { names(&of_class) };
    match first.class {
        FailureClass::Unreachable if of_class.is_empty() => "schedule it again".to_owned(),
        FailureClass::Unreachable => {
            format!(
                "schedule it again once {devices} {}",
                if of_class.len() == 1 { "answers" } else { "answer" }
            )
        }
        FailureClass::Busy => format!("schedule it again when no other client is at work on {devices}"),
        FailureClass::Distrusted => format!(
            "put the host key ('turnup device trust') or the login of {devices} right, then schedule it again"
        ),
        FailureClass::InDoubt => {
            format!("look at {devices}, then schedule it again: that puts in force what is missing")
        }
        FailureClass::BrokenPeer => {
            "'turnup deployment transcript' shows what was said; schedule it again when it is put right"
                .to_owned()
        }
        FailureClass::Misconfigured => {
            "put the configuration of the worker or of the device right, then schedule it again".to_owned()
        }
        FailureClass::NotWorking => {
            format!("find out why the service does not come up at {devices}, then schedule it again")
        }
        FailureClass::Invalid | FailureClass::Undone => "schedule it again, or cancel it".to_owned(),
    }
}

/// What goes wrong on the way.
fn troubles(devices: &[DeviceReport]) -> Vec<String> {
    let failures = devices.iter().flat_map(|report| report.failures.first());
    failures
        .filter(|failure| failure.class != FailureClass::Undone)
        .take(MOST_NAMES)
        .map(|failure| clause(failure, devices))
        .collect()
}

fn named(devices: &[DeviceReport], in_force: InForce) -> Vec<&DeviceName> {
    devices.iter().filter(|report| report.in_force == in_force).map(|report| &report.device).collect()
}

/// `a`, `a and b`, `a, b, c, d and 3 more`.
fn names(devices: &[&DeviceName]) -> String {
    let shown: Vec<&str> = devices.iter().take(MOST_NAMES).map(|device| device.as_str()).collect();
    let more = devices.len() - shown.len();
    match shown.split_last() {
        _ if more > 0 => format!("{} and {more} more", shown.join(", ")),
        Some((last, before)) if !before.is_empty() => format!("{} and {last}", before.join(", ")),
        _ => shown.concat(),
    }
}

/// The first line of a text, not too long, without a full stop.
fn line(text: &str) -> String {
    let first = text.trim().lines().next().unwrap_or_default().trim().trim_end_matches('.');
    match first.char_indices().nth(LONGEST_LINE) {
        Some((at, _)) => format!("{}…", &first[..at]),
        None => first.to_owned(),
    }
}

fn time(at: Timestamp) -> String {
    format!("{at:.0}")
}

/// A span of time in its greatest unit, `12 s`, `5 min`; none that is negative.
fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests;
