//! Rules by which a platform says what its error replies mean, where the general rules are wrong for it.

use serde::{Deserialize, Serialize};

use crate::failure::FailureClass;

/// Phases in which a device answers with an error, as reports name them.
pub const PHASES: [&str; 9] = [
    "connect",
    "lock",
    "edit-config",
    "validate",
    "commit",
    "check",
    "confirm",
    "copy-config",
    "cancel-commit",
];

/// Classes that a rule may give. The others are found out from what happened, not from what a device says.
const CLASSES: [FailureClass; 6] = [
    FailureClass::Invalid,
    FailureClass::Busy,
    FailureClass::Unreachable,
    FailureClass::Distrusted,
    FailureClass::BrokenPeer,
    FailureClass::Misconfigured,
];

/// If an error of a device meets every condition given, it has this class. Rules are consulted in order,
/// before the general ones; the first that matches decides.
///
/// ```
/// # use turnup_core::{failure::FailureClass, profile::error_rule::{class_by, ErrorFacts, ErrorRule}};
/// let rule: ErrorRule = serde_json::from_str(
///     r#"{"phase": "lock", "message_contains": "configuration database modified", "class": "busy"}"#,
/// ).unwrap();
/// let error = ErrorFacts {
///     phase: "lock",
///     error_tag: "operation-failed",
///     message: Some("Configuration database modified by user admin"),
///     ..ErrorFacts::default()
/// };
/// assert_eq!(class_by(&[rule], &error), Some(FailureClass::Busy));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, try_from = "Unchecked")]
pub struct ErrorRule {
    /// The phase in which the error comes, one of [`PHASES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The error-tag; `operation-failed` where the device sends none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_tag: Option<String>,
    /// The error-app-tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_app_tag: Option<String>,
    /// How the error-path begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_starts_with: Option<String>,
    /// What the error-path contains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_contains: Option<String>,
    /// What the error-message contains, in upper or lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_contains: Option<String>,
    /// The `bad-element` of error-info.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad_element: Option<String>,
    /// What the error means.
    pub class: FailureClass,
}

/// The same before it is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    phase: Option<String>,
    error_tag: Option<String>,
    error_app_tag: Option<String>,
    path_starts_with: Option<String>,
    path_contains: Option<String>,
    message_contains: Option<String>,
    bad_element: Option<String>,
    class: FailureClass,
}

impl TryFrom<Unchecked> for ErrorRule {
    type Error = String;

    fn try_from(rule: Unchecked) -> Result<Self, String> {
        let Unchecked {
            phase,
            error_tag,
            error_app_tag,
            path_starts_with,
            path_contains,
            message_contains,
            bad_element,
            class,
        } = rule;
        let conditions = [
            &phase,
            &error_tag,
            &error_app_tag,
            &path_starts_with,
            &path_contains,
            &message_contains,
            &bad_element,
        ];
        if conditions.iter().all(|condition| condition.is_none()) {
            return Err("an error rule needs at least one condition besides its class".to_owned());
        }
        if conditions.into_iter().flatten().any(|text| text.trim().is_empty()) {
            return Err(
                "a condition of an error rule is empty: leave it out, or say what to look for".to_owned()
            );
        }
        if let Some(phase) = phase.as_deref().filter(|phase| !PHASES.contains(phase)) {
            return Err(format!("{phase:?} is no phase: give one of {}", PHASES.join(", ")));
        }
        if !CLASSES.contains(&class) {
            let names: Vec<&str> = CLASSES.iter().map(|class| class.word()).collect();
            let given = class.word();
            return Err(format!("an error of a device can't be {given:?}: give one of {}", names.join(", ")));
        }
        Ok(Self {
            phase,
            error_tag,
            error_app_tag,
            path_starts_with,
            path_contains,
            message_contains,
            bad_element,
            class,
        })
    }
}

/// What a device said in one `rpc-error`, and when.
#[derive(Debug, Clone, Copy, Default)]
pub struct ErrorFacts<'a> {
    /// The phase, one of [`PHASES`].
    pub phase: &'a str,
    /// The error-tag.
    pub error_tag: &'a str,
    /// The error-app-tag.
    pub error_app_tag: Option<&'a str>,
    /// The error-path.
    pub path: Option<&'a str>,
    /// The error-message.
    pub message: Option<&'a str>,
    /// The `bad-element` of error-info.
    pub bad_element: Option<&'a str>,
}

