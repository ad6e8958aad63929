//! What each fuzz target does with its bytes: plain functions, so that `cargo fuzz` runs them instrumented and
//! `tests/fuzz` runs them over the seeds and mutations of them in every `make test`.

use turnup_core::{name::DeviceName, order::OrderRequest};
use turnup_files::{Delimiter, Document, Fault, Syntax, text, typing::typed};
use turnup_import::{Defaults, Read, entries, netbox, own};
use turnup_netconf::message::{Message, Severity};
use turnup_netconf::session::{ClientSession, Event};
use turnup_netconf::xml::{Limits, parse};

/// A target's name and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All of them, by the names of their folders in `seeds/`.
pub const TARGETS: [Target; 6] = [
    ("replies", replies),
    ("greetings", greetings),
    ("csv", csv),
    ("yaml", yaml),
    ("json", json),
    ("netbox", netbox_export),
];

const SMALL: Limits = Limits { max_bytes: 64 << 10, max_depth: 64, max_attributes: 32, max_nodes: 5_000 };

/// Any bytes as one message of a server. No byte may panic, and what is accepted must hold its promises.
///
/// # Panics
/// If a promise is broken.
pub fn replies(bytes: &[u8]) {
    let message = match Message::parse_from_server(bytes, &SMALL) {
        Ok(message) => message,
        Err(error) => {
            assert!(!error.to_string().chars().any(char::is_control), "{error}");
            return;
        }
    };
    let Message::Reply(reply) = message else { return };
    assert!(!(reply.is_error() && (reply.is_ok() || reply.has_ok() || reply.is_warnings_only())));
    assert!(!reply.has_ok() || reply.is_ok());
    assert_eq!(reply.is_error(), reply.errors().iter().any(|error| error.severity == Severity::Error));
    for error in reply.errors() {
        assert!(error.error_info().len() <= 16);
        let _ = error.to_string();
    }
    assert!(reply.replaced().len() <= 20);
    // What strict parsing accepts, lenient parsing reads alike.
    if parse(bytes, &SMALL).is_ok() {
        assert!(reply.replaced().is_empty());
    }
    // It can be written, and read again to the same meaning.
    let text = reply.to_element(&[]).to_xml();
    match Message::parse_from_server(text.as_bytes(), &Limits::default()) {
        Ok(Message::Reply(again)) => {
            assert_eq!(
                (again.is_error(), again.is_ok(), again.has_ok()),
                (reply.is_error(), reply.is_ok(), reply.has_ok())
            );
            assert_eq!(again.data().is_some(), reply.data().is_some());
        }
        other => panic!("{text}: {other:?}"),
    }
    if let Ok(data) = reply.required_data() {
        let _ = data.to_pretty_xml();
    }
}

/// Any bytes as the beginning of a session, whole and byte by byte: both come to the same.
///
/// # Panics
/// If a promise is broken.
pub fn greetings(bytes: &[u8]) {
    let whole = greet(bytes, bytes.len().max(1));
    let split = greet(bytes, 1);
    assert_eq!(whole.is_ok(), split.is_ok(), "{whole:?} {split:?}");
    if let (Ok(whole), Ok(split)) = (whole, split) {
        assert_eq!(whole, split);
    }
}

/// What comes of the bytes, handed over in parts of `size`: whether hello came, or an error.
fn greet(bytes: &[u8], size: usize) -> Result<bool, String> {
    let mut session = ClientSession::new(SMALL, true);
    for part in bytes.chunks(size) {
        session.receive(part).map_err(|error| error.to_string())?;
        match session.next_event() {
            Ok(Some(Event::Established)) => return Ok(true),
            Ok(_) => {}
            Err(error) => {
                let text = error.to_string();
                assert!(!text.chars().any(char::is_control), "{text}");
                return Err(text);
            }
        }
    }
    for said in [session.said_before_hello(), session.refused_before_hello()].into_iter().flatten() {
        assert!(!said.chars().any(char::is_control) && said.chars().count() <= 320, "{said}");
    }
    let _ = session.has_other_message_before_hello();
    Ok(false)
}

/// Any bytes as orders in CSV; the first byte chooses the delimiter.
///
/// # Panics
/// If a promise is broken.
pub fn csv(bytes: &[u8]) {
    let delimiter: Option<Delimiter> = bytes.first().and_then(|byte| match byte {
        b';' => ";".parse().ok(),
        b'|' => "|".parse().ok(),
        _ => None,
    });
    orders(bytes, Syntax::Csv, delimiter);
}

/// Any bytes as orders in YAML.
///
/// # Panics
/// If a promise is broken.
pub fn yaml(bytes: &[u8]) {
    orders(bytes, Syntax::Yaml, None);
}

