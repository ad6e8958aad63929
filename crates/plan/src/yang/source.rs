//! Reading just enough of YANG's syntax (RFC 7950 §6.3) to know what a text is, what it needs, and on which
//! line a name stands. libyang does the rest.

use std::borrow::Cow;

/// A statement: its keyword and argument, without what is inside of it.
pub(super) struct Statement<'t> {
    pub(super) keyword: &'t str,
    pub(super) argument: Cow<'t, str>,
    pub(super) line: u32,
    /// 0 for `module` itself.
    pub(super) depth: u32,
}

/// The statements of a text in order. Ends at the first mistake, which it gives with its line.
pub(super) struct Statements<'t> {
    text: &'t str,
    at: usize,
    line: u32,
    depth: u32,
    over: bool,
}

type Wrong = (u32, String);

pub(super) fn statements(text: &str) -> Statements<'_> {
    Statements { text, at: 0, line: 1, depth: 0, over: false }
}

impl<'t> Statements<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Takes the next `bytes` bytes.
    fn take(&mut self, bytes: usize) -> &'t str {
        let taken = self.rest().get(..bytes).unwrap_or_default();
        self.line += u32::try_from(taken.bytes().filter(|byte| *byte == b'\n').count()).unwrap_or(u32::MAX);
        self.at += taken.len();
        taken
    }

    fn wrong<T>(&self, message: impl Into<String>) -> Result<T, Wrong> {
        Err((self.line, message.into()))
    }

    fn skip_space(&mut self) -> Result<(), Wrong> {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n', '\u{feff}']).len();
            self.take(blank);
            let rest = self.rest();
            if rest.starts_with("//") {
                self.take(rest.find('\n').unwrap_or(rest.len()));
            } else if rest.starts_with("/*") {
                match rest.find("*/") {
                    Some(end) => self.take(end + 2),
                    None => return self.wrong("a comment is not closed with */"),
                };
            } else if blank == 0 {
                return Ok(());
            }
        }
    }

    fn word(&mut self) -> &'t str {
        let rest = self.rest();
        let end = rest.find([' ', '\t', '\r', '\n', ';', '{', '}', '"', '\'']).unwrap_or(rest.len());
        self.take(end)
    }

    fn argument(&mut self) -> Result<Cow<'t, str>, Wrong> {
        let mut argument = match self.rest().bytes().next() {
            Some(b';' | b'{') => return Ok(Cow::Borrowed("")),
            Some(b'"' | b'\'') => self.quoted()?,
            _ => return Ok(Cow::Borrowed(self.word())),
        };
        loop {
            self.skip_space()?;
            if !self.rest().starts_with('+') {
                return Ok(argument);
            }
            self.take(1);
            self.skip_space()?;
            argument.to_mut().push_str(&self.quoted()?);
        }
    }

    fn quoted(&mut self) -> Result<Cow<'t, str>, Wrong> {
        let rest = self.rest();
        if let Some(inside) = rest.strip_prefix('\'') {
            let Some(end) = inside.find('\'') else { return self.wrong("a quote ' is not closed") };
            return Ok(Cow::Borrowed(self.take(end + 2).trim_matches('\'')));
        }
        let Some(inside) = rest.strip_prefix('"') else {
            return self.wrong("a text in quotes must follow +");
        };
        let (mut escaped, mut end) = (false, None);
        for (i, byte) in inside.bytes().enumerate() {
            match byte {
                b'"' if !escaped => {
                    end = Some(i);
                    break;
                }
                b'\\' => escaped = !escaped,
                _ => escaped = false,
            }
        }
        // What is asked for here has no escapes that matter: names, dates.
        let Some(end) = end else { return self.wrong("a quote \" is not closed") };
        self.take(end + 2);
        Ok(Cow::Borrowed(inside.get(..end).unwrap_or_default()))
    }

    fn advance(&mut self) -> Result<Option<Statement<'t>>, Wrong> {
        loop {
            self.skip_space()?;
            let Some(first) = self.rest().bytes().next() else {
                return if self.depth == 0 { Ok(None) } else { self.wrong("a block is not closed with }") };
            };
            if first != b'}' {
                break;
            }
            self.take(1);
            match self.depth.checked_sub(1) {
                Some(depth) => self.depth = depth,
                None => return self.wrong("there is a } too many"),
            }
        }
        let (line, depth) = (self.line, self.depth);
        let keyword = self.word();
        if keyword.is_empty() {
            return self.wrong("a keyword must stand here");
        }
        self.skip_space()?;
        let argument = self.argument()?;
        self.skip_space()?;
        match self.take(1) {
            ";" => {}
            "{" => self.depth += 1,
            _ => return self.wrong(format!("{keyword} {argument} must be followed by ; or {{")),
        }
        Ok(Some(Statement { keyword, argument, line, depth }))
    }
}

