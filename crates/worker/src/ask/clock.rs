//! What time is it at the device?

use jiff::Timestamp;
use tokio::time::Instant;
use turnup_netconf::{
    operation::{Filter, Operation},
    xml::Element,
};

use crate::device::Device;

/// Where devices tell the time: namespace and path (RFC 7317, and the simulator's own).
const CLOCKS: [(&str, [&str; 3]); 2] = [
    ("urn:ietf:params:xml:ns:yang:ietf-system", ["system-state", "clock", "current-datetime"]),
    ("urn:turnup:sim", ["system", "clock", "current-datetime"]),
];

/// The device's clock, and how far it is ahead of ours in milliseconds, half of the round trip taken off.
/// None if it tells no time.
pub(super) async fn ask(device: &mut Device<'_>, by: Instant) -> Option<(Timestamp, i64)> {
    for (namespace, path) in CLOCKS {
        let get = Operation::get(Some(&filter(namespace, &path)));
        let (sent, began) = (Timestamp::now(), Instant::now());
        // A device that drops the session over this is asked nothing more.
        let replies = device.send("get", &[get], by).await.ok()?;
        let round_trip = began.elapsed();
        let told =
            replies.first().and_then(|reply| reply.data()).and_then(|data| read(data, namespace, &path));
        if let Some(told) = told {
            let ahead = told.as_millisecond() - sent.as_millisecond();
            let half = i64::try_from(round_trip.as_millis() / 2).unwrap_or(i64::MAX);
            return Some((told, ahead.saturating_sub(half)));
        }
    }
    None
}

fn filter(namespace: &str, path: &[&str]) -> Filter {
    let mut steps = path.iter().rev().map(|name| Element::new(namespace, *name));
    let innermost = steps.next().unwrap_or_else(|| Element::new(namespace, "clock"));
    Filter::Subtree(vec![steps.fold(innermost, |inside, step| step.with_child(inside))])
}

fn read(data: &Element, namespace: &str, path: &[&str]) -> Option<Timestamp> {
    let (first, rest) = path.split_first()?;
    data.child(namespace, first)?.descend(rest)?.text().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_offset() {
        let (namespace, path) = CLOCKS[0];
        let data = |time: &str| {
            let Filter::Subtree(tree) = filter(namespace, &path) else { panic!() };
            let mut tree = tree[0].clone();
            let clock = tree.children_mut().next().unwrap().children_mut().next().unwrap();
            clock.set_text(time);
            Element::base("data").with_child(tree)
        };
        let read = |time: &str| read(&data(time), namespace, &path).map(|time| time.as_second());
        assert_eq!(read("1970-01-01T01:00:01.5+01:00"), Some(1));
        assert_eq!(read("1970-01-01T00:00:02Z"), Some(2));
        assert_eq!(read("noon"), None);
        assert_eq!(super::read(&Element::base("data"), namespace, &path), None);
    }
}