/// Any bytes as orders in JSON and NDJSON.
///
/// # Panics
/// If a promise is broken.
pub fn json(bytes: &[u8]) {
    if let Ok(value) = turnup_files::json::read(bytes) {
        let usual: serde_json::Value = serde_json::from_slice(bytes).expect("what is read strictly is JSON");
        assert_eq!(value, usual);
    }
    orders(bytes, Syntax::Json, None);
    orders(bytes, Syntax::Ndjson, None);
}

/// Reads a file's orders as `turnup order submit` and the intake do.
fn orders(bytes: &[u8], syntax: Syntax, delimiter: Option<Delimiter>) {
    let Some(document) = document(bytes, syntax, delimiter) else { return };
    let types = turnup_core::order::field_types();
    let now = "2030-01-01T00:00:00Z".parse().expect("a time");
    for item in &document.items {
        let order = typed(&item.tree, &types);
        match OrderRequest::parse(&order, now) {
            Ok(request) => {
                // What was accepted is accepted again, as the same request.
                let again = OrderRequest::parse(&order, now).expect("accepted before");
                assert_eq!(request.digest, again.digest);
            }
            Err(faults) => {
                assert!(!faults.is_empty());
                for fault in faults {
                    assert!(!fault.detail.is_empty());
                    let _ = item.tree.line_at(&fault.pointer);
                }
            }
        }
    }
}

/// The document of a file; none: it has faults, each with a message and a line of the file.
fn document(bytes: &[u8], syntax: Syntax, delimiter: Option<Delimiter>) -> Option<Document> {
    let text = match text::decode(bytes.to_vec()) {
        Ok(text) => text,
        Err(fault) => {
            check(&fault, u32::MAX);
            return None;
        }
    };
    let lines =
        u32::try_from(text.lines().count() + text.matches('\r').count()).unwrap_or(u32::MAX).max(1) + 1;
    match turnup_files::read(&text, syntax, delimiter) {
        Ok(document) => {
            for item in &document.items {
                assert!((1..=lines).contains(&item.line), "line {} of {lines}", item.line);
                let _ = item.tree.to_json();
            }
            Some(document)
        }
        Err(faults) => {
            assert!(!faults.is_empty(), "a refusal has a reason");
            faults.iter().for_each(|fault| check(fault, lines));
            None
        }
    }
}

fn check(fault: &Fault, lines: u32) {
    assert!(!fault.message.is_empty());
    if let Some(line) = fault.line {
        assert!((1..=lines).contains(&line), "line {line} of {lines}: {}", fault.message);
    }
}

/// Any bytes as NetBox's export, as CSV and as JSON, and as a list of devices.
///
/// # Panics
/// If a promise is broken.
pub fn netbox_export(bytes: &[u8]) {
    let defaults = Defaults { region: Some("eu".to_owned()), ..Defaults::default() };
    let rules = netbox::Rules::new(&defaults, bytes.first() == Some(&b'!')).expect("a region is given");
    for syntax in [Syntax::Csv, Syntax::Json, Syntax::Ndjson] {
        let Some(document) = document(bytes, syntax, None) else { continue };
        let said = [
            netbox::foreign_headings(&document.headings),
            netbox::unknown_headings(&document.headings, &own::FIELDS),
            netbox::headings_are_unique(&document.headings).err(),
        ];
        assert!(said.iter().flatten().all(|said| !said.is_empty()));
        let _ = netbox::is_likely(&document);
        let count = document.items.len();
        let exported = netbox::read(&entries(&document, &netbox::types()), &rules);
        let listed = own::read(&entries(&document, &own::types()), &defaults);
        for mut read in [exported, listed] {
            assert_eq!(
                read.rows.len() + read.bad.len() + read.skipped.len(),
                count,
                "each entry counts once"
            );
            devices(&read);
            read.in_file("x");
            read.refuse_twins();
            assert_eq!(read.rows.len() + read.bad.len() + read.skipped.len(), count, "a twin is bad");
        }
        let mut read = Read::default();
        read.add_page(document);
        let _ = read.missing_pages();
    }
}

/// Whatever is taken for a device has a name that the inventory takes.
fn devices(read: &Read) {
    for row in &read.rows {
        assert!(DeviceName::new(row.name()).is_ok(), "{}", row.device);
        for field in ["region", "platform", "address"] {
            assert!(row.device[field].is_string(), "{field} of {}", row.device);
        }
    }
    assert!(read.bad.iter().chain(&read.skipped).all(|named| !named.reason.is_empty()));
}
