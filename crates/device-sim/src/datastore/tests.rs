//! The rules of the datastores, case by case, and properties over random edits.

mod commits;
mod edits;
mod personalities;
mod properties;
mod services;

use turnup_netconf::xml::parse_str;

use super::*;

pub(super) fn session(number: u32) -> SessionId {
    SessionId { boot: 0, number }
}

pub(super) const A: SessionId = SessionId { boot: 0, number: 1 };
pub(super) const B: SessionId = SessionId { boot: 0, number: 2 };

/// The `<config>` element with this content; the prefix `nc` is declared.
pub(super) fn config(content: &str) -> Element {
    let nc = turnup_netconf::namespace::BASE;
    let text = format!(r#"<config xmlns="{nc}" xmlns:nc="{nc}">{content}</config>"#);
    parse_str(&text, &turnup_netconf::xml::Limits::default()).unwrap()
}

pub(super) fn interfaces(content: &str) -> Element {
    config(&format!(r#"<interfaces xmlns="urn:turnup:sim">{content}</interfaces>"#))
}

pub(super) fn edit(config: &Element) -> Edit<'_> {
    Edit {
        default_operation: DefaultOperation::Merge,
        test_option: TestOption::TestThenSet,
        error_option: ErrorOption::RollbackOnError,
        config,
    }
}

/// Device with sessions A and B open.
pub(super) fn device() -> Datastores {
    let mut device = Datastores::default();
    device.open_session(A);
    device.open_session(B);
    device
}

pub(super) fn leaf(device: &Datastores, path: &str) -> Option<String> {
    device.running().get(&Path::parse(path).unwrap()).map(|value| value.to_string())
}

pub(super) const MTU: &str = "/interfaces/interface[name='ge-0']/mtu";

/// Puts `mtu` of ge-0 into the candidate.
pub(super) fn set_mtu(device: &mut Datastores, session: SessionId, mtu: u32) {
    let config = interfaces(&format!("<interface><name>ge-0</name><mtu>{mtu}</mtu></interface>"));
    device.edit_candidate(session, edit(&config)).unwrap();
}

pub(super) fn commit(device: &mut Datastores, session: SessionId, parameters: &Commit, now: Instant) -> Kind {
    let transition = device.plan_commit(session, parameters, now).unwrap();
    let kind = transition.kind;
    device.apply(transition);
    kind
}

/// The tag of the first error.
pub(super) fn tag<T: std::fmt::Debug>(result: Result<T, Errors>) -> String {
    result.unwrap_err()[0].tag.as_str().to_owned()
}
