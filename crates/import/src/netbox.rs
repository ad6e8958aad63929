//! Devices as NetBox gives them: its CSV export, by names of fields or headings of the table, and the
//! JSON of its API, `GET /api/dcim/devices/`.

use std::{collections::BTreeMap, net::IpAddr};

use serde_json::{Map, Value, json};
use turnup_core::{clean, name::RegionName};
use turnup_files::{Content, Document};

use crate::{
    Defaults, Entry, Named, Read, Row,
    own::{check, complete, suggestion},
};

/// The statuses that NetBox has (dcim.Device.status), by value; in English its labels are the same words.
const STATUSES: [&str; 7] =
    ["active", "offline", "planned", "staged", "failed", "inventory", "decommissioning"];

/// Headings of the table of devices in other languages, as NetBox's translations have them: those that no
/// other field of ours or NetBox's has.
const FOREIGN: [(&str, &[&str]); 16] = [
    (
        "German",
        &[
            "mandant",
            "standort",
            "rolle",
            "hersteller",
            "typ",
            "ip-adresse",
            "ipv4-adresse",
            "plattform",
            "gerätetyp",
            "beschreibung",
        ],
    ),
    (
        "French",
        &[
            "nom",
            "statut",
            "locataire",
            "baie",
            "rôle",
            "fabricant",
            "adresse ip",
            "adresse ipv4",
            "plateforme",
            "plate-forme",
        ],
    ),
    (
        "Spanish",
        &[
            "nombre",
            "estado",
            "inquilino",
            "sitio",
            "rol",
            "función",
            "fabricante",
            "tipo",
            "dirección ip",
            "dirección ipv4",
            "plataforma",
            "descripción",
        ],
    ),
    ("Italian", &["nome", "stato", "sito", "ruolo", "produttore", "tipo", "indirizzo ip", "piattaforma"]),
    ("Portuguese", &["nome", "inquilino", "função", "fabricante", "tipo", "endereço ip", "plataforma"]),
    ("Dutch", &["naam", "rol", "fabrikant", "ip-adres", "huurder", "beschrijving"]),
    ("Polish", &["nazwa", "rola", "producent", "typ", "adres ip", "platforma"]),
    ("Czech", &["název", "stav", "výrobce", "ip adresa", "platforma", "nájemce"]),
    ("Danish", &["navn", "rolle", "producent", "ip-adresse", "område"]),
    ("Turkish", &["isim", "ad", "durum", "üretici", "ip adresi", "rol"]),
    (
        "Russian",
        &[
            "имя",
            "название",
            "статус",
            "арендатор",
            "площадка",
            "стойка",
            "роль",
            "производитель",
            "тип",
            "ip-адрес",
            "платформа",
            "описание",
        ],
    ),
    (
        "Ukrainian",
        &[
            "ім'я",
            "ім’я",
            "назва",
            "статус",
            "орендар",
            "майданчик",
            "стійка",
            "роль",
            "виробник",
            "тип",
            "ip-адреса",
            "ip адреса",
            "платформа",
            "опис",
        ],
    ),
    (
        "Latvian",
        &["nosaukums", "statuss", "nomnieks", "vieta", "loma", "ražotājs", "tips", "ip adrese", "apraksts"],
    ),
    (
        "Chinese",
        &[
            "名称",
            "状态",
            "租户",
            "站点",
            "机柜",
            "角色",
            "厂商",
            "制造商",
            "类型",
            "ip地址",
            "ip 地址",
            "平台",
            "描述",
        ],
    ),
    (
        "Korean",
        &[
            "이름",
            "상태",
            "테넌트",
            "사이트",
            "랙",
            "역할",
            "제조사",
            "제조업체",
            "유형",
            "ip 주소",
            "플랫폼",
            "설명",
        ],
    ),
    ("Japanese", &["名前", "ステータス", "メーカー", "ipアドレス", "ip アドレス", "ロール", "タイプ"]),
];

