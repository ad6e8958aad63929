//! Times on the command line and in orders, and what is said of them.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use turnup_core::{order::Schedule, time::Time};

/// A time that passed longer ago is rather a mistake than meant as now.
const PAST: SignedDuration = SignedDuration::from_mins(5);

/// A schedule as an option: "now" or a time. The text goes to the intake as it is.
pub(crate) fn schedule(text: &str) -> Result<String, String> {
    Schedule::parse(text).map(|_| text.to_owned())
}

/// A time as an option.
pub(super) fn time(text: &str) -> Result<String, String> {
    text.parse::<Time>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// What is to be said of a schedule that has passed.
pub(crate) fn past(schedule: &str) -> Option<String> {
    past_at(schedule, Timestamp::now())
}

fn past_at(schedule: &str, now: Timestamp) -> Option<String> {
    match Schedule::parse(schedule) {
        Ok(Schedule::At(time)) if now.duration_since(time) > PAST => {
            Some(format!("the time {schedule} is in the past, so the order starts at once"))
        }
        _ => None,
    }
}

/// When an order starts that isn't stored, for its plan.
pub(super) fn of_order(order: &Value) -> Option<String> {
    of_order_at(order, Timestamp::now())
}

fn of_order_at(order: &Value, now: Timestamp) -> Option<String> {
    let Some(schedule) = order.get("schedule") else {
        return Some("has no time: it starts when it is scheduled".to_owned());
    };
    let schedule = schedule.as_str()?;
    match Schedule::parse(schedule).ok()? {
        Schedule::Now => Some("starts at once".to_owned()),
        Schedule::At(time) => Some(match past_at(schedule, now) {
            Some(past) => past,
            None if time.to_string() == schedule => format!("starts at {schedule}"),
            None => format!("starts at {time} ({schedule})"),
        }),
    }
}

/// When a stored order starts, for its plan.
pub(super) fn of_stored(order: &Value) -> Option<String> {
    match (order["state"].as_str()?, order["scheduled_for"].as_str()) {
        ("requested", _) => Some("has no time: it starts when it is scheduled".to_owned()),
        ("scheduled", Some(time)) => Some(format!("starts at {time}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn plans_say_when_the_order_starts() {
        let now: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
        for (order, wanted) in [
            (json!({}), "has no time: it starts when it is scheduled"),
            (json!({"schedule": "now"}), "starts at once"),
            (json!({"schedule": "2030-01-31T22:00:00Z"}), "starts at 2030-01-31T22:00:00Z"),
            (
                json!({"schedule": "2030-07-01T22:00:00+02:00[Europe/Berlin]"}),
                "starts at 2030-07-01T20:00:00Z (2030-07-01T22:00:00+02:00[Europe/Berlin])",
            ),
            (
                json!({"schedule": "2020-01-01T00:00:00Z"}),
                "the time 2020-01-01T00:00:00Z is in the past, so the order starts at once",
            ),
        ] {
            assert_eq!(of_order_at(&order, now).as_deref(), Some(wanted));
        }
        assert_eq!(of_order_at(&json!({"schedule": "tomorrow"}), now), None);
        assert_eq!(
            of_stored(&json!({"state": "scheduled", "scheduled_for": "T"})).as_deref(),
            Some("starts at T")
        );
        assert_eq!(of_stored(&json!({"state": "completed", "scheduled_for": "T"})), None);
    }

    #[test]
    fn only_times_that_passed_minutes_ago_are_named() {
        let now: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
        assert_eq!(past_at("2026-11-30T11:55:00Z", now), None);
        assert!(past_at("2026-11-30T11:54:59Z", now).is_some());
        assert_eq!(past_at("now", now), None);
    }

    #[test]
    fn options_are_refused_with_the_reason() {
        assert!(schedule("2027-01-31T22:00:00").unwrap_err().contains("the offset is missing"));
        assert_eq!(schedule("now").as_deref(), Ok("now"));
        assert!(time("2026-11-30").unwrap_err().contains("the time of day and the offset are missing"));
        assert!(time("yesterday").unwrap_err().contains("is no RFC 3339 time such as"));
        assert!(time("now").is_err());
    }
}
