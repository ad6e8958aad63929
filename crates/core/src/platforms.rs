//! Platforms that turnup ships support for, whether or not a published definition names them.

/// The names of the shipped platforms.
#[must_use]
pub const fn shipped_names() -> &'static [&'static str] {
    &[
        "ietf",
        "sim",
        "junos",
        "nokia-sros",
        "iosxr",
        "iosxe",
        "huawei-vrp",
        "arista-eos",
        "netopeer2",
        "clixon",
        "yuma",
        "null",
    ]
}
