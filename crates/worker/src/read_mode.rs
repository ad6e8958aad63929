//! How a device is asked for its configuration, so that the answer shows what was set (RFC 6243).

use turnup_core::profile::WithDefaults;
use turnup_netconf::{
    capability::Capabilities,
    operation::{Datastore, Filter, Operation, WithDefaultsMode},
};

/// How to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ReadOptions {
    /// What to ask for; none: as the device does it by itself.
    with_defaults: Option<WithDefaultsMode>,
    /// The answer shows only what was set.
    only_set: bool,
    /// The answer shows all defaults, and not which values are.
    shows_defaults: bool,
}

impl ReadOptions {
    /// The best that a device offers: what was set; else all, defaults tagged; else all. One that shows less
    /// hides values that equal their defaults, which are taken for there where the defaults are known.
    ///
    /// `chosen`: what the platform's profile says instead.
    pub(crate) fn of(can: &Capabilities, chosen: WithDefaults) -> Self {
        let asked = |mode| Self::asked(mode);
        match chosen {
            WithDefaults::AsOffered => Self::as_offered(can),
            WithDefaults::NotAsked => Self::default(),
            WithDefaults::Explicit => asked(WithDefaultsMode::Explicit),
            WithDefaults::ReportAllTagged => asked(WithDefaultsMode::ReportAllTagged),
            WithDefaults::ReportAll => asked(WithDefaultsMode::ReportAll),
            WithDefaults::Trim => Self { only_set: true, ..asked(WithDefaultsMode::Trim) },
        }
    }

    fn as_offered(can: &Capabilities) -> Self {
        let Some(modes) = can.with_defaults() else { return Self::default() };
        let offers = |mode: &str| modes.also_supported.iter().any(|offered| offered == mode);
        let basic = modes.basic_mode.as_str();
        match basic {
            "explicit" => Self { only_set: true, ..Self::default() },
            _ if offers("explicit") => Self::asked(WithDefaultsMode::Explicit),
            _ if offers("report-all-tagged") => Self::asked(WithDefaultsMode::ReportAllTagged),
            "report-all" => Self { shows_defaults: true, ..Self::default() },
            _ if offers("report-all") => Self::asked(WithDefaultsMode::ReportAll),
            basic => Self { only_set: basic == "trim", ..Self::default() },
        }
    }

    fn asked(mode: WithDefaultsMode) -> Self {
        Self {
            with_defaults: Some(mode),
            only_set: mode == WithDefaultsMode::Explicit,
            shows_defaults: mode == WithDefaultsMode::ReportAll,
        }
    }

    /// Whether the answer shows only what was set.
    pub(crate) fn only_set(self) -> bool {
        self.only_set
    }

    /// Whether the answer shows all defaults, and not which values are.
    pub(crate) fn shows_defaults(self) -> bool {
        self.shows_defaults
    }

    /// The `get-config` of running.
    pub(crate) fn get_config(self, filter: &Filter) -> Operation {
        let read = Operation::get_config(Datastore::Running, Some(filter));
        match self.with_defaults {
            Some(mode) => read.with_defaults(mode),
            None => read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_mode_that_a_device_offers_is_asked_for() {
        for (capability, mode, only_set) in [
            ("basic-mode=explicit&also-supported=report-all", "", true),
            ("basic-mode=report-all&also-supported=trim,explicit", "explicit", true),
            ("basic-mode=trim&also-supported=report-all,explicit", "explicit", true),
            ("basic-mode=report-all&also-supported=report-all-tagged,trim", "report-all-tagged", false),
            ("basic-mode=trim&also-supported=report-all-tagged", "report-all-tagged", false),
            ("basic-mode=trim&also-supported=report-all", "report-all", false),
            ("basic-mode=report-all&also-supported=trim", "", false),
            ("basic-mode=trim", "", true),
        ] {
            let uri = format!("urn:ietf:params:netconf:capability:with-defaults:1.0?{capability}");
            let options = ReadOptions::of(&Capabilities::new([uri]), WithDefaults::AsOffered);
            let xml = options.get_config(&Filter::Subtree(Vec::new())).element().to_xml();
            assert_eq!(options.only_set(), only_set, "{capability}");
            match mode {
                "" => assert!(!xml.contains("with-defaults"), "{capability}: {xml}"),
                mode => assert!(xml.contains(&format!(">{mode}</with-defaults>")), "{capability}: {xml}"),
            }
        }
        assert_eq!(ReadOptions::of(&Capabilities::EMPTY, WithDefaults::AsOffered), ReadOptions::default());
    }

    #[test]
    fn profile_decides_what_is_asked_for() {
        let can =
            Capabilities::new(["urn:ietf:params:netconf:capability:with-defaults:1.0?basic-mode=explicit"]);
        for (chosen, mode) in [(WithDefaults::Trim, "trim"), (WithDefaults::ReportAll, "report-all")] {
            let xml =
                ReadOptions::of(&can, chosen).get_config(&Filter::Subtree(Vec::new())).element().to_xml();
            assert!(xml.contains(&format!(">{mode}</with-defaults>")), "{xml}");
        }
        assert_eq!(ReadOptions::of(&can, WithDefaults::NotAsked), ReadOptions::default());
    }
}
