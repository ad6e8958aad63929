//! The key by which a served device is known.

use std::sync::Arc;

use russh::keys::key::safe_rng;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{Algorithm, Error, HashAlg, PrivateKey, decode_secret_key};

/// A host key: cheap to clone.
#[derive(Debug, Clone)]
pub struct HostKeyPair(Arc<PrivateKey>);

impl HostKeyPair {
    /// A new Ed25519 key.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn generate() -> Result<Self, Error> {
        let key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519)?;
        Ok(Self(Arc::new(key)))
    }

    /// The Ed25519 key of this seed: always the same for the same seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Arc::new(PrivateKey::from(Ed25519Keypair::from_seed(seed))))
    }

    /// A key from the text of an unencrypted private key.
    ///
    /// # Errors
    /// If the text is no such key.
    pub fn from_private_key(text: &str) -> Result<Self, Error> {
        Ok(Self(Arc::new(decode_secret_key(text, None)?)))
    }

    /// The public key as OpenSSH writes it, as can be pinned: `ssh-ed25519 AAAA…`.
    pub fn public_key(&self) -> String {
        self.0.public_key().to_openssh().unwrap_or_default()
    }

    /// The SHA-256 fingerprint, `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    pub(super) fn private_key(&self) -> PrivateKey {
        (*self.0).clone()
    }
}
