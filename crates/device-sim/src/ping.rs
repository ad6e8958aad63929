//! The operation `ping` of the module: what is asked, and what a device answers.

use serde::{Deserialize, Serialize};
use turnup_netconf::message::{ErrorTag, ErrorType, RpcError};
use turnup_netconf::xml::Element;

use crate::datastore::Errors;
use crate::schema::{self, PING_COUNT, PING_INPUT};

/// How pings fare; see [`Behaviour::pings`](crate::behaviour::Behaviour::pings).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PingFate {
    /// The destination it holds for; `*` for all.
    pub destination: String,
    /// The VRF it holds for; any and none if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vrf: Option<String>,
    /// How many of a hundred requests get no answer, rounded up for what is sent; 100 at most.
    pub lost_percent: u8,
    /// Mean time from request to answer.
    pub rtt_ms: u32,
}

/// Mean time from request to answer where nothing else is said.
const RTT_MS: u32 = 2;

impl Default for PingFate {
    /// All pings are lost.
    fn default() -> Self {
        Self { destination: "*".to_owned(), vrf: None, lost_percent: 100, rtt_ms: RTT_MS }
    }
}

/// A ping that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ping {
    pub(crate) destination: String,
    pub(crate) vrf: Option<String>,
    pub(crate) count: u8,
}

fn fault(kind: ErrorType, tag: ErrorTag, element: &str, message: impl Into<String>) -> Errors {
    let error = RpcError::new(kind, tag).with_message(message);
    vec![error.with_info([Element::base("bad-element").with_text(element)])]
}

impl Ping {
    /// Understands the operation, by its input in the schema.
    pub(crate) fn parse(operation: &Element) -> Result<Self, Errors> {
        let mut ping = Self { destination: String::new(), vrf: None, count: PING_COUNT };
        for element in operation.children() {
            let name = element.name();
            let node = schema::find(PING_INPUT, name).filter(|_| element.namespace() == schema::NAMESPACE);
            let Some(leaf) = node.and_then(|(_, node)| node.leaf()) else {
                let message = format!("ping has no parameter {name}");
                return Err(fault(ErrorType::Protocol, ErrorTag::UnknownElement, name, message));
            };
            let value = leaf.value.canonical(&element.text()).map_err(|reason| {
                fault(ErrorType::Protocol, ErrorTag::InvalidValue, name, format!("{name} {reason}"))
            })?;
            match name {
                "destination" => ping.destination = value.into(),
                "vrf" => ping.vrf = Some(value.into()),
                _ => ping.count = value.parse().unwrap_or(PING_COUNT),
            }
        }
        if ping.destination.is_empty() {
            let message = "destination is missing";
            return Err(fault(ErrorType::Protocol, ErrorTag::MissingElement, "destination", message));
        }
        Ok(ping)
    }

    /// The content of the answer. `vrf_is_up` says it of the VRF that is named, `None` if there is none of
    /// that name. Nothing is sent in earnest: what isn't said otherwise arrives.
    pub(crate) fn answer(&self, vrf_is_up: Option<bool>, fates: &[PingFate]) -> Result<Vec<Element>, Errors> {
        let up = match (&self.vrf, vrf_is_up) {
            (None, _) => true,
            (Some(_), Some(up)) => up,
            (Some(vrf), None) => {
                let message = format!("there is no VRF {vrf}");
                return Err(fault(ErrorType::Application, ErrorTag::InvalidValue, "vrf", message));
            }
        };
        let fate = fates.iter().find(|fate| self.meets(fate));
        let (lost_percent, rtt_ms) = match (up, fate) {
            (false, _) => (100, RTT_MS),
            (true, None) => (0, RTT_MS),
            (true, Some(fate)) => (fate.lost_percent.min(100), fate.rtt_ms),
        };
        let lost = (u16::from(self.count) * u16::from(lost_percent)).div_ceil(100);
        let received = u16::from(self.count) - lost;
        let leaf =
            |name: &str, value: u32| Element::new(schema::NAMESPACE, name).with_text(value.to_string());
        let mut content = vec![leaf("sent", self.count.into()), leaf("received", received.into())];
        if received > 0 {
            content.push(leaf("rtt-ms", rtt_ms));
        }
        Ok(content)
    }

    fn meets(&self, fate: &PingFate) -> bool {
        (fate.destination == "*" || fate.destination == self.destination)
            && (fate.vrf.is_none() || fate.vrf == self.vrf)
    }
}

#[cfg(test)]
mod tests {
    use turnup_netconf::xml::{Limits, parse_str};

    use super::*;

    fn parsed(input: &str) -> Result<Ping, String> {
        let text = format!("<ping xmlns='{}'>{input}</ping>", schema::NAMESPACE);
        let operation = parse_str(&text, &Limits::default()).unwrap();
        Ping::parse(&operation).map_err(|errors| errors[0].tag.as_str().to_owned())
    }

    #[test]
    fn input_is_checked() {
        let whole = parsed("<destination>192.0.2.1</destination><vrf>red</vrf><count>7</count>").unwrap();
        assert_eq!(
            (whole.destination.as_str(), whole.vrf.as_deref(), whole.count),
            ("192.0.2.1", Some("red"), 7)
        );
        assert_eq!(parsed("<destination>x</destination>").map(|ping| ping.count), Ok(3));
        for (input, tag) in [
            ("", "missing-element"),
            ("<destination>x</destination><count>0</count>", "invalid-value"),
            ("<destination>x</destination><count>256</count>", "invalid-value"),
            ("<destination>x</destination><size>9</size>", "unknown-element"),
            ("<destination xmlns='urn:other'>x</destination>", "unknown-element"),
        ] {
            assert_eq!(parsed(input), Err(tag.to_owned()), "{input}");
        }
    }

    #[test]
    fn the_first_fate_that_fits_decides() {
        let fate = |destination: &str, vrf: Option<&str>, lost_percent| PingFate {
            destination: destination.to_owned(),
            vrf: vrf.map(str::to_owned),
            lost_percent,
            rtt_ms: 40,
        };
        let fates = [fate("a", Some("red"), 50), fate("a", None, 100), fate("*", Some("blue"), 1)];
        // Destination, VRF, whether that is up; answers out of ten, and how long they take.
        let cases = [
            ("a", Some("red"), Some(true), "10 5 40"),
            ("a", Some("red"), Some(false), "10 0"),
            ("a", None, None, "10 0"),
            ("b", None, None, "10 10 2"),
            ("b", Some("blue"), Some(true), "10 9 40"),
            ("b", Some("red"), Some(true), "10 10 2"),
        ];
        for (destination, vrf, up, expected) in cases {
            let vrf = vrf.map(str::to_owned);
            let ping = Ping { destination: destination.to_owned(), vrf, count: 10 };
            let content = ping.answer(up, &fates).unwrap();
            let values: Vec<_> = content.iter().map(|leaf| leaf.text().into_owned()).collect();
            assert_eq!(values.join(" "), expected, "{ping:?} {up:?}");
        }
        let ping = Ping { destination: "a".to_owned(), vrf: Some("green".to_owned()), count: 1 };
        assert_eq!(ping.answer(None, &[]).unwrap_err()[0].tag, ErrorTag::InvalidValue);
    }
}
