//! `turnup device import`: devices from lists and from NetBox.

mod apply;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use turnup_files::{Delimiter, Fault, Syntax};
use turnup_import::{Defaults, Read, Row, netbox, own};

use self::apply::{Step, compare};
use crate::{
    client::{
        http::{Api, query},
        input,
        output::{Format as Output, counted, items, json as print_json, line, text, warn},
    },
    failure::{Failure, describe},
};

/// Most devices that the API takes at once.
const MAX_AT_ONCE: usize = 1000;

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What the files are: lists of devices (csv, yaml, json), or devices from NetBox, as CSV or JSON
    #[arg(long, value_enum, default_value = "auto")]
    format: Form,
    #[command(flatten)]
    defaults: Defaults,
    /// From NetBox also devices whose status is not active
    #[arg(long)]
    all: bool,
    /// Import devices though the files are only some pages of the API's answer
    #[arg(long)]
    partial: bool,
    /// What separates the cells of CSV, such as ';' or tab; else what the heading line has most
    #[arg(long)]
    delimiter: Option<Delimiter>,
    /// Import what can be used though other entries can't; these are named, and the exit code is 1
    #[arg(long)]
    skip_bad: bool,
    /// Change devices that are in the inventory with other values; without it they are named and left alone
    #[arg(long)]
    update: bool,
    /// Say what would be done; change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// By the file's ending and its fields
    Auto,
    /// Our own fields, one device a row
    Csv,
    /// A list of devices
    Yaml,
    /// A list of devices, or one a line
    Json,
    /// Devices from NetBox: its CSV export, or its API's JSON
    Netbox,
}

pub(super) async fn run(api: &Api, format: Output, import: &Import) -> Result<(), Failure> {
    let mut read = Read::default();
    let mut faults = Vec::new();
    for file in &import.files {
        match input::text_of(file).and_then(|text| parse(&text, file, import)) {
            Ok(found) => read.add(found),
            Err(found) => {
                faults.extend(found.iter().map(|fault| input::placed(&input::name_of(file), fault)));
            }
        }
    }
    if !faults.is_empty() {
        return Err(input::unreadable(faults));
    }
    read.refuse_twins();
    if let Some(missing) = read.missing_pages() {
        if !import.partial {
            return Err(Failure::Failed(format!(
                "{missing}; get the other pages too (NetBox: ?limit=1000&offset=1000 and so on) and give all files \
                 in one import, or take these devices alone with --partial; nothing was imported"
            )));
        }
        warn(missing);
    }
    if format == Output::Table {
        for note in read.skipped.iter().map(|skip| format!("left out  {skip}")) {
            line(note);
        }
        for bad in &read.bad {
            line(format!("bad       {bad}"));
        }
    }
    let nothing = match (read.rows.len(), read.bad.len(), read.skipped.len()) {
        (0, 0, 0) => Some("there are no devices in the files; nothing was imported".to_owned()),
        (0, 0, count) => {
            Some(format!("no device is active, so nothing was imported ({count} left out, see above)"))
        }
        (_, bad, _) if bad > 0 && !import.skip_bad => Some(format!(
            "{} can't be used and nothing was imported; correct them, or take the others with --skip-bad",
            entries(bad)
        )),
        _ => None,
    };
    if let Some(nothing) = nothing {
        if format == Output::Json {
            print_json(&json!({"bad": read.bad, "left_out": read.skipped}))?;
        }
        return Err(Failure::Failed(nothing));
    }
    let present = present(api, &read.rows).await?;
    let steps: Vec<(&Row, Step)> =
        read.rows.iter().map(|row| (row, compare(&row.device, present.get(row.name())))).collect();
    let refused = carry_out(api, format, import, &steps).await?;
    let steps: Vec<(&Row, Step)> = steps
        .into_iter()
        .map(|(row, step)| (row, if refused.contains_key(row.name()) { Step::Refused } else { step }))
        .collect();
    let (refused, bad): (Vec<Value>, usize) = (refused.into_values().collect(), read.bad.len());
    if format == Output::Json {
        let devices: Vec<Value> = steps.iter().map(|(row, step)| apply::json(row, step)).collect();
        print_json(&json!({
            "dry_run": import.dry_run, "devices": devices, "refused": refused, "bad": read.bad,
            "left_out": read.skipped,
        }))?;
    } else {
        line(apply::summary(&steps, import.update, import.dry_run, read.bad.len(), read.skipped.len()));
    }
    match (refused.len(), bad) {
        (0, 0) => Ok(()),
        (0, bad) => {
            Err(Failure::Failed(format!("{} can't be used and {} left out", entries(bad), were(bad))))
        }
        (count, 0) => Err(Failure::Failed(format!("{} {} refused", counted(count, "device"), were(count)))),
        (count, bad) => Err(Failure::Failed(format!(
            "{} {} refused, and {} can't be used and {} left out",
            counted(count, "device"),
            were(count),
            entries(bad),
            were(bad)
        ))),
    }
}

const fn were(count: usize) -> &'static str {
    if count == 1 { "was" } else { "were" }
}

fn entries(count: usize) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}

