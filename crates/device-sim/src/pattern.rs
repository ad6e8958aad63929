//! Texts of a certain form: the typedefs of the module.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A form that a text must have, as a typedef of the module says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// `192.0.2.1`.
    Ipv4Address,
    /// `192.0.2.1/30`.
    Ipv4AddressAndPrefix,
    /// `198.51.100.0/24`. That the bits after the prefix are 0 isn't asked for.
    Ipv4Prefix,
    /// `2001:db8::1`.
    Ipv6Address,
    /// `65000:17`.
    RouteDistinguisher,
    /// `65000:17`.
    RouteTarget,
    /// A time as in RFC 3339.
    DateAndTime,
    /// `$0$` and clear text, or a hash as of crypt(3).
    CryptHash,
}

impl Pattern {
    /// All of them, in the order of the module's text.
    pub const ALL: [Self; 8] = [
        Self::Ipv4Address,
        Self::Ipv4AddressAndPrefix,
        Self::Ipv4Prefix,
        Self::Ipv6Address,
        Self::RouteDistinguisher,
        Self::RouteTarget,
        Self::DateAndTime,
        Self::CryptHash,
    ];

    /// Name of the typedef.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ipv4Address => "ipv4-address",
            Self::Ipv4AddressAndPrefix => "ipv4-address-and-prefix",
            Self::Ipv4Prefix => "ipv4-prefix",
            Self::Ipv6Address => "ipv6-address",
            Self::RouteDistinguisher => "route-distinguisher",
            Self::RouteTarget => "route-target",
            Self::DateAndTime => "date-and-time",
            Self::CryptHash => "crypt-hash",
        }
    }

    /// Fewest and most characters.
    pub fn length(self) -> (usize, usize) {
        match self {
            Self::Ipv4Address => (7, 15),
            Self::Ipv4AddressAndPrefix | Self::Ipv4Prefix => (9, 18),
            Self::Ipv6Address => (2, 39),
            Self::RouteDistinguisher | Self::RouteTarget => (3, 32),
            Self::DateAndTime => (20, 40),
            Self::CryptHash => (4, 255),
        }
    }

    /// What such a text looks like.
    pub fn example(self) -> &'static str {
        match self {
            Self::Ipv4Address => "192.0.2.1",
            Self::Ipv4AddressAndPrefix => "192.0.2.1/30",
            Self::Ipv4Prefix => "198.51.100.0/24",
            Self::Ipv6Address => "2001:db8::1",
            Self::RouteDistinguisher | Self::RouteTarget => "65000:17",
            Self::DateAndTime => "2026-11-24T10:00:00Z",
            Self::CryptHash => "$0$clear text",
        }
    }

    /// The canonical form of a text that has this form.
    pub fn canonical(self, text: &str) -> Box<str> {
        match (self, text.parse::<Ipv6Addr>()) {
            (Self::Ipv6Address, Ok(address)) => {
                let written = address.to_string();
                // Some addresses are written with dots by RFC 5952, which this type does not take.
                if written.contains('.') { text.to_ascii_lowercase().into() } else { written.into() }
            }
            _ => text.into(),
        }
    }

    /// Whether a text has this form.
    pub fn matches(self, text: &str) -> bool {
        let (min, max) = self.length();
        // Everything that fits is ASCII, so bytes are characters.
        (min..=max).contains(&text.len())
            && match self {
                Self::Ipv4Address => is_address(text),
                Self::Ipv4AddressAndPrefix | Self::Ipv4Prefix => text
                    .split_once('/')
                    .is_some_and(|(address, length)| is_address(address) && is_prefix_length(length)),
                Self::Ipv6Address => !text.contains('.') && text.parse::<Ipv6Addr>().is_ok(),
                Self::RouteDistinguisher | Self::RouteTarget => {
                    text.split_once(':').is_some_and(|(left, right)| is_digits(left) && is_digits(right))
                }
                Self::DateAndTime => is_time(text.as_bytes()),
                Self::CryptHash => is_crypt_hash(text),
            }
    }
}

