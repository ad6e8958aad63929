//! Conditions on a device's answer.

use std::cmp::Ordering;

use regex::{Regex, RegexBuilder};
use turnup_core::audit::{CheckCondition, Test};
use turnup_netconf::xml::Element;

use super::path::{Path, has_text};

/// Largest compiled regular expression in bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;
/// Longest value that is shown.
const MAX_SHOWN: usize = 200;

/// A condition that can be tested.
#[derive(Debug)]
pub(crate) struct Condition {
    /// As it was written.
    text: String,
    path: Path,
    test: Test,
    value: String,
    number: Option<Number>,
    regex: Option<Regex>,
}

impl Condition {
    /// Checks a condition; the error says what is wrong with it.
    pub(crate) fn new(written: &CheckCondition) -> Result<Self, String> {
        let CheckCondition { path: text, test, value } = written;
        let path = Path::parse(text)?;
        let number = Number::parse(value);
        if matches!(test, Test::AtLeast | Test::AtMost) && number.is_none() {
            return Err(format!("{text}: {value:?} is no number to compare with"));
        }
        let regex =
            match test {
                Test::Matches => {
                    let whole = format!("^(?:{value})$");
                    let built = RegexBuilder::new(&whole).size_limit(MAX_REGEX_BYTES).build();
                    // The crate's own text draws the expression over several lines.
                    Some(built.map_err(|_| {
                        format!("{text}: {value:?} is no regular expression that can be used")
                    })?)
                }
                _ => None,
            };
        Ok(Self { text: text.trim().to_owned(), path, test: *test, value: value.clone(), number, regex })
    }

    /// Whether it holds for what is in `top`; either way what was found there, in words.
    pub(crate) fn holds(&self, top: &Element) -> Result<String, String> {
        let nodes = self.path.select(top);
        let path = &self.text;
        let Some(first) = nodes.first() else {
            return match self.test {
                Test::Absent => Ok(format!("{path} is not there")),
                Test::Exists => Err(format!("{path} is not there")),
                _ => Err(format!("{path} is not there, wanted {}", self.wanted())),
            };
        };
        match self.test {
            Test::Exists => return Ok(format!("{path} is {}", shown(first))),
            Test::Absent => return Err(format!("{path} is {}, wanted nothing there", shown(first))),
            _ => {}
        }
        if let Some(other) = nodes.iter().find(|node| !self.fits(node)) {
            return Err(format!("{path} is {}, wanted {}", shown(other), self.wanted()));
        }
        let more = nodes.len() - 1;
        let more = if more > 0 { format!(" (and {more} more as wanted)") } else { String::new() };
        Ok(format!("{path} is {}{more}", shown(first)))
    }

    fn fits(&self, node: &Element) -> bool {
        let text = node.text();
        let order = || Some(Number::parse(&text)?.cmp(self.number.as_ref()?));
        let is = || has_text(node, &self.value) || order() == Some(Ordering::Equal);
        match self.test {
            Test::Is => is(),
            Test::IsNot => !is(),
            Test::AtLeast => order().is_some_and(Ordering::is_ge),
            Test::AtMost => order().is_some_and(Ordering::is_le),
            Test::Matches => self.regex.as_ref().is_some_and(|regex| regex.is_match(&text)),
            Test::Exists | Test::Absent => true,
        }
    }

    fn wanted(&self) -> String {
        let value = &self.value;
        match self.test {
            Test::Is => value.clone(),
            Test::IsNot => format!("anything but {value}"),
            Test::Matches => format!("what matches {value}"),
            test => format!("{} {value}", test.title()),
        }
    }
}

fn shown(element: &Element) -> String {
    let text = element.text();
    match (element.is_leaf(), text.is_empty()) {
        (false, _) | (true, true) => "there".to_owned(),
        _ if text.chars().count() > MAX_SHOWN => {
            format!("{:?}…", text.chars().take(MAX_SHOWN).collect::<String>())
        }
        _ => format!("{text:?}"),
    }
}

/// A whole number or decimal of any length, so that 64 bit counters are compared exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Number {
    negative: bool,
    /// Without leading zeros.
    whole: String,
    /// Without trailing zeros.
    fraction: String,
}

