//! Passwords as servers keep them: the type `crypt-hash` of RFC 7317.
//!
//! A client writes clear text as `$0$` and the text; the server keeps, and shows, a hash of it: `$1$` (MD5), `$5$`
//! (SHA-256) or `$6$` (SHA-512). A hash that a client writes is kept as it is.

use sha_crypt::{PasswordVerifier as _, ShaCrypt};

/// Most rounds that are computed; a hash with more is taken for the wanted one, since a server chooses their number.
const MAX_ROUNDS: u32 = 50_000;
/// Longest clear text that is hashed, in bytes.
const MAX_CLEAR_BYTES: usize = 1024;

/// Whether what a server shows of a secret can be the wanted value. A text that is no hash says nothing, as it may be
/// masked or encrypted; then it is enough that it is there.
#[must_use]
pub fn may_be(found: &str, wanted: &str) -> bool {
    if found == wanted || found.is_empty() {
        return true;
    }
    if hash_of(wanted).is_some() {
        return false;
    }
    let Some(clear) = wanted.strip_prefix("$0$") else { return true };
    if let Some(other) = found.strip_prefix("$0$") {
        return other == clear;
    }
    match hash_of(found) {
        Some(hash) if hash.is_computable() && clear.len() <= MAX_CLEAR_BYTES => {
            ShaCrypt::default().verify_password(clear.as_bytes(), found).is_ok()
        }
        _ => true,
    }
}

/// Whether a text is a hash as `crypt-hash` has it, which a server keeps as it is when it is written.
#[must_use]
pub fn is_hash(text: &str) -> bool {
    hash_of(text).is_some()
}

/// What a hash says of itself.
#[derive(Debug, PartialEq, Eq)]
struct Hash {
    scheme: char,
    rounds: u32,
}

impl Hash {
    fn is_computable(&self) -> bool {
        matches!(self.scheme, '5' | '6') && (1_000..=MAX_ROUNDS).contains(&self.rounds)
    }
}

/// A hash as the pattern of `crypt-hash` describes it (RFC 7317 §4).
fn hash_of(text: &str) -> Option<Hash> {
    let mut parts = text.strip_prefix('$')?.split('$');
    let scheme = parts.next()?;
    let (digest_characters, salt_characters) = match scheme {
        "1" => (22, 8),
        "5" => (43, 16),
        "6" => (86, 16),
        _ => return None,
    };
    let mut salt = parts.next()?;
    let mut rounds = 5_000;
    if let Some(number) = salt.strip_prefix("rounds=").filter(|_| scheme != "1") {
        if number.is_empty() || number.len() > 9 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        rounds = number.parse().ok()?;
        salt = parts.next()?;
    }
    let digest = parts.next()?;
    let is_of_crypt =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/'));
    let is_hash = parts.next().is_none()
        && (1..=salt_characters).contains(&salt.len())
        && digest.len() == digest_characters
        && is_of_crypt(salt)
        && is_of_crypt(digest);
    is_hash.then(|| Hash { scheme: scheme.chars().next().unwrap_or_default(), rounds })
}

#[cfg(test)]
mod tests {
    use super::*;

    // From the specification of SHA-crypt (https://www.akkadia.org/drepper/SHA-crypt.txt).
    const SHA512: &str = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1";
    const SHA256: &str = "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5";
    const ROUNDS: &str = "$6$rounds=1400$anotherlongsalts$POfYwTEok97VWcjxIiSOjiykti.o/pQs.wPvMxQ6Fm7I6IoYN3CmLs66x9t0oSwbtEW7o7UmJEiDwGqd8p4ur1";

    #[test]
    fn clear_text_fits_its_hash_and_no_other() {
        assert!(may_be(SHA512, "$0$Hello world!"));
        assert!(may_be(SHA256, "$0$Hello world!"));
        for found in [SHA512, SHA256, ROUNDS] {
            assert!(!may_be(found, "$0$another"), "{found}");
        }
        assert!(may_be("$1$saltstri$YMyguxXMBpd2TEZ.vS/3q1", "$0$another"), "MD5 is not computed");
        assert!(may_be("$0$clear", "$0$clear") && !may_be("$0$clear", "$0$other"));
    }

    #[test]
    fn hash_that_is_written_must_come_back_equal() {
        assert!(may_be(SHA512, SHA512));
        assert!(!may_be(SHA256, SHA512));
        assert!(!may_be("****", SHA512));
    }

    #[test]
    fn text_that_is_no_hash_says_nothing() {
        for found in ["****", "$9$abcDEF.demo", "7 094F471A1A0A", "$6$x", "", "$6$saltstring$short"] {
            assert!(may_be(found, "$0$another") && may_be(found, "another"), "{found}");
        }
        assert!(may_be(SHA512, "another"), "only RFC 7317 says that a device hashes");
    }

    #[test]
    fn costly_hash_is_not_computed() {
        let costly = ROUNDS.replace("1400", "999999999");
        assert!(may_be(&costly, "$0$another"));
        assert_eq!(hash_of(&ROUNDS.replace("1400", "9999999999")), None);
    }
}
