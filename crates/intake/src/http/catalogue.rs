//! Service definitions, as they are published, and the pools that services take values from.

use std::collections::BTreeMap;

use axum::http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use turnup_core::{
    id::ServiceId,
    name::DefinitionName,
    problem::{Fault, Problem},
    resource::PoolScope,
};
use turnup_plan::{Bundle, Catalogue, Definition, Mistake, Summary};
use turnup_store::{IdOf, NewDefinition, Published, ResourceFilter};

use super::{
    answer::{self, Answer, ok},
    call::Call,
    resolve,
};
use crate::refusal;

/// Most mistakes of a definition that are told.
const MAX_MISTAKES: usize = 100;
/// Longest value of the query parameter `scope`, in characters.
const MAX_SCOPE_CHARS: usize = 1_024;

/// A definition and the versions of it that are published.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    summary: Summary,
    versions: Vec<u32>,
}

fn shown(catalogue: &Catalogue, definition: &Definition) -> Shown {
    Shown { summary: definition.summary(), versions: catalogue.versions(definition.name()).collect() }
}

pub(super) async fn list(call: Call) -> Answer {
    let catalogue = call.app.library.now();
    let items: Vec<Shown> = catalogue.iter().map(|definition| shown(&catalogue, definition)).collect();
    ok(&json!({"items": items, "next_cursor": null}))
}

/// One version, the newest if none is given, with its files.
pub(super) async fn show(call: Call) -> Answer {
    let version = call.query.parsed::<u32>("version")?;
    let name = call.definition()?;
    let catalogue = call.app.library.with(&[(&name, version)]).await?;
    let found = match version {
        None => catalogue.get(&name),
        Some(version) => catalogue.version(&name, version),
    };
    let Some(definition) = found else {
        return Err(Problem::not_found(missing(&catalogue, &name, version)).into());
    };
    let mut body = serde_json::to_value(shown(&catalogue, definition))
        .map_err(|_| Problem::internal("the definition could not be written as JSON"))?;
    body["files"] = json!(definition.bundle().files());
    ok(&body)
}

fn missing(catalogue: &Catalogue, name: &DefinitionName, version: Option<u32>) -> String {
    if let Some(why) = catalogue.unreadable(name, version) {
        return why;
    }
    let versions: Vec<String> = catalogue.versions(name).map(|version| version.to_string()).collect();
    match version {
        Some(version) if !versions.is_empty() => {
            format!("{name} has no published version {version}; there are {}", versions.join(", "))
        }
        _ => format!("there is no service definition {name}; list them with 'turnup definition list'"),
    }
}

