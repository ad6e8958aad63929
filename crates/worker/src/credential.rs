//! From a credential's reference in a deployment to what logs in at a device. Secrets come from the
//! worker's own surroundings, are read anew at every login (so that they can be changed), and never leave.

use std::{collections::BTreeMap, path::PathBuf, process::Stdio, time::Duration};

use secrecy::SecretString;
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;
use turnup_core::name::CredentialRef;
use turnup_netconf::ssh::{Authentication, Credentials};

/// Largest secret in bytes.
const MAX_SECRET_BYTES: u64 = 64 * 1024;
/// Longest run of a command that prints a password.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// Where user name and secret come from: a user name and exactly one way to get what proves it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct CredentialSource {
    /// The user on the device.
    pub username: String,
    /// Where the secret is.
    pub secret: SecretSource,
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A password in an environment variable of this name.
    PasswordEnv(String),
    /// A password in a file; one line end at its end doesn't count.
    PasswordFile(PathBuf),
    /// An unencrypted private key in a file (OpenSSH or PEM).
    PrivateKeyFile(PathBuf),
    /// A password that a program (with arguments) prints; one line end at its end doesn't count.
    Command(Vec<String>),
    /// The keys of the SSH agent at this socket, or of `SSH_AUTH_SOCK`.
    Agent(Option<PathBuf>),
}

/// As configured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    username: String,
    password_env: Option<String>,
    password_file: Option<PathBuf>,
    private_key_file: Option<PathBuf>,
    command: Option<Vec<String>>,
    agent: Option<Agent>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Agent {
    Default(bool),
    Socket(PathBuf),
}

impl TryFrom<Written> for CredentialSource {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { username, password_env, password_file, private_key_file, command, agent } = written;
        let agent = match agent {
            None | Some(Agent::Default(false)) => None,
            Some(Agent::Default(true)) => Some(None),
            Some(Agent::Socket(path)) => Some(Some(path)),
        };
        let mut given = [
            password_env.map(SecretSource::PasswordEnv),
            password_file.map(SecretSource::PasswordFile),
            private_key_file.map(SecretSource::PrivateKeyFile),
            command.map(SecretSource::Command),
            agent.map(SecretSource::Agent),
        ]
        .into_iter()
        .flatten();
        let (Some(secret), None) = (given.next(), given.next()) else {
            return Err(format!(
                "the credential of user {username:?} needs exactly one of password_env, password_file, \
                 private_key_file, command, agent"
            ));
        };
        match &secret {
            SecretSource::Command(words) if words.is_empty() => {
                Err("command is a list: the program and its arguments".to_owned())
            }
            _ if username.is_empty() => Err("username is empty".to_owned()),
            _ => Ok(Self { username, secret }),
        }
    }
}

/// Why a credential can't be had. The text names the place, never the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CredentialError {
    /// The deployment names none.
    #[error("the device has no credential: set one with 'turnup device set'")]
    NotGiven,
    /// Unknown reference.
    #[error("this worker knows no credential {0}: add [credentials.{0}] to its configuration")]
    Unknown(CredentialRef),
    /// The source doesn't give it.
    #[error("credential {name}: {reason}")]
    Unavailable {
        /// The reference.
        name: CredentialRef,
        /// In words.
        reason: String,
    },
}

/// Resolves a reference.
///
/// # Errors
/// [`CredentialError`] says what to configure.
pub(crate) async fn resolve(
    known: &BTreeMap<CredentialRef, CredentialSource>,
    reference: Option<&CredentialRef>,
) -> Result<Credentials, CredentialError> {
    let name = reference.ok_or(CredentialError::NotGiven)?;
    let source = known.get(name).ok_or_else(|| CredentialError::Unknown(name.clone()))?;
    let user = source.username.as_str();
    let found = match &source.secret {
        SecretSource::PasswordEnv(variable) => std::env::var(variable)
            .map(|password| Credentials::password(user, SecretString::from(password)))
            .map_err(|_| format!("the environment variable {variable} is not set (or no UTF-8)")),
        SecretSource::PasswordFile(path) => {
            read(path).await.map(|text| Credentials::password(user, without_line_end(text)))
        }
        SecretSource::PrivateKeyFile(path) => {
            read(path).await.map(|text| Credentials::private_key(user, SecretString::from(text)))
        }
        SecretSource::Command(words) => {
            output(words).await.map(|text| Credentials::password(user, without_line_end(text)))
        }
        SecretSource::Agent(socket) => Ok(Credentials {
            username: user.to_owned(),
            methods: vec![Authentication::Agent { socket: socket.clone() }],
        }),
    };
    found.map_err(|reason| CredentialError::Unavailable { name: name.clone(), reason })
}

fn without_line_end(mut text: String) -> SecretString {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    SecretString::from(text)
}

async fn read(path: &std::path::Path) -> Result<String, String> {
    let work = async {
        let file = tokio::fs::File::open(path).await.map_err(|e| e.to_string())?;
        all(file).await
    };
    match tokio::time::timeout(COMMAND_TIMEOUT, work).await {
        Ok(read) => read.map_err(|reason| format!("{}: {reason}", path.display())),
        Err(_) => Err(format!("{} can't be read within {COMMAND_TIMEOUT:?}", path.display())),
    }
}

