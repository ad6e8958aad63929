//! `turnup events`

use clap::Args;
use serde_json::Value;

use super::{
    http::{Api, query},
    output::{Format, json, line, text},
};
use crate::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Only events after this cursor
    #[arg(long)]
    after: Option<i64>,
    /// Go on with new events as they happen
    #[arg(long)]
    follow: bool,
    /// Type, or how it begins, such as dev.turnup.order
    #[arg(long = "type")]
    kind: Option<String>,
    /// Subject, such as orders/<id>
    #[arg(long)]
    subject: Option<String>,
    #[arg(long, default_value_t = 100)]
    limit: u16,
}

pub(crate) async fn run(api: &Api, format: Format, events: &Events) -> Result<(), Failure> {
    let after = events.after.unwrap_or(0);
    let (after_text, limit) = (after.to_string(), events.limit.to_string());
    let filter = query([("type", events.kind.as_deref()), ("subject", events.subject.as_deref())]);
    if events.follow {
        let mut cursor = if events.after.is_some() { after } else { newest(api).await? };
        loop {
            api.follow(&filter, cursor, |id, event| {
                cursor = id;
                line(if format == Format::Json { event.to_string() } else { one_line(&event) });
                true
            })
            .await?;
        }
    }
    let page = api
        .get(&format!(
            "/v1/events?{filter}&{}",
            query([("after", Some(&*after_text)), ("limit", Some(&*limit))])
        ))
        .await?;
    if format == Format::Json {
        return json(&page);
    }
    for event in page["items"].as_array().into_iter().flatten() {
        line(one_line(event));
    }
    if let Some(cursor) = page["next_cursor"].as_str() {
        line(format!("more: --after {cursor}"));
    }
    Ok(())
}

/// The newest cursor there is.
pub(crate) async fn newest(api: &Api) -> Result<i64, Failure> {
    let page = api.get("/v1/events?after=9223372036854775807&limit=1").await?;
    Ok(page["last_cursor"].as_str().and_then(|cursor| cursor.parse().ok()).unwrap_or(0))
}

/// An event in one line.
pub(crate) fn one_line(event: &Value) -> String {
    let data = &event["data"];
    let kind = text(event.get("type"));
    let short = kind.trim_start_matches("dev.turnup.").trim_end_matches(".v1");
    let mut parts = vec![text(event.get("time")), format!("{short:<22}"), text(event.get("subject"))];
    parts.extend(event["correlationid"].as_str().map(str::to_owned));
    parts.extend(
        data["definition"].as_str().map(|definition| format!("{definition} {}", text(data.get("region")))),
    );
    if let ("scheduled", Some(again)) =
        (data["state"].as_str().unwrap_or_default(), super::order::retry(&data["retry"]))
    {
        parts.push(format!("attempt {again} until {}", text(data.get("scheduled_for"))));
    }
    if let Some(error) = data["errors"].get(0) {
        let device = error["device"].as_str().map(|device| format!("{device}: ")).unwrap_or_default();
        parts.push(format!("{device}{}", text(error.get("message"))));
    }
    parts.join("  ")
}
