//! HTTP with turnup's intake.

use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::{Method, Response, StatusCode, header};
use serde_json::Value;
use turnup_core::problem::Problem;

use crate::failure::Failure;

/// Deadline of one call.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Deadline of a call that waits for devices; the intake's own is shorter.
const PATIENT: Duration = Duration::from_secs(180);

/// A client with its token.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    http: reqwest::Client,
    base: String,
    token: String,
    timeout: Duration,
}

impl Api {
    pub(crate) fn new(base: &str, token: Option<&str>) -> Result<Self, Failure> {
        let token = token.ok_or_else(|| {
            Failure::Usage(
                "no token: set TURNUP_TOKEN or --token; an administrator makes one with 'turnup token create'".to_owned(),
            )
        })?;
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .user_agent(concat!("turnup/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Failure::Failed(format!("no HTTP client: {error}")))?;
        Ok(Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
            token: token.to_owned(),
            timeout: TIMEOUT,
        })
    }

    /// The same, for calls in which a device is asked.
    pub(crate) fn patient(&self) -> Self {
        Self { timeout: PATIENT, ..self.clone() }
    }

    /// The same, for calls that take so long.
    pub(crate) fn waiting(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Response, Failure> {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(&self.token)
            .timeout(self.timeout);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        checked(response).await
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        unreachable(&self.base, error.is_builder(), error.is_timeout(), error)
    }

    /// The whole id of what `given` names among `things` (`orders`, `services`, `deployments`): an id, a unique
    /// beginning of one, `external:` and an external id, or a bare external id.
    pub(crate) async fn resolve(&self, things: &str, given: &str) -> Result<String, Failure> {
        if uuid::Uuid::parse_str(given).is_ok() {
            return Ok(given.to_owned());
        }
        let found = async |name: &str| -> Result<Result<String, Failure>, Failure> {
            match self.get(&format!("/v1/{things}/{}", encode(name))).await {
                Ok(thing) => Ok(Ok(thing["id"].as_str().unwrap_or(name).to_owned())),
                Err(Failure::Problem(problem)) if matches!(problem.status, 404 | 409) => {
                    Ok(Err(Failure::Problem(problem)))
                }
                Err(failure) => Err(failure),
            }
        };
        if given.starts_with("external:") {
            return found(given).await?;
        }
        let by_external_id = found(&format!("external:{given}")).await?;
        let digits = given.chars().filter(|c| *c != '-').count();
        let may_be_id = (8..32).contains(&digits) && given.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        if !may_be_id {
            return by_external_id;
        }
        let thing = things.trim_end_matches('s');
        match (found(given).await?, by_external_id) {
            (Ok(id), Ok(other)) if id != other => Err(Failure::Refused(format!(
                "{given} is the beginning of the id of {thing} {id}, and the external id of {thing} {other}; give \
                 external:{given} or more of the id"
            ))),
            (Ok(id), Ok(_) | Err(_)) | (Err(_), Ok(id)) => Ok(id),
            // The one that says more than that there is none.
            (Err(by_id), Err(by_external_id)) => {
                Err(if by_external_id.has_code("not_found") { by_id } else { by_external_id })
            }
        }
    }

    /// What a filter that takes such a reference is given: the id, or what the intake resolves. Of a service that was
    /// removed there still are orders, which its external id finds.
    pub(crate) async fn reference(&self, things: &str, given: &str) -> Result<String, Failure> {
        match self.resolve(things, given).await {
            Err(failure) if failure.has_code("removed") => Ok(match given.starts_with("external:") {
                true => given.to_owned(),
                false => format!("external:{given}"),
            }),
            found => found,
        }
    }

    /// GET.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        json(self.send(Method::GET, path, None).await?).await
    }

    /// POST with a JSON body.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        json(self.send(Method::POST, path, Some(body)).await?).await
    }

    /// POST with a JSON body; also tells whether something was created (201).
    pub(crate) async fn create(&self, path: &str, body: &Value) -> Result<(bool, Value), Failure> {
        let response = self.send(Method::POST, path, Some(body)).await?;
        Ok((response.status() == StatusCode::CREATED, json(response).await?))
    }

    /// POST with a JSON body and an idempotency key; gives the status too.
    pub(crate) async fn post_with_key(
        &self,
        path: &str,
        body: &Value,
        key: &str,
    ) -> Result<(u16, Value), Failure> {
        let request =
            self.http.post(format!("{}{path}", self.base)).bearer_auth(&self.token).timeout(self.timeout);
        let sent = request.header("idempotency-key", key).json(body).send().await;
        let response = checked(sent.map_err(|error| self.unreachable(&error))?).await?;
        Ok((response.status().as_u16(), json(response).await?))
    }

