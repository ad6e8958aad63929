//! Times as RFC 3339 §5.6 writes them, with the suffixes of RFC 9557. One parser for everything that a user
//! hands in, so that one text means one instant on every way in.

use std::{fmt, str::FromStr};

use jiff::{
    Timestamp,
    civil::DateTime,
    tz::{Offset, TimeZoneDatabase},
};

/// Most characters of a time.
const MAX_CHARS: usize = 128;
/// An example for messages.
const EXAMPLE: &str = "2030-01-31T22:00:00Z";
/// How a missing or unreadable offset is written.
const OFFSETS: &str = "Z for UTC, or such as +01:00";

/// A time that a user gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub Timestamp);

/// Why a text is no time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadTime {
    given: String,
    why: String,
}

impl fmt::Display for BadTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.given, self.why)
    }
}

impl std::error::Error for BadTime {}

impl FromStr for Time {
    type Err = BadTime;

    /// Reads an RFC 3339 time.
    fn from_str(text: &str) -> Result<Self, BadTime> {
        parse(text).map(Self).map_err(|why| BadTime { given: text.chars().take(64).collect(), why })
    }
}

/// Reads the text from left to right; an error says what is missing there.
fn parse(text: &str) -> Result<Timestamp, String> {
    if text.chars().count() > MAX_CHARS {
        return Err(format!("longer than {MAX_CHARS} characters"));
    }
    let mut rest = text;
    let no_time = || format!("is no RFC 3339 time such as {EXAMPLE}");
    let (year, month, day) = date(&mut rest).ok_or_else(no_time)?;
    if rest.is_empty() {
        return Err(format!("the time of day and the offset are missing: {text}T00:00:00Z, {OFFSETS}"));
    }
    if !(1..=12).contains(&month) {
        return Err(format!("there is no month {month}"));
    }
    if rest.starts_with([' ', '_']) {
        return Err(format!("there must be a T between date and time: {EXAMPLE}"));
    }
    rest = rest.strip_prefix(['T', 't']).ok_or_else(no_time)?;
    let date = jiff::civil::Date::new(year, month, day)
        .map_err(|_| format!("there is no {day} {} {year}", month_name(month)))?;
    let (hour, minute, second) = time_of_day(&mut rest)?;
    let nanosecond = fraction(&mut rest)?;
    let local = DateTime::from_parts(
        date,
        jiff::civil::Time::new(hour, minute, second, nanosecond).map_err(|_| no_time())?,
    );
    let offset = offset(&mut rest, text)?;
    let instant = offset.unwrap_or(Offset::UTC).to_timestamp(local).map_err(|_| {
        format!("out of range; times go to {}", Timestamp::MAX.strftime("%Y-%m-%dT%H:%M:%SZ"))
    })?;
    suffixes(rest, instant, offset)?;
    Ok(instant)
}

/// The next `count` digits.
fn digits(rest: &mut &str, count: usize) -> Option<i16> {
    let found = rest.get(..count).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    *rest = &rest[count..];
    found.parse().ok()
}

fn two(rest: &mut &str) -> Option<i8> {
    digits(rest, 2).and_then(|value| i8::try_from(value).ok())
}

fn skip(rest: &mut &str, sign: char) -> Option<()> {
    *rest = rest.strip_prefix(sign)?;
    Some(())
}

fn date(rest: &mut &str) -> Option<(i16, i8, i8)> {
    let year = digits(rest, 4)?;
    skip(rest, '-')?;
    let month = two(rest)?;
    skip(rest, '-')?;
    Some((year, month, two(rest)?))
}

fn month_name(month: i8) -> &'static str {
    const NAMES: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    usize::try_from(month - 1).ok().and_then(|at| NAMES.get(at)).copied().unwrap_or_default()
}

