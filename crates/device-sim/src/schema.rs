//! The data model of a simulated device: YANG module `turnup-sim` (RFC 7950) as a static tree, and its text.
//!
//! A test holds tree and text together.

use crate::pattern::Pattern;
use crate::personality::Spelling;

/// Namespace of the module.
pub const NAMESPACE: &str = "urn:turnup:sim";
/// Name of the module.
pub const MODULE: &str = "turnup-sim";
/// Revision of the module.
pub const REVISION: &str = "2026-12-01";
/// The text of the module, as `get-schema` gives it.
pub const YANG: &str = include_str!("../yang/turnup-sim.yang");

/// A node of the schema.
#[derive(Debug, PartialEq, Eq)]
pub struct Node {
    /// Local name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
}

/// What a schema node is.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// A container without presence: it exists as long as something is in it (RFC 7950 §7.5.1).
    Container(&'static [Node]),
    /// A list whose only key is its first child, a leaf.
    List(&'static [Node]),
    /// A leaf.
    Leaf(Leaf),
}

/// A leaf.
#[derive(Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The values it takes.
    pub value: Type,
    /// Whether its list entry may not be without it.
    pub mandatory: bool,
    /// Whether it can be configured; state otherwise.
    pub config: bool,
    /// The value that holds if it is left out.
    pub default: Option<&'static str>,
    /// Whether its value is a secret.
    pub secret: bool,
    /// Whether a device that keeps secrets in a form of its own writes this anew as well.
    pub rewritten: bool,
}

/// Types of values.
#[derive(Debug, PartialEq, Eq)]
pub enum Type {
    /// A text of so many characters.
    Text {
        /// Fewest characters.
        min: usize,
        /// Most characters.
        max: usize,
    },
    /// A whole number.
    Uint {
        /// Smallest.
        min: u32,
        /// Largest.
        max: u32,
    },
    /// `true` or `false`.
    Boolean,
    /// One of these.
    Enumeration(&'static [&'static str]),
    /// A text of this form.
    Pattern(Pattern),
}

impl Type {
    /// The canonical form of a value (RFC 7950 §9.1), or what is wrong with it.
    pub fn canonical(&self, text: &str) -> Result<Box<str>, String> {
        match self {
            Self::Text { min, max } => {
                let length = text.chars().count();
                if length < *min || length > *max {
                    return Err(format!("must have {min} to {max} characters, has {length}"));
                }
                Ok(text.into())
            }
            Self::Uint { min, max } => {
                // `parse` takes a sign as YANG does; YANG's hexadecimal form isn't worth having.
                match text.parse::<u32>() {
                    Ok(number) if (*min..=*max).contains(&number) => Ok(number.to_string().into()),
                    _ => Err(format!("must be a number from {min} to {max}")),
                }
            }
            Self::Boolean => match text {
                "true" | "false" => Ok(text.into()),
                _ => Err("must be true or false".to_owned()),
            },
            Self::Enumeration(values) => match values.contains(&text) {
                true => Ok(text.into()),
                false => Err(format!("must be one of {}", values.join(", "))),
            },
            Self::Pattern(pattern) => match pattern.matches(text) {
                true => Ok(pattern.canonical(text)),
                false => Err(format!("must be {}, such as {}", pattern.name(), pattern.example())),
            },
        }
    }
}

impl Type {
    /// A value as a device of this spelling keeps it, or what is wrong with it.
    pub fn spelled(&self, text: &str, spelling: Spelling) -> Result<Box<str>, String> {
        let canonical = self.canonical(text)?;
        Ok(match (self, spelling) {
            (_, Spelling::Canonical) | (Self::Uint { .. }, Spelling::CanonicalNumbers) => canonical,
            _ => text.into(),
        })
    }

    /// The same of a key, of which a number is always in canonical form.
    pub fn spelled_key(&self, text: &str, spelling: Spelling) -> Result<Box<str>, String> {
        match self {
            Self::Uint { .. } => self.canonical(text),
            _ => self.spelled(text, spelling),
        }
    }
}

