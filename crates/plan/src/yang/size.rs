//! How large a set gets when it is compiled. A few lines can be made to grow beyond any memory: groupings
//! that use others several times over, unions of unions. libyang has no bounds, so they are kept here.

use std::{borrow::Cow, collections::HashMap};

use super::{YangMistake, source};

/// Nodes of all schema trees together. The largest vendors' sets have about a million.
const MAX_NODES: u64 = 5_000_000;
/// Member types of one union, those of unions inside of it included.
const MAX_TYPES: u64 = 100_000;
/// How deep groupings use others, and typedefs refer to others.
const MAX_CHAIN: usize = 500;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Grouping,
    Typedef,
}

/// A definition: its kind, its module and its name, wherever in the module it is.
type Name<'t> = (Kind, Cow<'t, str>, Cow<'t, str>);

#[derive(Default)]
struct Body<'t> {
    line: u32,
    /// Nodes or types that stand in it.
    own: u64,
    /// What is to be put in.
    refers: Vec<Name<'t>>,
}

/// Refuses a set that would get too large.
pub(super) fn check<'t>(texts: impl Iterator<Item = &'t str>) -> Result<(), YangMistake> {
    let mut defined: HashMap<Name<'t>, Body<'t>> = HashMap::new();
    let mut top = Vec::new();
    for text in texts {
        top.push(read(text, &mut defined));
    }
    let mut sizes = Sizes { defined: &defined, known: HashMap::new() };
    let too_large = defined.iter().filter_map(|(name, body)| {
        let (limit, what) = match name.0 {
            Kind::Grouping => (MAX_NODES, "nodes"),
            Kind::Typedef => (MAX_TYPES, "member types"),
        };
        let message = match sizes.of(name, 0) {
            None => format!("{} is defined through more than {MAX_CHAIN} others", name.2),
            Some(size) if size.all > limit => format!("{} would have more than {limit} {what}", name.2),
            Some(_) => return None,
        };
        Some(YangMistake { module: name.1.clone().into_owned(), line: body.line, message })
    });
    if let Some(first) = too_large.min() {
        return Err(first);
    }
    let all = top
        .iter()
        .flat_map(|body| &body.refers)
        .map(|name| sizes.of(name, 0).map_or(u64::MAX, |size| size.all));
    let used = all.fold(0, u64::saturating_add);
    if top.iter().map(|body| body.own).fold(used, u64::saturating_add) > MAX_NODES {
        let message =
            format!("the modules would have more than {MAX_NODES} nodes: leave out what isn't needed");
        return Err(YangMistake { module: String::new(), line: 1, message });
    }
    Ok(())
}

/// Reads a text's definitions; gives what stands outside of them.
fn read<'t>(text: &'t str, defined: &mut HashMap<Name<'t>, Body<'t>>) -> Body<'t> {
    let mut top = Body::default();
    let mut module = Cow::Borrowed("");
    let mut prefixes: HashMap<Cow<'t, str>, Cow<'t, str>> = HashMap::new();
    // The module that the next prefix stands for.
    let mut named = Cow::Borrowed("");
    let mut around: Vec<(u32, Name<'t>)> = Vec::new();
    for statement in source::statements(text).map_while(Result::ok) {
        let source::Statement { keyword, argument, line, depth } = statement;
        around.truncate(around.iter().take_while(|(outer, _)| *outer < depth).count());
        let resolve = |kind, argument: &Cow<'t, str>| -> Name<'t> {
            match argument.split_once(':') {
                None => (kind, module.clone(), argument.clone()),
                Some((prefix, name)) => {
                    let module = prefixes.get(prefix).cloned().unwrap_or_default();
                    (kind, module, Cow::Owned(name.to_owned()))
                }
            }
        };
        match keyword {
            "module" | "submodule" if depth == 0 => {
                module = argument.clone();
                named = argument;
                continue;
            }
            // A submodule's definitions are its module's.
            "belongs-to" if depth == 1 => {
                module = argument.clone();
                named = argument;
                continue;
            }
            "import" if depth == 1 => {
                named = argument;
                continue;
            }
            "prefix" if depth <= 2 => {
                prefixes.insert(argument, named.clone());
                continue;
            }
            "grouping" | "typedef" => {
                let kind = if keyword == "grouping" { Kind::Grouping } else { Kind::Typedef };
                let name = (kind, module.clone(), argument);
                defined.entry(name.clone()).or_default().line = line;
                around.push((depth, name));
                continue;
            }
            _ => {}
        }
        let inside = around.last().map(|(_, name)| name);
        let kind = inside.map(|name| name.0);
        let refers = match (keyword, kind) {
            ("uses", _) => Some(resolve(Kind::Grouping, &argument)),
            ("type", Some(Kind::Typedef)) => Some(resolve(Kind::Typedef, &argument)),
            _ => None,
        };
        let counts = refers.is_some() || source::is_node(keyword);
        let body = match inside {
            Some(name) => defined.entry(name.clone()).or_default(),
            None => &mut top,
        };
        body.own = body.own.saturating_add(u64::from(counts));
        body.refers.extend(refers);
    }
    top
}

struct Sizes<'d, 't> {
    defined: &'d HashMap<Name<'t>, Body<'t>>,
    known: HashMap<&'d Name<'t>, Option<Size>>,
}

#[derive(Clone, Copy)]
struct Size {
    all: u64,
    /// The longest chain of definitions to one that refers to no other.
    chain: usize,
}

impl<'t> Sizes<'_, 't> {
    /// The size with all that is put in; none if that goes too deep, as it does in a circle.
    fn of(&mut self, name: &Name<'t>, depth: usize) -> Option<Size> {
        // What isn't there is libyang's to refuse.
        let Some((name, body)) = self.defined.get_key_value(name) else {
            return Some(Size { all: 0, chain: 0 });
        };
        if let Some(size) = self.known.get(name) {
            return *size;
        }
        if depth > MAX_CHAIN {
            return None;
        }
        let mut size = Some(Size { all: body.own, chain: 0 });
        for inner in &body.refers {
            let inner = self.of(inner, depth + 1);
            size = size.zip(inner).map(|(size, inner)| Size {
                all: size.all.saturating_add(inner.all),
                chain: size.chain.max(inner.chain + 1),
            });
        }
        let size = size.filter(|size| size.chain <= MAX_CHAIN);
        self.known.insert(name, size);
        size
    }
}