fn time_of_day(rest: &mut &str) -> Result<(i8, i8, i8), String> {
    let begin = *rest;
    let part = |rest: &mut &str, what: &str| {
        let ends = rest.is_empty() || rest.starts_with(['Z', 'z', '+', '-', '.', '[']);
        match two(rest) {
            Some(value) => Ok(value),
            None if ends => {
                Err(format!("the {what} are missing: write hours, minutes and seconds, such as 22:00:00"))
            }
            None => Err(format!(
                "the time of day must be hours, minutes and seconds, such as 22:00:00, not {begin:?}"
            )),
        }
    };
    let hour = part(rest, "hours")?;
    let minute = if skip(rest, ':').is_some() || !rest.starts_with(|c: char| c.is_ascii_digit()) {
        part(rest, "minutes")?
    } else {
        return Err(format!("the time of day must be written with colons, such as 22:00:00, not {begin:?}"));
    };
    let _ = skip(rest, ':');
    let second = part(rest, "seconds")?;
    match (hour, minute, second) {
        (24, 0, 0) => Err("there is no hour 24; midnight is 00:00:00 of the next day".to_owned()),
        (24.., _, _) => Err(format!("there is no hour {hour}")),
        (_, 60.., _) => Err(format!("there is no minute {minute}")),
        (_, _, 60) => Err(
            "second 60 is a leap second, at which nothing can be scheduled; write second 59, or 00 of the next minute"
                .to_owned(),
        ),
        (_, _, 61..) => Err(format!("there is no second {second}")),
        parts => Ok(parts),
    }
}

/// The nanoseconds; digits beyond them are cut off.
fn fraction(rest: &mut &str) -> Result<i32, String> {
    if rest.starts_with(',') {
        return Err("a fraction of a second begins with a point: 22:00:00.5".to_owned());
    }
    let Some(after) = rest.strip_prefix('.') else { return Ok(0) };
    let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    if end == 0 {
        return Err("there must be digits after the point of the seconds".to_owned());
    }
    *rest = &after[end..];
    let nanoseconds: String = after[..end].chars().chain("000000000".chars()).take(9).collect();
    Ok(nanoseconds.parse().unwrap_or_default())
}

/// The offset; none for `Z` and `-00:00`, which say nothing about local time (RFC 9557 §2).
fn offset(rest: &mut &str, text: &str) -> Result<Option<Offset>, String> {
    if skip(rest, 'Z').is_some() || skip(rest, 'z').is_some() {
        return Ok(None);
    }
    let given = *rest;
    let Some(negative) = (match given.bytes().next() {
        Some(b'+') => Some(false),
        Some(b'-') => Some(true),
        _ => None,
    }) else {
        let time = text.strip_suffix(given).unwrap_or(text);
        return Err(if given.is_empty() || given.starts_with('[') {
            format!("the offset is missing: {time}Z or {time}+01:00")
        } else {
            format!("there must be an offset after {time:?} ({OFFSETS}), not {given:?}")
        });
    };
    *rest = &rest[1..];
    let form = || format!("the offset {given:?} must have hours and minutes, such as +01:00");
    let hours = two(rest).ok_or_else(form)?;
    skip(rest, ':').ok_or_else(form)?;
    let minutes = two(rest).ok_or_else(form)?;
    if hours > 23 || minutes > 59 {
        return Err(format!("there is no offset {}", &given[..6]));
    }
    if negative && hours == 0 && minutes == 0 {
        return Ok(None);
    }
    let seconds = (i32::from(hours) * 60 + i32::from(minutes)) * 60;
    Offset::from_seconds(if negative { -seconds } else { seconds }).map(Some).map_err(|_| form())
}

/// Checks the suffixes: a time zone must agree with the offset, and what may not be passed over (`!`) must
/// be known (RFC 9557 §3.3, §3.4).
fn suffixes(mut rest: &str, instant: Timestamp, offset: Option<Offset>) -> Result<(), String> {
    let mut first = true;
    while let Some(after) = rest.strip_prefix('[') {
        let (tag, next) = after.split_once(']').ok_or_else(|| format!("the suffix {rest:?} has no ]"))?;
        rest = next;
        let (name, critical) = tag.strip_prefix('!').map_or((tag, false), |name| (name, true));
        match name.split_once('=') {
            Some((key, _)) if critical => {
                return Err(format!(
                    "the suffix [{tag}] must be obeyed, and {key:?} is not known here; leave it out"
                ));
            }
            Some(_) => {}
            None if first => zone(name, instant, offset)?,
            None => return Err(format!("the suffix [{tag}]: one time zone, and before all other suffixes")),
        }
        first = false;
    }
    if rest.is_empty() { Ok(()) } else { Err(format!("{rest:?} after the time is too much")) }
}