/// Fields that only NetBox's devices have, among them headings of its table.
const SIGNS: [&str; 7] =
    ["primary_ip", "primary_ip4", "primary_ip6", "ip_address", "ipv4_address", "device_type", "manufacturer"];
/// Headings of NetBox's table of devices that are no field of ours, as names of fields.
const ENGLISH: [&str; 7] = ["status", "tenant", "site", "location", "rack", "role", "type"];
/// Where the address may stand: what NetBox itself prefers first.
const ADDRESSES: [&str; 6] =
    ["primary_ip", "ip_address", "primary_ip4", "ipv4_address", "primary_ip6", "ipv6_address"];

/// How devices of NetBox become ours.
#[derive(Debug)]
pub struct Rules {
    defaults: Defaults,
    regions: BTreeMap<String, String>,
    platforms: BTreeMap<String, String>,
    all: bool,
}

impl Rules {
    /// The rules of these options.
    ///
    /// # Errors
    /// If no region is given, or a map can't be read.
    pub fn new(defaults: &Defaults, all: bool) -> Result<Self, String> {
        if defaults.region.is_none() && defaults.region_from.is_none() {
            return Err(
                "NetBox doesn't say in which region a device is; give --region, or --region-from site"
                    .to_owned(),
            );
        }
        Ok(Self {
            regions: map("--region-map", &defaults.region_map)?,
            platforms: map("--platform-map", &defaults.platform_map)?,
            defaults: defaults.clone(),
            all,
        })
    }
}

fn map(option: &str, pairs: &[String]) -> Result<BTreeMap<String, String>, String> {
    pairs
        .iter()
        .map(|pair| match pair.split_once('=') {
            Some((from, to)) if !from.trim().is_empty() && !to.trim().is_empty() => {
                Ok((from.trim().to_lowercase(), to.trim().to_owned()))
            }
            _ => Err(format!("{option} {pair:?}: write FROM=TO, several with commas")),
        })
        .collect()
}

/// Whether entries look like NetBox's.
pub fn is_likely(document: &Document) -> bool {
    let of_items = document.items.iter().take(100).flat_map(|item| match &item.tree.content {
        Content::Map(entries) => entries.as_slice(),
        _ => &[],
    });
    let mut names: Vec<String> = of_items.map(|entry| normal(&entry.key)).collect();
    names.extend(document.headings.iter().map(|heading| normal(heading)));
    !names.iter().any(|name| name == "address") && names.iter().any(|name| SIGNS.contains(&name.as_str()))
}

/// What is to be said of headings that are NetBox's in another language than English.
pub fn foreign_headings(headings: &[String]) -> Option<String> {
    let given: Vec<String> = headings.iter().map(|heading| heading.trim().to_lowercase()).collect();
    let found = |words: &[&str]| -> Vec<&String> {
        headings
            .iter()
            .zip(&given)
            .filter(|(_, given)| words.contains(&given.as_str()))
            .map(|(h, _)| h)
            .collect()
    };
    let all: Vec<(&str, Vec<&String>)> =
        FOREIGN.iter().map(|(language, words)| (*language, found(words))).collect();
    let most = all.iter().map(|(_, words)| words.len()).max().filter(|most| *most >= 2)?;
    let best: Vec<&(&str, Vec<&String>)> = all.iter().filter(|(_, words)| words.len() == most).collect();
    let languages: Vec<&str> = best.iter().map(|(language, _)| *language).collect();
    let (_, words) = best.first()?;
    Some(format!(
        "the headings are {} ({}): {IN_ENGLISH}",
        languages.join(" or "),
        quoted(words.iter().map(|word| word.as_str()))
    ))
}

/// What is to be said of headings none of which is known, whatever their language. `ours`: the fields of our own lists.
pub fn unknown_headings(headings: &[String], ours: &[&str]) -> Option<String> {
    let given: Vec<String> = headings.iter().map(|heading| normal(heading)).collect();
    let is_known = |name: &String| {
        let first = name.split('.').next().unwrap_or_default();
        ours.contains(&first) || SIGNS.contains(&first) || ENGLISH.contains(&first)
    };
    if headings.is_empty() || given.iter().any(is_known) {
        return None;
    }
    Some(format!(
        "none of the headings is known ({}). A list of devices has the headings {}. An export from NetBox has Name, \
         Status, Site, Platform, IP Address: {IN_ENGLISH}",
        quoted(headings.iter().map(String::as_str)),
        ours.join(", ")
    ))
}

