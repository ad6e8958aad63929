//! Texts of a peer for messages: one line, without control characters, bounded.

/// At most `most` characters of a text: white space is one space, control characters are written as escapes.
pub(crate) fn line(text: &str, most: usize) -> String {
    let mut out = String::new();
    let (mut length, mut pending_space) = (0, false);
    for c in text.chars() {
        if c.is_whitespace() {
            pending_space = !out.is_empty();
            continue;
        }
        if length + usize::from(pending_space) >= most {
            out.push('…');
            return out;
        }
        if std::mem::take(&mut pending_space) {
            out.push(' ');
            length += 1;
        }
        if is_control(c) {
            out.extend(c.escape_unicode());
            length += c.escape_unicode().len();
        } else {
            out.push(c);
            length += 1;
        }
    }
    out
}

/// A control character, or one that changes the direction of the text around it.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The same of bytes that may not be UTF-8.
pub(crate) fn bytes(bytes: &[u8], most: usize) -> String {
    // No character has more than four bytes; white space counts less.
    let beginning = bytes.get(..most.saturating_mul(16)).unwrap_or(bytes);
    line(&String::from_utf8_lossy(beginning), most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_one_bounded_line_without_control_characters() {
        assert_eq!(line("  a\r\n\tb \u{1b}[31m\0 ", 100), "a b \\u{1b}[31m\\u{0}");
        assert_eq!(line("abcdef", 3), "abc…");
        assert_eq!(line("abc   ", 3), "abc");
        assert_eq!(line("a\u{202e}b", 10), "a\\u{202e}b");
        assert_eq!(bytes(b"a\xffb", 10), "a\u{fffd}b");
    }
}
