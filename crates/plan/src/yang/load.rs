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

/// How often modules are read and compiled again without one that can't be used; each takes up to seconds.
const MAX_ATTEMPTS: usize = 100;

struct Module<'t> {
    header: Header,
    text: &'t str,
}

/// What of a set can be used.
pub(super) struct Usable {
    pub(super) context: Context,
    /// How many modules and submodules that is.
    pub(super) modules: usize,
    /// What was left out, and why; also a text that another of the same revision contradicts.
    pub(super) left_out: Vec<YangMistake>,
}

/// Compiles the modules as implemented, with all their features. One that can't be used is left out together
/// with those that need it, and so is one that is `ignored`.
pub(super) fn usable(texts: &[ModuleText], ignored: &BTreeSet<String>) -> Result<Usable, Vec<YangMistake>> {
    let (mut mistakes, mut notes) = (Vec::new(), Vec::new());
    let mut modules = headers(texts, &mut mistakes, &mut notes);
    let bundled = bundled()?;
    modules.retain(|module| !ignored.contains(&module.header.name));
    missing(&modules, &bundled, ignored, &mut mistakes);
    mistakes.extend(ignored.iter().map(|name| YangMistake {
        module: name.clone(),
        line: 1,
        message: Yang::LEFT_OUT_BY_CHOICE.to_owned(),
    }));
    if modules.is_empty() && mistakes.is_empty() {
        mistakes.push(whole_set("there are no modules"));
    }
    let mut attempts = 0;
    while let Err(mistake) = size::check(modules.iter().map(|module| module.text)) {
        attempts += 1;
        let whole = mistake.module.is_empty();
        modules.retain(|module| module.header.name != mistake.module);
        mistakes.push(mistake);
        if whole || attempts == MAX_ATTEMPTS {
            return Err(sorted(mistakes));
        }
    }
    // What needs a module that has just been taken out has no other mistake.
    let taken: BTreeSet<String> = mistakes.iter().map(|mistake| mistake.module.clone()).collect();
    let folder = Scratch::with(&modules)
        .map_err(|error| vec![whole_set(format!("the system's temporary folder can't be used: {error}"))])?;
    let order = order(&modules);
    let mut set =
        Set { modules: &modules, bundled: &bundled, folder: &folder, broken: taken, mistakes, attempts };
    let context = loop {
        set.spread();
        let loadable: Vec<&Module<'_>> =
            order.iter().copied().filter(|module| set.is_loadable(&module.header.name)).collect();
        if loadable.is_empty() && !set.mistakes.is_empty() {
            return Err(sorted(set.mistakes));
        }
        match set.attempt(&loadable)? {
            Attempt::Compiled(context) => break context,
            Attempt::Unread(name, told) => set.leave_out(&name, told),
            Attempt::Uncompiled(told) => {
                let (name, told) = set.culprit(&loadable, told)?;
                set.leave_out(&name, told);
            }
        }
    };
    let Set { broken, mut mistakes, .. } = set;
    mistakes.extend(notes);
    let used = modules.iter().filter(|module| !broken.contains(&module.header.name)).count();
    Ok(Usable { context: shut(context)?, modules: used, left_out: sorted(mistakes) })
}

/// A set on its way to what can be used of it.
struct Set<'s> {
    modules: &'s [Module<'s>],
    bundled: &'s BTreeMap<String, Bundled>,
    folder: &'s Scratch,
    /// Names of modules and submodules that are left out.
    broken: BTreeSet<String>,
    mistakes: Vec<YangMistake>,
    attempts: usize,
}

/// What came of loading modules into a new context.
enum Attempt {
    Compiled(Context),
    /// This module can't be read.
    Unread(String, Vec<YangMistake>),
    /// All can be read; together they can't be compiled.
    Uncompiled(Vec<YangMistake>),
}