    /// PATCH with a JSON body.
    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        json(self.send(Method::PATCH, path, Some(body)).await?).await
    }

    /// DELETE.
    pub(crate) async fn delete(&self, path: &str) -> Result<(), Failure> {
        self.send(Method::DELETE, path, None).await.map(|_| ())
    }

    /// POST of NDJSON to the bulk endpoint; `each` sees every line of the answer as it comes.
    pub(crate) async fn bulk(&self, lines: Vec<String>, mut each: impl FnMut(Value)) -> Result<(), Failure> {
        let body =
            futures_util::stream::iter(lines.into_iter().map(|line| Ok::<_, std::io::Error>(line + "\n")));
        let response = self
            .http
            .post(format!("{}/v1/orders:bulk", self.base))
            .bearer_auth(&self.token)
            .header(header::CONTENT_TYPE, "application/x-ndjson")
            .body(reqwest::Body::wrap_stream(body))
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let response = checked(response).await?;
        self.lines(response, |line| {
            if let Ok(value) = serde_json::from_str(line) {
                each(value);
            }
            true
        })
        .await
    }

    /// Follows server-sent events after `cursor`; `each` gets cursor and event and says whether to go on.
    /// Ends when `each` says so or the connection does.
    pub(crate) async fn follow(
        &self,
        query: &str,
        cursor: i64,
        mut each: impl FnMut(i64, Value) -> bool,
    ) -> Result<(), Failure> {
        let response = self
            .http
            .get(format!("{}/v1/events?{query}", self.base))
            .bearer_auth(&self.token)
            .header(header::ACCEPT, "text/event-stream")
            .header("last-event-id", cursor.to_string())
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let response = checked(response).await?;
        let mut id = cursor;
        self.lines(response, |line| {
            if let Some(value) = line.strip_prefix("id:") {
                id = value.trim().parse().unwrap_or(id);
            } else if let Some(data) = line.strip_prefix("data:")
                && let Ok(event) = serde_json::from_str(data)
            {
                return each(id, event);
            }
            true
        })
        .await
    }

    async fn lines(&self, response: Response, mut each: impl FnMut(&str) -> bool) -> Result<(), Failure> {
        let mut stream = response.bytes_stream();
        let mut pending = Vec::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| self.unreachable(&error))?;
            for byte in chunk {
                if byte != b'\n' {
                    pending.push(byte);
                    continue;
                }
                let line = String::from_utf8_lossy(&pending).trim_end_matches('\r').to_owned();
                pending.clear();
                if !each(&line) {
                    return Ok(());
                }
            }
        }
        if !pending.is_empty() {
            each(&String::from_utf8_lossy(&pending));
        }
        Ok(())
    }
}

/// Why a server can't be reached. The cause is the last error of the chain: the first says only what was tried.
fn unreachable(
    base: &str,
    bad_url: bool,
    timeout: bool,
    error: &(dyn std::error::Error + 'static),
) -> Failure {
    if bad_url {
        return Failure::Usage(format!(
            "{base:?} is not a URL; write http:// or https://, the host and the port, such as \
             http://127.0.0.1:8080, in TURNUP_URL or --url"
        ));
    }
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let cause = cause.to_string();
    let hint = if timeout {
        "it did not answer in time; is it the right address?"
    } else if cause.contains("InvalidContentType") {
        "it does not speak TLS; does the URL begin with http:// instead of https://?"
    } else if cause.contains("invalid HTTP version") || cause.contains("message head is too large") {
        "it does not speak HTTP; does the URL begin with https:// instead of http://, is the port right?"
    } else {
        "is an intake running there? Set TURNUP_URL or --url"
    };
    Failure::Unreachable(format!("{base} can't be reached ({cause}); {hint}"))
}

async fn json(response: Response) -> Result<Value, Failure> {
    let text = response
        .text()
        .await
        .map_err(|error| Failure::Unreachable(format!("the answer broke off: {error}")))?;
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text).map_err(|error| Failure::Failed(format!("the answer is no JSON: {error}")))
}

async fn checked(response: Response) -> Result<Response, Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = response.text().await.unwrap_or_default();
    Err(match serde_json::from_str::<Problem>(&text) {
        Ok(problem) => problem.into(),
        Err(_) if status == StatusCode::SERVICE_UNAVAILABLE => Failure::Unreachable(format!("{status}")),
        Err(_) => Failure::Failed(format!("{status}: {}", text.chars().take(200).collect::<String>())),
    })
}

/// Percent-encodes one value of a query or path segment.
pub(crate) fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// `name=value&…` of those that are given.
pub(crate) fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> String {
    let parts: Vec<String> =
        pairs.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", encode(value?)))).collect();
    parts.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreachable_server_is_told_with_its_cause() {
        let error = |text: &str| std::io::Error::other(text.to_owned());
        let said = |bad_url, timeout, text: &str| {
            let failure = unreachable("http://x", bad_url, timeout, &error(text));
            (failure.exit_code(), failure.to_string())
        };
        let (code, text) = said(true, false, "builder error");
        assert!(code == 2 && text.contains("http://127.0.0.1:8080"), "{text}");
        let (code, text) = said(false, false, "Connection refused (os error 111)");
        assert!(
            code == 4 && text.contains("(Connection refused (os error 111)); is an intake running"),
            "{text}"
        );
        let (_, text) = said(false, false, "received corrupt message of type InvalidContentType");
        assert!(text.contains("does not speak TLS"), "{text}");
        assert!(said(false, true, "operation timed out").1.contains("in time"));
    }

    #[test]
    fn queries_are_encoded() {
        let parts = [("state", Some("in progress&")), ("kind", None), ("device", Some("a.b-1"))];
        assert_eq!(query(parts), "state=in%20progress%26&device=a.b-1");
    }
}
