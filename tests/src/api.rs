//! An HTTP client as an upstream system would write it.

use reqwest::{Method, StatusCode};
use serde_json::Value;

/// A client with a token.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    /// Where the intake answers.
    pub base: String,
    /// Its token.
    pub token: String,
}

/// Status and body of an answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// JSON body, or null.
    pub body: Value,
    /// `Location`, `Retry-After` and other headers.
    pub headers: reqwest::header::HeaderMap,
}

impl Api {
    /// A client for `base` with `token`.
    ///
    /// # Panics
    /// If there can be no HTTP client.
    #[must_use]
    pub fn new(base: String, token: String) -> Self {
        // For this whole test process; installed already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(std::time::Duration::from_secs(60)).build().unwrap();
        Self { http, base, token }
    }

    /// Any request; `None` if no answer came.
    pub async fn try_call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Option<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.ok()?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.ok()?;
        Some(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)), headers })
    }

    /// GET.
    ///
    /// # Panics
    /// If no answer came.
    pub async fn get(&self, path: &str) -> Answer {
        self.try_call(Method::GET, path, None, &[]).await.expect("an answer")
    }

    /// POST.
    ///
    /// # Panics
    /// If no answer came.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.try_call(Method::POST, path, Some(body), &[]).await.expect("an answer")
    }

    /// Orders as NDJSON to the bulk endpoint; one result per order.
    ///
    /// # Panics
    /// If no answer came.
    pub async fn bulk(&self, orders: &[Value]) -> Vec<Value> {
        let body: String = orders.iter().map(|order| format!("{order}\n")).collect();
        let response = self
            .http
            .post(format!("{}/v1/orders:bulk", self.base))
            .bearer_auth(&self.token)
            .header("content-type", "application/x-ndjson")
            .body(body)
            .send()
            .await
            .expect("an answer");
        let text = response.text().await.expect("a whole answer");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect()
    }
}
