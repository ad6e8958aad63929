//! `turnup device exam`: how a device behaves, for people to read, and the profile that follows.

use std::{path::Path, time::Duration};

use clap::Args;
use serde_json::{Map, Value, json};
use turnup_core::exam::{
    Answer, ErrorShape, Finding, Probe, TIME_S, USUAL_SESSIONS, USUAL_TIME_S, scratch::Scratch,
};
use turnup_netconf::xml::{Element, Limits, parse_str};

use crate::{
    client::{
        http::Api,
        order,
        output::{Format, counted, field, items, json as print_json, note, print, text},
        paint::Paint,
    },
    failure::Failure,
};

/// Columns of a terminal that every line fits.
const WIDTH: usize = 80;
/// Columns of the probe's name and of its result.
const NAME: usize = 23;
const RESULT: usize = 23;
/// Largest scratch file, in bytes.
const MAX_SCRATCH_BYTES: u64 = 256 << 10;
/// Beyond the exam's own time.
const MARGIN: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(crate) struct Exam {
    name: String,
    /// Where the exam works: a file (TOML, or XML that begins with <scratch>); default: the scratch of the platform
    #[arg(long, value_name = "FILE")]
    scratch: Option<std::path::PathBuf>,
    /// Commit nothing, and never edit running
    #[arg(long)]
    candidate_only: bool,
    /// Leave out the probes that could harm a badly behaved server
    #[arg(long, conflicts_with = "dangerous")]
    careful: bool,
    /// Also make the probes that are known to harm servers that behave as this one does
    #[arg(long)]
    dangerous: bool,
    /// Watch an idle session for this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    idle: u32,
    /// Most sessions to open at once
    #[arg(long, default_value_t = USUAL_SESSIONS)]
    sessions: u8,
    /// How long the exam may take, in seconds (30 to 600)
    #[arg(long, value_name = "SECONDS", default_value_t = USUAL_TIME_S, value_parser = clap::value_parser!(u32).range(i64::from(*TIME_S.start())..=i64::from(*TIME_S.end())))]
    time: u32,
    /// Write the profile that follows from the findings to a file
    #[arg(long, value_name = "FILE")]
    write: Option<std::path::PathBuf>,
    /// Print that profile alone
    #[arg(long, conflicts_with = "write")]
    profile: bool,
    /// End with 1 if the profile in use is wrong for the device
    #[arg(long)]
    check: bool,
}

impl Exam {
    fn request(&self) -> Result<Value, Failure> {
        let mut request = json!({
            "candidate_only": self.candidate_only, "careful": self.careful, "dangerous": self.dangerous,
            "idle_s": self.idle, "sessions": self.sessions, "time_s": self.time,
        });
        if let Some(file) = &self.scratch {
            request["scratch"] = scratch(file)?;
        }
        Ok(request)
    }
}

pub(super) async fn run(api: &Api, format: Format, paint: Paint, exam: &Exam) -> Result<(), Failure> {
    let request = exam.request()?;
    // Found out before the device is asked for minutes.
    if let Some(file) = &exam.write
        && file.exists()
    {
        return Err(Failure::Usage(format!(
            "{} exists already; give another name or remove it",
            file.display()
        )));
    }
    let patience = Duration::from_secs(exam.time.into()) + MARGIN;
    let answer = api.waiting(patience).post(&format!("{}/exam", super::path(&exam.name)), &request).await?;
    let profile = answer["profile"].as_str().unwrap_or_default();
    match (format, exam.profile) {
        (Format::Json, _) => print_json(&answer)?,
        (Format::Table, true) => print(&profile.lines().map(str::to_owned).collect::<Vec<_>>()),
        (Format::Table, false) => print(&lines(&answer, paint)),
    }
    has_ended_well(exam, &answer)?;
    if let Some(file) = &exam.write {
        std::fs::write(file, profile)
            .map_err(|error| Failure::Failed(format!("{} can't be written: {error}", file.display())))?;
        note(format!(
            "{}: the profile; in platforms_dir it is used once intake and scheduler start anew",
            file.display()
        ));
    }
    checked(exam, &answer)
}

/// Whether the device was examined, and is as it was before.
fn has_ended_well(exam: &Exam, answer: &Value) -> Result<(), Failure> {
    let name = &exam.name;
    if let Some(failure) = items(&answer["failures"]).first() {
        let why = format!("{name} was not examined: {}", order::failure(failure));
        return Err(match failure["class"].as_str() {
            Some("unreachable") => Failure::Unreachable(why),
            Some("busy") => Failure::Refused(why),
            _ => Failure::Failed(why),
        });
    }
    match answer["is_clean"] == json!(true) {
        true => Ok(()),
        false => Err(Failure::Failed(format!("{name} is not as it was before the exam"))),
    }
}

