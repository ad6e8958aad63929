//! Where the tags of a template stand. Escaping makes a value safe in the text of elements and in attributes; in
//! CDATA, comments and processing instructions a parser resolves no references, so that an escaped value would
//! arrive as `&amp;`. Called when a template is compiled; never when one is rendered.

use minijinja::{
    machinery::{Token, tokenize},
    syntax::SyntaxConfig,
};

use super::RenderError;

const CDATA: &str = "<![CDATA[";
const COMMENT: &str = "<!--";
const INSTRUCTION: &str = "<?";

/// What the text of a template is inside of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Content,
    Cdata,
    Comment,
    Instruction,
}

impl Place {
    /// What ends it.
    const fn end(self) -> &'static str {
        match self {
            Self::Content => "",
            Self::Cdata => "]]>",
            Self::Comment => "-->",
            Self::Instruction => "?>",
        }
    }

    /// Why no tag may stand in it.
    const fn objection(self) -> Option<&'static str> {
        match self {
            Self::Content => None,
            Self::Cdata => Some(
                "a tag stands inside of CDATA; inside of CDATA nothing is escaped: write it without, as \
                 <description>{{ ... }}</description>",
            ),
            Self::Comment => Some(
                "a tag stands inside of an XML comment; inside of a comment nothing is escaped, and no device sees \
                 it: write {# ... #} instead",
            ),
            Self::Instruction => Some(
                "a tag stands inside of a processing instruction (<? ... ?>), in which nothing is escaped; take it \
                 out",
            ),
        }
    }

    /// Where the text leads that follows; none: an opening is cut off at the end of the text.
    fn after(mut self, mut text: &str) -> Option<Self> {
        loop {
            if self != Self::Content {
                let Some((_, rest)) = text.split_once(self.end()) else { return Some(self) };
                (self, text) = (Self::Content, rest);
                continue;
            }
            let Some(at) = text.find('<') else { return Some(self) };
            text = &text[at..];
            let openings = [(CDATA, Self::Cdata), (COMMENT, Self::Comment), (INSTRUCTION, Self::Instruction)];
            let opened =
                openings.iter().find_map(|(opening, place)| Some((*place, text.strip_prefix(opening)?)));
            if let Some((place, rest)) = opened {
                (self, text) = (place, rest);
            } else if text.len() > 1 && (CDATA.starts_with(text) || COMMENT.starts_with(text)) {
                return None;
            } else {
                text = &text[1..];
            }
        }
    }
}