impl ErrorRule {
    /// Whether an error meets every condition of the rule.
    #[must_use]
    pub fn matches(&self, error: &ErrorFacts<'_>) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        let holds = |wanted: &Option<String>, found: Option<&str>, test: fn(&str, &str) -> bool| {
            wanted.as_deref().is_none_or(|wanted| found.is_some_and(|found| test(found, wanted)))
        };
        is(&self.phase, Some(error.phase))
            && is(&self.error_tag, Some(error.error_tag))
            && is(&self.error_app_tag, error.error_app_tag)
            && is(&self.bad_element, error.bad_element)
            && holds(&self.path_starts_with, error.path, |found, wanted| found.starts_with(wanted))
            && holds(&self.path_contains, error.path, |found, wanted| found.contains(wanted))
            && holds(&self.message_contains, error.message, |found, wanted| {
                found.to_lowercase().contains(&wanted.to_lowercase())
            })
    }
}

/// The class that the first matching rule gives.
#[must_use]
pub fn class_by(rules: &[ErrorRule], error: &ErrorFacts<'_>) -> Option<FailureClass> {
    rules.iter().find(|rule| rule.matches(error)).map(|rule| rule.class)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(json: &str) -> Result<ErrorRule, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    const ERROR: ErrorFacts<'_> = ErrorFacts {
        phase: "commit",
        error_tag: "operation-failed",
        error_app_tag: Some("too-many"),
        path: Some("[edit interfaces ge-0/0/1]"),
        message: Some("License for VLANs has expired"),
        bad_element: Some("vlan"),
    };

    #[test]
    fn rule_matches_only_if_all_conditions_hold() {
        for (condition, wanted) in [
            (r#""phase": "commit""#, true),
            (r#""phase": "lock""#, false),
            (r#""error_tag": "operation-failed""#, true),
            (r#""error_tag": "in-use""#, false),
            (r#""error_app_tag": "too-many""#, true),
            (r#""error_app_tag": "too-few""#, false),
            (r#""path_starts_with": "[edit inter""#, true),
            (r#""path_starts_with": "interfaces""#, false),
            (r#""path_contains": "ge-0/0/1""#, true),
            (r#""path_contains": "ge-0/0/2""#, false),
            (r#""message_contains": "license for""#, true),
            (r#""message_contains": "memory""#, false),
            (r#""bad_element": "vlan""#, true),
            (r#""bad_element": "vla""#, false),
            (r#""bad_element": "vlan", "phase": "lock""#, false),
        ] {
            let rule = rule(&format!(r#"{{{condition}, "class": "misconfigured"}}"#)).unwrap();
            assert_eq!(rule.matches(&ERROR), wanted, "{condition}");
            assert_eq!(class_by(&[rule], &ERROR).is_some(), wanted);
        }
        let silent = ErrorFacts { phase: "commit", error_tag: "operation-failed", ..ErrorFacts::default() };
        assert!(!rule(r#"{"message_contains": "x", "class": "busy"}"#).unwrap().matches(&silent));
    }

    #[test]
    fn first_matching_rule_decides() {
        let rules = ["busy", "invalid"]
            .map(|class| rule(&format!(r#"{{"phase": "commit", "class": "{class}"}}"#)).unwrap());
        assert_eq!(class_by(&rules, &ERROR), Some(FailureClass::Busy));
    }

    #[test]
    fn rule_that_cannot_be_meant_is_refused() {
        for (json, reason) in [
            (r#"{"class": "busy"}"#, "at least one condition"),
            (r#"{"message_contains": " ", "class": "busy"}"#, "is empty"),
            (r#"{"phase": "comit", "class": "busy"}"#, "\"comit\" is no phase"),
            (r#"{"phase": "commit", "class": "in_doubt"}"#, "can't be \"in_doubt\""),
            (r#"{"phase": "commit", "class": "busy", "error-tag": "x"}"#, "unknown field"),
        ] {
            let error = rule(json).unwrap_err();
            assert!(error.contains(reason), "{json}: {error}");
        }
    }
}
