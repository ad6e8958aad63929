//! Paths into a device's answer: steps by local names with predicates, a small part of XPath 1.0.

use turnup_netconf::xml::Element;

/// Longest path in bytes.
const MAX_BYTES: usize = 4_096;

/// A path such as `/pseudowires/pseudowire[name='x']/state`. Prefixes of names are ignored, `*` is any name,
/// predicates compare a descendant's value (`[name='x']`, `[a/b='x']`), the node's own (`[.='x']`), or
/// want a descendant to be there (`[name]`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    name: Name,
    predicates: Vec<Predicate>,
}

/// A local name; none is any.
type Name = Option<String>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Predicate {
    /// From the node down; empty is the node itself.
    path: Vec<Name>,
    /// What is there must have this value; none: it must be there.
    value: Option<String>,
}

impl Path {
    /// Reads a path; the error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("the path {text:?} can't be used: {why}");
        if text.len() > MAX_BYTES {
            return Err(format!("a path has more than {MAX_BYTES} bytes"));
        }
        let trimmed = text.trim();
        let mut rest = trimmed.strip_prefix('/').unwrap_or(trimmed);
        let mut steps = Vec::new();
        loop {
            let end = rest.find(['/', '[']).unwrap_or(rest.len());
            let (head, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
            let mut step = Step { name: name(head).map_err(|e| wrong(&e))?, predicates: Vec::new() };
            rest = tail;
            while let Some(inside) = rest.strip_prefix('[') {
                let (predicate, tail) = predicate(inside).map_err(|e| wrong(&e))?;
                step.predicates.push(predicate);
                rest = tail;
            }
            steps.push(step);
            match rest.strip_prefix('/') {
                Some(tail) => rest = tail,
                None if rest.is_empty() => return Ok(Self(steps)),
                None => return Err(wrong("a slash is missing after a predicate")),
            }
        }
    }

    /// The nodes at this path below `top`, in document order.
    pub(crate) fn select<'e>(&self, top: &'e Element) -> Vec<&'e Element> {
        self.0.iter().fold(vec![top], |nodes, step| {
            let children = nodes.into_iter().flat_map(Element::children);
            children.filter(|child| step.fits(child)).collect()
        })
    }
}

impl Step {
    fn fits(&self, element: &Element) -> bool {
        has_name(element, &self.name) && self.predicates.iter().all(|predicate| predicate.holds(element))
    }
}

impl Predicate {
    fn holds(&self, element: &Element) -> bool {
        let nodes = self.path.iter().fold(vec![element], |nodes, name| {
            let children = nodes.into_iter().flat_map(Element::children);
            children.filter(|child| has_name(child, name)).collect()
        });
        match &self.value {
            None => !nodes.is_empty(),
            Some(value) => nodes.into_iter().any(|node| has_text(node, value)),
        }
    }
}

fn has_name(element: &Element, name: &Name) -> bool {
    name.as_ref().is_none_or(|name| element.name() == name)
}

/// Whether the node's value is this text. A value with a prefix (an `identityref`) may be written without.
pub(crate) fn has_text(element: &Element, wanted: &str) -> bool {
    let text = element.text();
    *text == *wanted
        || text.split_once(':').is_some_and(|(prefix, local)| {
            local == wanted && element.prefixes().any(|(known, _)| known == prefix)
        })
}

fn name(text: &str) -> Result<Name, String> {
    let local = text.rsplit_once(':').map_or(text, |(_, local)| local);
    if local == "*" {
        return Ok(None);
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') || !c.is_ascii();
    match !local.is_empty() && local.chars().all(is_name) {
        true => Ok(Some(local.to_owned())),
        false => Err(format!("{text:?} is no name")),
    }
}

/// What stands in brackets, and what comes after them.
fn predicate(text: &str) -> Result<(Predicate, &str), String> {
    let end = text.find(['=', ']']).ok_or("a bracket is not closed")?;
    let (path, rest) = text.split_at_checked(end).ok_or("a bracket is not closed")?;
    let path = match path.trim() {
        "." => Vec::new(),
        path => path.split('/').map(|step| name(step.trim())).collect::<Result<_, _>>()?,
    };
    let (value, rest) = match rest.strip_prefix('=') {
        None => (None, rest),
        Some(rest) => literal(rest.trim_start()).map(|(value, rest)| (Some(value), rest.trim_start()))?,
    };
    let rest = rest.strip_prefix(']').ok_or("a bracket is not closed after its value")?;
    Ok((Predicate { path, value }, rest))
}

/// A literal, or `concat(…)` of some, and what comes after it.
fn literal(text: &str) -> Result<(String, &str), String> {
    let Some(mut rest) = text.strip_prefix("concat(") else { return quoted(text) };
    let mut all = String::new();
    loop {
        let (part, tail) = quoted(rest.trim_start())?;
        all.push_str(&part);
        rest = tail.trim_start();
        if let Some(tail) = rest.strip_prefix(')') {
            return Ok((all, tail));
        }
        rest = rest.strip_prefix(',').ok_or("concat is not closed")?;
    }
}

fn quoted(text: &str) -> Result<(String, &str), String> {
    let none = || "a value stands in quotes, as [name='x']".to_owned();
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"')).ok_or_else(none)?;
    let (value, rest) = text.get(1..).and_then(|rest| rest.split_once(quote)).ok_or_else(none)?;
    Ok((value.to_owned(), rest))
}

#[cfg(test)]
mod tests {
    use turnup_netconf::xml::{Limits, parse_str};

    use super::*;

    fn select(path: &str) -> Vec<String> {
        let data = parse_str(
            r#"<data><a xmlns="urn:a" xmlns:i="urn:i">
                <b><n>1/2</n><s><t>x</t></s><v>one</v></b>
                <b><n>it's</n><s><t>y</t></s><v>two</v><k>i:up</k></b>
                <b><n>say "it's"</n><v>three</v></b></a></data>"#,
            &Limits::default(),
        )
        .unwrap();
        Path::parse(path).unwrap().select(&data).into_iter().map(|e| e.text().into_owned()).collect()
    }

    #[test]
    fn predicates_choose() {
        assert_eq!(select("/a/b/v"), ["one", "two", "three"]);
        assert_eq!(select("/a/b[n='1/2']/v"), ["one"]);
        assert_eq!(select("a/p:b[ p:n = \"it's\" ]/v"), ["two"]);
        assert_eq!(select(r#"/a/b[n=concat('say "it',"'",'s"')]/v"#), ["three"]);
        assert_eq!(select("/a/b[s/t='y'][n]/v"), ["two"]);
        assert_eq!(select("/a/*[k='up']/v"), ["two"]);
        assert_eq!(select("/a/b[s]/v[.='one']"), ["one"]);
        assert_eq!(select("/a/b[n='none']/v"), [""; 0]);
        assert_eq!(select("/b/v"), [""; 0]);
    }

    #[test]
    fn what_is_no_path_is_named() {
        for bad in
            ["", "/", "/a//b", "/a/b[1]x", "/a[", "/a[b=", "/a[b=x]", "/a[b='x]", "/a[b='x'", "/a[b='x']c"]
        {
            assert!(Path::parse(bad).unwrap_err().contains("path"), "{bad}");
        }
        assert!(Path::parse(&"/a".repeat(3_000)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[/a\\[\\]='\".,:*() é]{0,40}") {
            let _ = Path::parse(&text);
        }
    }
}