/// Publishes a version: 201 if it is new, 200 if it is there with the same content.
pub(super) async fn publish(call: Call) -> Answer {
    let bundle: Bundle = serde_json::from_value(call.json()?).map_err(|error| {
        let detail = format!("{error}; send {{\"files\": {{\"definition.yaml\": \"…\", …}}}}");
        Problem::invalid(vec![Fault::new("/files", "bad_value", detail)])
    })?;
    let now = call.app.library.now();
    // Templates and schemas are compiled: some milliseconds of work.
    let compiling = tokio::task::spawn_blocking(move || {
        let definition = bundle.compile()?;
        let mistakes = definition.pool_mistakes(now.pools());
        if mistakes.is_empty() { Ok((definition, bundle)) } else { Err(mistakes) }
    });
    let (definition, bundle) = compiling
        .await
        .map_err(|_| Problem::internal("a definition met a bug; the log of this intake says where"))?
        .map_err(mistaken)?;
    let (name, version) = (definition.name().clone(), definition.version());
    let new = NewDefinition {
        name: name.to_string(),
        version: i32::try_from(version).unwrap_or(i32::MAX),
        title: definition.summary().title,
        files: json!(bundle.files()),
        digest: bundle.digest(),
        retry: *definition.retry(),
    };
    let published = call.app.store.publish(&[new], call.requester()?, Timestamp::now()).await?;
    let status = match published.first() {
        Some(Published::New) => StatusCode::CREATED,
        Some(Published::Same) => StatusCode::OK,
        Some(Published::Differs) => return Err(refusal::version_published(name.as_str(), version).into()),
        None => return Err(Problem::internal("nothing was published").into()),
    };
    // So that whoever published it can order it at once, here.
    let catalogue = call.app.library.with(&[(&name, Some(version))]).await?;
    let mut response = answer::json(status, &shown(&catalogue, &definition));
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/definitions/{name}?version={version}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

fn mistaken(mistakes: Vec<Mistake>) -> Problem {
    let count = mistakes.len();
    let fault = |mistake: Mistake| {
        let at = format!("{}:{}", mistake.file.display(), mistake.line);
        Fault::new(at, "mistake", mistake.message)
    };
    let mut faults: Vec<Fault> = mistakes.into_iter().take(MAX_MISTAKES).map(fault).collect();
    if count > MAX_MISTAKES {
        faults.push(Fault::new("", "more", format!("{count} mistakes in all; only the first are listed")));
    }
    Problem::invalid(faults)
}

/// A pool, and how much of it is taken.
#[derive(Debug, Serialize)]
struct PoolShown {
    name: String,
    title: String,
    scope: PoolScope,
    from: i64,
    to: i64,
    /// The smallest that is picked; below are those that are given by hand.
    pick_from: i64,
    format: Option<String>,
    taken: i64,
}

pub(super) async fn pools(call: Call) -> Answer {
    let mut taken: BTreeMap<String, i64> = BTreeMap::new();
    for used in call.app.store.pools_in_use().await? {
        *taken.entry(used.pool).or_default() += used.taken;
    }
    let catalogue = call.app.library.now();
    let items: Vec<PoolShown> = catalogue
        .pools()
        .iter()
        .map(|(name, rule)| PoolShown {
            name: name.to_owned(),
            title: rule.pool.title.clone(),
            scope: rule.pool.scope,
            from: rule.from,
            to: rule.pool.to,
            pick_from: rule.pool.from,
            format: rule.pool.format.clone(),
            taken: taken.get(name).copied().unwrap_or_default(),
        })
        .collect();
    ok(&json!({"items": items, "next_cursor": null}))
}

/// The values of a pool that are taken.
pub(super) async fn pool(call: Call) -> Answer {
    let query = &call.query;
    let scope = query.text("scope")?;
    if scope.as_ref().is_some_and(|scope| scope.chars().count() > MAX_SCOPE_CHARS) {
        return Err(Problem::unreadable(format!(
            "query parameter scope: at most {MAX_SCOPE_CHARS} characters"
        ))
        .into());
    }
    let after = query.text("cursor")?;
    // Pool, scope and value of the last item.
    let fits = |cursor: &String| serde_json::from_str::<[String; 3]>(cursor).is_ok();
    if after.as_ref().is_some_and(|cursor| !fits(cursor)) {
        let detail = "query parameter cursor is none of this list; give the next_cursor of the page before";
        return Err(Problem::unreadable(detail).into());
    }
    let filter = ResourceFilter {
        pool: Some(call.parameter.clone()),
        scope,
        service_id: resolve::in_query(&call, IdOf::Service, "service_id").await?.map(ServiceId),
        limit: query.limit()?,
        after,
    };
    let catalogue = call.app.library.now();
    let page = call.app.store.resources(&filter).await?;
    // One that was taken out of pools.yaml while values of it are taken can still be looked at.
    if catalogue.pools().get(&call.parameter).is_none() && page.items.is_empty() {
        let name: String = call.parameter.chars().take(64).collect();
        let detail = format!("there is no pool {name:?}; list them with 'turnup pool list'");
        return Err(Problem::not_found(detail).into());
    }
    ok(&page)
}
