//! What an SSH server offers: the lists of its SSH_MSG_KEXINIT (RFC 4253 §7.1), read without logging in, so that an
//! error can name everything that has to be allowed and not only what the negotiation met first.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Target;

/// How long the server may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Most lines before the server's identification (RFC 4253 §4.2), and bytes of each.
const MAX_LINES: usize = 50;
const MAX_LINE_BYTES: u64 = 1_024;
/// Largest packet (RFC 4253 §6.1).
const MAX_PACKET_BYTES: u32 = 35_000;
/// SSH_MSG_KEXINIT.
const KEXINIT: u8 = 20;
/// Bytes of its cookie.
const COOKIE_BYTES: usize = 16;

/// The algorithms of a server, by what they are for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Offers {
    pub(super) exchanges: Vec<String>,
    pub(super) keys: Vec<String>,
    /// From the client to the server; servers offer the same both ways.
    pub(super) ciphers: Vec<String>,
    pub(super) macs: Vec<String>,
}

/// Asks the server; none: it does not tell in time.
pub(super) async fn read(target: &Target) -> Option<Offers> {
    timeout(LIMIT, read_now(target)).await.ok()?
}

async fn read_now(target: &Target) -> Option<Offers> {
    let mut stream = TcpStream::connect((target.address.as_str(), target.port)).await.ok()?;
    stream.write_all(b"SSH-2.0-turnup\r\n").await.ok()?;
    let mut stream = BufReader::new(stream);
    for _ in 0..MAX_LINES {
        let mut line = Vec::new();
        (&mut stream).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await.ok()?;
        if line.is_empty() {
            return None;
        }
        if line.starts_with(b"SSH-") {
            let length = stream.read_u32().await.ok().filter(|length| *length <= MAX_PACKET_BYTES)?;
            let mut packet = vec![0; usize::try_from(length).ok()?];
            stream.read_exact(&mut packet).await.ok()?;
            return parse(&packet);
        }
    }
    None
}

/// Reads a packet without its length: length of the padding, payload, padding.
fn parse(packet: &[u8]) -> Option<Offers> {
    let (padding, rest) = packet.split_first()?;
    let payload = rest.get(..rest.len().checked_sub(usize::from(*padding))?)?;
    let (kind, rest) = payload.split_first()?;
    if *kind != KEXINIT {
        return None;
    }
    let mut rest = rest.get(COOKIE_BYTES..)?;
    let mut list = || -> Option<Vec<String>> {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let names = std::str::from_utf8(after.get(..length)?).ok()?;
        rest = after.get(length..)?;
        Some(names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
    };
    let (exchanges, keys, ciphers) = (list()?, list()?, list()?);
    list()?; // The ciphers of the other direction.
    Some(Offers { exchanges, keys, ciphers, macs: list()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(lists: &[&str]) -> Vec<u8> {
        let mut packet = vec![4, KEXINIT];
        packet.extend([7; COOKIE_BYTES]);
        for list in lists {
            packet.extend(u32::try_from(list.len()).unwrap().to_be_bytes());
            packet.extend(list.as_bytes());
        }
        packet.extend([0; 4]);
        packet
    }

    #[test]
    fn lists_are_read_and_broken_packets_are_not() {
        let whole = packet(&["a,b", "ssh-rsa", "aes128-cbc", "x", "hmac-sha1,y", "z"]);
        let offers = parse(&whole).unwrap();
        assert_eq!(offers.exchanges, ["a", "b"]);
        assert_eq!(
            (offers.keys, offers.ciphers),
            (vec!["ssh-rsa".to_owned()], vec!["aes128-cbc".to_owned()])
        );
        assert_eq!(offers.macs, ["hmac-sha1", "y"]);
        for end in 0..whole.len() - 12 {
            assert_eq!(parse(&whole[..end]), None, "{end}");
        }
        let mut other = whole;
        other[1] = 21;
        assert_eq!(parse(&other), None);
    }
}