impl Node {
    /// Children; none of a leaf.
    pub fn children(&self) -> &'static [Node] {
        match self.kind {
            Kind::Container(children) | Kind::List(children) => children,
            Kind::Leaf(_) => &[],
        }
    }

    /// The key leaf of a list.
    pub fn key(&self) -> Option<(&'static str, &'static Type)> {
        match self.kind {
            Kind::List([Node { name, kind: Kind::Leaf(leaf) }, ..]) => Some((name, &leaf.value)),
            _ => None,
        }
    }

    /// Whether it is a list whose entries name a unit that they belong to. The module has a `must` for each:
    /// the unit exists.
    pub fn ends_on_unit(&self) -> bool {
        let has = |children: &[Node], name| find(children, name).is_some_and(|(_, n)| n.leaf().is_some());
        matches!(self.kind, Kind::List(children) if has(children, "interface") && has(children, "unit"))
    }

    /// The node as a leaf.
    pub fn leaf(&self) -> Option<&Leaf> {
        match &self.kind {
            Kind::Leaf(leaf) => Some(leaf),
            _ => None,
        }
    }
}

/// The child of this name and its place among `children`.
pub fn find<'n>(children: &'n [Node], name: &str) -> Option<(usize, &'n Node)> {
    children.iter().enumerate().find(|(_, node)| node.name == name)
}

const fn plain(value: Type) -> Leaf {
    Leaf { value, mandatory: false, config: true, default: None, secret: false, rewritten: false }
}

const fn leaf(name: &'static str, value: Type) -> Node {
    Node { name, kind: Kind::Leaf(plain(value)) }
}

const fn mandatory(name: &'static str, value: Type) -> Node {
    Node { name, kind: Kind::Leaf(Leaf { mandatory: true, ..plain(value) }) }
}

const fn boolean(name: &'static str, default: &'static str) -> Node {
    Node { name, kind: Kind::Leaf(Leaf { default: Some(default), ..plain(Type::Boolean) }) }
}

const fn secret(name: &'static str, value: Type) -> Node {
    Node { name, kind: Kind::Leaf(Leaf { secret: true, ..plain(value) }) }
}

const fn rewritten(name: &'static str, value: Type) -> Node {
    Node { name, kind: Kind::Leaf(Leaf { rewritten: true, ..plain(value) }) }
}

const fn state(name: &'static str, value: Type) -> Node {
    Node { name, kind: Kind::Leaf(Leaf { config: false, ..plain(value) }) }
}

const fn text(min: usize, max: usize) -> Type {
    Type::Text { min, max }
}

const fn uint(min: u32, max: u32) -> Type {
    Type::Uint { min, max }
}

const fn list(name: &'static str, children: &'static [Node]) -> Node {
    Node { name, kind: Kind::List(children) }
}

const fn container(name: &'static str, children: &'static [Node]) -> Node {
    Node { name, kind: Kind::Container(children) }
}

const UP_DOWN: Type = Type::Enumeration(&["up", "down"]);
const COUNT: Type = uint(0, u32::MAX);

/// The nodes at the top of the data tree.
pub static TOP: &[Node] = &[
    container("interfaces", &[list("interface", INTERFACE)]),
    container("pseudowires", &[list("pseudowire", PSEUDOWIRE)]),
    container("qos-profiles", &[list("qos-profile", QOS_PROFILE)]),
    container("bridge-domains", &[list("bridge-domain", BRIDGE_DOMAIN)]),
    container("vrfs", &[list("vrf", VRF)]),
    container("system", &[container("clock", CLOCK)]),
    container("users", &[list("user", USER)]),
];

const INTERFACE: &[Node] = &[
    leaf("name", text(1, 64)),
    leaf("description", text(0, 255)),
    boolean("enabled", "true"),
    leaf("mtu", uint(576, 9216)),
    boolean("vlan-tagging", "false"),
    list("unit", UNIT),
    state("oper-status", Type::Enumeration(&["up", "down", "testing"])),
];