impl<'t> Iterator for Statements<'t> {
    type Item = Result<Statement<'t>, Wrong>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let next = self.advance();
        self.over = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

/// A module or submodule that another needs.
pub(super) struct Need {
    pub(super) name: String,
    pub(super) revision: Option<String>,
    pub(super) line: u32,
}

/// What the beginning of a text says.
pub(super) struct Header {
    pub(super) name: String,
    /// The newest of its revisions.
    pub(super) revision: Option<String>,
    pub(super) submodule: bool,
    pub(super) imports: Vec<Need>,
    pub(super) includes: Vec<Need>,
}

/// Reads the beginning of a module or submodule.
pub(super) fn header(text: &str) -> Result<Header, Wrong> {
    const KNOWN: [&str; 11] = [
        "yang-version",
        "namespace",
        "prefix",
        "belongs-to",
        "import",
        "include",
        "organization",
        "contact",
        "description",
        "reference",
        "revision",
    ];
    if let Some(at) = text.bytes().position(|byte| byte == 0) {
        let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        return Err((u32::try_from(line).unwrap_or(u32::MAX), "a NUL byte is no YANG".to_owned()));
    }
    const NO_YANG: &str = "this is no YANG in compact syntax: it must begin with `module` or `submodule`";
    if text.trim_start().starts_with('<') {
        return Err((1, NO_YANG.to_owned()));
    }
    let mut statements = statements(text);
    let first = statements.next().transpose()?;
    let Some(first) = first.filter(|first| matches!(first.keyword, "module" | "submodule")) else {
        return Err((1, NO_YANG.to_owned()));
    };
    let name = first.argument.into_owned();
    if !is_name(&name) {
        return Err((first.line, format!("{name:?} is no name of a module")));
    }
    let submodule = first.keyword == "submodule";
    let mut header = Header { name, revision: None, submodule, imports: Vec::new(), includes: Vec::new() };
    let mut inside = "";
    for statement in statements {
        let Statement { keyword, argument, line, depth } = statement?;
        match depth {
            0 => return Err((line, format!("{keyword} stands after the end of the module"))),
            1 if KNOWN.contains(&keyword) || keyword.contains(':') => inside = keyword,
            1 => break,
            _ => {}
        }
        let need = || Need { name: argument.clone().into_owned(), revision: None, line };
        match (depth, inside, keyword) {
            (1, _, "import") => header.imports.push(need()),
            (1, _, "include") => header.includes.push(need()),
            (1, _, "revision") if is_date(&argument) => {
                let known = header.revision.take().unwrap_or_default();
                header.revision = Some(known.max(argument.into_owned()));
            }
            (2, "import", "revision-date") => {
                if let Some(need) = header.imports.last_mut() {
                    need.revision = Some(argument.into_owned());
                }
            }
            (2, "include", "revision-date") => {
                if let Some(need) = header.includes.last_mut() {
                    need.revision = Some(argument.into_owned());
                }
            }
            _ => {}
        }
    }
    Ok(header)
}

/// The line where a node, type or grouping of this name is defined; 1 if it isn't found.
pub(super) fn line_of(text: &str, name: &str) -> u32 {
    let defined = |statement: &Statement<'_>| {
        let other = ["typedef", "grouping", "identity", "feature", "deviation"];
        (is_node(statement.keyword) || other.contains(&statement.keyword)) && statement.argument == name
    };
    statements(text).map_while(Result::ok).find(defined).map_or(1, |statement| statement.line)
}

/// Whether statements with this keyword become nodes of the schema.
pub(super) fn is_node(keyword: &str) -> bool {
    const NODES: [&str; 12] = [
        "container",
        "leaf",
        "leaf-list",
        "list",
        "choice",
        "case",
        "anydata",
        "anyxml",
        "augment",
        "rpc",
        "action",
        "notification",
    ];
    NODES.contains(&keyword)
}

/// An identifier (RFC 7950 §6.2) that is also safe as the name of a file.
fn is_name(name: &str) -> bool {
    name.len() <= 200
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

fn is_date(text: &str) -> bool {
    text.len() == 10
        && text.bytes().enumerate().all(
            |(i, byte)| {
                if matches!(i, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() }
            },
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_module() {
        let text = "// c { \n/* module x { */ module a-b {\n  yang-version 1.1; namespace \"urn:}a\";\n prefix 'a';\n\
                    import \"one\" + '-two' { prefix o; revision-date 2020-01-02; }\n include sub;\n\
                    revision 2019-01-01;\n revision 2021-02-03 { description \"x \\\" { revision 2029-01-01;\"; }\n\
                    container top { leaf import { type string; } }\n}";
        let header = header(text).unwrap();
        assert_eq!((header.name.as_str(), header.submodule), ("a-b", false));
        assert_eq!(header.revision.as_deref(), Some("2021-02-03"));
        let needs: Vec<_> =
            header.imports.iter().map(|n| (&*n.name, n.revision.as_deref(), n.line)).collect();
        assert_eq!(needs, [("one-two", Some("2020-01-02"), 5)]);
        assert_eq!(header.includes.len(), 1);
        assert_eq!(line_of(text, "top"), 9);
        assert_eq!(line_of(text, "nothing"), 1);
    }

    #[test]
    fn what_is_no_module() {
        let line = |text: &str| header(text).err().map(|(line, _)| line);
        assert_eq!(line(""), Some(1));
        assert_eq!(line("container x { }"), Some(1));
        assert_eq!(line("module ../etc/passwd { }"), Some(1));
        assert_eq!(line("module a {\n namespace \"x;\n }"), Some(2));
        assert_eq!(line("module a {\n /* }"), Some(2));
        assert_eq!(line("module a { prefix a;\n"), Some(2));
        assert_eq!(line("module a { prefix a; }\n }"), Some(2));
        assert_eq!(line("module a { prefix a; }\nmodule b { }"), Some(2));
        assert_eq!(line("module a {\n\0}"), Some(2));
        assert_eq!(line("module a { prefix a; }"), None);
    }
}