/// With `--check`: whether the profile in use fits the device.
fn checked(exam: &Exam, answer: &Value) -> Result<(), Failure> {
    let keys: Vec<String> =
        items(&answer["differences"]).iter().map(|difference| text(difference.get("key"))).collect();
    match exam.check && !keys.is_empty() {
        true => Err(Failure::Failed(format!(
            "the profile in use is wrong for {} in {}",
            exam.name,
            keys.join(", ")
        ))),
        false => Ok(()),
    }
}

/// The scratch of a file, as the request has it.
fn scratch(file: &Path) -> Result<Value, Failure> {
    let shown = file.display();
    let usage = |why: String| Failure::Usage(format!("{shown}: {why}"));
    let size = std::fs::metadata(file).map_err(|error| usage(error.to_string()))?.len();
    if size > MAX_SCRATCH_BYTES {
        return Err(usage(format!("has {size} bytes, at most {MAX_SCRATCH_BYTES} are read")));
    }
    let written = std::fs::read_to_string(file).map_err(|error| usage(error.to_string()))?;
    let scratch = match written.trim_start().starts_with('<') {
        true => scratch_of_xml(&written).map_err(usage)?,
        false => Scratch::parse("given", &written).map_err(usage)?,
    };
    let mut value = json!(scratch);
    // Its name is that of the request.
    value.as_object_mut().map(|fields| fields.remove("name"));
    Ok(value)
}

/// `<scratch>` with an element for each key: content of `<config>`, or a text.
fn scratch_of_xml(written: &str) -> Result<Scratch, String> {
    let root = parse_str(written, &Limits::default()).map_err(|error| error.to_string())?;
    if root.name() != "scratch" {
        return Err(format!("begins with <{}>, <scratch> is needed", root.name()));
    }
    let value = |element: &Element| match element.is_leaf() {
        true => match element.name() {
            "keys" => json!(element.text().parse::<u8>().unwrap_or_default()),
            _ => json!(element.text()),
        },
        false => json!(element.children().map(Element::to_xml).collect::<String>()),
    };
    let keys: Map<String, Value> =
        root.children().map(|element| (element.name().to_owned(), value(element))).collect();
    let scratch: Scratch = serde_json::from_value(Value::Object(keys)).map_err(|error| error.to_string())?;
    scratch.check().map_err(|(key, why)| format!("<{key}> {why}"))?;
    Ok(scratch)
}

/// The answer, line by line.
fn lines(answer: &Value, paint: Paint) -> Vec<String> {
    let mut out = Vec::new();
    for left in items(&answer["left"]) {
        out.extend(wrapped("LEFT", &text(Some(left))).into_iter().map(|line| paint.bad(&line)));
    }
    if items(&answer["failures"]).is_empty() {
        out.push(field(
            "device",
            format!("{} (platform {})", text(answer.get("device")), text(answer.get("platform"))),
        ));
        out.push(field("scratch", text(answer.get("scratch"))));
    }
    let findings: Vec<Finding> =
        items(&answer["findings"]).iter().filter_map(|f| serde_json::from_value(f.clone()).ok()).collect();
    if !findings.is_empty() {
        out.push(String::new());
    }
    out.extend(findings.iter().map(|finding| probe(finding, paint)));
    if let Some(reason) = answer["stopped"].as_str() {
        out.push(paint.notable(&cut(&format!("stopped: {reason}"), WIDTH)));
    }
    let deviations = items(&answer["deviations"]);
    if !findings.is_empty() {
        out.push(String::new());
        out.push(match deviations.len() {
            0 => "no deviation from the RFCs was found".to_owned(),
            many => paint.bold(&format!("{} from the RFCs", counted(many, "deviation"))),
        });
    }
    for deviation in deviations {
        let said = format!("{}: {}", text(deviation.get("section")), text(deviation.get("text")));
        out.extend(wrapped("  ", &said));
    }
    if !findings.is_empty() {
        out.push(String::new());
        out.extend(differences(answer, paint));
        let took = answer["took_ms"].as_u64().unwrap_or_default();
        let unanswered =
            findings.iter().filter(|f| matches!(f.answer, Answer::NotTried(_) | Answer::Unknown(_))).count();
        let compared = match (answer["is_clean"] == json!(true), answer["running_compared"] == json!(true)) {
            (true, true) => "running is as before",
            (true, false) => "nothing is left; running could not be compared as a whole",
            (false, _) => "NOT as before",
        };
        out.push(format!(
            "{} answered, {unanswered} not, in {}.{} s; {compared}",
            counted(findings.len() - unanswered, "probe"),
            took / 1_000,
            took % 1_000 / 100
        ));
    }
    out
}

