//! Which SSH algorithms are offered to a device.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{AlgorithmKind, Preferred, cipher, kex, mac};
use thiserror::Error;

use super::offers::Offers;
use super::{PinnedHostKey, Target};
use crate::clean;

/// Most algorithms named of what a device offers, and characters of each name.
const MAX_NAMES: usize = 20;
const MAX_NAME: usize = 64;

/// Algorithms that are offered besides the default ones.
///
/// By default everything is offered that is considered secure (RFC 9142), the NIST curves included. What
/// rests on SHA-1 or on CBC is offered only to devices for which it is listed here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SshAlgorithms {
    /// The weak algorithms that are offered as well.
    pub extra: Vec<WeakAlgorithm>,
}

impl SshAlgorithms {
    pub(super) fn has(&self, algorithm: WeakAlgorithm) -> bool {
        self.extra.contains(&algorithm)
    }
}

/// An algorithm that is offered only on request, because it is weak.
///
/// `diffie-hellman-group1-sha1`, DSA, 3DES, RC4 and MD5 aren't among them: they are broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeakAlgorithm {
    /// Key exchange `diffie-hellman-group14-sha1` (RFC 4253 §8.2).
    DiffieHellmanGroup14Sha1,
    /// Key exchange `diffie-hellman-group-exchange-sha1` (RFC 4419).
    DiffieHellmanGroupExchangeSha1,
    /// Host key and client key signatures `ssh-rsa`, which are made with SHA-1 (RFC 4253 §6.6). A client key
    /// signs with it first if the server doesn't name the signatures that it takes.
    SshRsa,
    /// Message authentication `hmac-sha1` (RFC 4253 §6.4).
    HmacSha1,
    /// Cipher `aes128-cbc` (RFC 4253 §6.3).
    Aes128Cbc,
    /// Cipher `aes192-cbc`.
    Aes192Cbc,
    /// Cipher `aes256-cbc`.
    Aes256Cbc,
}

impl WeakAlgorithm {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::DiffieHellmanGroup14Sha1,
        Self::DiffieHellmanGroupExchangeSha1,
        Self::SshRsa,
        Self::HmacSha1,
        Self::Aes128Cbc,
        Self::Aes192Cbc,
        Self::Aes256Cbc,
    ];

    /// The name that SSH uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::DiffieHellmanGroup14Sha1 => "diffie-hellman-group14-sha1",
            Self::DiffieHellmanGroupExchangeSha1 => "diffie-hellman-group-exchange-sha1",
            Self::SshRsa => "ssh-rsa",
            Self::HmacSha1 => "hmac-sha1",
            Self::Aes128Cbc => "aes128-cbc",
            Self::Aes192Cbc => "aes192-cbc",
            Self::Aes256Cbc => "aes256-cbc",
        }
    }
}

impl fmt::Display for WeakAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a text is no [`WeakAlgorithm`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not an SSH algorithm that can be allowed: give one of {all}", all = names(&WeakAlgorithm::ALL))]
pub struct WeakAlgorithmError(String);

fn names(algorithms: &[WeakAlgorithm]) -> String {
    algorithms.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(", ")
}

impl FromStr for WeakAlgorithm {
    type Err = WeakAlgorithmError;

    fn from_str(text: &str) -> Result<Self, WeakAlgorithmError> {
        let known = Self::ALL.into_iter().find(|algorithm| algorithm.name() == text.trim());
        known.ok_or_else(|| WeakAlgorithmError(clean::line(text, MAX_NAME)))
    }
}

/// What is offered, strongest first, so that a device with several host keys presents the pinned one.
pub(super) fn preferred(algorithms: &SshAlgorithms, pinned: Option<&PinnedHostKey>) -> Preferred {
    let has = |algorithm| algorithms.has(algorithm);
    let mut exchanges = vec![
        kex::MLKEM768X25519_SHA256,
        kex::CURVE25519,
        kex::CURVE25519_PRE_RFC_8731,
        kex::ECDH_SHA2_NISTP256,
        kex::ECDH_SHA2_NISTP384,
        kex::ECDH_SHA2_NISTP521,
        kex::DH_GEX_SHA256,
        kex::DH_G18_SHA512,
        kex::DH_G17_SHA512,
        kex::DH_G16_SHA512,
        kex::DH_G15_SHA512,
        kex::DH_G14_SHA256,
    ];
    if has(WeakAlgorithm::DiffieHellmanGroupExchangeSha1) {
        exchanges.push(kex::DH_GEX_SHA1);
    }
    if has(WeakAlgorithm::DiffieHellmanGroup14Sha1) {
        exchanges.push(kex::DH_G14_SHA1);
    }
    exchanges.extend([kex::EXTENSION_SUPPORT_AS_CLIENT, kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT]);
    let mut keys = vec![
        Algorithm::Ed25519,
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
        Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
    ];
    if has(WeakAlgorithm::SshRsa) {
        keys.push(Algorithm::Rsa { hash: None });
    }
    if let Some(pinned) = pinned {
        pinned.prefer(&mut keys);
    }
    let mut ciphers = vec![
        cipher::CHACHA20_POLY1305,
        cipher::AES_256_GCM,
        cipher::AES_128_GCM,
        cipher::AES_256_CTR,
        cipher::AES_192_CTR,
        cipher::AES_128_CTR,
    ];
    for (algorithm, name) in [
        (WeakAlgorithm::Aes256Cbc, cipher::AES_256_CBC),
        (WeakAlgorithm::Aes192Cbc, cipher::AES_192_CBC),
        (WeakAlgorithm::Aes128Cbc, cipher::AES_128_CBC),
    ] {
        if has(algorithm) {
            ciphers.push(name);
        }
    }
    let mut macs = vec![mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM, mac::HMAC_SHA512, mac::HMAC_SHA256];
    if has(WeakAlgorithm::HmacSha1) {
        macs.extend([mac::HMAC_SHA1_ETM, mac::HMAC_SHA1]);
    }
    Preferred {
        kex: Cow::Owned(exchanges),
        key: Cow::Owned(keys),
        cipher: Cow::Owned(ciphers),
        mac: Cow::Owned(macs),
        ..Preferred::DEFAULT
    }
}

/// A key exchange that failed because the two sides share no algorithm of some kind.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{target} and this side have no SSH {kind} in common: the device offers {theirs}; this side offers {ours}; {advice}"
)]
pub struct NoCommonAlgorithm {
    /// The device.
    pub target: Target,
    /// What the algorithms are for.
    pub kind: &'static str,
    /// What the device offers; at most 20 names.
    pub theirs: String,
    /// What this side offers.
    pub ours: String,
    /// All that has to be allowed for this device, what is allowed already included; empty: allowing more does not help.
    pub weak: Vec<WeakAlgorithm>,
    /// What to do.
    advice: String,
}

