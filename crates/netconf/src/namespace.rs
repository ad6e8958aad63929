//! XML namespaces of the RFCs that this crate implements.

/// NETCONF base protocol, RFC 6241 (elements such as `rpc`, attributes such as `operation`).
pub const BASE: &str = "urn:ietf:params:xml:ns:netconf:base:1.0";
/// NETCONF monitoring, RFC 6022 (`get-schema`, `netconf-state`).
pub const MONITORING: &str = "urn:ietf:params:xml:ns:yang:ietf-netconf-monitoring";
/// NETCONF event notifications, RFC 5277.
pub const NOTIFICATION: &str = "urn:ietf:params:xml:ns:netconf:notification:1.0";
/// The `with-defaults` parameter of requests, RFC 6243.
pub const WITH_DEFAULTS: &str = "urn:ietf:params:xml:ns:yang:ietf-netconf-with-defaults";
/// The attribute `default` of answers with tagged defaults, RFC 6243 §6.
pub const DEFAULT: &str = "urn:ietf:params:xml:ns:netconf:default:1.0";
/// YANG 1.0/1.1 attributes of the encoding (`insert`, `key`, `value`), RFC 7950 §7.8.6.
pub const YANG: &str = "urn:ietf:params:xml:ns:yang:1";
/// The reserved prefix `xml`.
pub const XML: &str = "http://www.w3.org/XML/1998/namespace";
/// The reserved prefix `xmlns`.
pub(crate) const XMLNS: &str = "http://www.w3.org/2000/xmlns/";
/// Huawei's extension of the base protocol, in which replies come in parts.
pub const HUAWEI_BASE: &str = "http://www.huawei.com/netconf/capability/base/1.0";

/// Whether a namespace is one of Junos, as its own schema or as its YANG modules.
pub fn is_junos(namespace: &str) -> bool {
    ["http://xml.juniper.net/", "http://yang.juniper.net/"].iter().any(|known| namespace.starts_with(known))
}