impl Number {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let are_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !are_digits(whole) || !are_digits(fraction) {
            return None;
        }
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        let is_zero = whole.is_empty() && fraction.is_empty();
        Some(Self { negative: negative && !is_zero, whole: whole.to_owned(), fraction: fraction.to_owned() })
    }

    fn cmp(&self, other: &Self) -> Ordering {
        let size = |n: &Self| (n.whole.len(), n.whole.clone(), n.fraction.clone());
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => size(self).cmp(&size(other)),
            (true, true) => size(other).cmp(&size(self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use turnup_netconf::xml::{Limits, parse_str};

    use super::*;

    fn test(test: Test, path: &str, value: &str) -> Result<String, String> {
        let data = parse_str(
            r#"<data><p xmlns="urn:a"><w><n>x</n><state>down</state><loss>0.50</loss><bytes>18446744073709551615</bytes></w>
               <w><n>y</n><state>up</state><loss>-0.0</loss></w></p></data>"#,
            &Limits::default(),
        )
        .unwrap();
        let written = CheckCondition { path: path.to_owned(), test, value: value.to_owned() };
        Condition::new(&written)?.holds(&data)
    }

    #[test]
    fn the_evidence_says_what_was_found_and_what_was_wanted() {
        let state = "/p/w[n='x']/state";
        assert_eq!(test(Test::Is, state, "up").unwrap_err(), "/p/w[n='x']/state is \"down\", wanted up");
        assert_eq!(test(Test::Is, state, "down").unwrap(), "/p/w[n='x']/state is \"down\"");
        assert_eq!(
            test(Test::Is, "/p/w[n='z']/state", "up").unwrap_err(),
            "/p/w[n='z']/state is not there, wanted up"
        );
        assert_eq!(
            test(Test::AtMost, "/p/w[n='x']/loss", "0.1").unwrap_err(),
            "/p/w[n='x']/loss is \"0.50\", wanted at most 0.1"
        );
        assert_eq!(test(Test::Exists, "/p/w[n='z']", "").unwrap_err(), "/p/w[n='z'] is not there");
        assert_eq!(
            test(Test::Absent, "/p/w[n='x']", "").unwrap_err(),
            "/p/w[n='x'] is there, wanted nothing there"
        );
    }

    #[test]
    fn all_nodes_must_fit_and_one_must_be_there() {
        assert!(test(Test::Is, "/p/w/state", "up").unwrap_err().contains("\"down\""));
        assert!(test(Test::Matches, "/p/w/state", "up|down").unwrap().contains("1 more"));
        assert!(test(Test::IsNot, "/p/w/state", "testing").is_ok());
        assert!(test(Test::IsNot, "/p/w/state", "up").is_err());
        assert!(test(Test::IsNot, "/p/w/none", "up").is_err());
        assert!(test(Test::Matches, "/p/w[n='x']/state", "dow").is_err(), "as a whole");
        assert!(test(Test::Absent, "/p/w/none", "").is_ok());
    }

    #[test]
    fn numbers_are_compared_as_numbers_and_exactly() {
        assert!(test(Test::Is, "/p/w[n='x']/loss", "+00.5").is_ok());
        assert!(test(Test::Is, "/p/w[n='y']/loss", "0").is_ok());
        assert!(test(Test::IsNot, "/p/w[n='x']/loss", "0.5").is_err());
        assert!(test(Test::AtLeast, "/p/w[n='x']/loss", "-3").is_ok());
        assert!(test(Test::AtLeast, "/p/w[n='x']/loss", "0.501").is_err());
        let bytes = "/p/w[n='x']/bytes";
        assert!(test(Test::AtLeast, bytes, "18446744073709551615").is_ok());
        assert!(test(Test::AtLeast, bytes, "18446744073709551616").is_err());
        assert!(test(Test::AtMost, bytes, "18446744073709551614").is_err());
        assert!(test(Test::AtMost, "/p/w[n='x']/state", "1").is_err(), "no number");
    }

    #[test]
    fn what_cannot_be_tested_is_named() {
        assert!(test(Test::AtLeast, "/p", "many").unwrap_err().contains("many"));
        assert!(test(Test::Matches, "/p", "(").unwrap_err().contains("regular expression"));
        assert!(test(Test::Matches, "/p", "((a{1000}){1000}){1000}").is_err(), "too large");
    }

    proptest::proptest! {
        #[test]
        fn numbers_order_as_integers_do(a in -2000_i32..2000, b in -2000_i32..2000) {
            let number = |n: i32| Number::parse(&format!("{}.{:02}0", n / 100, (n % 100).abs()));
            // Between -1 and 0 the sign is lost by this way of writing.
            proptest::prop_assume!(!(-99..0).contains(&a) && !(-99..0).contains(&b));
            let (one, two) = (number(a).unwrap(), number(b).unwrap());
            proptest::prop_assert_eq!(one.cmp(&two), a.cmp(&b));
        }
    }
}
