//! What a definition says about trying its orders again.

use turnup_core::retry::{MAX_ATTEMPTS, MAX_MS, RetryChanges};
use turnup_files::{Entry, Node};

use super::{Reader, check::duration, find};

impl Reader<'_> {
    pub(super) fn retry(&mut self, node: &Node) -> RetryChanges {
        let fields = self.map(node, "'retry'", Some(&["attempts", "first", "max", "total"]));
        let attempts = find(fields, "attempts")
            .and_then(|node| self.number(node, "attempts", 1, i64::from(MAX_ATTEMPTS)))
            .and_then(|attempts| u32::try_from(attempts).ok());
        RetryChanges {
            attempts,
            first_ms: self.retry_ms(fields, "first"),
            max_ms: self.retry_ms(fields, "max"),
            total_ms: self.retry_ms(fields, "total"),
        }
    }

    fn retry_ms(&mut self, fields: &[Entry], key: &str) -> Option<u64> {
        let node = find(fields, key)?;
        let text = self.text(node, key)?;
        let ms = duration(&text).and_then(|time| u64::try_from(time.as_millis()).ok());
        let ms = ms.filter(|ms| (1..=MAX_MS).contains(ms));
        if ms.is_none() {
            let message = format!(
                "{text:?} is no time for {key}; write 30s, 10m, 6h or 1d, from one second to 30 days"
            );
            self.mistake(node.line, message);
        }
        ms
    }
}
