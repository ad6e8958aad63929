//! Texts from outside, as they may stand in failures, logs and at a terminal.
//!
//! A crate of its own, as the protocol (`netconf`, which knows nothing of turnup) and the domain (`core`) both need one
//! rule of what is safe to show.

/// A text as one line of at most `most` characters: white space becomes one space, control characters and
/// those that change the direction of the text are written as escapes (`\u{1b}`). Database, terminal and
/// log take the result as it is.
#[must_use]
pub fn line(text: &str, most: usize) -> String {
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
        if is_unsafe(c) {
            out.extend(c.escape_unicode());
            length += c.escape_unicode().len();
        } else {
            out.push(c);
            length += 1;
        }
    }
    out
}

/// The same of a text of several lines, whose line breaks stay.
#[must_use]
pub fn lines(text: &str, most: usize) -> String {
    let mut out = String::new();
    for (length, c) in text.chars().enumerate() {
        if length >= most {
            out.push('…');
            return out;
        }
        match is_unsafe(c) && !matches!(c, '\n' | '\t') {
            true => out.extend(c.escape_unicode()),
            false => out.push(c),
        }
    }
    out
}

/// The same as [`line`] of bytes that may not be UTF-8.
#[must_use]
pub fn bytes(bytes: &[u8], most: usize) -> String {
    // No character has more than four bytes; white space counts less.
    let beginning = bytes.get(..most.saturating_mul(16)).unwrap_or(bytes);
    line(&String::from_utf8_lossy(beginning), most)
}

/// Whether a character must not reach a terminal or a log as it is: a control character, or one that is not seen and
/// changes the order or the look of the text around it (Unicode's category Cf, without the joiners that scripts and
/// emoji need).
#[must_use]
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_has_no_control_characters_and_a_bounded_length() {
        assert_eq!(line("  a\r\n\tb \u{1b}[31m\0 ", 100), "a b \\u{1b}[31m\\u{0}");
        assert_eq!((line("abcdef", 3), line("abc   ", 3)), ("abc…".to_owned(), "abc".to_owned()));
        assert_eq!(line("a\u{202e}b", 10), "a\\u{202e}b");
    }

    #[test]
    fn characters_that_change_the_text_around_them_are_escaped() {
        for c in [
            '\u{202e}',
            '\u{2066}',
            '\u{61c}',
            '\u{200b}',
            '\u{2028}',
            '\u{e0041}',
            '\u{85}',
            '\u{7f}',
            '\u{ad}',
        ] {
            assert!(is_unsafe(c), "{c:?}");
        }
        for c in ['a', 'é', '電', '\u{200d}', '\u{200c}', '–', '…', '\u{301}'] {
            assert!(!is_unsafe(c), "{c:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(bytes(b"a\xffb", 10), "a\u{fffd}b");
        assert_eq!(bytes(&[b'x'; 1_000], 3), "xxx…");
    }

    #[test]
    fn lines_keep_their_breaks() {
        assert_eq!(lines("a\n  b\0\r", 100), "a\n  b\\u{0}\\u{d}");
        assert_eq!(lines("abcdef", 3), "abc…");
    }
}
