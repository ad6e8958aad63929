//! Capabilities, RFC 6241 §8, and what can be read from a peer's list of them.

const BASE: &str = "urn:ietf:params:netconf:base:";
const CAPABILITY: &str = "urn:ietf:params:netconf:capability:";
/// URNs before they were registered, which old servers still send.
const LEGACY_BASE: &str = "urn:ietf:params:xml:ns:netconf:base:";
const LEGACY_CAPABILITY: &str = "urn:ietf:params:xml:ns:netconf:capability:";

/// The URN of base:1.0.
pub const BASE_1_0: &str = "urn:ietf:params:netconf:base:1.0";
/// The URN of base:1.1 (chunked framing).
pub const BASE_1_1: &str = "urn:ietf:params:netconf:base:1.1";

/// A peer's capabilities, in the order sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities {
    uris: Vec<String>,
}

/// A YANG module that a server announces (RFC 6020 §5.6.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Name of the module.
    pub name: String,
    /// Namespace URI.
    pub namespace: String,
    /// Revision date, if announced.
    pub revision: Option<String>,
    /// Features supported.
    pub features: Vec<String>,
    /// Modules that hold deviations from it.
    pub deviations: Vec<String>,
}

/// How a server treats default values, RFC 6243.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithDefaults {
    /// What it does when not asked: `report-all`, `trim` or `explicit`.
    pub basic_mode: String,
    /// Other modes that can be asked for.
    pub also_supported: Vec<String>,
}

impl Capabilities {
    /// From URIs; white space around them is dropped, empty ones are ignored.
    pub fn new(uris: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let uris = uris.into_iter().map(|uri| uri.as_ref().trim().to_owned());
        Self { uris: uris.filter(|uri| !uri.is_empty()).collect() }
    }

    /// No capabilities.
    pub const EMPTY: Self = Self { uris: Vec::new() };

    /// All of them, in the order sent.
    pub fn uris(&self) -> impl Iterator<Item = &str> {
        self.uris.iter().map(String::as_str)
    }

    /// Whether this very URI was sent (parameters after `?` aside).
    pub fn has(&self, uri: &str) -> bool {
        self.uris.iter().any(|known| without_parameters(known) == uri)
    }

    /// Whether a version of a base or standard capability was sent, in today's or the legacy form.
    fn standard(&self, today: &str, legacy: &str, name: &str) -> Option<&str> {
        self.uris.iter().map(String::as_str).find(|uri| {
            let bare = without_parameters(uri);
            bare.strip_prefix(today).or_else(|| bare.strip_prefix(legacy)) == Some(name)
        })
    }

    fn capability(&self, name: &str) -> bool {
        self.standard(CAPABILITY, LEGACY_CAPABILITY, name).is_some()
    }

    /// Protocol version of RFC 4741.
    pub fn base_1_0(&self) -> bool {
        self.standard(BASE, LEGACY_BASE, "1.0").is_some()
    }

    /// Protocol version of RFC 6241, with chunked framing.
    pub fn base_1_1(&self) -> bool {
        self.standard(BASE, LEGACY_BASE, "1.1").is_some()
    }

    /// `running` can be edited directly, §8.2.
    pub fn writable_running(&self) -> bool {
        self.capability("writable-running:1.0")
    }

    /// There is a `candidate` datastore, §8.3.
    pub fn candidate(&self) -> bool {
        self.capability("candidate:1.0")
    }

    /// Confirmed commit as of RFC 4741: tied to the session, minutes on some devices.
    pub fn confirmed_commit_1_0(&self) -> bool {
        self.capability("confirmed-commit:1.0")
    }

    /// Confirmed commit with `persist` and `cancel-commit`, §8.4.
    pub fn confirmed_commit_1_1(&self) -> bool {
        self.capability("confirmed-commit:1.1")
    }

    /// `error-option` `rollback-on-error`, §8.5.
    pub fn rollback_on_error(&self) -> bool {
        self.capability("rollback-on-error:1.0")
    }

    /// The `validate` operation and `test-option`, §8.6, in any version.
    pub fn validate(&self) -> bool {
        self.capability("validate:1.1") || self.capability("validate:1.0")
    }

    /// Version 1.1 of validate, which knows `test-only`.
    pub fn validate_1_1(&self) -> bool {
        self.capability("validate:1.1")
    }

    /// There is a separate `startup` datastore, §8.7.
    pub fn startup(&self) -> bool {
        self.capability("startup:1.0")
    }

    /// Filters in XPath, §8.9.
    pub fn xpath(&self) -> bool {
        self.capability("xpath:1.0")
    }

    /// `get-schema` and the list of schemas, RFC 6022.
    pub fn monitoring(&self) -> bool {
        self.has(crate::namespace::MONITORING)
    }

    /// The `with-defaults` capability, RFC 6243.
    pub fn with_defaults(&self) -> Option<WithDefaults> {
        let uri = self.standard(CAPABILITY, LEGACY_CAPABILITY, "with-defaults:1.0")?;
        let list = |name| parameter(uri, name).map(split).unwrap_or_default();
        let basic_mode = parameter(uri, "basic-mode")?.to_owned();
        Some(WithDefaults { basic_mode, also_supported: list("also-supported") })
    }

    /// The YANG modules announced in the hello. Servers of YANG 1.1 announce only a library
    /// (RFC 7895, RFC 8526) and answer the list under `/modules-state` or `/yang-library`.
    pub fn modules(&self) -> Vec<Module> {
        let module = |uri: &String| {
            let list = |name| parameter(uri, name).map(split).unwrap_or_default();
            Some(Module {
                name: parameter(uri, "module")?.to_owned(),
                namespace: without_parameters(uri).to_owned(),
                revision: parameter(uri, "revision").map(str::to_owned),
                features: list("features"),
                deviations: list("deviations"),
            })
        };
        self.uris.iter().filter_map(module).collect()
    }
}

fn without_parameters(uri: &str) -> &str {
    uri.split_once('?').map_or(uri, |(bare, _)| bare)
}

fn parameter<'u>(uri: &'u str, name: &str) -> Option<&'u str> {
    let (_, parameters) = uri.split_once('?')?;
    // Some servers escape the ampersand twice.
    parameters.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key.strip_prefix("amp;").unwrap_or(key) == name).then_some(value)
    })
}

fn split(list: &str) -> Vec<String> {
    list.split(',').filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