fn differences(answer: &Value, paint: Paint) -> Vec<String> {
    let found = items(&answer["differences"]);
    let platform = text(answer.get("platform"));
    if found.is_empty() {
        return vec![format!("the profile of {platform} in use fits the device")];
    }
    let mut out = vec![paint.bold(&format!("the profile of {platform} in use is wrong for the device"))];
    for difference in found {
        let value = |key: &str| text(difference.get(key));
        let said =
            format!("{} = {} should be {}: {}", value("key"), value("in_use"), value("found"), value("why"));
        out.extend(wrapped("  ", &said).into_iter().map(|line| paint.bad(&line)));
    }
    out
}

/// One line: name, result, remark.
fn probe(finding: &Finding, paint: Paint) -> String {
    let (result, remark) = result(finding);
    let remark = finding.remark.clone().or(remark).unwrap_or_default();
    let name = finding.probe.word();
    let head = format!("{name:<NAME$} {}", cut(&result, RESULT));
    let head = if remark.is_empty() { head } else { format!("{head:<width$}", width = NAME + 1 + RESULT) };
    let line = cut(format!("{head} {remark}").trim_end(), WIDTH);
    match finding.answer {
        Answer::No | Answer::Accepted => paint.notable(&line),
        _ => line,
    }
}

/// The result in a word, and what else is to be said of it.
fn result(finding: &Finding) -> (String, Option<String>) {
    match &finding.answer {
        Answer::Yes => ("yes".to_owned(), None),
        Answer::No => ("no".to_owned(), None),
        Answer::Accepted => ("accepted".to_owned(), None),
        Answer::Number(number) => (format!("{number}{}", unit(finding.probe)), None),
        Answer::Text(text) if text.len() <= RESULT => (text.clone(), None),
        Answer::Text(text) => ("found".to_owned(), Some(text.clone())),
        Answer::List(list) if list.is_empty() => ("none".to_owned(), None),
        Answer::List(list) => (list.len().to_string(), Some(list.join(", "))),
        Answer::Refused(shape) => (shape.tag.clone(), Some(refusal(shape))),
        Answer::NotTried(why) => ("not tried".to_owned(), Some(why.clone())),
        Answer::Unknown(why) => ("not found out".to_owned(), Some(why.clone())),
    }
}

fn refusal(shape: &ErrorShape) -> String {
    let parts = [
        shape.path.as_ref().map(|path| format!("at {path}")),
        shape.bad_element.as_ref().map(|name| format!("bad-element {name}")),
        shape.session_id.map(|id| format!("session-id {id}")),
        shape.app_tag.as_ref().map(|tag| format!("app-tag {tag}")),
        (shape.errors > 1).then(|| format!("{} errors", shape.errors)),
        shape.inside.then(|| "inside of a result".to_owned()),
    ];
    let known: Vec<String> = parts.into_iter().flatten().collect();
    if known.is_empty() { shape.message.clone().unwrap_or_default() } else { known.join(", ") }
}

fn unit(probe: Probe) -> &'static str {
    match probe {
        Probe::ConnectTime | Probe::FirstRequest | Probe::CommitTime => " ms",
        Probe::TimerUnit | Probe::IdleTimeout => " s",
        _ => "",
    }
}