/// What is to be done about an export in another language.
const IN_ENGLISH: &str = "NetBox exports in the language of its user; set it to English in the user's preferences and \
                          export again, or give the JSON of its API (GET /api/dcim/devices/)";

/// The first few texts, in quotes.
fn quoted<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.take(4).map(|text| format!("{:?}", clean::line(text, 40))).collect::<Vec<_>>().join(", ")
}

/// NetBox's headings are names of fields in any case: `Name` is `name`.
///
/// # Errors
/// Two headings that name one field.
pub fn headings_are_unique(headings: &[String]) -> Result<(), String> {
    let mut first: BTreeMap<String, &str> = BTreeMap::new();
    for heading in headings.iter().filter(|heading| !heading.is_empty()) {
        if let Some(before) = first.insert(normal(heading), heading) {
            return Err(format!("the headings {before:?} and {heading:?} name the same field"));
        }
    }
    Ok(())
}

/// The JSON Schema of an entry: what is no list or object is a text.
pub fn types() -> Value {
    json!({"additionalProperties": {"type": ["string", "array", "object", "null"]}})
}

/// Reads devices.
pub fn read(entries: &[Entry], rules: &Rules) -> Read {
    let mut read = Read::default();
    for entry in entries {
        let place = entry.place.clone();
        let Value::Object(fields) = &entry.value else {
            let reason = "a device is an object with fields".to_owned();
            read.bad.push(Named { place, name: String::new(), reason });
            continue;
        };
        let fields: BTreeMap<String, &Value> =
            fields.iter().map(|(key, value)| (normal(key), value)).collect();
        let name = field(&fields, "name").map(|(_, name)| name).unwrap_or_default();
        let status = field(&fields, "status").map(|(value, _)| value.to_lowercase()).filter(|_| !rules.all);
        if let Some(unknown) = status.as_ref().filter(|status| !STATUSES.contains(&status.as_str())) {
            let reason = format!(
                "its status {unknown:?} is not known; known are {}. Export with the language of NetBox's user set \
                 to English, or take devices of any status with --all",
                STATUSES.join(", ")
            );
            read.bad.push(Named { place, name, reason });
            continue;
        }
        if let Some(status) = status.filter(|status| status != "active") {
            let reason = format!("its status is {status}, not active (--all takes it too)");
            read.skipped.push(Named { place, name, reason });
            continue;
        }
        match device(&fields, &name, rules) {
            Ok(device) => read.rows.push(Row { place, device }),
            Err(reason) => read.bad.push(Named { place, name, reason }),
        }
    }
    read
}

fn device(fields: &BTreeMap<String, &Value>, name: &str, rules: &Rules) -> Result<Value, String> {
    let mut faults = Vec::new();
    let mut device = Map::new();
    let mut put = |field: &str, value: Result<Option<String>, String>| match value {
        Ok(Some(value)) => {
            device.insert(field.to_owned(), json!(value));
        }
        Ok(None) => {}
        Err(fault) => faults.push(fault),
    };
    if name.is_empty() {
        put("name", Err("it has no name in NetBox; give it one there".to_owned()));
    } else {
        put("name", Ok(Some(name.to_owned())));
    }
    put("address", address(fields).map(Some));
    put("region", region(fields, rules));
    put("platform", platform(fields, rules));
    put("description", Ok(field(fields, "description").map(|(_, text)| text)));
    complete(&mut device, &rules.defaults);
    // What has a better word already is not said twice.
    let known: Vec<&str> = ["name", "address", "region", "platform"]
        .into_iter()
        .filter(|field| !device.contains_key(*field))
        .collect();
    let more = check(&device);
    faults.extend(
        more.into_iter()
            .filter(|fault| !known.iter().any(|field| fault.starts_with(&format!("it has no {field}")))),
    );
    if faults.is_empty() { Ok(Value::Object(device)) } else { Err(faults.join("; ")) }
}

