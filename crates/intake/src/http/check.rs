//! What a device is, asked through a worker of its region; and its YANG modules.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;
use turnup_core::{
    ask::{Answer as Told, Module, Question, SchemaText},
    event,
    problem::{Fault, Problem},
};
use turnup_plan::Yang;
use turnup_store::Device;

use super::{
    answer::{Answer, Refusal, ok},
    call::Call,
    devices::find,
};
use crate::{
    ask::{self, Unanswered},
    refusal,
    settings::ms,
};

/// How deep modules that others import or include are looked for.
const MAX_ROUNDS: usize = 8;
/// Most modules asked for in one question.
const MAX_ASKED: usize = 200;

/// A module's name and revision.
type Named = (String, Option<String>);

/// `POST /v1/devices/{name}/check`.
pub(super) async fn check(call: Call) -> Answer {
    let body = call.optional_object(&["fetch_yang"])?;
    let fetch = match body.get("fetch_yang") {
        None => false,
        Some(Value::Bool(fetch)) => *fetch,
        Some(_) => {
            let fault = Fault::new("/fetch_yang", "wrong_type", "must be true or false");
            return Err(Problem::invalid(vec![fault]).into());
        }
    };
    let device = find(&call).await?;
    let told = asked(&call, &device, Question::Check, ms(call.app.settings.device_timeout_ms)).await?;
    let at = Timestamp::now();
    let mut failures = told.failures;
    let mut schemas = Vec::new();
    if let (true, Some(check)) = (fetch, &told.check) {
        match fetched(&call, &device, &check.modules).await? {
            Ok(fetched) => {
                call.app.store.keep_modules(device.platform.as_str(), &fetched, at).await?;
                call.app.library.refresh().await?;
                schemas = fetched
                    .into_iter()
                    .map(|schema| named(&schema.name, schema.revision.as_deref()))
                    .collect();
            }
            Err(more) => failures.extend(more),
        }
    }
    let result = json!({
        "device": device.name, "at": event::time(at), "worker": told.worker, "check": told.check,
        "failures": failures, "schemas": schemas,
    });
    call.app.store.keep_check(&device.name, &told.worker, &result, at).await?;
    ok(&result)
}

/// `GET /v1/devices/{name}/check`: the last one.
pub(super) async fn last(call: Call) -> Answer {
    let device = find(&call).await?;
    let Some(kept) = call.app.store.check_of(&device.name).await? else {
        let name = &device.name;
        let detail = format!("device {name} was not checked yet; 'turnup device check {name}' does it");
        return Err(Problem::not_found(detail).into());
    };
    ok(&kept.result)
}

async fn asked(call: &Call, device: &Device, question: Question, within: Duration) -> Result<Told, Refusal> {
    call.app.asker.ask(&device.region, ask::work(device, None), question, within).await.map_err(|why| {
        match why {
            Unanswered::Away(_) => Problem::unavailable(why.to_string()),
            Unanswered::Unreadable(_) => Problem::internal(why.to_string()),
            Unanswered::Late { .. } | Unanswered::NoQueue(_) => refusal::no_answer(why.to_string()),
        }
        .into()
    })
}

/// The texts of the device's modules that aren't known of its platform yet, with those that they import
/// and include: all of them, for a set with a gap can't be used. Or why not.
async fn fetched(
    call: &Call,
    device: &Device,
    modules: &[Module],
) -> Result<Result<Vec<SchemaText>, Vec<turnup_core::failure::Failure>>, Refusal> {
    let until = Instant::now() + ms(call.app.settings.schemas_timeout_ms);
    let mut known: BTreeSet<Named> =
        call.app.store.known_modules(device.platform.as_str()).await?.into_iter().collect();
    let mut wanted: Vec<Named> =
        modules.iter().map(|module| (module.name.clone(), module.revision.clone())).collect();
    let mut texts: BTreeMap<Named, SchemaText> = BTreeMap::new();
    for _ in 0..MAX_ROUNDS {
        wanted.retain(|named| !is_known(&known, named));
        wanted.sort();
        wanted.dedup();
        if wanted.is_empty() {
            break;
        }
        let mut new = Vec::new();
        while !wanted.is_empty() {
            let within = ms(call.app.settings.device_timeout_ms).min(until - Instant::now());
            if within.is_zero() {
                return Err(refusal::no_answer(
                    "the modules did not come in time; try again, or raise intake.schemas_timeout_ms",
                )
                .into());
            }
            let some: Vec<Named> = wanted.iter().take(MAX_ASKED).cloned().collect();
            let told = asked(call, device, Question::Schemas(some), within).await?;
            if told.schemas.is_empty() {
                return Ok(Err(told.failures));
            }
            for schema in told.schemas {
                let got = (schema.name.clone(), schema.revision.clone());
                wanted.retain(|wanted| !is_same(wanted, &got));
                known.insert(got.clone());
                new.push(got.clone());
                texts.insert(got, schema);
            }
            let bytes: usize = texts.values().map(|schema| schema.text.len()).sum();
            if texts.len() > Yang::MAX_MODULES || bytes > Yang::MAX_SET_BYTES {
                let detail = format!(
                    "the device has more YANG than {} modules or {} MiB; put those that are needed into a \
                     folder, and name it in 'yang_dir'",
                    Yang::MAX_MODULES,
                    Yang::MAX_SET_BYTES >> 20
                );
                return Err(Problem::invalid(vec![Fault::new("", "too_much", detail)]).into());
            }
        }
        let of_new = new.iter().filter_map(|named| texts.get(named));
        wanted = of_new.flat_map(|schema| needed_by(&schema.text)).collect();
    }
    Ok(Ok(texts.into_values().collect()))
}

fn is_same(wanted: &Named, got: &Named) -> bool {
    wanted.0 == got.0 && (wanted.1.is_none() || wanted.1 == got.1)
}

fn is_known(known: &BTreeSet<Named>, wanted: &Named) -> bool {
    match &wanted.1 {
        Some(_) => known.contains(wanted),
        None => known.range((wanted.0.clone(), None)..).next().is_some_and(|(name, _)| *name == wanted.0),
    }
}

/// Modules and submodules that a text imports and includes (RFC 7950 §7.1.5, §7.1.6), by name: statements
/// at the beginning of a line, as everybody writes them. One that isn't found this way is named when the set
/// is compiled.
fn needed_by(text: &str) -> Vec<Named> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let statement = words.next().filter(|word| matches!(*word, "import" | "include"));
            statement?;
            let name = words.next()?.trim_matches(|c| matches!(c, '"' | '\'' | ';' | '{'));
            let fits = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
            fits.then(|| (name.to_owned(), None))
        })
        .collect()
}

fn named(name: &str, revision: Option<&str>) -> String {
    revision.map_or_else(|| name.to_owned(), |revision| format!("{name}@{revision}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_and_includes_are_found() {
        let text = "module a {\n  import ietf-inet-types {\n    prefix inet;\n  }\n  include \"a-sub\";\n  \
                    include b;\n  description \"\n import of goods\";\n}";
        let names: Vec<String> = needed_by(text).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["ietf-inet-types", "a-sub", "b", "of"]);
    }

    #[test]
    fn without_a_revision_any_will_do() {
        let known = BTreeSet::from([("a".to_owned(), Some("2020-01-01".to_owned())), ("c".to_owned(), None)]);
        let is = |name: &str, revision: Option<&str>| {
            is_known(&known, &(name.to_owned(), revision.map(str::to_owned)))
        };
        assert!(is("a", None) && is("c", None) && is("a", Some("2020-01-01")));
        assert!(!is("a", Some("2021-01-01")) && !is("b", None));
    }
}
