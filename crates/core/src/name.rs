//! Checked names. A value of one of these types has been checked: it fits in a routing key, a
//! file name and a log line.

use serde::{Deserialize, Serialize};

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Empty or too long.
    #[error("a {what} has 1 to {max} characters, this one has {len}")]
    Length {
        /// What was to be named.
        what: &'static str,
        /// The most characters.
        max: usize,
        /// What was given.
        len: usize,
    },
    /// A character that is not allowed.
    #[error(
        "{given:?} is no {what}: use letters, digits, '-' and '_'{dots}, beginning with a letter or digit"
    )]
    Character {
        /// What was to be named.
        what: &'static str,
        /// What was given.
        given: String,
        /// Whether dots are allowed too.
        dots: &'static str,
    },
    /// It stands for something else.
    #[error("{given:?} is reserved, so it is no {what}: {why}")]
    Reserved {
        /// What was to be named.
        what: &'static str,
        /// What was given.
        given: String,
        /// For what it is reserved.
        why: &'static str,
    },
}

/// Stands for the region of what lies in several: no region has this name.
pub const MULTI: &str = "multi";

fn check(what: &'static str, given: &str, max: usize, dots: bool) -> Result<(), BadName> {
    let len = given.chars().count();
    if len == 0 || len > max {
        return Err(BadName::Length { what, max, len });
    }
    let fits = given
        .chars()
        .enumerate()
        .all(|(i, c)| c.is_ascii_alphanumeric() || (i > 0 && (c == '-' || c == '_' || (dots && c == '.'))));
    if fits {
        Ok(())
    } else {
        let dots = if dots { " and '.'" } else { "" };
        Err(BadName::Character { what, given: given.to_owned(), dots })
    }
}

macro_rules! name {
    (
        $(#[$meta:meta])* $name:ident, $what:literal, $max:literal, dots: $dots:literal
        $(, reserved: [$(($reserved:expr, $why:literal)),*])?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks `given` and wraps it.
            ///
            /// # Errors
            /// [`BadName`] says which characters and lengths are allowed.
            pub fn new(given: impl Into<String>) -> Result<Self, BadName> {
                let given = given.into();
                check($what, &given, $max, $dots)?;
                $($(
                    if given == $reserved {
                        return Err(BadName::Reserved { what: $what, given, why: $why });
                    }
                )*)?
                Ok(Self(given))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str { &self.0 }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.pad(&self.0) }
        }

        impl std::str::FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> { Self::new(text) }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> { Self::new(text) }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self { name.0 }
        }
    };
}

name!(
    /// A device region: the devices that one pool of workers serves. No dots: it is one word of a routing key.
    /// Not [`MULTI`].
    RegionName, "region name", 40, dots: false,
    reserved: [(MULTI, "what lies in several regions is shown with it; take another name")]
);
name!(
    /// A device in the inventory.
    DeviceName, "device name", 128, dots: true
);
name!(
    /// A service definition. No dots: it is one word of a routing key.
    DefinitionName, "definition name", 64, dots: false
);
name!(
    /// A device platform: which templates and which driver fit the device.
    PlatformName, "platform name", 64, dots: false
);
name!(
    /// The name under which a worker finds a device's credentials in its own configuration.
    CredentialRef, "credential reference", 64, dots: true
);

/// The known names most like `given`, best first: what an error offers after "did you mean".
/// At most three, none that is quite different.
#[must_use]
pub fn near_misses<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut near: Vec<(f64, &str)> = known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&given.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    near.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_into_routing_keys() {
        assert!(RegionName::new("eu-west").is_ok());
        assert!(RegionName::new("eu.west").is_err());
        let reserved = RegionName::new(MULTI).unwrap_err().to_string();
        assert!(reserved.contains("\"multi\" is reserved, so it is no region name"), "{reserved}");
        assert!(DeviceName::new(MULTI).is_ok());
        assert!(DeviceName::new("pe1.ams.example").is_ok());
        for bad in ["", "-a", "a b", "a*", "a#", "é", "a/b"] {
            assert!(DeviceName::new(bad).is_err(), "{bad:?}");
        }
        assert!(DeviceName::new("a".repeat(129)).is_err());
        assert!(serde_json::from_str::<RegionName>("\"a.b\"").is_err());
    }

    #[test]
    fn near_misses_are_near() {
        assert_eq!(
            near_misses("sim-eu-wst-1", ["sim-eu-west-1", "core9", "sim-us-east-1"])[0],
            "sim-eu-west-1"
        );
        assert!(near_misses("zzz", ["sim-eu-west-1"]).is_empty());
    }
}
