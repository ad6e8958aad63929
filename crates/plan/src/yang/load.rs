//! From texts to a compiled context, with all that is wrong with them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
};

use yang5::context::{Context, ContextFlags};

use super::{
    ModuleText, Yang, YangMistake,
    log::{self, Said},
    size,
    source::{self, Header, Need},
};

/// Mistakes after which the rest is not looked at.
const MAX_MISTAKES: usize = 50;

struct Module<'t> {
    header: Header,
    text: &'t str,
}

/// Compiles all modules as implemented, with all their features.
pub(super) fn context(texts: &[ModuleText]) -> Result<Context, Vec<YangMistake>> {
    let mut mistakes = Vec::new();
    let modules = headers(texts, &mut mistakes);
    let bundled = bundled()?;
    missing(&modules, &bundled, &mut mistakes);
    if modules.is_empty() && mistakes.is_empty() {
        mistakes.push(whole_set("there are no modules"));
    }
    if let Err(mistake) = size::check(modules.iter().map(|module| module.text)) {
        mistakes.push(mistake);
        return Err(sorted(mistakes));
    }
    let folder = Scratch::with(&modules)
        .map_err(|error| vec![whole_set(format!("the system's temporary folder can't be used: {error}"))])?;

    // Each round loads what can be; it ends at a module that can't, since libyang then forgets all of them.
    let mut broken: BTreeSet<String> = mistakes.iter().map(|mistake| mistake.module.clone()).collect();
    let order = order(&modules);
    loop {
        spread(&modules, &mut broken);
        let mut context = empty()?;
        prepare(&mut context, &folder).map_err(|error| vec![whole_set(unusable(&error))])?;
        let loadable = order.iter().filter(|module| {
            let name = &module.header.name;
            !broken.contains(name) && !bundled.get(name).is_some_and(|known| known.implemented)
        });
        let mut stopped = None;
        for module in loadable {
            let Header { name, revision, .. } = &module.header;
            let (loaded, said) =
                log::listen(50, || context.load_module(name, revision.as_deref(), &["*"]).map(drop));
            if let Err(error) = loaded {
                stopped = Some(name);
                mistakes.extend(told(&modules, name, &error, said));
                break;
            }
        }
        match stopped {
            Some(name) if mistakes.len() < MAX_MISTAKES => broken.insert(name.clone()),
            Some(_) => return Err(sorted(mistakes)),
            None => return compile(context, &modules, mistakes),
        };
    }
}

