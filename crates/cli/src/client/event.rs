//! `turnup events`

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use turnup_core::{audit::ConfigAudit, lifecycle::AuditState};

use super::{
    http::{Api, encode, query},
    output::{Format, items, json, json_line, line, note, text},
    table::{fitted, width},
};
use crate::failure::Failure;

/// Events of a page, when all since a time are wanted.
const PAGE: &str = "1000";

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// The events after this cursor, oldest first, instead of the newest
    #[arg(long, conflicts_with = "since")]
    after: Option<i64>,
    /// All events since this RFC 3339 time, or of the last 30m, 12h, 7d
    #[arg(long, value_name = "TIME|DURATION", value_parser = since)]
    since: Option<Timestamp>,
    /// Go on with new events as they happen
    #[arg(long)]
    follow: bool,
    /// Type, or how it begins, such as order or service.audited
    #[arg(long = "type")]
    kind: Option<String>,
    /// What the events are about: orders/ID, services/ID, deployments/ID or devices/NAME, where an id may be shortened
    /// or an external id; without orders/ and so on the order, service or device that has it
    #[arg(long)]
    subject: Option<String>,
    /// Most events shown; not with --since
    #[arg(long, default_value_t = 100)]
    limit: u16,
}

/// Reads a time, or how long ago it is.
fn since(given: &str) -> Result<Timestamp, String> {
    if let Ok(at) = given.parse() {
        return Ok(at);
    }
    let hint = || format!("{given:?} is neither a duration such as 90s, 30m, 12h or 7d nor an RFC 3339 time");
    let unit = given.chars().last().ok_or_else(hint)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(hint()),
    };
    let count: i64 = given[..given.len() - unit.len_utf8()].parse().map_err(|_| hint())?;
    let ago = count.checked_mul(seconds).filter(|seconds| *seconds >= 0).ok_or_else(hint)?;
    Timestamp::now().checked_sub(SignedDuration::from_secs(ago)).map_err(|_| hint())
}

pub(crate) async fn run(api: &Api, format: Format, events: &Events) -> Result<(), Failure> {
    let subject = match events.subject.as_deref() {
        Some(given) => Some(subject(api, given).await?),
        None => None,
    };
    let filter = query([("type", events.kind.as_deref()), ("subject", subject.as_deref())]);
    let mut cursor = match (events.since, events.follow, events.after) {
        (Some(since), ..) => Some(all_since(api, format, events, &filter, since).await?),
        // What was before is asked for by name.
        (None, true, None) => None,
        (None, _, after) => Some(page(api, format, events, &filter, after).await?),
    };
    if !events.follow {
        return Ok(());
    }
    loop {
        let mut position = match cursor {
            Some(cursor) => cursor,
            None => newest(api).await?,
        };
        api.follow(&filter, position, |id, event| {
            position = id;
            show(format, &event);
            true
        })
        .await?;
        cursor = Some(position);
    }
}

/// The subject that is meant: what is named in full, or the first order, service or device that has this id or name.
async fn subject(api: &Api, given: &str) -> Result<String, Failure> {
    if let Some((plural, id)) = given.split_once('/') {
        return match plural {
            "orders" | "services" | "deployments" => {
                Ok(format!("{plural}/{}", api.resolve(plural, id).await?))
            }
            _ => Ok(given.to_owned()),
        };
    }
    for plural in ["orders", "services", "deployments"] {
        match api.resolve(plural, given).await {
            // An id is taken as it is, so whether it is one of these must be asked.
            Ok(id) => match api.get(&format!("/v1/{plural}/{id}")).await {
                Ok(_) => return Ok(format!("{plural}/{id}")),
                Err(Failure::Problem(problem)) if problem.status == 404 => {}
                Err(failure) => return Err(failure),
            },
            Err(Failure::Problem(problem)) if problem.status == 404 => {}
            Err(failure) => return Err(failure),
        }
    }
    match api.get(&format!("/v1/devices/{}", encode(given))).await {
        Ok(_) => Ok(format!("devices/{given}")),
        Err(Failure::Problem(problem)) if matches!(problem.status, 400 | 404 | 422) => {
            Err(Failure::Failed(format!(
                "no order, service, deployment or device is called {given:?}; of what was removed say what it was, such as \
             services/ID or devices/NAME"
            )))
        }
        Err(failure) => Err(failure),
    }
}

