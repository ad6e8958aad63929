//! Colours, where someone sees them.

use std::io::IsTerminal as _;

use clap::{
    ColorChoice,
    builder::styling::{AnsiColor, Style},
};

/// Whether to colour, and how. Every colour repeats what the text says already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// What `--color` means here: `auto` is only on a terminal, and not with NO_COLOR (no-color.org).
    pub(crate) fn detect(choice: ColorChoice) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self::decide(choice, std::io::stdout().is_terminal() && !dumb, set("NO_COLOR"))
    }

    fn decide(choice: ColorChoice, terminal: bool, no_color: bool) -> Self {
        let on = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && !no_color,
        };
        Self { on }
    }

    /// Without colours.
    #[cfg(test)]
    pub(crate) const fn plain() -> Self {
        Self { on: false }
    }

    /// With colours.
    #[cfg(test)]
    pub(crate) const fn coloured() -> Self {
        Self { on: true }
    }

    fn with(self, style: Style, text: &str) -> String {
        if self.on && !text.is_empty() {
            format!("{}{text}{}", style.render(), style.render_reset())
        } else {
            text.to_owned()
        }
    }

    fn colour(self, colour: AnsiColor, text: &str) -> String {
        self.with(colour.on_default(), text)
    }

    /// A heading.
    pub(crate) fn bold(self, text: &str) -> String {
        self.with(Style::new().bold(), text)
    }

    /// As it should be.
    pub(crate) fn good(self, text: &str) -> String {
        self.colour(AnsiColor::Green, text)
    }

    /// As it should not be.
    pub(crate) fn bad(self, text: &str) -> String {
        self.colour(AnsiColor::Red, text)
    }

    /// Worth a look.
    pub(crate) fn notable(self, text: &str) -> String {
        self.colour(AnsiColor::Yellow, text)
    }

    /// The sequence of ours with which a text begins, if it does.
    pub(crate) fn sequence(text: &str) -> Option<&'static str> {
        ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m", "\u{1b}[36m"]
            .into_iter()
            .find(|sequence| text.starts_with(sequence))
    }

    /// A plan's text, line by line: `+` added, `-` removed, `~` changed, `=` written again.
    pub(crate) fn diff(self, text: &str, indent: &str) -> Vec<String> {
        let line = |line: &str| {
            let painted = match line.chars().next() {
                Some('+') => self.good(line),
                Some('-') => self.bad(line),
                Some('~' | '>' | '!') => self.notable(line),
                Some('=') => self.colour(AnsiColor::Cyan, line),
                _ => line.to_owned(),
            };
            format!("{indent}{painted}").trim_end().to_owned()
        };
        text.lines().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_only_where_they_are_wanted() {
        for (choice, terminal, no_color, on) in [
            (ColorChoice::Auto, true, false, true),
            (ColorChoice::Auto, false, false, false),
            (ColorChoice::Auto, true, true, false),
            (ColorChoice::Always, false, true, true),
            (ColorChoice::Never, true, false, false),
        ] {
            assert_eq!(Paint::decide(choice, terminal, no_color).on, on, "{choice} {terminal} {no_color}");
        }
    }

    #[test]
    fn every_sequence_that_is_written_is_known() {
        let paint = Paint::coloured();
        let all = [paint.bold("x"), paint.good("x"), paint.bad("x"), paint.notable("x")];
        let diff = paint.diff("=x\n", "");
        for painted in all.iter().chain(&diff) {
            let begin = Paint::sequence(painted).unwrap();
            assert_eq!(
                Paint::sequence(&painted[begin.len() + painted[begin.len()..].find('\u{1b}').unwrap()..]),
                Some("\u{1b}[0m")
            );
        }
    }

    #[test]
    fn a_line_has_the_colour_of_its_sign() {
        let text = "  interfaces\n+   unit 100\n-   unit 99\n~   mtu: 1500 -> 9000\n=   pseudowire\n";
        assert_eq!(
            Paint::plain().diff(text, "  "),
            [
                "    interfaces",
                "  +   unit 100",
                "  -   unit 99",
                "  ~   mtu: 1500 -> 9000",
                "  =   pseudowire"
            ]
        );
        let lines = Paint::coloured().diff(text, "  ");
        let begins = ["    interfaces", "  \u{1b}[32m+", "  \u{1b}[31m-", "  \u{1b}[33m~", "  \u{1b}[36m="];
        for (line, begin) in lines.iter().zip(begins) {
            assert!(line.starts_with(begin), "{line:?}");
        }
        assert!(lines[1].ends_with("\u{1b}[0m"), "{:?}", lines[1]);
    }
}