impl Set<'_> {
    fn is_loadable(&self, name: &str) -> bool {
        !self.broken.contains(name) && !self.bundled.get(name).is_some_and(|known| known.implemented)
    }

    /// Leaves out what needs a module that is left out.
    fn spread(&mut self) {
        loop {
            let mut more = Vec::new();
            for module in self.modules.iter().filter(|module| !self.broken.contains(&module.header.name)) {
                let Header { name, imports, includes, .. } = &module.header;
                let need = imports.iter().chain(includes).find(|need| self.broken.contains(&need.name));
                more.extend(need.map(|need| YangMistake {
                    module: name.clone(),
                    line: need.line,
                    message: format!("needs {}, which is left out", need.name),
                }));
            }
            if more.is_empty() {
                return;
            }
            self.broken.extend(more.iter().map(|mistake| mistake.module.clone()));
            self.mistakes.extend(more);
        }
    }

    /// Loads and compiles; libyang forgets all modules at the first that it refuses, so each attempt begins anew.
    fn attempt(&mut self, loadable: &[&Module<'_>]) -> Result<Attempt, Vec<YangMistake>> {
        self.attempts += 1;
        if self.attempts > MAX_ATTEMPTS {
            let mut mistakes = self.mistakes.clone();
            mistakes.push(whole_set(format!(
                "too many modules can't be used: given up after {MAX_ATTEMPTS} attempts; take them out of the set"
            )));
            return Err(sorted(mistakes));
        }
        let mut context = empty()?;
        prepare(&mut context, self.folder).map_err(|error| vec![whole_set(unusable(&error))])?;
        for module in loadable {
            let Header { name, revision, .. } = &module.header;
            let (loaded, said) =
                log::listen(50, || context.load_module(name, revision.as_deref(), &["*"]).map(drop));
            if let Err(error) = loaded {
                return Ok(Attempt::Unread(name.clone(), told(self.modules, name, &error, said)));
            }
        }
        // No modules to add: what was loaded before is compiled.
        let (compiled, said) = log::listen(50, || context.load_modules(&[]));
        Ok(match compiled {
            Ok(()) => Attempt::Compiled(context),
            Err(error) => Attempt::Uncompiled(told(self.modules, "", &error, said)),
        })
    }

    /// The module that is to blame when a set can't be compiled, with what is wrong. libyang names the node; where
    /// another module may have made it wrong, by an augment or a deviation, the first one after which the set
    /// can't be compiled any more is looked for.
    fn culprit(
        &mut self,
        loadable: &[&Module<'_>],
        mut told: Vec<YangMistake>,
    ) -> Result<(String, Vec<YangMistake>), Vec<YangMistake>> {
        let blamed = told.first().map(|mistake| mistake.module.clone()).unwrap_or_default();
        let is_needed = loadable.iter().any(|module| needs(module).any(|name| name == blamed));
        if !is_needed && loadable.iter().any(|module| module.header.name == blamed) {
            return Ok((blamed, told));
        }
        let (mut good, mut bad) = (0, loadable.len());
        while bad - good > 1 {
            let middle = good.midpoint(bad);
            match self.attempt(loadable.get(..middle).unwrap_or_default())? {
                Attempt::Compiled(_) => good = middle,
                Attempt::Unread(_, found) | Attempt::Uncompiled(found) => (bad, told) = (middle, found),
            }
        }
        let name = loadable.get(good).map(|module| module.header.name.clone()).unwrap_or_default();
        Ok((name, told))
    }

    /// Leaves a module out, and its submodule where that is to blame.
    fn leave_out(&mut self, name: &str, told: Vec<YangMistake>) {
        self.broken.insert(name.to_owned());
        for mut mistake in told {
            let is_submodule =
                |module: &Module<'_>| module.header.submodule && module.header.name == mistake.module;
            if self.modules.iter().any(is_submodule) {
                self.broken.insert(mistake.module.clone());
            } else if mistake.module != name {
                // The node is of a module that is kept.
                (mistake.module, mistake.line) = (name.to_owned(), 1);
            }
            self.mistakes.push(mistake);
        }
    }
}

/// Shuts a context off from the file system.
fn shut(mut context: Context) -> Result<Context, Vec<YangMistake>> {
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
fn headers<'t>(
    texts: &'t [ModuleText],
    mistakes: &mut Vec<YangMistake>,
    notes: &mut Vec<YangMistake>,
) -> Vec<Module<'t>> {
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
            Some(_) => {
                let message = "is there twice in the same revision, with different texts; the first is used";
                notes.push(YangMistake { module: name.clone(), line: 1, message: message.to_owned() });
            }
            None => {
                places.insert((header.name.clone(), header.revision.clone()), modules.len());
                modules.push(Module { header, text });
            }
        }
    }
    modules
}

/// Names what modules need and the set has not.
fn missing(
    modules: &[Module<'_>],
    bundled: &BTreeMap<String, Bundled>,
    ignored: &BTreeSet<String>,
    mistakes: &mut Vec<YangMistake>,
) {
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
        let needs = imports.chain(includes).filter(|(need, _)| !ignored.contains(&need.name));
        for (Need { name, revision, line }, submodule) in needs {
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