const UNIT: &[Node] = &[
    leaf("id", uint(0, 16384)),
    leaf("vlan-id", uint(1, 4094)),
    leaf("description", text(0, 255)),
    leaf("mtu", uint(576, 9216)),
    leaf("ipv4-address", Type::Pattern(Pattern::Ipv4AddressAndPrefix)),
    leaf("qos-profile", text(1, 64)),
    list("ipv6", IPV6),
];

const IPV6: &[Node] =
    &[leaf("address", Type::Pattern(Pattern::Ipv6Address)), mandatory("prefix-length", uint(0, 128))];

const PSEUDOWIRE: &[Node] = &[
    leaf("name", text(1, 64)),
    mandatory("vc-id", uint(1, u32::MAX)),
    mandatory("peer", text(1, 255)),
    mandatory("interface", text(1, 64)),
    mandatory("unit", uint(0, 16384)),
    boolean("control-word", "false"),
    leaf("description", text(0, 255)),
    secret("authentication-key", text(1, 128)),
    state("state", UP_DOWN),
];

const QOS_PROFILE: &[Node] = &[leaf("name", text(1, 64)), mandatory("rate", uint(1, u32::MAX))];

const BRIDGE_DOMAIN: &[Node] = &[
    leaf("name", text(1, 64)),
    mandatory("vpn-id", uint(1, u32::MAX)),
    leaf("route-distinguisher", Type::Pattern(Pattern::RouteDistinguisher)),
    leaf("route-target", Type::Pattern(Pattern::RouteTarget)),
    leaf("mac-limit", uint(1, 65535)),
    leaf("description", text(0, 255)),
    list("member", MEMBER),
    state("state", UP_DOWN),
    state("mac-count", COUNT),
];

const VRF: &[Node] = &[
    leaf("name", text(1, 64)),
    mandatory("route-distinguisher", Type::Pattern(Pattern::RouteDistinguisher)),
    leaf("description", text(0, 255)),
    list("import-target", TARGET),
    list("export-target", TARGET),
    list("member", MEMBER),
    list("static-route", STATIC_ROUTE),
    state("state", UP_DOWN),
    state("route-count", COUNT),
];

const TARGET: &[Node] = &[leaf("value", Type::Pattern(Pattern::RouteTarget))];

const MEMBER: &[Node] =
    &[leaf("id", text(1, 96)), mandatory("interface", text(1, 64)), mandatory("unit", uint(0, 16384))];

const STATIC_ROUTE: &[Node] = &[
    leaf("prefix", Type::Pattern(Pattern::Ipv4Prefix)),
    mandatory("next-hop", Type::Pattern(Pattern::Ipv4Address)),
];

const CLOCK: &[Node] = &[state("current-datetime", Type::Pattern(Pattern::DateAndTime))];

const USER: &[Node] = &[
    leaf("name", text(1, 64)),
    secret("password", Type::Pattern(Pattern::CryptHash)),
    rewritten("public-key", text(1, 1024)),
    leaf("description", text(0, 255)),
];

/// Input of the operation `ping`.
pub const PING_INPUT: &[Node] =
    &[mandatory("destination", text(1, 255)), leaf("vrf", text(1, 64)), leaf("count", uint(1, 255))];

/// Output of the operation `ping`.
pub const PING_OUTPUT: &[Node] =
    &[leaf("sent", uint(0, 255)), leaf("received", uint(0, 255)), leaf("rtt-ms", COUNT)];

