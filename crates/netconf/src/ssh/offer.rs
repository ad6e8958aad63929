//! What SSH algorithms a device offers: its first message of the key exchange, which is not encrypted (RFC 4253 §7.1).

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::algorithms::{SshAlgorithms, WeakAlgorithm, preferred};
use super::connect::timed_out;
use super::{ConnectError, Phase, Target};
use crate::clean;

/// Longest line before and with the version (RFC 4253 §4.2 allows 255 for the version).
const MAX_LINE_BYTES: usize = 1_024;
/// Most lines before the version.
const MAX_LINES: usize = 50;
/// Largest packet (RFC 4253 §6.1).
const MAX_PACKET_BYTES: usize = 35_000;
/// Most names of one list, and characters of a name.
const MAX_NAMES: usize = 100;
const MAX_NAME: usize = 64;
/// SSH_MSG_KEXINIT.
const KEXINIT: u8 = 20;
const COOKIE_BYTES: usize = 16;

/// The algorithms that a device offers, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AlgorithmOffer {
    /// Version line, such as `SSH-2.0-OpenSSH_9.2`.
    pub version: String,
    /// Key exchange.
    pub key_exchange: Vec<String>,
    /// Host keys and their signatures.
    pub host_keys: Vec<String>,
    /// Ciphers from the device to its client.
    pub ciphers: Vec<String>,
    /// Message authentication in the same direction.
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

/// Reads what a device offers, within `limit`. Only the version is sent; no credentials.
///
/// # Errors
/// If the device can't be reached, or what it says is not SSH.
pub async fn learn_algorithms(target: &Target, limit: Duration) -> Result<AlgorithmOffer, ConnectError> {
    match timeout(limit, read(target)).await {
        Ok(result) => result,
        Err(_) => Err(timed_out(target, Phase::KeyExchange, limit, None)),
    }
}

async fn read(target: &Target) -> Result<AlgorithmOffer, ConnectError> {
    let unreachable =
        |phase: Phase, reason: String| ConnectError::Unreachable { target: target.clone(), phase, reason };
    let broken = |reason: &str| unreachable(Phase::KeyExchange, reason.to_owned());
    let mut stream = TcpStream::connect((target.address.as_str(), target.port))
        .await
        .map_err(|error| unreachable(Phase::Tcp, error.to_string()))?;
    let lost = |error: std::io::Error| unreachable(Phase::KeyExchange, error.to_string());
    stream.write_all(b"SSH-2.0-turnup\r\n").await.map_err(lost)?;
    let mut version = None;
    for _ in 0..MAX_LINES {
        let line = line(&mut stream).await.map_err(lost)?.ok_or_else(|| broken("a line is too long"))?;
        if line.starts_with(b"SSH-") {
            version = Some(clean::bytes(&line, MAX_NAME));
            break;
        }
    }
    let version = version.ok_or_else(|| broken("it sends no SSH version"))?;
    let length = stream.read_u32().await.map_err(lost)? as usize;
    if !(COOKIE_BYTES..=MAX_PACKET_BYTES).contains(&length) {
        return Err(broken("its first packet is no key exchange"));
    }
    let mut packet = vec![0; length];
    stream.read_exact(&mut packet).await.map_err(lost)?;
    parse(&packet)
        .map(|offer| AlgorithmOffer { version, ..offer })
        .ok_or_else(|| broken("its first packet is no key exchange"))
}

/// A line without its end; none if it is too long.
async fn line(stream: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    while line.len() < MAX_LINE_BYTES {
        match stream.read_u8().await? {
            b'\n' => {
                line.pop_if(|last| *last == b'\r');
                return Ok(Some(line));
            }
            byte => line.push(byte),
        }
    }
    Ok(None)
}

/// The lists of a packet without its length: padding length, message, cookie, then ten lists.
fn parse(packet: &[u8]) -> Option<AlgorithmOffer> {
    let rest = packet.get(1..)?.strip_prefix(&[KEXINIT])?.get(COOKIE_BYTES..)?;
    let (key_exchange, rest) = list(rest)?;
    let (host_keys, rest) = list(rest)?;
    let (_, rest) = list(rest)?;
    let (ciphers, rest) = list(rest)?;
    let (_, rest) = list(rest)?;
    let (macs, _) = list(rest)?;
    let key_exchange = key_exchange.into_iter().filter(|name| !is_extension(name)).collect();
    Some(AlgorithmOffer { version: String::new(), key_exchange, host_keys, ciphers, macs })
}

/// A name-list (RFC 4251 §5) and what follows it.
fn list(bytes: &[u8]) -> Option<(Vec<String>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (names, rest) = rest.split_at_checked(length)?;
    let names = names.split(|byte| *byte == b',').filter(|name| !name.is_empty());
    Some((names.take(MAX_NAMES).map(|name| clean::bytes(name, MAX_NAME)).collect(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(lists: &[&str]) -> Vec<u8> {
        let mut packet = vec![4, KEXINIT];
        packet.extend([7; COOKIE_BYTES]);
        for names in lists {
            packet.extend(u32::try_from(names.len()).unwrap().to_be_bytes());
            packet.extend(names.as_bytes());
        }
        packet
    }

    #[test]
    fn key_exchange_message_is_read() {
        let lists =
            ["curve25519-sha256,ext-info-s", "ssh-ed25519,ssh-rsa", "a", "aes128-ctr", "b", "hmac-sha1"];
        let offer = parse(&packet(&lists)).unwrap();
        assert_eq!(offer.key_exchange, ["curve25519-sha256"]);
        assert_eq!(offer.host_keys, ["ssh-ed25519", "ssh-rsa"]);
        assert_eq!(
            (offer.ciphers, offer.macs),
            (vec!["aes128-ctr".to_owned()], vec!["hmac-sha1".to_owned()])
        );
        for end in 0..packet(&lists).len() - 1 {
            assert!(parse(&packet(&lists)[..end]).is_none(), "{end}");
        }
    }

    #[test]
    fn weak_algorithm_is_needed_only_without_a_better_one() {
        let offer = |kex: &str, key: &str, cipher: &str, mac: &str| {
            parse(&packet(&[kex, key, "", cipher, "", mac])).unwrap().weak_needed()
        };
        assert_eq!(offer("curve25519-sha256", "ssh-rsa,rsa-sha2-256", "aes128-ctr", "hmac-sha2-256"), []);
        assert_eq!(
            offer("diffie-hellman-group14-sha1", "ssh-rsa", "aes128-cbc", "hmac-sha1"),
            [
                WeakAlgorithm::DiffieHellmanGroup14Sha1,
                WeakAlgorithm::SshRsa,
                WeakAlgorithm::Aes128Cbc,
                WeakAlgorithm::HmacSha1
            ]
        );
        assert_eq!(offer("curve25519-sha256", "ssh-ed25519", "aes256-gcm@openssh.com", "hmac-sha1"), []);
    }
}
