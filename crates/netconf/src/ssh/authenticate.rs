//! Authentication, RFC 4252 and RFC 4256.

use std::sync::Arc;

use russh::client::{AuthResult, Handle, Handler, KeyboardInteractiveAuthResponse};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg, decode_secret_key};
use russh::{MethodKind, MethodSet};
use secrecy::{ExposeSecret, SecretString};

use super::{Authentication, ConnectError, Credentials, Phase, SshAlgorithms, Target, WeakAlgorithm};

/// Rounds of prompts answered in keyboard-interactive before giving up.
const MAX_PROMPT_ROUNDS: usize = 8;
/// Keys of an agent offered; servers count each as an attempt.
const MAX_AGENT_KEYS: usize = 5;

/// Proves who we are by the first method that works.
pub(super) async fn authenticate<H: Handler>(
    handle: &mut Handle<H>,
    target: &Target,
    credentials: &Credentials,
    algorithms: &SshAlgorithms,
) -> Result<(), ConnectError> {
    let mut login = Login {
        handle,
        target,
        username: &credentials.username,
        allows_ssh_rsa: algorithms.has(WeakAlgorithm::SshRsa),
        offered: None,
        tried: Vec::new(),
        hint: None,
    };
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
        hint: login.hint,
    })
}

fn names(methods: &MethodSet) -> String {
    methods.iter().map(<&str>::from).collect::<Vec<_>>().join(", ")
}

/// What a server made of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judged {
    Accepted,
    Refused,
    /// It was right, and another one is needed (RFC 4252 §5.1).
    OneOfSeveral,
}

struct Login<'a, H: Handler> {
    handle: &'a mut Handle<H>,
    target: &'a Target,
    username: &'a str,
    /// Whether RSA signatures may be made with SHA-1.
    allows_ssh_rsa: bool,
    /// What the server said last about how one may go on.
    offered: Option<MethodSet>,
    tried: Vec<&'static str>,
    /// What else may be the reason of a refusal.
    hint: Option<&'static str>,
}

/// The device took none of the RSA signatures tried, and did not say which it takes.
const MAY_BE_SHA_1: &str = "the device took none of rsa-sha2-256/512; it may know SHA-1 only (ssh-rsa), which has to \
                            be allowed for it explicitly (SSH algorithms of its platform)";
/// The device says that it takes RSA keys with SHA-1 only.
const IS_SHA_1: &str = "the device takes RSA keys with SHA-1 only (ssh-rsa), which has to be allowed for it \
                        explicitly (SSH algorithms of its platform), or use an Ed25519 key";

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

    fn lost(&self, error: russh::Error) -> ConnectError {
        let reason = match error {
            // What russh says when its task has ended with the connection.
            russh::Error::SendError | russh::Error::RecvError | russh::Error::Disconnect => {
                "the device closed the connection".to_owned()
            }
            error => error.to_string(),
        };
        ConnectError::Unreachable {
            target: self.target.clone(),
            phase: Phase::Authentication,
            reason: format!("{reason}{}", super::remark(&self.hint)),
        }
    }

    fn unusable(&self, reason: impl Into<String>) -> ConnectError {
        ConnectError::Credentials { target: self.target.clone(), reason: reason.into() }
    }

    fn note(&mut self, result: AuthResult) -> bool {
        self.judge(result) == Judged::Accepted
    }

    fn judge(&mut self, result: AuthResult) -> Judged {
        match result {
            AuthResult::Success => Judged::Accepted,
            AuthResult::Failure { remaining_methods, partial_success } => {
                self.offered = Some(remaining_methods);
                if partial_success { Judged::OneOfSeveral } else { Judged::Refused }
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
        let key = Arc::new(key);
        for hash in self.hashes(&key.algorithm()).await? {
            let key = PrivateKeyWithHashAlg::new(key.clone(), hash);
            let result = self.handle.authenticate_publickey(self.username, key).await;
            match self.judge(result.map_err(|e| self.lost(e))?) {
                Judged::Accepted => return Ok(true),
                Judged::Refused => {}
                Judged::OneOfSeveral => break,
            }
        }
        Ok(false)
    }

    /// The hashes to sign with, in the order in which they are tried. For RSA what the server says it takes
    /// (RFC 8332 §3.3); if it says nothing, SHA-2 in both lengths. SHA-1 only where it is allowed.
    async fn hashes(&mut self, algorithm: &Algorithm) -> Result<Vec<Option<HashAlg>>, ConnectError> {
        if !algorithm.clone().is_rsa() {
            return Ok(vec![None]);
        }
        let best = self.handle.best_supported_rsa_hash().await.map_err(|e| self.lost(e))?;
        Ok(match best {
            // OpenSSH names what it knows, and not only what it is set to take.
            Some(Some(hash)) if self.allows_ssh_rsa => vec![Some(hash), None],
            Some(Some(hash)) => vec![Some(hash)],
            Some(None) if self.allows_ssh_rsa => vec![None],
            Some(None) => {
                self.hint = Some(IS_SHA_1);
                Vec::new()
            }
            // Servers that know SHA-1 only say nothing, and some end the connection at anything else. So
            // where SHA-1 is allowed it comes first.
            None if self.allows_ssh_rsa => vec![None, Some(HashAlg::Sha512), Some(HashAlg::Sha256)],
            None => {
                self.hint = Some(MAY_BE_SHA_1);
                vec![Some(HashAlg::Sha512), Some(HashAlg::Sha256)]
            }
        })
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
            for hash in self.hashes(&key.algorithm()).await? {
                let result = self
                    .handle
                    .authenticate_publickey_with(self.username, key.clone(), hash, &mut agent)
                    .await;
                let result = result.map_err(|e| self.unusable(format!("SSH agent: {e}")))?;
                match self.judge(result) {
                    Judged::Accepted => return Ok(true),
                    Judged::Refused => {}
                    Judged::OneOfSeveral => break,
                }
            }
        }
        Ok(false)
    }
}
