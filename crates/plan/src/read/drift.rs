//! What a definition says about drift that a modify order finds.

use turnup_core::drift::OnDrift;
use turnup_files::Node;

use super::{Reader, find};
use crate::{definition::DriftPolicy, schema::unknown};

impl Reader<'_> {
    pub(super) fn drift(&mut self, node: &Node) -> DriftPolicy {
        let fields = self.map(node, "'drift'", Some(&["found", "untouched_devices"]));
        if fields.is_empty() {
            self.mistake(node.line, "'drift' says nothing; write 'found', or 'untouched_devices: true'");
        }
        let found = find(fields, "found").and_then(|node| {
            let word = self.text(node, "found")?;
            let known: Vec<&str> = OnDrift::ALL.iter().map(|policy| policy.word()).collect();
            let policy = word.parse().ok();
            if policy.is_none() {
                self.mistake(node.line, format!("in 'drift' {}", unknown("value of 'found'", &word, &known)));
            }
            policy
        });
        let untouched_devices =
            find(fields, "untouched_devices").is_some_and(|node| self.bool(node, "untouched_devices"));
        DriftPolicy { found: found.unwrap_or_default(), untouched_devices }
    }
}
