//! Authentication, RFC 4252 and RFC 4256.

use std::sync::Arc;

use russh::client::{AuthResult, Handle, Handler, KeyboardInteractiveAuthResponse};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, decode_secret_key};
use russh::{MethodKind, MethodSet};
use secrecy::{ExposeSecret, SecretString};

use super::{Authentication, ConnectError, Credentials, Phase, Target};

/// Rounds of prompts answered in keyboard-interactive before giving up.
const MAX_PROMPT_ROUNDS: usize = 8;
/// Keys of an agent offered; servers count each as an attempt.
const MAX_AGENT_KEYS: usize = 5;

/// Proves who we are by the first method that works.
pub(super) async fn authenticate<H: Handler>(
    handle: &mut Handle<H>,
    target: &Target,
    credentials: &Credentials,
) -> Result<(), ConnectError> {
    let mut login =
        Login { handle, target, username: &credentials.username, offered: None, tried: Vec::new() };
    for method in &credentials.methods {
        if login.by(method).await? {
            return Ok(());
        }
    }
    Err(ConnectError::AuthenticationFailed {
        target: target.clone(),
        username: credentials.username.clone(),
        tried: login.tried.join(", "),
        offered: login.offered.as_ref().map_or_else(|| "unknown".to_owned(), names),
    })
}

fn names(methods: &MethodSet) -> String {
    methods.iter().map(<&str>::from).collect::<Vec<_>>().join(", ")
}

struct Login<'a, H: Handler> {
    handle: &'a mut Handle<H>,
    target: &'a Target,
    username: &'a str,
    /// What the server said last about how one may go on.
    offered: Option<MethodSet>,
    tried: Vec<&'static str>,
}

impl<H: Handler> Login<'_, H> {
    async fn by(&mut self, method: &Authentication) -> Result<bool, ConnectError> {
        match method {
            Authentication::Password(password) => {
                if self.offered.is_none() && self.probe().await? {
                    return Ok(true);
                }
                // Many devices ask for the password by prompt only. The same password is never tried
                // both ways: wrong ones count, and accounts get locked.
                match self.offers(MethodKind::Password) {
                    true => self.password(password).await,
                    false if self.offers(MethodKind::KeyboardInteractive) => self.prompts(password).await,
                    false => Ok(false),
                }
            }
            Authentication::KeyboardInteractive(answer) if self.offers(MethodKind::KeyboardInteractive) => {
                self.prompts(answer).await
            }
            Authentication::PrivateKey { key, passphrase } if self.offers(MethodKind::PublicKey) => {
                self.private_key(key, passphrase.as_ref()).await
            }
            Authentication::Agent { socket } if self.offers(MethodKind::PublicKey) => {
                self.agent(socket.as_deref()).await
            }
            _ => Ok(false),
        }
    }

    fn offers(&self, method: MethodKind) -> bool {
        self.offered.as_ref().is_none_or(|offered| offered.contains(&method))
    }

    fn lost(&self, error: impl std::fmt::Display) -> ConnectError {
        ConnectError::Unreachable {
            target: self.target.clone(),
            phase: Phase::Authentication,
            reason: error.to_string(),
        }
    }

    fn unusable(&self, reason: impl Into<String>) -> ConnectError {
        ConnectError::Credentials { target: self.target.clone(), reason: reason.into() }
    }

    fn note(&mut self, result: AuthResult) -> bool {
        match result {
            AuthResult::Success => true,
            AuthResult::Failure { remaining_methods, .. } => {
                self.offered = Some(remaining_methods);
                false
            }
        }
    }

    /// Asks which methods are offered (RFC 4252 §5.2); true if none is needed.
    async fn probe(&mut self) -> Result<bool, ConnectError> {
        let result = self.handle.authenticate_none(self.username).await;
        result.map(|result| self.note(result)).map_err(|e| self.lost(e))
    }

    async fn password(&mut self, password: &SecretString) -> Result<bool, ConnectError> {
        self.tried.push("password");
        let result = self.handle.authenticate_password(self.username, password.expose_secret()).await;
        result.map(|result| self.note(result)).map_err(|e| self.lost(e))
    }

    async fn prompts(&mut self, answer: &SecretString) -> Result<bool, ConnectError> {
        self.tried.push("keyboard-interactive");
        let mut response = self
            .handle
            .authenticate_keyboard_interactive_start(self.username, None)
            .await
            .map_err(|e| self.lost(e))?;
        for _ in 0..MAX_PROMPT_ROUNDS {
            response = match response {
                KeyboardInteractiveAuthResponse::Success => return Ok(true),
                KeyboardInteractiveAuthResponse::Failure { remaining_methods, .. } => {
                    self.offered = Some(remaining_methods);
                    return Ok(false);
                }
                KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => {
                    let answers = prompts.iter().map(|prompt| match prompt.echo {
                        true => String::new(),
                        false => answer.expose_secret().to_owned(),
                    });
                    self.handle
                        .authenticate_keyboard_interactive_respond(answers.collect())
                        .await
                        .map_err(|e| self.lost(e))?
                }
            };
        }
        Ok(false)
    }

    async fn private_key(
        &mut self,
        key: &SecretString,
        passphrase: Option<&SecretString>,
    ) -> Result<bool, ConnectError> {
        self.tried.push("publickey");
        let key = decode_secret_key(key.expose_secret(), passphrase.map(ExposeSecret::expose_secret))
            .map_err(|e| self.unusable(format!("private key: {e}")))?;
        let hash = if key.algorithm().is_rsa() { self.rsa_hash().await? } else { None };
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
        let result = self.handle.authenticate_publickey(self.username, key).await;
        result.map(|result| self.note(result)).map_err(|e| self.lost(e))
    }

    /// The hash for RSA signatures: what the server says it takes, else SHA-256.
    async fn rsa_hash(&mut self) -> Result<Option<HashAlg>, ConnectError> {
        let best = self.handle.best_supported_rsa_hash().await.map_err(|e| self.lost(e))?;
        Ok(best.unwrap_or(Some(HashAlg::Sha256)))
    }

    async fn agent(&mut self, socket: Option<&std::path::Path>) -> Result<bool, ConnectError> {
        self.tried.push("publickey (agent)");
        let connected = match socket {
            Some(path) => AgentClient::connect_uds(path).await,
            None => AgentClient::connect_env().await,
        };
        let mut agent = connected.map_err(|e| self.unusable(format!("SSH agent: {e}")))?;
        let identities =
            agent.request_identities().await.map_err(|e| self.unusable(format!("SSH agent: {e}")))?;
        for identity in identities.into_iter().take(MAX_AGENT_KEYS) {
            let AgentIdentity::PublicKey { key, .. } = identity else { continue };
            let hash = if key.algorithm().is_rsa() { self.rsa_hash().await? } else { None };
            let result = self.handle.authenticate_publickey_with(self.username, key, hash, &mut agent).await;
            if result.map(|result| self.note(result)).map_err(|e| self.unusable(format!("SSH agent: {e}")))? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