/// The devices of the inventory, by name, as far as they are among `rows`.
async fn present(api: &Api, rows: &[Row]) -> Result<BTreeMap<String, Value>, Failure> {
    let wanted: BTreeMap<&str, ()> = rows.iter().map(|row| (row.name(), ())).collect();
    let mut found = BTreeMap::new();
    let mut cursor: Option<String> = None;
    while !wanted.is_empty() {
        let filters = query([("limit", Some("1000")), ("cursor", cursor.as_deref())]);
        let page = api.get(&format!("/v1/devices?{filters}")).await?;
        for device in items(&page["items"]) {
            if let Some(name) = device["name"].as_str().filter(|name| wanted.contains_key(name)) {
                found.insert(name.to_owned(), device.clone());
            }
        }
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    Ok(found)
}

/// Adds and changes; gives what the intake refused, by the device's name.
async fn carry_out(
    api: &Api,
    format: Output,
    import: &Import,
    steps: &[(&Row, Step)],
) -> Result<BTreeMap<String, Value>, Failure> {
    let mut refused = BTreeMap::new();
    let say = |row: &Row, step: &Step| {
        let said = apply::said(row, step, import.update).filter(|_| format == Output::Table);
        said.into_iter().for_each(line);
    };
    let new: Vec<&Row> = steps.iter().filter(|(_, step)| *step == Step::Add).map(|(row, _)| *row).collect();
    for some in new.chunks(MAX_AT_ONCE) {
        let body: Vec<Value> = some.iter().map(|row| row.device.clone()).collect();
        let dry_run = if import.dry_run { "?dry_run=true" } else { "" };
        let answer =
            api.post(&format!("/v1/devices{dry_run}"), &Value::Array(body)).await.map_err(|failure| {
                match failure {
                    Failure::Problem(problem) => apply::placed(*problem, some),
                    other => other,
                }
            })?;
        let is_refused = |result: &&Value| result["problem"].is_object();
        for result in items(&answer["items"]).iter().filter(is_refused) {
            if format == Output::Table {
                let why = result.pointer("/problem/detail");
                line(format!("refused   {}: {}", text(result.get("name")), text(why)));
            }
            refused.insert(text(result.get("name")), result.clone());
        }
        for row in some.iter().filter(|row| !refused.contains_key(row.name())) {
            say(row, &Step::Add);
        }
    }
    for (row, step) in steps {
        if matches!(step, Step::Change(_)) && !import.update {
            say(row, step);
        }
        if let (Step::Change(changes), true) = (step, import.update) {
            let dry_run = if import.dry_run { "?dry_run=true" } else { "" };
            let path = format!("{}{dry_run}", super::path(row.name()));
            match api.patch(&path, &apply::patch(changes)).await {
                Ok(_) => say(row, step),
                // The others may be good.
                Err(Failure::Problem(problem)) if matches!(problem.status, 404 | 409 | 422) => {
                    if format == Output::Table {
                        line(format!("refused   {}: {}", row.name(), describe(&problem)));
                    }
                    let result = json!({"name": row.name(), "status": problem.status, "problem": problem});
                    refused.insert(row.name().to_owned(), result);
                }
                Err(failure) => return Err(failure),
            }
        }
    }
    Ok(refused)
}

/// Reads a file's entries.
fn parse(text: &str, file: &Path, import: &Import) -> Result<Read, Vec<Fault>> {
    let whole = |message: String| vec![Fault::whole(message)];
    let syntax = syntax(text, file, import.format).map_err(whole)?;
    let document = turnup_files::read(text, syntax, import.delimiter)?;
    if let (Form::Auto | Form::Netbox, Some(fault)) =
        (import.format, netbox::foreign_headings(&document.headings))
    {
        return Err(whole(fault));
    }
    if let Some(fault) = netbox::unknown_headings(&document.headings, &own::FIELDS) {
        return Err(whole(fault));
    }
    let is_netbox = match import.format {
        Form::Netbox => true,
        Form::Csv | Form::Yaml | Form::Json => false,
        Form::Auto => netbox::is_likely(&document),
    };
    let mut read = if is_netbox {
        netbox::headings_are_unique(&document.headings).map_err(whole)?;
        let rules = netbox::Rules::new(&import.defaults, import.all).map_err(whole)?;
        netbox::read(&turnup_import::entries(&document, &netbox::types()), &rules)
    } else {
        own::read(&turnup_import::entries(&document, &own::types()), &import.defaults)
    };
    read.add_page(document);
    read.in_file(&input::name_of(file));
    Ok(read)
}

fn syntax(text: &str, file: &Path, format: Form) -> Result<Syntax, String> {
    let by_ending = input::syntax_of(file).filter(|_| file != Path::new("-"));
    match (format, by_ending) {
        (Form::Csv, _) => Ok(Syntax::Csv),
        (Form::Yaml, _) => Ok(Syntax::Yaml),
        (Form::Json, Some(Syntax::Ndjson)) => Ok(Syntax::Ndjson),
        (Form::Json, _) => Ok(Syntax::Json),
        (Form::Auto | Form::Netbox, Some(known)) => Ok(known),
        (Form::Netbox, None) if text.trim_start().starts_with(['{', '[']) => Ok(Syntax::Json),
        (Form::Netbox, None) => Ok(Syntax::Csv),
        (Form::Auto, None) => Err(format!(
            "can't tell what {:?} is; use .csv, .yaml, .json or .ndjson, or give --format",
            input::ending_of(file)
        )),
    }
}

#[cfg(test)]
mod tests;