/// Everything that comes, within the bound.
async fn all(from: impl tokio::io::AsyncRead + Unpin) -> Result<String, String> {
    let mut text = String::new();
    from.take(MAX_SECRET_BYTES + 1).read_to_string(&mut text).await.map_err(|e| e.to_string())?;
    match u64::try_from(text.len()) {
        Ok(length) if length <= MAX_SECRET_BYTES => Ok(text),
        _ => Err(format!("more than {MAX_SECRET_BYTES} bytes")),
    }
}

async fn output(words: &[String]) -> Result<String, String> {
    let (program, arguments) = words.split_first().ok_or("the command is empty")?;
    let work = async {
        let mut child = tokio::process::Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| e.to_string())?;
        let stdout = child.stdout.take().ok_or("no output")?;
        let text = all(stdout).await?;
        let status = child.wait().await.map_err(|e| e.to_string())?;
        if status.success() { Ok(text) } else { Err(format!("ended with {status}")) }
    };
    match tokio::time::timeout(COMMAND_TIMEOUT, work).await {
        Ok(done) => done.map_err(|reason: String| format!("command {program}: {reason}")),
        Err(_) => Err(format!("command {program}: not done within {COMMAND_TIMEOUT:?}")),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn parse(text: &str) -> Result<CredentialSource, serde_json::Error> {
        serde_json::from_str(text)
    }

    async fn password(source: &str) -> Result<String, CredentialError> {
        let name = CredentialRef::new("lab").unwrap();
        let known = BTreeMap::from([(name.clone(), parse(source).unwrap())]);
        let credentials = resolve(&known, Some(&name)).await?;
        assert_eq!(credentials.username, "admin");
        match &credentials.methods[..] {
            [Authentication::Password(secret)] => Ok(secret.expose_secret().to_owned()),
            [Authentication::PrivateKey { key, .. }] => Ok(key.expose_secret().to_owned()),
            [Authentication::Agent { socket }] => Ok(format!("{socket:?}")),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn exactly_one_source() {
        assert!(parse(r#"{"username": "a", "password_env": "X"}"#).is_ok());
        for bad in [
            r#"{"username": "a"}"#,
            r#"{"username": "a", "password_env": "X", "agent": true}"#,
            r#"{"username": "a", "password": "X"}"#,
            r#"{"username": "", "password_env": "X"}"#,
            r#"{"username": "a", "command": []}"#,
            r#"{"username": "a", "agent": false}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn every_source_gives_its_secret() {
        // PATH is the one variable that is sure to be set.
        let from_env = password(r#"{"username": "admin", "password_env": "PATH"}"#).await.unwrap();
        assert_eq!(from_env, std::env::var("PATH").unwrap());

        let file = std::env::temp_dir().join(format!("turnup-secret-{}", uuid::Uuid::now_v7()));
        std::fs::write(&file, "pass word\r\n").unwrap();
        let path = serde_json::to_string(&file).unwrap();
        let from_file = password(&format!(r#"{{"username": "admin", "password_file": {path}}}"#)).await;
        let key = password(&format!(r#"{{"username": "admin", "private_key_file": {path}}}"#)).await;
        std::fs::write(&file, "x".repeat(70_000)).unwrap();
        let long = password(&format!(r#"{{"username": "admin", "password_file": {path}}}"#)).await;
        std::fs::remove_file(&file).unwrap();
        assert_eq!(from_file.unwrap(), "pass word");
        assert_eq!(key.unwrap(), "pass word\r\n");
        assert!(long.unwrap_err().to_string().contains("65536 bytes"));

        let printed = password(r#"{"username": "admin", "command": ["printf", "a\n\n"]}"#).await;
        assert_eq!(printed.unwrap(), "a\n");
        let agent = password(r#"{"username": "admin", "agent": "/run/agent"}"#).await;
        assert_eq!(agent.unwrap(), r#"Some("/run/agent")"#);
    }

    #[tokio::test]
    async fn what_is_missing_is_named() {
        let says = |source: &'static str| async move { password(source).await.unwrap_err().to_string() };
        let missing = says(r#"{"username": "admin", "password_env": "TURNUP_NO_SUCH_VARIABLE"}"#).await;
        assert!(missing.contains("TURNUP_NO_SUCH_VARIABLE"), "{missing}");
        assert!(says(r#"{"username": "admin", "password_file": "/nowhere"}"#).await.contains("/nowhere"));
        assert!(says(r#"{"username": "admin", "command": ["false"]}"#).await.contains("exit status"));
        let known = BTreeMap::new();
        let name = CredentialRef::new("lab").unwrap();
        assert!(resolve(&known, Some(&name)).await.unwrap_err().to_string().contains("[credentials.lab]"));
        assert_eq!(resolve(&known, None).await.unwrap_err(), CredentialError::NotGiven);
    }
}