fn zone(name: &str, instant: Timestamp, offset: Option<Offset>) -> Result<(), String> {
    let then = if name.starts_with(['+', '-']) {
        let mut rest = name;
        match self::offset(&mut rest, name) {
            Ok(zone) if rest.is_empty() => zone.unwrap_or(Offset::UTC),
            _ => return Err(format!("the time zone {name:?} is no offset such as +01:00")),
        }
    } else {
        let zones = TimeZoneDatabase::bundled();
        let zone = zones.get(name).map_err(|_| {
            format!("there is no time zone {name:?}; names are such as Europe/Berlin, or leave it out: the offset says the time")
        })?;
        zone.to_offset(instant)
    };
    match offset {
        Some(offset) if offset != then => Err(format!(
            "the offset {} contradicts [{name}], which has {} then; correct one of them, or leave out [{name}]",
            shown(offset),
            shown(then)
        )),
        _ => Ok(()),
    }
}

fn shown(offset: Offset) -> String {
    let minutes = offset.seconds() / 60;
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn good(text: &str) -> String {
        text.parse::<Time>().unwrap_or_else(|error| panic!("{error}")).0.to_string()
    }

    fn bad(text: &str) -> String {
        match text.parse::<Time>() {
            Ok(time) => panic!("{text} is {}", time.0),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn times_of_rfc_3339_are_read() {
        for (text, instant) in [
            ("2030-01-31T22:00:00Z", "2030-01-31T22:00:00Z"),
            ("2030-01-31t22:00:00z", "2030-01-31T22:00:00Z"),
            ("2030-01-31T22:00:00+01:00", "2030-01-31T21:00:00Z"),
            ("2030-01-31T22:00:00-00:00", "2030-01-31T22:00:00Z"),
            ("2030-01-31T22:00:00.25-03:30", "2030-02-01T01:30:00.25Z"),
            ("2030-01-31T22:00:00.1234567891234Z", "2030-01-31T22:00:00.123456789Z"),
            ("2028-02-29T00:00:00Z", "2028-02-29T00:00:00Z"),
        ] {
            assert_eq!(good(text), instant);
        }
    }

    #[test]
    fn errors_say_what_is_missing() {
        for (text, wanted) in [
            (
                "2027-01-31T22:00:00",
                "the offset is missing: 2027-01-31T22:00:00Z or 2027-01-31T22:00:00+01:00",
            ),
            ("2027-01-31T22:00:00[Europe/Berlin]", "the offset is missing"),
            ("2026-11-30", "the time of day and the offset are missing: 2026-11-30T00:00:00Z"),
            ("2027-01-31T22:00Z", "the seconds are missing"),
            ("2027-01-31T22Z", "the minutes are missing"),
            ("2027-01-31TZ", "the hours are missing"),
            ("2027-01-31 22:00:00Z", "there must be a T between date and time"),
            ("2027-02-29T00:00:00Z", "there is no 29 February 2027"),
            ("2027-04-31T00:00:00Z", "there is no 31 April 2027"),
            ("2027-04-00T00:00:00Z", "there is no 0 April 2027"),
            ("2027-13-01T00:00:00Z", "there is no month 13"),
            ("2027-01-31T24:00:00Z", "there is no hour 24; midnight is 00:00:00 of the next day"),
            ("2027-01-31T25:00:00Z", "there is no hour 25"),
            ("2027-01-31T22:60:00Z", "there is no minute 60"),
            ("2016-12-31T23:59:60Z", "second 60 is a leap second"),
            ("2027-01-31T22:00:61Z", "there is no second 61"),
            ("2027-01-31T22:00:00+0100", "must have hours and minutes, such as +01:00"),
            ("2027-01-31T22:00:00+01", "must have hours and minutes, such as +01:00"),
            ("2027-01-31T22:00:00+24:00", "there is no offset +24:00"),
            ("2027-01-31T22:00:00 CET", "there must be an offset after \"2027-01-31T22:00:00\""),
            ("2027-01-31T22:00:00,5Z", "begins with a point"),
            ("2027-01-31T22:00:00.Z", "there must be digits"),
            ("2027-01-31T220000Z", "with colons"),
            ("20270131T220000Z", "is no RFC 3339 time such as 2030-01-31T22:00:00Z"),
            ("+002027-01-31T22:00:00Z", "is no RFC 3339 time"),
            ("27-01-31T22:00:00Z", "is no RFC 3339 time"),
            ("31.01.2027 22:00", "is no RFC 3339 time"),
            ("yesterday", "is no RFC 3339 time"),
            ("", "is no RFC 3339 time"),
            ("2027-01-31T22:00:00Z ", "\" \" after the time is too much"),
            ("9999-12-31T23:59:59Z", "out of range; times go to 9999-12-30T22:00:00Z"),
            ("\u{661}\u{662}\u{663}\u{664}-01-31T22:00:00Z", "is no RFC 3339 time"),
        ] {
            assert!(bad(text).contains(wanted), "{wanted}: {}", bad(text));
        }
        assert!(bad(&format!("2027-01-31T22:00:00.{}Z", "0".repeat(200))).contains("longer than 128"));
    }

    #[test]
    fn suffixes_must_agree_with_the_offset() {
        for text in [
            "2030-07-01T22:00:00+02:00[Europe/Berlin]",
            "2030-07-01T22:00:00+02:00[!Europe/Berlin]",
            "2030-01-01T22:00:00+01:00[!Europe/Berlin][u-ca=gregory]",
            "2030-07-01T20:00:00Z[Europe/Berlin]",
            "2030-07-01T20:00:00-00:00[!Europe/Berlin]",
            "2030-07-01T22:00:00+02:00[+02:00]",
            "2030-07-01T22:00:00+02:00[u-ca=hebrew]",
        ] {
            good(text);
        }
        for (text, wanted) in [
            (
                "2030-07-01T22:00:00+01:00[!Europe/Berlin]",
                "the offset +01:00 contradicts [Europe/Berlin], which has +02:00 then",
            ),
            ("2030-07-01T22:00:00+01:00[Europe/Berlin]", "which has +02:00 then"),
            ("2030-07-01T22:00:00+00:00[Europe/London]", "which has +01:00 then"),
            ("2030-07-01T22:00:00-04:30[America/New_York]", "which has -04:00 then"),
            ("2030-07-01T22:00:00+01:00[+02:00]", "contradicts [+02:00]"),
            ("2030-07-01T22:00:00+01:00[Europe/Berlim]", "there is no time zone \"Europe/Berlim\""),
            ("2030-07-01T22:00:00+01:00[!u-ca=hebrew]", "\"u-ca\" is not known here"),
            ("2030-07-01T22:00:00+02:00[u-ca=iso8601][Europe/Berlin]", "before all other suffixes"),
            ("2030-07-01T22:00:00+02:00[Europe/Berlin", "has no ]"),
            ("2030-07-01T22:00:00+02:00[]", "there is no time zone"),
        ] {
            assert!(bad(text).contains(wanted), "{wanted}: {}", bad(text));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _ = text.parse::<Time>();
        }

        #[test]
        fn what_is_written_is_read_back(seconds in -62_135_596_800_i64..253_402_207_200) {
            let time = Timestamp::from_second(seconds).unwrap();
            prop_assert_eq!(time.to_string().parse::<Time>().unwrap().0, time);
        }

        #[test]
        fn digits_in_the_form_never_panic(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}([.,][0-9]{0,12})?(Z|[+-][0-9]{2}:?[0-9]{2})?(\\[!?[A-Za-z/+0-9:=-]{0,12}\\])?") {
            let _ = text.parse::<Time>();
        }
    }
}