/// A page: after a cursor, or the newest. Gives the cursor of its end.
async fn page(
    api: &Api,
    format: Format,
    events: &Events,
    filter: &str,
    after: Option<i64>,
) -> Result<i64, Failure> {
    let (after, limit) = (after.map(|after| after.to_string()), events.limit.to_string());
    let newest = after.is_none().then_some("true");
    let place = query([("after", after.as_deref()), ("newest", newest), ("limit", Some(&*limit))]);
    let page = api.get(&format!("/v1/events?{filter}&{place}")).await?;
    let found = items(&page["items"]);
    let next = number(&page["next_cursor"]).unwrap_or(0);
    match format {
        Format::Json if events.follow => found.iter().for_each(|event| show(format, event)),
        Format::Json => json(&page)?,
        Format::Table => {
            found.iter().for_each(|event| show(format, event));
            let is_full = found.len() >= usize::from(events.limit);
            if found.is_empty() {
                note("no events");
            } else if after.is_some() && is_full && Some(next) < number(&page["last_cursor"]) {
                note(format!("more: --after {next}"));
            }
        }
    }
    Ok(next)
}

/// Every event since a time, page by page. Gives the cursor of the end.
async fn all_since(
    api: &Api,
    format: Format,
    events: &Events,
    filter: &str,
    since: Timestamp,
) -> Result<i64, Failure> {
    let since = since.to_string();
    let (mut all, mut count, mut after) = (Vec::new(), 0, 0);
    loop {
        let place = after.to_string();
        let place = query([("since", Some(&*since)), ("after", Some(&*place)), ("limit", Some(PAGE))]);
        let mut page = api.get(&format!("/v1/events?{filter}&{place}")).await?;
        let found = items(&page["items"]);
        let is_last = found.is_empty();
        count += found.len();
        if format == Format::Table || events.follow {
            found.iter().for_each(|event| show(format, event));
        } else if let Some(found) = page["items"].as_array_mut() {
            all.append(found);
        }
        if is_last {
            after = number(&page["last_cursor"]).unwrap_or(0).max(after);
            break;
        }
        after = number(&page["next_cursor"]).unwrap_or(after);
    }
    if format == Format::Json && !events.follow {
        json(&serde_json::json!({"items": all, "next_cursor": after.to_string()}))?;
    } else if count == 0 {
        note("no events");
    }
    Ok(after)
}

fn number(value: &Value) -> Option<i64> {
    value.as_str()?.parse().ok()
}

fn show(format: Format, event: &Value) {
    match format {
        Format::Json => json_line(event),
        Format::Table => line(one_line(event)),
    }
}

/// The newest cursor there is.
pub(crate) async fn newest(api: &Api) -> Result<i64, Failure> {
    let page = api.get("/v1/events?newest=true&limit=1").await?;
    Ok(number(&page["last_cursor"]).unwrap_or(0))
}

/// An event in one line; on a terminal cut at its width.
pub(crate) fn one_line(event: &Value) -> String {
    let width = width();
    fitted(&of_event(event, width.is_some()), width)
}

