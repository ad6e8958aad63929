//! Resources: VLAN ids, unit numbers, VC ids, route distinguishers and targets that services take from
//! pools. Whoever takes one has it alone, from the acceptance of the order that asks for it until no order
//! and no service needs it any more.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{order::Endpoint, words::words};

words!(
    /// Within what a value of a pool is unique.
    PoolScope, "pool scope" {
        /// Everywhere.
        Network = "network" / "Network",
        /// In one region.
        Region = "region" / "Region",
        /// On one device, or a part of it such as a port.
        Device = "device" / "Device",
    }
);

/// A pool of numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// For people.
    pub title: String,
    /// Within what a value is unique.
    pub scope: PoolScope,
    /// Smallest number that is picked.
    pub from: i64,
    /// Largest.
    pub to: i64,
    /// The value as text, with `{}` for the number, such as `65000:{}`; none: the number itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

impl Pool {
    /// The value that stands for a number: a JSON number, or the formatted text.
    #[must_use]
    pub fn value(&self, number: i64) -> Value {
        match &self.format {
            None => Value::from(number),
            Some(format) => Value::from(format.replacen("{}", &number.to_string(), 1)),
        }
    }

    /// The number of a value that was given by hand; none if it isn't one of this pool's form.
    #[must_use]
    pub fn number(&self, value: &Value) -> Option<i64> {
        match (&self.format, value) {
            (None, Value::Number(number)) => number.as_i64(),
            (None, Value::String(text)) => text.parse().ok(),
            (Some(format), Value::String(text)) => {
                let (before, after) = format.split_once("{}")?;
                let digits = text.strip_prefix(before)?.strip_suffix(after)?;
                // One text per number: "007" would be another row for the same thing.
                digits.parse::<i64>().ok().filter(|number| number.to_string() == digits)
            }
            _ => None,
        }
    }
}

/// One value of a pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceKey {
    /// The pool's name.
    pub pool: String,
    /// Where it is unique: empty for the network, else the region, the device, or `device/part`.
    pub scope: String,
    /// The value as text, as it stands in the order.
    pub value: String,
}

/// Where in an order a value stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Index of the endpoint; none: an attribute of the service.
    pub endpoint: Option<usize>,
    /// The attribute.
    pub attribute: String,
}

impl Place {
    /// The JSON pointer into the order.
    #[must_use]
    pub fn pointer(&self) -> String {
        let at = match self.endpoint {
            None => "/attributes".to_owned(),
            Some(index) => format!("/endpoints/{index}/attributes"),
        };
        crate::problem::pointer_to(&at, &self.attribute)
    }

    /// Puts a value there.
    pub fn put(&self, attributes: &mut Map<String, Value>, endpoints: &mut [Endpoint], value: Value) {
        match self.endpoint {
            None => {
                attributes.insert(self.attribute.clone(), value);
            }
            Some(index) => {
                if let Some(endpoint) = endpoints.get_mut(index) {
                    endpoint.attributes.insert(self.attribute.clone(), value);
                }
            }
        }
    }
}

/// What an order needs of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceClaim {
    /// The pool's name.
    pub name: String,
    /// The pool.
    pub pool: Pool,
    /// Where it is unique, see [`ResourceKey::scope`].
    pub scope: String,
    /// Where in the order the value stands, or is to stand.
    pub place: Place,
    /// The value that was given; none: the smallest free one is picked.
    pub given: Option<Value>,
}

/// A value as text, as it is stored in [`ResourceKey::value`].
#[must_use]
pub fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(format: Option<&str>) -> Pool {
        Pool {
            title: String::new(),
            scope: PoolScope::Network,
            from: 1,
            to: 9,
            format: format.map(str::to_owned),
        }
    }

    #[test]
    fn numbers_and_values_are_the_same_thing() {
        for format in [None, Some("65000:{}"), Some("vc-{}-x")] {
            let pool = pool(format);
            assert_eq!(pool.number(&pool.value(17)), Some(17), "{format:?}");
        }
        assert_eq!(pool(Some("65000:{}")).value(7), "65000:7");
        assert_eq!(pool(Some("65000:{}")).number(&"65001:7".into()), None);
        assert_eq!(pool(Some("65000:{}")).number(&"65000:07".into()), None);
        assert_eq!(pool(None).number(&Value::Bool(true)), None);
    }

    #[test]
    fn a_value_is_put_where_it_belongs() {
        let mut attributes = Map::new();
        let device = crate::name::DeviceName::new("d").unwrap();
        let mut endpoints = vec![Endpoint { role: "a".into(), device, attributes: Map::new() }];
        Place { endpoint: None, attribute: "vc_id".into() }.put(&mut attributes, &mut endpoints, 7.into());
        let vlan = Place { endpoint: Some(0), attribute: "vlan".into() };
        vlan.put(&mut attributes, &mut endpoints, 100.into());
        assert_eq!(attributes["vc_id"], 7);
        assert_eq!(endpoints[0].attributes["vlan"], 100);
        assert_eq!(vlan.pointer(), "/endpoints/0/attributes/vlan");
    }
}