impl NoCommonAlgorithm {
    pub(super) fn new(target: &Target, kind: &AlgorithmKind, ours: &[String], theirs: &[String]) -> Self {
        let weak: Vec<WeakAlgorithm> = WeakAlgorithm::ALL
            .into_iter()
            .filter(|weak| theirs.iter().any(|name| name == weak.name()))
            .collect();
        let advice = advice(&weak);
        let kind = match kind {
            AlgorithmKind::Kex => "key exchange algorithm",
            AlgorithmKind::Key => "host key algorithm",
            AlgorithmKind::Cipher => "cipher",
            AlgorithmKind::Compression => "compression",
            AlgorithmKind::Mac => "message authentication algorithm",
        };
        Self { target: target.clone(), kind, theirs: list(theirs), ours: list(ours), weak, advice }
    }

    /// With all that the device would need, where its offers could be read: a negotiation ends at the first kind that
    /// has nothing in common, and the others may be missing too.
    pub(super) fn with_offers(mut self, allowed: &SshAlgorithms, offers: Option<&Offers>) -> Self {
        let Some(offers) = offers else { return self };
        let ours = preferred(allowed, None);
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<Vec<String>>();
        let macs = match offers.ciphers.iter().any(|name| is_aead(name) && has(&ours.cipher, name)) {
            // Such a cipher needs none.
            true => Vec::new(),
            false => offers.macs.clone(),
        };
        let kinds = [
            (owned(ours.kex.iter().map(AsRef::as_ref).collect()), offers.exchanges.clone()),
            (ours.key.iter().map(ToString::to_string).collect(), offers.keys.clone()),
            (owned(ours.cipher.iter().map(AsRef::as_ref).collect()), offers.ciphers.clone()),
            (owned(ours.mac.iter().map(AsRef::as_ref).collect()), macs),
        ];
        let missing = kinds
            .iter()
            .filter(|(ours, theirs)| !theirs.is_empty() && !theirs.iter().any(|name| ours.contains(name)));
        let mut weak = allowed.extra.clone();
        for (_, theirs) in missing {
            let usable =
                WeakAlgorithm::ALL.into_iter().filter(|weak| theirs.iter().any(|name| name == weak.name()));
            let usable: Vec<WeakAlgorithm> = usable.collect();
            if usable.is_empty() {
                // Of one kind nothing can be allowed, so allowing the others helps nothing.
                weak.clear();
                break;
            }
            weak.extend(usable);
        }
        if !weak.is_empty() || !self.weak.is_empty() {
            self.advice = advice(&weak);
            self.weak = weak;
        }
        self
    }
}

/// Whether a cipher authenticates what it encrypts.
fn is_aead(name: &str) -> bool {
    name.contains("gcm") || name.contains("poly1305")
}

fn has<T: AsRef<str>>(names: &[T], wanted: &str) -> bool {
    names.iter().any(|name| name.as_ref() == wanted)
}

/// What to do where these would have to be allowed.
fn advice(weak: &[WeakAlgorithm]) -> String {
    match weak.is_empty() {
        true => "update the SSH server of the device or enable one of these algorithms there".to_owned(),
        false => format!(
            "enable one of these on the device, or allow its weak algorithms explicitly (SSH algorithms of its \
             platform: {})",
            names(weak)
        ),
    }
}

