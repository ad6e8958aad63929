//! Who calls: bearer tokens (RFC 6750 §2.1), looked up in the store and believed for a few
//! seconds. Every reason to refuse one looks the same from outside.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, header};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use turnup_core::{
    policy::{Permission, Role, any_allows},
    problem::Problem,
};
use turnup_store::{Store, TokenView};

use crate::refusal;

/// Most tokens, good and bad ones, that are remembered.
const MAX_CACHED: usize = 10_000;
/// Longest secret that is looked up, in bytes.
const MAX_SECRET_BYTES: usize = 256;

/// A secret; never printed.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Who calls.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Its token's name: the requester of its orders.
    pub(crate) name: String,
    roles: Vec<Role>,
    secret: Secret,
}

impl Caller {
    /// Whether it may.
    pub(crate) fn require(&self, permission: Permission) -> Result<(), Problem> {
        require(&self.roles, permission)
    }
}

/// Whether one of `roles` has `permission`.
pub(crate) fn require(roles: &[Role], permission: Permission) -> Result<(), Problem> {
    if any_allows(roles, permission) {
        return Ok(());
    }
    let roles: Vec<&str> = roles.iter().map(|role| role.title()).collect();
    Err(Problem::forbidden(format!("needs the right {permission}, which {} has not", roles.join(", "))))
}

#[derive(Debug)]
struct Entry {
    since: Instant,
    token: Option<Arc<TokenView>>,
}

/// The tokens seen lately.
#[derive(Debug)]
pub(crate) struct Tokens {
    store: Store,
    max_age: Duration,
    seen: Mutex<HashMap<[u8; 32], Entry>>,
}

impl Tokens {
    pub(crate) fn new(store: Store, max_age: Duration) -> Self {
        Self { store, max_age, seen: Mutex::new(HashMap::new()) }
    }

    /// Who sent these headers.
    pub(crate) async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let secret = bearer(headers).ok_or_else(Problem::unauthenticated)?;
        self.known(secret).await
    }

    /// The same caller, if its token is still good.
    pub(crate) async fn again(&self, caller: &Caller) -> Result<Caller, Problem> {
        self.known(&caller.secret.0).await
    }

    async fn known(&self, secret: &str) -> Result<Caller, Problem> {
        let key: [u8; 32] = Sha256::digest(secret).into();
        let token = match self.remembered(&key) {
            Some(token) => token,
            None => {
                let since = Instant::now();
                let token = self.store.token(secret).await.map_err(|error| refusal::of_store(&error))?;
                let token = token.map(Arc::new);
                self.remember(key, Entry { since, token: token.clone() });
                token
            }
        };
        match token {
            Some(token) if token.is_valid(Timestamp::now()) => Ok(Caller {
                name: token.name.clone(),
                roles: token.roles.clone(),
                secret: Secret(secret.to_owned()),
            }),
            _ => Err(Problem::unauthenticated()),
        }
    }

    fn remembered(&self, key: &[u8; 32]) -> Option<Option<Arc<TokenView>>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(key).filter(|entry| entry.since.elapsed() < self.max_age).map(|entry| entry.token.clone())
    }

    fn remember(&self, key: [u8; 32], entry: Entry) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MAX_CACHED {
            seen.retain(|_, entry| entry.since.elapsed() < self.max_age);
        }
        if seen.len() >= MAX_CACHED {
            // Somebody is guessing; the good ones come back with one look-up each.
            seen.clear();
        }
        seen.insert(key, entry);
    }
}

/// The bearer token, if it looks like one of ours.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, secret) = value.to_str().ok()?.split_once(' ')?;
    let fits = scheme.eq_ignore_ascii_case("bearer")
        && secret.starts_with("tu_")
        && secret.len() <= MAX_SECRET_BYTES
        && secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    fits.then_some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_one_whole_bearer_token_is_read() {
        assert_eq!(bearer(&headers(&["Bearer tu_1a"])), Some("tu_1a"));
        assert_eq!(bearer(&headers(&["bearer tu_1a"])), Some("tu_1a"));
        let long = format!("Bearer tu_{}", "a".repeat(MAX_SECRET_BYTES));
        for bad in [
            &[][..],
            &["tu_1a"],
            &["Basic tu_1a"],
            &["Bearer  tu_1a"],
            &["Bearer xx_1a"],
            &["Bearer tu_1a tu_2"],
            &["Bearer tu_1a", "Bearer tu_1a"],
            &[long.as_str()],
        ] {
            assert_eq!(bearer(&headers(bad)), None, "{bad:?}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let caller =
            Caller { name: "crm".to_owned(), roles: vec![], secret: Secret("tu_hunter2".to_owned()) };
        assert!(!format!("{caller:?}").contains("hunter2"));
    }
}