/// Cuts a text to at most this many characters.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// A text in lines of at most [`WIDTH`] columns, each word whole; the first begins with `head`.
fn wrapped(head: &str, text: &str) -> Vec<String> {
    let mut out = vec![head.trim_end().to_owned()];
    let indent = " ".repeat(4);
    if head.trim().is_empty() {
        out = vec![head.to_owned()];
    }
    for word in text.split_whitespace() {
        let fits = |line: &String| line.chars().count() + 1 + word.chars().count() <= WIDTH;
        match out.last_mut() {
            Some(line) if line.trim().is_empty() => line.push_str(word),
            Some(line) if fits(line) => {
                line.push(' ');
                line.push_str(word);
            }
            _ => out.push(format!("{indent}{word}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Value {
        json!({
            "device": "pe1", "platform": "acme", "scratch": "acme /interfaces/interface", "failures": [], "left": [],
            "is_clean": true, "running_compared": true, "stopped": null, "took_ms": 41_250, "profile": "title = \"x\"\n",
            "findings": [
                {"probe": "lock-running", "result": "no", "remark": "operation-not-supported"},
                {"probe": "timer-unit", "question": "In which unit?", "result": "number", "value": 60},
                {"probe": "lock-candidate-other", "result": "refused", "value": {"tag": "lock-denied", "session_id": 4, "errors": 1}},
                {"probe": "confirm-wrong", "result": "not_tried", "value": "it confirms what is not pending, and servers of that kind may empty running (--dangerous)"},
                {"probe": "ssh-host-keys", "result": "list", "value": ["ssh-ed25519", "rsa-sha2-512"]},
            ],
            "deviations": [{"probe": "lock-running", "section": "RFC 6241 §7.5", "text": "running can't be locked"}],
            "differences": [{"key": "locks", "in_use": "\"running_and_candidate\"", "found": "\"candidate\"", "probes": ["lock-running"], "why": "running can't be locked"}],
        })
    }

    #[test]
    fn findings_fit_eighty_columns_and_come_before_what_they_mean() {
        let out = lines(&answer(), Paint::plain());
        assert!(out.iter().all(|line| line.chars().count() <= 80), "{out:#?}");
        assert_eq!(
            out.join("\n"),
            "device       pe1 (platform acme)\n\
             scratch      acme /interfaces/interface\n\
             \n\
             lock-running            no                      operation-not-supported\n\
             timer-unit              60 s\n\
             lock-candidate-other    lock-denied             session-id 4\n\
             confirm-wrong           not tried               it confirms what is not pending…\n\
             ssh-host-keys           2                       ssh-ed25519, rsa-sha2-512\n\
             \n\
             1 deviation from the RFCs\n  \
             RFC 6241 §7.5: running can't be locked\n\
             \n\
             the profile of acme in use is wrong for the device\n  \
             locks = \"running_and_candidate\" should be \"candidate\": running can't be locked\n\
             4 probes answered, 1 not, in 41.2 s; running is as before"
        );
    }

    #[test]
    fn what_is_left_is_said_first() {
        let mut answer = answer();
        answer["left"] = json!(["running differs from what it was before the exam: /interfaces"]);
        answer["is_clean"] = json!(false);
        let out = lines(&answer, Paint::plain()).join("\n");
        assert!(out.starts_with("LEFT running differs"), "{out}");
        assert!(out.ends_with("NOT as before"), "{out}");
    }

    fn exam(check: bool) -> Exam {
        Exam {
            name: "pe1".to_owned(),
            scratch: None,
            candidate_only: false,
            careful: false,
            dangerous: false,
            idle: 0,
            sessions: 8,
            time: 240,
            write: None,
            profile: false,
            check,
        }
    }

    #[test]
    fn wrong_profile_fails_only_a_check() {
        assert!(has_ended_well(&exam(true), &answer()).is_ok() && checked(&exam(false), &answer()).is_ok());
        let failure = checked(&exam(true), &answer()).unwrap_err();
        assert_eq!(failure.exit_code(), 1);
        assert_eq!(failure.to_string(), "the profile in use is wrong for pe1 in locks");
        let mut dirty = answer();
        dirty["is_clean"] = json!(false);
        assert_eq!(has_ended_well(&exam(false), &dirty).unwrap_err().exit_code(), 1);
        let mut busy = answer();
        busy["failures"] = json!([{"class": "busy", "phase": "exam", "message": "locked", "device": "pe1"}]);
        assert_eq!(has_ended_well(&exam(false), &busy).unwrap_err().exit_code(), 3);
    }

    #[test]
    fn scratch_is_read_from_xml_too() {
        let entry = |more: &str| format!("<a xmlns=\"urn:a\"><b><name>turnup-exam</name>{more}</b></a>");
        let written = format!(
            "<scratch><entry>a/b</entry><keys>1</keys><create>{}</create><changed>{}</changed></scratch>",
            entry(""),
            entry("<c>1</c>")
        );
        let scratch = scratch_of_xml(&written).unwrap();
        assert_eq!((scratch.entry.as_str(), scratch.create.as_str()), ("a/b", entry("").as_str()));
        let error = scratch_of_xml(&written.replace("changed>", "chnged>")).unwrap_err();
        assert!(error.contains("unknown field `chnged`"), "{error}");
        assert!(scratch_of_xml("<x/>").unwrap_err().contains("<scratch> is needed"));
    }
}