/// Requests that `ping` sends if it isn't said how many.
pub const PING_COUNT: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    /// Renders the tree as the skeleton of the module's text, so that both can be compared.
    fn skeleton(nodes: &[Node], out: &mut Vec<String>) {
        for node in nodes {
            match &node.kind {
                Kind::Container(children) => {
                    out.push(format!("container {}", node.name));
                    skeleton(children, out);
                }
                Kind::List(children) => {
                    out.push(format!("list {}", node.name));
                    out.push(format!("key \"{}\"", node.key().unwrap().0));
                    if node.ends_on_unit() {
                        let message = format!("the interface and unit of a {} must exist", node.name);
                        out.push(format!("error-message \"{message}\""));
                    }
                    skeleton(children, out);
                }
                Kind::Leaf(leaf) => {
                    out.push(format!("leaf {}", node.name));
                    match &leaf.value {
                        Type::Text { min, max } => {
                            out.extend(["type string".to_owned(), format!("length \"{min}..{max}\"")]);
                        }
                        Type::Uint { min, max } => {
                            let bits = match *max {
                                0..=255 => 8,
                                256..=65535 => 16,
                                _ => 32,
                            };
                            out.extend([format!("type uint{bits}"), format!("range \"{min}..{max}\"")]);
                        }
                        Type::Pattern(pattern) => out.push(format!("type {}", pattern.name())),
                        Type::Boolean => out.push("type boolean".to_owned()),
                        Type::Enumeration(values) => {
                            out.push("type enumeration".to_owned());
                            out.extend(values.iter().map(|value| format!("enum {value}")));
                        }
                    }
                    out.extend(leaf.default.map(|value| format!("default \"{value}\"")));
                    out.extend(leaf.mandatory.then(|| "mandatory true".to_owned()));
                    out.extend((!leaf.config).then(|| "config false".to_owned()));
                }
            }
        }
    }

    #[test]
    fn tree_and_text_of_the_module_agree() {
        let mut tree = Vec::new();
        for pattern in Pattern::ALL {
            let (min, max) = pattern.length();
            tree.push(format!("typedef {}", pattern.name()));
            tree.extend(["type string".to_owned(), format!("length \"{min}..{max}\"")]);
        }
        skeleton(TOP, &mut tree);
        tree.push("rpc ping".to_owned());
        skeleton(PING_INPUT, &mut tree);
        tree.push(format!("default \"{PING_COUNT}\""));
        skeleton(PING_OUTPUT, &mut tree);
        #[rustfmt::skip]
        let words = [
            "container", "list", "key", "leaf", "type", "length", "range", "enum", "mandatory", "config",
            "typedef", "rpc", "default", "error-message",
        ];
        let text: Vec<String> = YANG
            .lines()
            .map(|line| line.trim().trim_end_matches([';', '{', ' ']).to_owned())
            .filter(|line| line.split_once(' ').is_some_and(|(word, _)| words.contains(&word)))
            .collect();
        assert_eq!(tree, text);
        assert!(YANG.contains(&format!("module {MODULE} {{")));
        assert!(YANG.contains(&format!("revision {REVISION} {{")));
        assert!(YANG.contains(&format!("namespace \"{NAMESPACE}\";")));
    }

    #[test]
    fn values_are_checked_and_made_canonical() {
        let mtu = uint(576, 9216);
        assert_eq!(mtu.canonical("01500").as_deref(), Ok("1500"));
        assert_eq!(mtu.canonical("576").as_deref(), Ok("576"));
        for wrong in ["575", "9217", "", "1500.0", "0x600", "-1", "99999999999"] {
            assert!(mtu.canonical(wrong).is_err(), "{wrong}");
        }
        let address = Type::Pattern(Pattern::Ipv6Address);
        assert_eq!(address.canonical("2001:DB8:0:0::1").as_deref(), Ok("2001:db8::1"));
        assert_eq!(address.spelled("2001:DB8::1", Spelling::CanonicalNumbers).as_deref(), Ok("2001:DB8::1"));
        assert_eq!(mtu.spelled("01500", Spelling::CanonicalNumbers).as_deref(), Ok("1500"));
        assert_eq!(mtu.spelled("01500", Spelling::AsWritten).as_deref(), Ok("01500"));
        let name = text(1, 3);
        assert_eq!(name.canonical("äöü").as_deref(), Ok("äöü"));
        assert!(name.canonical("").is_err() && name.canonical("abcd").is_err());
        assert!(Type::Boolean.canonical("True").is_err());
    }
}
