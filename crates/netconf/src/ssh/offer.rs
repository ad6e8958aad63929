//! What SSH algorithms a device offers, for people and for profiles.

use super::Target;
use super::algorithms::{SshAlgorithms, WeakAlgorithm, preferred};
use super::offers::{self, Offers};

/// Most names of one list, and characters of a name.
const MAX_NAMES: usize = 100;
const MAX_NAME: usize = 64;

/// The algorithms that a device offers, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AlgorithmOffer {
    /// Key exchange.
    pub key_exchange: Vec<String>,
    /// Host keys and their signatures.
    pub host_keys: Vec<String>,
    /// Ciphers.
    pub ciphers: Vec<String>,
    /// Message authentication.
    pub macs: Vec<String>,
}

impl AlgorithmOffer {
    /// The weak algorithms that must be allowed, as nothing that is offered by default will do. Of each kind the first
    /// of [`WeakAlgorithm::ALL`] that the device offers.
    pub fn weak_needed(&self) -> Vec<WeakAlgorithm> {
        let ours = preferred(&SshAlgorithms::default(), None);
        let keys: Vec<String> = ours.key.iter().map(ToString::to_string).collect();
        let common =
            |theirs: &[String], ours: &[&str]| theirs.iter().any(|name| ours.contains(&name.as_str()));
        let kex: Vec<&str> =
            ours.kex.iter().map(AsRef::as_ref).filter(|name: &&str| !is_extension(name)).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let ciphers: Vec<&str> = ours.cipher.iter().map(AsRef::as_ref).collect();
        let macs: Vec<&str> = ours.mac.iter().map(AsRef::as_ref).collect();
        // These authenticate by themselves (RFC 5647).
        let authenticated: Vec<&str> = ciphers
            .iter()
            .copied()
            .filter(|name| name.contains("poly1305") || name.contains("gcm"))
            .collect();
        let mut needed = Vec::new();
        for (theirs, ours) in
            [(&self.key_exchange, &kex), (&self.host_keys, &keys), (&self.ciphers, &ciphers)]
        {
            if !common(theirs, ours) {
                needed.extend(first_weak(theirs));
            }
        }
        if !common(&self.ciphers, &authenticated) && !common(&self.macs, &macs) {
            needed.extend(first_weak(&self.macs));
        }
        needed
    }
}

fn first_weak(theirs: &[String]) -> Option<WeakAlgorithm> {
    WeakAlgorithm::ALL.into_iter().find(|weak| theirs.iter().any(|name| name == weak.name()))
}

/// Names that tell what a side can do, and are no algorithms.
fn is_extension(name: &str) -> bool {
    name.starts_with("ext-info-") || name.starts_with("kex-strict-")
}

/// Reads what a device offers, within a few seconds. Only the version is sent; no credentials. None: it does not tell.
pub async fn learn_algorithms(target: &Target) -> Option<AlgorithmOffer> {
    offers::read(target).await.map(AlgorithmOffer::from)
}

impl From<Offers> for AlgorithmOffer {
    fn from(offers: Offers) -> Self {
        let Offers { exchanges, keys, ciphers, macs } = offers;
        let cleaned = |names: Vec<String>| {
            let names = names.iter().filter(|name| !is_extension(name)).take(MAX_NAMES);
            names.map(|name| turnup_clean::line(name, MAX_NAME)).collect()
        };
        Self {
            key_exchange: cleaned(exchanges),
            host_keys: cleaned(keys),
            ciphers: cleaned(ciphers),
            macs: cleaned(macs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_algorithm_is_needed_only_without_a_better_one() {
        let names = |list: &str| list.split(',').map(str::to_owned).collect();
        let needed = |kex: &str, key: &str, cipher: &str, mac: &str| {
            let (exchanges, keys, ciphers, macs) = (names(kex), names(key), names(cipher), names(mac));
            AlgorithmOffer::from(Offers { exchanges, keys, ciphers, macs }).weak_needed()
        };
        assert_eq!(needed("curve25519-sha256", "ssh-rsa,rsa-sha2-256", "aes128-ctr", "hmac-sha2-256"), []);
        assert_eq!(
            needed("diffie-hellman-group14-sha1,ext-info-s", "ssh-rsa", "aes128-cbc", "hmac-sha1"),
            [
                WeakAlgorithm::DiffieHellmanGroup14Sha1,
                WeakAlgorithm::SshRsa,
                WeakAlgorithm::Aes128Cbc,
                WeakAlgorithm::HmacSha1
            ]
        );
        assert_eq!(needed("curve25519-sha256", "ssh-ed25519", "aes256-gcm@openssh.com", "hmac-sha1"), []);
    }
}
