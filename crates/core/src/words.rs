//! Enums whose variants have one word each: the word on the wire, in the database and in routing
//! keys, and the title shown to people.

/// A word that is none of those an enum knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a known {what}; use one of {}", known.join(", "))]
pub struct UnknownWord {
    /// What kind of word was expected, such as `order state`.
    pub what: &'static str,
    /// What was given.
    pub given: String,
    /// All that would have been accepted.
    pub known: Vec<&'static str>,
}

/// Defines an enum with a wire word and a title for every variant, and the conversions:
/// `ALL`, `word()`, `title()`, `Display` (the word), `FromStr` and serde by the word.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident, $what:literal { $($(#[$vmeta:meta])* $variant:ident = $word:literal / $title:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "&'static str")]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            /// Every variant, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word on the wire and in the database.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The name shown to people.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::words::UnknownWord;
            fn from_str(given: &str) -> Result<Self, Self::Err> {
                match given {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::words::UnknownWord {
                        what: $what,
                        given: given.chars().take(64).collect(),
                        known: vec![$($word),+],
                    }),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::words::UnknownWord;
            fn try_from(given: String) -> Result<Self, Self::Error> { given.parse() }
        }

        impl From<$name> for &'static str {
            fn from(value: $name) -> Self { value.word() }
        }
    };
}
pub(crate) use words;