/// Every tag that stands where escaping does not work. Syntax errors are left to the compiler.
pub(super) fn mistakes(source: &str) -> Vec<RenderError> {
    let mut found = Vec::new();
    let mut place = Place::Content;
    // Blocks open whose text becomes a value, which is escaped where it is printed.
    let mut captures = 0_usize;
    // A value or text inside of such a block was named already.
    let mut named = false;
    let mut tokens = tokenize(source, false, SyntaxConfig::default()).map_while(Result::ok).peekable();
    while let Some((token, span)) = tokens.next() {
        let line = usize::from(span.start_line).max(1);
        let mut mistake = |reason: &str| found.push(RenderError { line, reason: reason.to_owned() });
        let twice = match token {
            Token::TemplateData(text) => {
                let Some(next) = place.after(text) else {
                    mistake("write <![CDATA[ and <!-- in one piece, without a tag in between");
                    return found;
                };
                place = next;
                text.contains(['<', '&'])
            }
            Token::VariableStart | Token::BlockStart => {
                if let Some(objection) = place.objection() {
                    mistake(objection);
                    return found;
                }
                matches!(token, Token::VariableStart)
            }
            _ => continue,
        };
        if twice && captures > 0 && !named {
            named = true;
            mistake(
                "text in a block of 'set' or 'filter' is escaped here and again where it is printed; write \
                 {% set name = a ~ b %}, or the filter at the value",
            );
        }
        if !matches!(token, Token::BlockStart) {
            continue;
        }
        match tokens.peek() {
            Some((Token::Ident("autoescape"), _)) => {
                tokens.next();
                if !matches!(tokens.peek(), Some((Token::Ident("false"), _))) {
                    mistake("every value is escaped, always; take the 'autoescape' block out");
                }
            }
            Some((Token::Ident("filter"), _)) => captures += 1,
            Some((Token::Ident("endset" | "endfilter"), _)) => captures = captures.saturating_sub(1),
            Some((Token::Ident("set"), _)) => {
                // A block has no `=` behind its name.
                let ends = |token: &Token<'_>| matches!(token, Token::Assign | Token::Pipe | Token::BlockEnd);
                let end = tokens.by_ref().find(|(token, _)| ends(token));
                if !matches!(end, Some((Token::Assign, _))) {
                    (captures, named) = (captures + 1, false);
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Line and first words of each mistake.
    fn found(source: &str) -> Vec<(usize, String)> {
        let words = |reason: &str| reason.split(' ').take(8).collect::<Vec<_>>().join(" ");
        mistakes(source).into_iter().map(|mistake| (mistake.line, words(&mistake.reason))).collect()
    }

    #[track_caller]
    fn refused(source: &str, line: usize, words: &str) {
        let found = found(source);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, line, "{found:?}");
        assert!(found[0].1.starts_with(words), "{found:?}");
    }

    #[test]
    fn tag_is_refused_where_nothing_is_escaped() {
        refused("<a>\n<b><![CDATA[{{ x }}]]></b></a>", 2, "a tag stands inside of CDATA");
        refused("<a><![CDATA[\n\n{% if x %}y{% endif %}]]></a>", 3, "a tag stands inside of CDATA");
        refused("{% if x %}<![CDATA[{% endif %}{{ y }}", 1, "a tag stands inside of CDATA");
        refused("<a><![CDATA[<!-- -->{{ x }}]]></a>", 1, "a tag stands inside of CDATA");
        refused("<a><!-- <![CDATA[ ]]>\n{{ x }} --></a>", 2, "a tag stands inside of an XML comment");
        refused("<?cli {{ x }}?><a/>", 1, "a tag stands inside of a processing");
        refused("<a><![CDA{% if x %}TA[{% endif %}{{ y }}]]></a>", 1, "write <![CDATA[ and");
        refused("<a><!{{ x }}</a>", 1, "write <![CDATA[ and");
    }

    #[test]
    fn tag_is_accepted_everywhere_else() {
        for good in [
            "<?xml version='1.0'?><a x='{{ x }}'>{{ y }}</a>",
            "<a><![CDATA[x < y]]>{{ x }}<![CDATA[z]]></a>",
            "<a><!-- words -->{{ x }}<b/><!----></a>",
            "{# <![CDATA[ #}<a>{{ '<![CDATA[' }}{{ x }}</a>",
            "<a><![CDATA[{% raw %}{{ x }}{% endraw %}]]></a>",
            "<a><![CDATA[{# words #}x]]></a>",
            "<{{ x }}/>",
        ] {
            assert!(found(good).is_empty(), "{good}: {:?}", found(good));
        }
    }

    #[test]
    fn text_that_would_be_escaped_twice_is_refused() {
        refused("{% set d %}\n{{ x }}{{ y }}{% endset %}<a>{{ d }}</a>", 2, "text in a block of 'set'");
        refused("{% set d | upper %}{{ x }}{% endset %}<a>{{ d }}</a>", 1, "text in a block of 'set'");
        refused("{% set d %}a &amp; b{% endset %}<a>{{ d }}</a>", 1, "text in a block of 'set'");
        refused("{% filter upper %}{{ x }}{% endfilter %}", 1, "text in a block of 'set'");
        refused("{% autoescape true %}{{ x }}{% endautoescape %}", 1, "every value is escaped");
        for good in [
            "{% set d = x ~ y %}<a>{{ d }}</a>",
            "{% set d %}one{% endset %}<a>{{ d }}{{ x }}</a>",
            "{% set d = x | default(1) %}<a>{{ d }}</a>",
        ] {
            assert!(found(good).is_empty(), "{good}: {:?}", found(good));
        }
    }
}