/// `short`: without what a terminal has no room for.
fn of_event(event: &Value, short: bool) -> String {
    let data = &event["data"];
    let kind = text(event.get("type"));
    let kind = kind.trim_start_matches("dev.turnup.").trim_end_matches(".v1");
    let (mut time, mut subject) = (text(event.get("time")), text(event.get("subject")));
    if short {
        // The type says already what it is about, and to the second is enough to read.
        if let Some((seconds, _)) = time.split_once('.') {
            time = format!("{seconds}Z");
        }
        subject = subject.split_once('/').map(|(_, id)| id.to_owned()).unwrap_or(subject);
    }
    let mut parts = vec![time, format!("{kind:<19}"), subject];
    parts.extend(event["correlationid"].as_str().map(str::to_owned));
    parts.extend(audited(data));
    parts.extend(
        data["definition"].as_str().map(|definition| format!("{definition} {}", text(data.get("region")))),
    );
    if let ("scheduled", Some(again)) =
        (data["state"].as_str().unwrap_or_default(), super::order::retry(&data["retry"]))
    {
        parts.push(format!("attempt {again} until {}", text(data.get("scheduled_for"))));
    }
    parts.extend(changes(data));
    parts.extend(data["actor"].as_str().map(|actor| format!("by {actor}")));
    if let Some(error) = data["errors"].get(0) {
        let device = error["device"].as_str().map(|device| format!("{device}: ")).unwrap_or_default();
        parts.push(format!("{device}{}", text(error.get("message"))));
    }
    if let Some(detail) = data["problem"]["detail"].as_str() {
        parts.push(detail.to_owned());
    }
    parts.join("  ")
}

/// What an audit found: whether the service works, and is as it should be.
fn audited(data: &Value) -> Option<String> {
    let state = data["audit_state"].as_str()?.parse::<AuditState>().ok()?;
    let config = data["config"].as_str()?.parse::<ConfigAudit>().ok()?;
    let functional = (state != AuditState::NotAudited).then(|| state.title());
    let config = (config != ConfigAudit::NotAudited).then(|| config.title());
    let found: Vec<&str> = functional.into_iter().chain(config).collect();
    let reason = data["reason"].as_str().map(|reason| format!(" ({reason})")).unwrap_or_default();
    Some(format!("{}{reason}", found.join(", ")))
}

/// What was changed of a device.
fn changes(data: &Value) -> Option<String> {
    let changes = data["changes"].as_object()?;
    let each = changes
        .iter()
        .map(|(field, change)| format!("{field} {} -> {}", text(change.get("from")), text(change.get("to"))));
    Some(each.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_and_times_are_read() {
        for good in ["0s", "90s", "30m", "1h", "7d", "2030-01-31T22:00:00Z", "2026-01-31T22:00:00+01:00"] {
            assert!(since(good).is_ok(), "{good}");
        }
        let hour = Timestamp::now().duration_since(since("1h").unwrap()).as_secs();
        assert!((3599..=3601).contains(&hour), "{hour}");
        for bad in ["", "h", "1w", "-1h", "1.5h", "9999999999999999d", "yesterday", "1é"] {
            assert!(since(bad).unwrap_err().contains("12h"), "{bad}");
        }
    }

    #[test]
    fn audit_event_says_what_was_found() {
        let event = json!({
            "type": "dev.turnup.service.audited.v1", "time": "2026-11-30T19:00:21.123Z",
            "subject": "services/01a22dd2-a299-76c1-beda-0123456789ab", "correlationid": "CRM-1",
            "data": {"audit_state": "down", "config": "drifted", "reason": "pe1: no light"},
        });
        assert_eq!(
            of_event(&event, true),
            "2026-11-30T19:00:21Z  service.audited      01a22dd2-a299-76c1-beda-0123456789ab  CRM-1  \
             Down, Drifted (pe1: no light)"
        );
        assert!(of_event(&event, false).contains("T19:00:21.123Z  service.audited      services/01a22dd2"));
        let short = fitted(&of_event(&event, true), Some(80));
        assert!(
            short.contains("01a22dd2-a299-76c1-beda-0123456789ab"),
            "the id is whole at 80 columns: {short}"
        );
    }

    #[test]
    fn device_event_says_who_changed_what() {
        let event = json!({
            "type": "dev.turnup.device.changed.v1", "time": "T", "subject": "devices/pe1",
            "data": {"actor": "anna", "changes": {"port": {"from": 830, "to": 2830}}},
        });
        assert_eq!(of_event(&event, false), "T  device.changed       devices/pe1  port 830 -> 2830  by anna");
    }
}
