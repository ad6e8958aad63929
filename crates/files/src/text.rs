//! Bytes as a text: UTF-8, and a word about everything else that spreadsheets write.

use crate::{Fault, MAX_FILE_BYTES};

/// What to do about another encoding.
const HINT: &str = "save the file as UTF-8 (in Excel: the file type 'CSV UTF-8')";
/// Most characters of a line that are shown before a byte that is no UTF-8.
const MAX_SHOWN: usize = 20;

/// Reads UTF-8, with or without byte order mark.
///
/// # Errors
/// For another encoding, named as far as it can be told, with the line; and for a file that is too large.
pub fn decode(bytes: Vec<u8>) -> Result<String, Fault> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(Fault::whole(format!(
            "is larger than {} MiB; split it into several files",
            MAX_FILE_BYTES >> 20
        )));
    }
    if let Some(what) = other_format(&bytes) {
        return Err(Fault::whole(format!("is {what}: {HINT}")));
    }
    let mut bytes = bytes;
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let before = String::from_utf8_lossy(&bytes[..at]);
        let begin = before.rfind(['\n', '\r']).map_or(0, |end| end + 1);
        let shown: Vec<char> = before[begin..].chars().collect();
        let shown: String = shown[shown.len().saturating_sub(MAX_SHOWN)..].iter().collect();
        let after = if shown.is_empty() { String::new() } else { format!(" after {shown:?}") };
        let byte = bytes.get(at).copied().unwrap_or_default();
        Fault::at(
            line_at(&before, before.len()),
            format!("is not UTF-8: byte 0x{byte:02X}{after} belongs to another encoding, such as Windows-1252; {HINT}"),
        )
    })
}

/// What bytes are that are no text in UTF-8, by how they begin.
fn other_format(bytes: &[u8]) -> Option<&'static str> {
    // The mark of UTF-32LE begins with that of UTF-16LE.
    let marks: [(&[u8], &str); 7] = [
        (b"\xff\xfe\0\0", "UTF-32"),
        (b"\0\0\xfe\xff", "UTF-32"),
        (b"\xff\xfe", "UTF-16"),
        (b"\xfe\xff", "UTF-16"),
        (b"PK\x03\x04", "no text but a workbook or an archive (.xlsx, .ods, .zip)"),
        (b"\xd0\xcf\x11\xe0", "no text but a workbook (.xls)"),
        (b"\x1f\x8b", "no text but a gzip archive"),
    ];
    if let Some((_, what)) = marks.into_iter().find(|(mark, _)| bytes.starts_with(mark)) {
        return Some(what);
    }
    // Without a mark: the files here begin with ASCII characters.
    let zeros: Vec<bool> = bytes.iter().take(4).map(|byte| *byte == 0).collect();
    match zeros.as_slice() {
        [true, true, true, false] | [false, true, true, true] => Some("UTF-32"),
        [true, false, ..] | [false, true, ..] => Some("UTF-16"),
        _ => None,
    }
}

/// The line, from 1, in which a byte of a text stands. CR LF, LF and CR end a line.
#[must_use]
pub fn line_at(text: &str, at: usize) -> u32 {
    let bytes = &text.as_bytes()[..at.min(text.len())];
    u32::try_from(breaks(bytes, text.as_bytes().get(bytes.len()) == Some(&b'\n')) + 1).unwrap_or(u32::MAX)
}

/// How many line breaks bytes have; a CR at their end is half of one if `lf_follows`.
pub(crate) fn breaks(bytes: &[u8], lf_follows: bool) -> usize {
    let lone = |at: usize| match bytes.get(at + 1) {
        Some(next) => *next != b'\n',
        None => !lf_follows,
    };
    bytes.iter().enumerate().filter(|(at, byte)| **byte == b'\n' || (**byte == b'\r' && lone(*at))).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, little: bool) -> Vec<u8> {
        text.encode_utf16()
            .flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() })
            .collect()
    }

    #[test]
    fn utf8_is_read_with_and_without_mark() {
        assert_eq!(decode("Straße".into()).unwrap(), "Straße");
        assert_eq!(decode("\u{feff}Straße".into()).unwrap(), "Straße");
        assert_eq!(decode(Vec::new()).unwrap(), "");
        assert_eq!(decode("{".into()).unwrap(), "{");
    }

    #[test]
    fn other_encodings_are_named() {
        for little in [true, false] {
            for text in ["kind,name\n", "\u{feff}kind,name\n"] {
                let fault = decode(utf16(text, little)).unwrap_err();
                assert!(fault.message.starts_with("is UTF-16: ") && fault.line.is_none(), "{fault:?}");
                assert!(fault.message.contains("CSV UTF-8"), "{fault:?}");
            }
        }
        for bytes in
            [&b"\xff\xfe\0\0k\0\0\0"[..], b"\0\0\xfe\xff\0\0\0k", b"k\0\0\0i\0\0\0", b"\0\0\0k\0\0\0i"]
        {
            assert!(decode(bytes.to_vec()).unwrap_err().message.starts_with("is UTF-32: "), "{bytes:?}");
        }
        assert!(decode(b"PK\x03\x04\x14".to_vec()).unwrap_err().message.contains("workbook"));
    }

    #[test]
    fn a_byte_of_another_encoding_is_placed() {
        for text in ["a\nb\nzur Stra\u{df}e", "a\r\nb\r\nzur Stra\u{df}e", "a\rb\rzur Stra\u{df}e"] {
            let bytes: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
            let fault = decode(bytes).unwrap_err();
            assert_eq!(fault.line, Some(3), "{text:?}");
            assert!(fault.message.contains("byte 0xDF after \"zur Stra\""), "{}", fault.message);
        }
    }

    #[test]
    fn files_are_bounded() {
        let fault = decode(vec![b' '; MAX_FILE_BYTES + 1]).unwrap_err();
        assert!(fault.message.contains("64 MiB"), "{}", fault.message);
    }
}
