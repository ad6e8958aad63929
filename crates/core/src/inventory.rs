//! What identifies a device on the network, in one spelling: its management address and its host key. The intake,
//! the store and the command line compare devices by these.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::{
    Engine as _,
    engine::{
        DecodePaddingMode,
        general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD_NO_PAD},
    },
};
use sha2::{Digest, Sha256};

use crate::name::near_misses;

/// Longest host name (RFC 1035 §2.3.4), and longest address, in bytes.
pub const MAX_ADDRESS_BYTES: usize = 255;
/// What an address must look like.
const ADDRESS_HINT: &str = "must be a host name or an IP address, without port or brackets";

/// Public keys come with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A management address in its one spelling: lower case, without a trailing dot, IPv6 as RFC 5952 writes it,
/// and an IPv4-mapped IPv6 address as IPv4.
///
/// # Errors
/// A text for people if it is neither a host name nor an IP address.
pub fn normalized_address(given: &str) -> Result<String, String> {
    let text = given.strip_suffix('.').unwrap_or(given);
    if text.is_empty() || given.len() > MAX_ADDRESS_BYTES {
        return Err(ADDRESS_HINT.to_owned());
    }
    let (host, zone) = match text.split_once('%') {
        Some((host, zone)) => (host, Some(zone)),
        None => (text, None),
    };
    if host.contains(':') {
        let address: Ipv6Addr = host.parse().map_err(|_| ADDRESS_HINT.to_owned())?;
        let is_zone = |zone: &str| {
            !zone.is_empty() && zone.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        };
        return match zone {
            None => Ok(address.to_canonical().to_string()),
            Some(zone) if is_zone(zone) => Ok(format!("{address}%{zone}")),
            Some(_) => Err(ADDRESS_HINT.to_owned()),
        };
    }
    let looks_numeric = host.chars().all(|c| c.is_ascii_digit() || c == '.');
    if looks_numeric {
        // Resolvers read 010.0.0.1 as octal and 10.1 as 10.0.0.1: the same device under another spelling.
        return match (zone, host.parse::<Ipv4Addr>()) {
            (None, Ok(address)) => Ok(address.to_string()),
            _ => {
                Err("must be four numbers from 0 to 255 without leading zeros, if it is an IPv4 address"
                    .into())
            }
        };
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    if zone.is_none() && host.split('.').all(is_label) {
        Ok(host.to_ascii_lowercase())
    } else {
        Err(ADDRESS_HINT.to_owned())
    }
}

/// The SHA-256 fingerprint (`SHA256:…`) of a pinned host key, which is an OpenSSH public key or a fingerprint
/// already. None: it is neither.
#[must_use]
pub fn fingerprint(host_key: &str) -> Option<String> {
    let host_key = host_key.trim();
    if host_key.starts_with("SHA256:") {
        return Some(host_key.trim_end_matches('=').to_owned());
    }
    let blob = BASE64.decode(host_key.split_ascii_whitespace().nth(1)?).ok()?;
    Some(format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(blob))))
}

/// What to say of a name that is not among `known`: near misses, or what there is.
#[must_use]
pub fn did_you_mean(given: &str, known: &[&str]) -> String {
    let near = near_misses(given, known.iter().copied());
    match (near.is_empty(), known.is_empty()) {
        (false, _) => format!("did you mean {}?", near.join(", ")),
        (true, true) => "there is none".to_owned(),
        (true, false) => format!("known: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_one_spelling() {
        for (given, wanted) in [
            ("PE1.Example.NET.", "pe1.example.net"),
            ("pe1", "pe1"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
            ("2001:db8::0001", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::FFFF:c000:0201", "192.0.2.1"),
            ("FE80::1%eth0", "fe80::1%eth0"),
            ("fe80::0:1%Eth0", "fe80::1%Eth0"),
            ("1-pe.example", "1-pe.example"),
        ] {
            assert_eq!(normalized_address(given).as_deref(), Ok(wanted), "{given}");
        }
    }

    #[test]
    fn other_texts_are_not_addresses() {
        let long = "a".repeat(256);
        for bad in [
            "",
            ".",
            "a..b",
            "http://x/",
            "pe1:830",
            "[2001:db8::1]",
            "2001:db8::g",
            "010.0.0.1",
            "10.1",
            "256.0.0.1",
            "1.2.3.4%eth0",
            "fe80::1%",
            "pe1 ",
            "pé1",
            &long,
        ] {
            assert!(normalized_address(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_key_and_its_fingerprint_are_the_same() {
        // As ssh-keygen -lf prints it.
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g pe1";
        let printed = "SHA256:mKqU+0K8OhKmA8bBQi9Rz0Q5l7/g160hIP+rJYSTNj4";
        assert_eq!(fingerprint(key).as_deref(), Some(printed));
        assert_eq!(fingerprint(printed).as_deref(), Some(printed));
        assert_eq!(fingerprint(&format!("{printed}=")).as_deref(), Some(printed));
        assert_eq!(fingerprint("ssh-ed25519"), None);
        assert_eq!(fingerprint("ssh-ed25519 ???"), None);
    }

    #[test]
    fn a_wrong_name_comes_with_the_right_one() {
        assert_eq!(did_you_mean("eu-wst", &["eu-west", "us-east"]), "did you mean eu-west?");
        assert_eq!(did_you_mean("zz", &["eu-west", "us-east"]), "known: eu-west, us-east");
        assert_eq!(did_you_mean("zz", &[]), "there is none");
    }
}