fn list(names: &[String]) -> String {
    // Extensions of the protocol travel among the names.
    let real = names.iter().filter(|name| !name.starts_with("ext-info-") && !name.starts_with("kex-strict-"));
    let shown: Vec<String> = real.clone().take(MAX_NAMES).map(|name| clean::line(name, MAX_NAME)).collect();
    match (shown.is_empty(), real.count().saturating_sub(MAX_NAMES)) {
        (true, _) => "none".to_owned(),
        (false, 0) => shown.join(", "),
        (false, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_of<T: AsRef<str>>(names: &[T]) -> Vec<&str> {
        names.iter().map(AsRef::as_ref).collect()
    }

    #[test]
    fn nothing_weak_is_offered_by_default() {
        let offered = preferred(&SshAlgorithms::default(), None);
        let mut all: Vec<String> = names_of(&offered.kex).into_iter().map(str::to_owned).collect();
        all.extend(names_of(&offered.mac).into_iter().map(str::to_owned));
        all.extend(names_of(&offered.cipher).into_iter().map(str::to_owned));
        all.extend(offered.key.iter().map(ToString::to_string));
        for weak in WeakAlgorithm::ALL {
            assert!(!all.iter().any(|name| name == weak.name()), "{weak} in {all:?}");
        }
        assert!(all.iter().any(|name| name == "ecdh-sha2-nistp256"), "{all:?}");
        let extra = SshAlgorithms { extra: WeakAlgorithm::ALL.to_vec() };
        let offered = preferred(&extra, None);
        for name in ["diffie-hellman-group14-sha1", "diffie-hellman-group-exchange-sha1"] {
            assert!(names_of(&offered.kex).contains(&name), "{name}");
        }
        assert!(names_of(&offered.mac).contains(&"hmac-sha1"));
        assert!(offered.key.contains(&Algorithm::Rsa { hash: None }));
        assert!(names_of(&offered.cipher).contains(&"aes128-cbc"));
    }

    #[test]
    fn algorithms_are_named_as_in_ssh() {
        for weak in WeakAlgorithm::ALL {
            assert_eq!(weak.to_string().parse(), Ok(weak));
        }
        let error = "diffie-hellman-group1-sha1".parse::<WeakAlgorithm>().unwrap_err().to_string();
        assert!(error.contains("group1-sha1") && error.contains("ssh-rsa, hmac-sha1"), "{error}");
    }

    #[test]
    fn all_that_a_device_needs_is_named_at_once() {
        let target = Target::new("192.0.2.1", 830);
        let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let old = ["diffie-hellman-group14-sha1", "diffie-hellman-group-exchange-sha1"];
        let mut offers = Offers {
            exchanges: texts(&old),
            keys: texts(&["ssh-rsa", "rsa-sha2-256"]),
            ciphers: texts(&["aes128-cbc", "3des-cbc"]),
            macs: texts(&["hmac-sha1", "hmac-md5"]),
        };
        let failed = |allowed: &[WeakAlgorithm], offers: &Offers| {
            let allowed = SshAlgorithms { extra: allowed.to_vec() };
            let error = NoCommonAlgorithm::new(&target, &AlgorithmKind::Kex, &[], &texts(&old));
            error.with_offers(&allowed, Some(offers)).weak
        };
        use WeakAlgorithm::*;
        let exchanges = [DiffieHellmanGroup14Sha1, DiffieHellmanGroupExchangeSha1];
        assert_eq!(failed(&[], &offers), [&exchanges[..], &[Aes128Cbc, HmacSha1]].concat());
        offers.ciphers.push("aes256-gcm@openssh.com".to_owned());
        assert_eq!(failed(&[], &offers), exchanges, "a cipher that authenticates needs no code");
        assert_eq!(
            failed(&[SshRsa], &offers),
            [&[SshRsa][..], &exchanges].concat(),
            "with what is allowed already"
        );
        offers.keys = texts(&["ssh-dss"]);
        assert_eq!(failed(&[], &offers), [], "nothing to allow would do");
    }

    #[test]
    fn a_failed_negotiation_names_both_sides_and_what_can_be_allowed() {
        let target = Target::new("192.0.2.1", 830);
        let ours = ["curve25519-sha256".to_owned(), "ext-info-c".to_owned()];
        let theirs = ["diffie-hellman-group14-sha1", "evil\u{1b}[1m"].map(str::to_owned);
        let error = NoCommonAlgorithm::new(&target, &AlgorithmKind::Kex, &ours, &theirs);
        assert_eq!(error.weak, [WeakAlgorithm::DiffieHellmanGroup14Sha1]);
        let text = error.to_string();
        for part in [
            "the device offers diffie-hellman-group14-sha1, evil\\u{1b}[1m;",
            "this side offers curve25519-sha256;",
            "platform: diffie-hellman-group14-sha1)",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let many: Vec<String> = (0..1_000).map(|n| format!("unknown-{n}")).collect();
        let error = NoCommonAlgorithm::new(&target, &AlgorithmKind::Mac, &ours, &many);
        assert!(error.to_string().contains("and 980 more") && error.weak.is_empty(), "{error}");
    }
}
