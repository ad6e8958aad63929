//! Texts that no message can carry: cut into pieces, and put together again. Pure.
//!
//! Each piece is asked for on its own, and any worker may answer: a piece says of which text it is (length and digest), so
//! that pieces of two different texts are never put together.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// Most bytes of a text that is carried in pieces.
pub const MAX_WHOLE_BYTES: usize = 16 << 20;

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Where in the whole text it begins, in bytes.
    pub from: usize,
    /// Its part of the text; never empty.
    pub text: String,
    /// Bytes of the whole text.
    pub whole: usize,
    /// SHA-256 of the whole text, in hexadecimal.
    pub digest: String,
}

impl Piece {
    /// The piece of `whole` that begins at byte `from` and, in characters, is as long as `fits` allows, which is asked
    /// for each character in turn. None: nothing begins there, or nothing fits.
    #[must_use]
    pub fn cut(whole: &str, from: usize, mut fits: impl FnMut(char) -> bool) -> Option<Self> {
        let rest = whole.get(from..)?;
        let end = rest.char_indices().find(|(_, c)| !fits(*c)).map_or(rest.len(), |(at, _)| at);
        let text = rest.get(..end).filter(|text| !text.is_empty())?;
        Some(Self { from, text: text.to_owned(), whole: whole.len(), digest: digest(whole) })
    }
}

/// SHA-256 in hexadecimal.
fn digest(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why pieces make no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PieceError {
    /// The text is too large.
    #[error("the text has {0} bytes, more than {MAX_WHOLE_BYTES}")]
    TooLarge(usize),
    /// A piece is of another text than those before: the device's text has changed meanwhile.
    #[error("the text was another while it was read")]
    Changed,
    /// A piece that is not the next one, or goes beyond the end.
    #[error("a piece begins at byte {from}, not at {wanted}, or goes beyond the end")]
    Misplaced {
        /// Where it begins.
        from: usize,
        /// Where the next one begins.
        wanted: usize,
    },
    /// The pieces have the right length and another digest.
    #[error("the pieces do not make the text of which they are")]
    Digest,
}

/// A text of which pieces have come.
#[derive(Debug, Clone)]
pub struct Assembly {
    text: String,
    whole: usize,
    digest: String,
}

impl Assembly {
    /// Begins with the first piece.
    ///
    /// # Errors
    /// If the text is too large, or the piece is not the first one.
    pub fn new(first: Piece) -> Result<Self, PieceError> {
        if first.whole > MAX_WHOLE_BYTES {
            return Err(PieceError::TooLarge(first.whole));
        }
        let mut assembly = Self { text: String::new(), whole: first.whole, digest: first.digest.clone() };
        assembly.add(first)?;
        Ok(assembly)
    }

    /// Adds the next piece.
    ///
    /// # Errors
    /// If it is of another text, or not the next one.
    pub fn add(&mut self, piece: Piece) -> Result<(), PieceError> {
        if (piece.whole, &piece.digest) != (self.whole, &self.digest) {
            return Err(PieceError::Changed);
        }
        let wanted = self.text.len();
        if piece.from != wanted || piece.text.is_empty() || piece.text.len() > self.whole - wanted {
            return Err(PieceError::Misplaced { from: piece.from, wanted });
        }
        self.text.push_str(&piece.text);
        Ok(())
    }

    /// Where the next piece begins; none: all have come.
    #[must_use]
    pub fn next(&self) -> Option<usize> {
        (self.text.len() < self.whole).then_some(self.text.len())
    }

    /// The whole text.
    ///
    /// # Errors
    /// If the pieces do not make it.
    pub fn finish(self) -> Result<String, PieceError> {
        if self.text.len() == self.whole && digest(&self.text) == self.digest {
            Ok(self.text)
        } else {
            Err(PieceError::Digest)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn piece(whole: &str, from: usize, bytes: usize) -> Option<Piece> {
        let mut room = bytes;
        Piece::cut(whole, from, |c| {
            let fits = c.len_utf8() <= room;
            room = room.saturating_sub(c.len_utf8());
            fits
        })
    }

    fn assembled(whole: &str, bytes: usize) -> Result<String, PieceError> {
        let mut assembly = Assembly::new(piece(whole, 0, bytes).unwrap())?;
        while let Some(from) = assembly.next() {
            assembly.add(piece(whole, from, bytes).unwrap())?;
        }
        assembly.finish()
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_make_the_text_again(whole in ".{1,200}", bytes in 4_usize..50) {
            prop_assert_eq!(assembled(&whole, bytes), Ok(whole));
        }
    }

    #[test]
    fn pieces_of_two_texts_are_never_put_together() {
        let mut assembly = Assembly::new(piece("abcdef", 0, 3).unwrap()).unwrap();
        assert_eq!(assembly.clone().add(piece("abcxef", 3, 3).unwrap()), Err(PieceError::Changed));
        let again = piece("abcdef", 0, 3).unwrap();
        assert_eq!(assembly.clone().add(again), Err(PieceError::Misplaced { from: 0, wanted: 3 }));
        let long = Piece { text: "defg".to_owned(), ..piece("abcdef", 3, 3).unwrap() };
        assert_eq!(assembly.clone().add(long), Err(PieceError::Misplaced { from: 3, wanted: 3 }));
        let forged = Piece { text: "xyz".to_owned(), ..piece("abcdef", 3, 3).unwrap() };
        assembly.add(forged).unwrap();
        assert_eq!(assembly.finish(), Err(PieceError::Digest));
    }

    #[test]
    fn sizes_are_bounded() {
        let huge = Piece { whole: MAX_WHOLE_BYTES + 1, ..piece("abc", 0, 3).unwrap() };
        assert_eq!(Assembly::new(huge).unwrap_err(), PieceError::TooLarge(MAX_WHOLE_BYTES + 1));
        assert_eq!(piece("é", 1, 9), None, "within a character");
        assert_eq!(piece("abc", 3, 9), None, "at the end");
        assert_eq!(piece("é", 0, 1), None, "nothing fits");
    }
}
