//! What a device is, asked through a worker of its region; and its YANG modules.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;
use turnup_core::{
    ask::{Answer as Told, Module, Question, SchemaPiece, SchemaText},
    clean, event,
    failure::{Failure, FailureClass},
    inventory::did_you_mean,
    piece::Assembly,
    problem::{Fault, Problem},
};
use turnup_plan::{ModuleText, Yang, YangMistake, modules_needed};
use turnup_store::Device;

use super::{
    answer::{Answer, Refusal, ok},
    call::Call,
    devices::{find, twins},
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
/// How often a text that comes in pieces is begun anew, as it was another in between.
const MAX_BEGINNINGS: usize = 3;
/// Most modules of a platform that are left out by choice.
const MAX_IGNORED: usize = 200;

/// A module's name and revision.
type Named = (String, Option<String>);

/// `POST /v1/devices/{name}/check`.
pub(super) async fn check(call: Call) -> Answer {
    let body = call.optional_object(&["fetch_yang", "ignore_modules", "use_modules"])?;
    let (ignore, use_again) = (names(&body, "ignore_modules")?, names(&body, "use_modules")?);
    let fetch = match body.get("fetch_yang") {
        None => false,
        Some(Value::Bool(fetch)) => *fetch,
        Some(_) => {
            let fault = Fault::new("/fetch_yang", "wrong_type", "must be true or false");
            return Err(Problem::invalid(vec![fault]).into());
        }
    };
    let decides = !ignore.is_empty() || !use_again.is_empty();
    if decides && !fetch {
        let detail = "goes with \"fetch_yang\": true, as it decides which modules are kept";
        let field = if ignore.is_empty() { "/use_modules" } else { "/ignore_modules" };
        return Err(Problem::invalid(vec![Fault::new(field, "not_allowed", detail)]).into());
    }
    let device = find(&call).await?;
    let told = asked(&call, &device, Question::Check, ms(call.app.settings.device_timeout_ms)).await?;
    let at = Timestamp::now();
    let mut failures = told.failures;
    let (mut schemas, mut left_out) = (Vec::new(), Vec::new());
    if let (true, Some(check)) = (fetch, &told.check) {
        decide_ignored(&call, &device, &check.modules, &ignore, &use_again, at).await?;
        let Fetched { texts, failures: more } = fetched(&call, &device, &check.modules).await?;
        match usable(&call, &device, &texts).await? {
            Ok(mistakes) => {
                if !texts.is_empty() {
                    call.app.store.keep_modules(device.platform.as_str(), &texts, at).await?;
                    call.app.library.refresh().await?;
                }
                schemas = texts.iter().map(|text| named(&text.name, text.revision.as_deref())).collect();
                // A text that can't be had leaves a gap; the rest is of use all the same.
                let (of_modules, others): (Vec<_>, Vec<_>) =
                    more.into_iter().partition(|failure| failure.path.is_some());
                left_out = of_modules.into_iter().map(|failure| failure.message).collect();
                left_out.extend(mistakes.iter().map(ToString::to_string));
                failures.extend(others);
            }
            Err(mistakes) => failures.extend(more.into_iter().chain(mistakes)),
        }
    }
    let presented = told.check.as_ref().and_then(|check| check.host_key.as_deref());
    let twins = twins(&call.app, &device, presented).await?;
    let result = json!({
        "same_host_key": twins,
        "device": device.name, "at": event::time(at), "worker": told.worker, "check": told.check,
        "failures": failures, "schemas": schemas, "left_out": left_out,
    });
    call.app.store.keep_check(&device.name, &told.worker, &result, at).await?;
    ok(&result)
}

/// Names of modules in the request.
fn names(body: &serde_json::Map<String, Value>, field: &str) -> Result<Vec<String>, Problem> {
    let Some(given) = body.get(field) else { return Ok(Vec::new()) };
    let names = given.as_array().and_then(|items| {
        let names: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
        names.filter(|names| names.len() <= MAX_IGNORED)
    });
    names.ok_or_else(|| {
        let detail = format!("must be a list of at most {MAX_IGNORED} names of modules");
        Problem::invalid(vec![Fault::new(format!("/{field}"), "wrong_type", detail)])
    })
}

/// Stores which modules are left out of the platform's set by choice, and which are used again.
async fn decide_ignored(
    call: &Call,
    device: &Device,
    modules: &[Module],
    ignore: &[String],
    use_again: &[String],
    at: Timestamp,
) -> Result<(), Refusal> {
    if ignore.is_empty() && use_again.is_empty() {
        return Ok(());
    }
    let platform = device.platform.as_str();
    let known = call.app.store.known_modules(platform).await?;
    let known: BTreeSet<&str> = known
        .iter()
        .map(|(name, _)| name.as_str())
        .chain(modules.iter().map(|module| module.name.as_str()))
        .collect();
    let before = call.app.store.ignored_modules(platform).await?;
    let unknown = |field: &str, name: &String, among: &[&str]| {
        let near = did_you_mean(name, among);
        let detail =
            format!("platform {platform} has no such module here: {:?}; {near}", clean::line(name, 100));
        Fault::new(format!("/{field}"), "unknown_module", detail)
    };
    let known: Vec<&str> = known.into_iter().collect();
    let ignored: Vec<&str> = before.iter().map(|module| module.name.as_str()).collect();
    let mut faults: Vec<Fault> = Vec::new();
    faults.extend(
        ignore
            .iter()
            .filter(|name| !known.contains(&name.as_str()) && !ignored.contains(&name.as_str()))
            .map(|name| unknown("ignore_modules", name, &known)),
    );
    faults.extend(
        use_again
            .iter()
            .filter(|name| !ignored.contains(&name.as_str()))
            .map(|name| unknown("use_modules", name, &ignored)),
    );
    if !faults.is_empty() {
        return Err(Problem::invalid(faults).into());
    }
    if before.len() + ignore.len() > MAX_IGNORED {
        let detail = format!("at most {MAX_IGNORED} modules of a platform can be left out by choice");
        return Err(Problem::invalid(vec![Fault::new("/ignore_modules", "too_much", detail)]).into());
    }
    call.app.store.ignore_modules(platform, ignore, use_again, call.requester()?, at).await?;
    call.app.library.refresh().await?;
    Ok(())
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
    let work = ask::work(device, call.app.library.profiles().of(&device.platform), None);
    call.app.asker.ask(&device.region, work, question, within).await.map_err(|why| {
        match why {
            Unanswered::Away(_) => Problem::unavailable(why.to_string()),
            Unanswered::Unreadable(_) => Problem::internal(why.to_string()),
            Unanswered::Late { .. } | Unanswered::NoQueue(_) => refusal::no_answer(why.to_string()),
        }
        .into()
    })
}

/// What was fetched, and what could not be had.
#[derive(Debug, Default)]
struct Fetched {
    texts: Vec<SchemaText>,
    failures: Vec<Failure>,
}

/// The texts of the device's modules that aren't known of its platform yet, with those that they import
/// and include.
async fn fetched(call: &Call, device: &Device, modules: &[Module]) -> Result<Fetched, Refusal> {
    let until = Instant::now() + ms(call.app.settings.schemas_timeout_ms);
    let mut known: BTreeSet<Named> =
        call.app.store.known_modules(device.platform.as_str()).await?.into_iter().collect();
    let mut wanted: Vec<Named> =
        modules.iter().map(|module| (module.name.clone(), module.revision.clone())).collect();
    // What is left out by choice is not fetched either.
    let ignored = call.app.store.ignored_modules(device.platform.as_str()).await?;
    let mut refused: BTreeSet<String> = ignored.into_iter().map(|module| module.name).collect();
    let mut fetched = Fetched::default();
    let mut bytes = 0;
    for _ in 0..MAX_ROUNDS {
        wanted.retain(|named| !is_known(&known, named) && !refused.contains(&named.0));
        wanted.sort();
        wanted.dedup();
        if wanted.is_empty() {
            break;
        }
        let before = fetched.texts.len();
        while !wanted.is_empty() {
            let some: Vec<Named> = wanted.iter().take(MAX_ASKED).cloned().collect();
            let mut told = asked(call, device, Question::Schemas(some), left_of(call, until)?).await?;
            let left = wanted.len();
            if let Some(first) = told.piece.take().filter(|first| is_wanted(&wanted, first)) {
                match in_pieces(call, device, first, until).await? {
                    Ok(text) => told.schemas.push(text),
                    Err(failure) => told.failures.push(failure),
                }
            }
            for failure in &told.failures {
                // What is blamed on a module can't be had; the others can.
                wanted.retain(|(name, _)| failure.path.as_ref() != Some(name));
                refused.extend(failure.path.clone());
            }
            fetched.failures.extend(told.failures);
            for text in told.schemas {
                let got = (text.name.clone(), text.revision.clone());
                wanted.retain(|wanted| *wanted != got);
                known.insert(got);
                bytes += text.text.len();
                fetched.texts.push(text);
            }
            if wanted.len() == left {
                return Ok(fetched);
            }
            if fetched.texts.len() > Yang::MAX_MODULES || bytes > Yang::MAX_SET_BYTES {
                let detail = format!(
                    "the device has more YANG than {} modules or {} MiB; put those that are needed into a \
                     folder, and name it in 'yang_dir'",
                    Yang::MAX_MODULES,
                    Yang::MAX_SET_BYTES >> 20
                );
                return Err(Problem::invalid(vec![Fault::new("", "too_much", detail)]).into());
            }
        }
        let new = fetched.texts.iter().skip(before);
        wanted = new.flat_map(|text| modules_needed(&text.text)).map(|name| (name, None)).collect();
    }
    Ok(fetched)
}

/// How long a question may take, of what is left for all of them.
fn left_of(call: &Call, until: Instant) -> Result<Duration, Refusal> {
    let within = ms(call.app.settings.device_timeout_ms).min(until - Instant::now());
    if within.is_zero() {
        let detail = "the modules did not come in time; try again, or raise intake.schemas_timeout_ms";
        return Err(refusal::no_answer(detail).into());
    }
    Ok(within)
}

fn is_wanted(wanted: &[Named], piece: &SchemaPiece) -> bool {
    wanted.iter().any(|(name, revision)| (name, revision) == (&piece.name, &piece.revision))
}

/// The text whose first piece has come, or why it can't be had. Any worker may answer for each piece; a text that is
/// another meanwhile is begun anew.
async fn in_pieces(
    call: &Call,
    device: &Device,
    first: SchemaPiece,
    until: Instant,
) -> Result<Result<SchemaText, Failure>, Refusal> {
    let SchemaPiece { name, revision, piece: first } = first;
    let failed = |why: String| {
        let failure = Failure::new(FailureClass::BrokenPeer, "get-schema", format!("module {name}: {why}"));
        Failure { path: Some(name.clone()), ..failure }.at(device.name.clone())
    };
    let mut assembly = Assembly::new(first);
    let mut beginnings = 1;
    loop {
        let (from, mut known) = match assembly {
            Ok(known) => match known.next() {
                Some(from) => (from, Some(known)),
                None => {
                    let text = known.finish().map_err(|error| failed(error.to_string()));
                    return Ok(text.map(|text| SchemaText {
                        name: name.clone(),
                        revision: revision.clone(),
                        text,
                    }));
                }
            },
            Err(error) if beginnings == MAX_BEGINNINGS => return Ok(Err(failed(error.to_string()))),
            Err(_) => {
                beginnings += 1;
                (0, None)
            }
        };
        let question = Question::SchemaPiece { name: name.clone(), revision: revision.clone(), from };
        let told = asked(call, device, question, left_of(call, until)?).await?;
        let Some(next) = told.piece.filter(|next| next.name == name && next.revision == revision) else {
            let why = told.failures.into_iter().next();
            return Ok(Err(
                why.unwrap_or_else(|| failed("the next piece of its text did not come".to_owned()))
            ));
        };
        assembly = match known.take() {
            Some(mut known) => known.add(next.piece).map(|()| known),
            None => Assembly::new(next.piece),
        };
    }
}

/// What is left out of the set that the texts make with what is known of the platform. Or why none of it can be
/// used: then nothing is kept.
async fn usable(
    call: &Call,
    device: &Device,
    texts: &[SchemaText],
) -> Result<Result<Vec<YangMistake>, Vec<Failure>>, Refusal> {
    let before = call.app.store.modules(device.platform.as_str()).await?;
    if texts.is_empty() && before.is_empty() {
        return Ok(Err(Vec::new()));
    }
    let is_new = |known: &SchemaText| {
        texts.iter().any(|text| text.name == known.name && text.revision == known.revision)
    };
    let before: Vec<SchemaText> = before.into_iter().filter(|known| !is_new(known)).collect();
    let all = before.into_iter().chain(texts.iter().cloned());
    let all: Vec<ModuleText> =
        all.map(|SchemaText { name, revision, text }| ModuleText { name, revision, text }).collect();
    let ignored = call.app.store.ignored_modules(device.platform.as_str()).await?;
    let ignored: BTreeSet<String> = ignored.into_iter().map(|module| module.name).collect();
    // Compiling a large set takes seconds.
    let compiled = tokio::task::spawn_blocking(move || Yang::without(&all, &ignored))
        .await
        .map_err(|_| Problem::internal("YANG met a bug; the log of this intake says where"))?;
    let mistakes = match compiled {
        Ok(yang) => return Ok(Ok(yang.left_out().iter().take(Yang::MAX_VIOLATIONS).cloned().collect())),
        Err(mistakes) => mistakes,
    };
    let platform = &device.platform;
    let failure = |mistake: YangMistake| {
        let message = format!(
            "{mistake}; nothing was kept of platform {platform}: put a whole set into a folder, and name it in \
             'yang_dir'"
        );
        let failure = Failure::new(FailureClass::Misconfigured, "yang", message).at(device.name.clone());
        Failure { path: Some(mistake.module), ..failure }
    };
    Ok(Err(mistakes.into_iter().take(Yang::MAX_VIOLATIONS).map(failure).collect()))
}

fn is_known(known: &BTreeSet<Named>, wanted: &Named) -> bool {
    match &wanted.1 {
        Some(_) => known.contains(wanted),
        None => known.range((wanted.0.clone(), None)..).next().is_some_and(|(name, _)| *name == wanted.0),
    }
}

fn named(name: &str, revision: Option<&str>) -> String {
    revision.map_or_else(|| name.to_owned(), |revision| format!("{name}@{revision}"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