/// Compiles what has been loaded, and shuts the context off from the file system.
fn compile(
    mut context: Context,
    modules: &[Module<'_>],
    mut mistakes: Vec<YangMistake>,
) -> Result<Context, Vec<YangMistake>> {
    // No modules to add: what was loaded before is compiled.
    let (compiled, said) = log::listen(50, || context.load_modules(&[]));
    if let Err(error) = compiled {
        mistakes.extend(told(modules, "", &error, said));
    }
    if !mistakes.is_empty() {
        return Err(sorted(mistakes));
    }
    let shut =
        context.unset_searchdirs().and_then(|()| context.set_options(ContextFlags::DISABLE_SEARCHDIRS));
    shut.map_err(|error| vec![whole_set(unusable(&error))])?;
    Ok(context)
}

fn sorted(mut mistakes: Vec<YangMistake>) -> Vec<YangMistake> {
    mistakes.sort();
    mistakes.dedup();
    mistakes
}

fn unusable(error: &yang5::Error) -> String {
    format!("libyang can't be set up: {error}")
}

fn whole_set(message: impl Into<String>) -> YangMistake {
    YangMistake { module: String::new(), line: 1, message: message.into() }
}

/// A context with nothing but what libyang brings along.
fn empty() -> Result<Context, Vec<YangMistake>> {
    // A device may bring ietf-yang-library in another revision than libyang's. Type plugins from the file
    // system are not wanted.
    let flags = ContextFlags::NO_YANGLIBRARY
        | ContextFlags::DISABLE_SEARCHDIR_CWD
        | ContextFlags::from_bits_retain(yang5::ffi::LY_CTX_STATIC_PLUGINS_ONLY);
    let context = Context::new(flags).map_err(|error| vec![whole_set(unusable(&error))])?;
    log::ready(&context);
    Ok(context)
}

fn prepare(context: &mut Context, folder: &Scratch) -> Result<(), yang5::Error> {
    context.set_searchdir(&folder.0)?;
    context.set_options(ContextFlags::from_bits_retain(yang5::ffi::LY_CTX_EXPLICIT_COMPILE))
}

/// A module that libyang brings along.
struct Bundled {
    revision: Option<String>,
    implemented: bool,
}

fn bundled() -> Result<BTreeMap<String, Bundled>, Vec<YangMistake>> {
    let context = empty()?;
    let modules = context.modules(false).map(|module| {
        let revision = module.revision().map(str::to_owned);
        (module.name().to_owned(), Bundled { revision, implemented: module.is_implemented() })
    });
    Ok(modules.collect())
}

/// Reads what each text is. Texts that are there twice are taken once.
fn headers<'t>(texts: &'t [ModuleText], mistakes: &mut Vec<YangMistake>) -> Vec<Module<'t>> {
    let size = texts.iter().map(|module| module.text.len()).fold(0, usize::saturating_add);
    if texts.len() > Yang::MAX_MODULES || size > Yang::MAX_SET_BYTES {
        let limit = Yang::MAX_SET_BYTES >> 20;
        mistakes.push(whole_set(format!(
            "a set may have {} modules with {limit} MiB of text",
            Yang::MAX_MODULES
        )));
        return Vec::new();
    }
    let mut modules: Vec<Module<'_>> = Vec::with_capacity(texts.len());
    let mut places: BTreeMap<(String, Option<String>), usize> = BTreeMap::new();
    for ModuleText { name, text, .. } in texts {
        let mut mistake = |line, message: String| {
            mistakes.push(YangMistake { module: name.clone(), line, message });
        };
        if text.len() > Yang::MAX_MODULE_BYTES {
            mistake(1, format!("is larger than {} MiB", Yang::MAX_MODULE_BYTES >> 20));
            continue;
        }
        let header = match source::header(text) {
            Ok(header) => header,
            Err((line, message)) => {
                mistake(line, message);
                continue;
            }
        };
        if header.name != *name {
            mistake(1, format!("this is the text of {}", header.name));
            continue;
        }
        let known = places.get(&(header.name.clone(), header.revision.clone()));
        match known.and_then(|place| modules.get(*place)) {
            Some(known) if known.text == text => {}
            Some(_) => mistake(1, "is there twice in the same revision, with different texts".to_owned()),
            None => {
                places.insert((header.name.clone(), header.revision.clone()), modules.len());
                modules.push(Module { header, text });
            }
        }
    }
    modules
}