/// The primary address without its prefix length.
fn address(fields: &BTreeMap<String, &Value>) -> Result<String, String> {
    let given = ADDRESSES.iter().find_map(|name| field(fields, name)).map(|(_, text)| text);
    let Some(given) = given else {
        return Err("it has no primary IP address in NetBox; give it one there".to_owned());
    };
    let address = given.split_once('/').map_or(given.as_str(), |(address, _)| address);
    match address.parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err(format!("its primary IP address {given:?} is no IP address")),
    }
}

fn region(fields: &BTreeMap<String, &Value>, rules: &Rules) -> Result<Option<String>, String> {
    let Some(from) = &rules.defaults.region_from else { return Ok(rules.defaults.region.clone()) };
    let Some((slug, name)) = field(fields, &normal(from)) else {
        return Err(format!("it has no {from} in NetBox, which --region-from needs"));
    };
    for key in [&slug, &name] {
        if let Some(region) = rules.regions.get(&key.to_lowercase()) {
            return Ok(Some(region.clone()));
        }
    }
    if !rules.regions.is_empty() {
        return Err(format!("its {from} {slug:?} is not in --region-map; add '{slug}=REGION'"));
    }
    if RegionName::new(slug.as_str()).is_ok() {
        return Ok(Some(slug));
    }
    let example = suggestion(&slug.to_lowercase().replace('.', "-"))
        .filter(|name| RegionName::new(name.as_str()).is_ok())
        .unwrap_or_else(|| "eu-west".to_owned());
    Err(format!("its {from} {slug:?} is no region name; name one, such as --region-map '{slug}={example}'"))
}

fn platform(fields: &BTreeMap<String, &Value>, rules: &Rules) -> Result<Option<String>, String> {
    let Some((slug, name)) = field(fields, "platform") else {
        return match &rules.defaults.platform {
            Some(platform) => Ok(Some(platform.clone())),
            None => Err("it has no platform in NetBox; give it one there, or --platform for all".to_owned()),
        };
    };
    for key in [&slug, &name] {
        if let Some(platform) = rules.platforms.get(&key.to_lowercase()) {
            return Ok(Some(platform.clone()));
        }
    }
    match &rules.defaults.platform {
        Some(platform) => Ok(Some(platform.clone())),
        None if rules.platforms.is_empty() && turnup_core::name::PlatformName::new(slug.as_str()).is_ok() => {
            Ok(Some(slug))
        }
        None => Err(format!(
            "NetBox's platform {slug:?} is not in --platform-map; add '{slug}=PLATFORM', or give --platform for the rest"
        )),
    }
}

/// A field as (what it is known by, what it is called): of an object slug or value, and name, label or
/// address; none where it is empty. Dots go down into objects.
fn field(fields: &BTreeMap<String, &Value>, path: &str) -> Option<(String, String)> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let mut value = match fields.get(path) {
        Some(value) => *value,
        None => {
            let mut value = *fields.get(first)?;
            for step in rest?.split('.') {
                value = value.get(step)?;
            }
            value
        }
    };
    if let Value::Array(items) = value {
        value = items.first()?;
    }
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    if value.is_object() {
        let of = |keys: &[&str]| keys.iter().find_map(|key| text(value.get(key)?));
        let known = of(&["slug", "value", "address", "name", "display"])?;
        let called = of(&["address", "name", "label", "display"]).unwrap_or_else(|| known.clone());
        return Some((known, called));
    }
    // NetBox shows empty cells of its table as a dash.
    let text = text(value).filter(|text| text != "—" && text != "-")?;
    Some((text.clone(), text))
}

/// A heading as the name of a field: `IPv4 Address` is `ipv4_address`.
fn normal(heading: &str) -> String {
    heading.trim().to_lowercase().replace(' ', "_")
}