fn is_crypt_hash(text: &str) -> bool {
    let is_of_hash = |byte: u8| byte.is_ascii_alphanumeric() || b"./$=".contains(&byte);
    let hash = ["$1$", "$5$", "$6$"].into_iter().find_map(|scheme| text.strip_prefix(scheme));
    hash.is_some_and(|hash| !hash.is_empty() && hash.bytes().all(is_of_hash))
        || text.strip_prefix("$0$").is_some_and(|clear| !clear.contains(['\n', '\r']))
}

fn is_address(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok()
}

fn is_prefix_length(text: &str) -> bool {
    let canonical = text == "0" || !text.starts_with('0');
    canonical && is_digits(text) && text.parse::<u8>().is_ok_and(|length| length <= 32)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether bytes are like the form, in which `0` stands for any digit.
fn is_like(bytes: &[u8], form: &[u8]) -> bool {
    bytes.len() == form.len()
        && bytes.iter().zip(form).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            other => byte == other,
        })
}

fn is_time(text: &[u8]) -> bool {
    const SECONDS: &[u8] = b"0000-00-00T00:00:00";
    let Some((seconds, rest)) = text.split_at_checked(SECONDS.len()) else { return false };
    let zone = match rest.strip_prefix(b".") {
        None => rest,
        Some(fraction) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            match fraction.split_at(digits) {
                ([], _) => return false,
                (_, zone) => zone,
            }
        }
    };
    is_like(seconds, SECONDS) && (zone == b"Z" || is_like(zone, b"+00:00") || is_like(zone, b"-00:00"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::string::string_regex;

    use super::*;
    use crate::schema::YANG;

    /// The pattern in the module's text.
    fn in_the_module(pattern: Pattern) -> &'static str {
        let (_, typedef) = YANG.split_once(&format!("typedef {} {{", pattern.name())).unwrap();
        let (_, quoted) = typedef.split_once("pattern '").unwrap();
        quoted.split_once('\'').unwrap().0
    }

    /// An address of IPv6 has two patterns, neither of which alone says it, and `$` is no anchor in YANG.
    fn any() -> impl Strategy<Value = Pattern> {
        let others = [Pattern::Ipv6Address, Pattern::CryptHash];
        let alone = Pattern::ALL.into_iter().filter(|pattern| !others.contains(pattern));
        proptest::sample::select(alone.collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn what_the_module_allows_is_accepted((pattern, text) in any().prop_flat_map(|pattern| {
            (Just(pattern), string_regex(in_the_module(pattern)).unwrap())
        })) {
            let (min, max) = pattern.length();
            prop_assert_eq!(pattern.matches(&text), (min..=max).contains(&text.len()), "{:?}", text);
        }
    }

    #[test]
    fn what_the_module_does_not_allow_is_refused() {
        use Pattern as P;
        let wrong: [(P, &[&str]); 8] = [
            (
                P::Ipv6Address,
                &["2001:db8", "2001:db8:::1", "2001:db8::1/64", "::ffff:192.0.2.1", "1::2::3", ""],
            ),
            (P::Ipv4Address, &["192.0.2", "192.0.2.256", "192.0.02.1", "192.0.2.1/30", "2001:db8::1"]),
            (
                P::Ipv4AddressAndPrefix,
                &["192.0.2.1", "192.0.2.1/33", "192.0.2.1/", "192.0.2.1/+8", "192.0.2.1/08"],
            ),
            (P::Ipv4Prefix, &["default", "198.51.100.0/24 ", " 198.51.100.0/24", "198.51.100/24"]),
            (P::RouteDistinguisher, &["65000", "65000:", ":17", "65000:17:1", "a:1", "-1:5", "6500٣:17"]),
            (P::CryptHash, &["clear", "$2$x", "$6$", "$6$a b", "$0", "0$x", ""]),
            (P::RouteTarget, &["target:65000:17", "65000:1 7", "65000.17"]),
            (
                P::DateAndTime,
                &[
                    "2026-11-24 10:00:00Z",
                    "2026-11-24T10:00:00",
                    "2026-11-24T10:00:00.Z",
                    "2026-11-24T10:00:00+01",
                    "2026-11-24T10:00:00ZZ",
                ],
            ),
        ];
        for (pattern, texts) in wrong {
            assert!(pattern.matches(pattern.example()));
            for text in texts {
                assert!(!pattern.matches(text), "{pattern:?} {text:?}");
            }
        }
    }
}