/// Names what modules need and the set has not.
fn missing(modules: &[Module<'_>], bundled: &BTreeMap<String, Bundled>, mistakes: &mut Vec<YangMistake>) {
    let mut there: BTreeMap<(&str, bool), Vec<Option<&str>>> = BTreeMap::new();
    for Module { header, .. } in modules {
        there.entry((&header.name, header.submodule)).or_default().push(header.revision.as_deref());
    }
    for (name, known) in bundled {
        there.entry((name, false)).or_default().push(known.revision.as_deref());
    }
    for Module { header, .. } in modules {
        let imports = header.imports.iter().map(|need| (need, false));
        let includes = header.includes.iter().map(|need| (need, true));
        for (Need { name, revision, line }, submodule) in imports.chain(includes) {
            let what = if submodule { "submodule" } else { "module" };
            let message = match (there.get(&(name.as_str(), submodule)), revision) {
                (None, _) => format!("needs {what} {name}, which is missing: add it to the set"),
                (Some(known), Some(revision)) if !known.contains(&Some(revision)) => {
                    let known: Vec<&str> = known.iter().map(|known| known.unwrap_or("without one")).collect();
                    let known = known.join(", ");
                    format!("needs {what} {name} in revision {revision}; there is {known}: add that revision")
                }
                _ => continue,
            };
            mistakes.push(YangMistake { module: header.name.clone(), line: *line, message });
        }
    }
}

fn needs<'m>(module: &'m Module<'_>) -> impl Iterator<Item = &'m str> {
    module.header.imports.iter().chain(&module.header.includes).map(|need| need.name.as_str())
}

/// Adds all that needs something broken.
fn spread(modules: &[Module<'_>], broken: &mut BTreeSet<String>) {
    loop {
        let more: Vec<String> = modules
            .iter()
            .filter(|module| !broken.contains(&module.header.name))
            .filter(|module| needs(module).any(|name| broken.contains(name)))
            .map(|module| module.header.name.clone())
            .collect();
        if more.is_empty() {
            return;
        }
        broken.extend(more);
    }
}

/// The newest revision of every module (not submodule), each after what it needs.
fn order<'m, 't>(modules: &'m [Module<'t>]) -> Vec<&'m Module<'t>> {
    let mut newest: BTreeMap<&str, &Module<'t>> = BTreeMap::new();
    for module in modules {
        let known = newest.entry(&module.header.name).or_insert(module);
        if known.header.revision < module.header.revision {
            *known = module;
        }
    }
    let (mut order, mut placed) = (Vec::new(), BTreeSet::new());
    // One on the stack twice: the second time its needs have been placed. Circles are libyang's to refuse.
    let mut stack: Vec<(&str, bool)> = newest.keys().rev().map(|name| (*name, false)).collect();
    let mut entered = BTreeSet::new();
    while let Some((name, needs_placed)) = stack.pop() {
        let Some(module) = newest.get(name) else { continue };
        if needs_placed {
            if placed.insert(name) && !module.header.submodule {
                order.push(*module);
            }
        } else if entered.insert(name) {
            stack.push((name, true));
            stack.extend(needs(module).map(|name| (name, false)));
        }
    }
    order
}

/// What libyang said about a module, with lines.
fn told(modules: &[Module<'_>], name: &str, error: &yang5::Error, said: Vec<Said>) -> Vec<YangMistake> {
    let text = |name: &str| modules.iter().find(|module| module.header.name == name).map(|m| m.text);
    let mut found = Vec::new();
    let mut pending = Vec::new();
    for Said { message, schema_path, line, .. } in said {
        // After its mistakes libyang says whose they are, from the inside to the outside.
        if let Some(named) = failed(&message) {
            found.extend(pending.drain(..).map(|(line, message)| YangMistake {
                module: named.to_owned(),
                line,
                message,
            }));
            continue;
        }
        match schema_path.as_deref().and_then(at) {
            // When compiling there are no lines, but nodes.
            Some((module, node)) if line == 0 => {
                let line = text(module).map_or(1, |text| source::line_of(text, node));
                let message = format!("{message} (at {})", schema_path.as_deref().unwrap_or_default());
                found.push(YangMistake { module: module.to_owned(), line, message });
            }
            _ => pending.push((u32::try_from(line).unwrap_or(u32::MAX).max(1), message)),
        }
    }
    let own = |(line, message)| YangMistake { module: name.to_owned(), line, message };
    found.extend(pending.into_iter().map(own));
    if found.is_empty() {
        found.push(own((1, error.to_string())));
    }
    found
}

/// The name in `Parsing module "x" failed.`
fn failed(message: &str) -> Option<&str> {
    let name =
        message.strip_prefix("Parsing module \"").or_else(|| message.strip_prefix("Parsing submodule \""));
    name?.strip_suffix("\" failed.")
}

/// The module and the node that a schema path such as `/m:top/{uses='g'}/leaf` leads to.
fn at(path: &str) -> Option<(&str, &str)> {
    let (module, _) = path.strip_prefix('/')?.split_once(':')?;
    let node = path.rsplit('/').find(|step| !step.starts_with('{')).unwrap_or_default();
    Some((module, node.rsplit(':').next().unwrap_or_default()))
}

/// A folder for the time of loading, as libyang finds imports and submodules by file name.
struct Scratch(PathBuf);

impl Scratch {
    fn with(modules: &[Module<'_>]) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("turnup-yang-{}", uuid::Uuid::new_v4()));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        let folder = Self(path);
        for Module { header, text } in modules {
            // Names and dates have been checked: no path hides in them.
            let file = match &header.revision {
                Some(revision) => format!("{}@{revision}.yang", header.name),
                None => format!("{}.yang", header.name),
            };
            fs::write(folder.0.join(file), text)?;
        }
        Ok(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing to be done if it can't be removed; it is in the temporary folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}
