//! Checking configuration against a platform's YANG modules (RFC 7950), without a device.
//!
//! libyang compiles the modules and judges values; this module judges structure, because what is checked
//! is only the part of a configuration that one service holds on one device. So these are found:
//! unknown elements, state nodes, missing keys, values outside of their types, things given twice, data of
//! two cases of one choice, too many entries, and inside of nodes that belong to the service as a whole
//! mandatory nodes and entries that are missing. What may be elsewhere on the device is not asked for: targets
//! of leafrefs and instance-identifiers, `must`, `when`, `unique`, and anything mandatory in nodes that the
//! footprint only passes through. A node with a `when` is never demanded, for whether it applies may
//! depend on the rest of the device.
//!
//! Every feature of every module counts as supported: which ones a device has, module texts don't say.
//!
//! Invariants:
//! - A check does no input or output and never looks a module up; a [`Yang`] does not change once made.
//! - Everything is bounded: module texts, configuration, violations, contexts kept.

mod cache;
mod canonical;
mod inside;
mod load;
mod log;
mod size;
mod source;
mod walk;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest, Sha256};
use turnup_core::nodes::NodeFacts;
use turnup_netconf::{
    model::child_path,
    xml::{Element, Limits, parse_str},
};
use yang5::{
    context::Context,
    data::{DataFormat, DataParserFlags, DataTree, DataValidationFlags},
    schema::{SchemaNode, SchemaNodeKind},
};

pub use self::cache::YangCache;
pub(crate) use self::canonical::Canonical;
use crate::{mistake::Mistake, template::MAX_OUTPUT_BYTES};

/// One YANG module's or submodule's text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModuleText {
    /// Name of the module or submodule; its text must have the same.
    pub name: String,
    /// Where it comes from names this revision. The text decides.
    pub revision: Option<String>,
    /// YANG in its compact syntax (not YIN).
    pub text: String,
}

/// What is wrong with a module of a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct YangMistake {
    /// Name of the module or submodule; empty where the set as a whole is meant.
    pub module: String,
    /// Line of its text, counted from 1; 1 where the whole module is meant.
    pub line: u32,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for YangMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { module, line, message } = self;
        if module.is_empty() { f.write_str(message) } else { write!(f, "module {module}:{line}: {message}") }
    }
}

/// Where configuration breaks what the modules say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The node, as `/interfaces/interface[name='ge-0/0/1']/mtu`; `/` for the configuration as a whole.
    pub path: String,
    /// What is wrong, for the designer of the template or who gave the value.
    pub reason: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

/// A compiled set of YANG modules. Cheap to clone; many threads check with one at once.
#[derive(Clone)]
pub struct Yang(Arc<Inner>);

struct Inner {
    context: Context,
    digest: String,
    modules: usize,
    left_out: Vec<YangMistake>,
    /// By namespace of the top node and path; of each its own namespace.
    lists: BTreeMap<String, BTreeMap<String, Vec<(String, List)>>>,
    kinds: canonical::KnownKinds,
}

/// What identifies the entries of a list or leaf-list, and whether their order counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct List {
    /// Names of the key leaves, in order; `.` alone for a leaf-list. Empty: the node is no list, though lists
    /// elsewhere have its name.
    pub keys: Vec<String>,
    /// The user gives the order (`ordered-by user`, RFC 7950 §7.7.7).
    pub ordered: bool,
}

impl fmt::Debug for Yang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Yang").field("digest", &self.0.digest).finish_non_exhaustive()
    }
}

impl Yang {
    /// Most modules and submodules in a set.
    pub const MAX_MODULES: usize = 2000;
    /// Size of one module's text in bytes; the largest of vendors have some 10 MiB.
    pub const MAX_MODULE_BYTES: usize = turnup_core::piece::MAX_WHOLE_BYTES;
    /// Size of all texts of a set in bytes.
    pub const MAX_SET_BYTES: usize = 64 << 20;
    /// Most violations that one check tells of.
    pub const MAX_VIOLATIONS: usize = 20;

    /// Compiles a set of modules. Of a module that is there in several revisions the newest counts, the
    /// others serve those that import them by revision. Slow for large sets (seconds), and blocking: the
    /// texts go through a folder in the system's temporary one, which is gone again afterwards.
    ///
    /// A module that is no YANG, can't be compiled with the others, or needs a module or submodule that is missing
    /// is left out, with those that need it: [`Yang::left_out`].
    ///
    /// # Errors
    /// Every mistake, if no module can be used.
    pub fn from_texts(modules: Vec<ModuleText>) -> Result<Self, Vec<YangMistake>> {
        Self::compile(&modules, Vec::new())
    }

    /// Compiles a set of which `unread` could not even be read.
    fn compile(modules: &[ModuleText], unread: Vec<YangMistake>) -> Result<Self, Vec<YangMistake>> {
        let digest = digest(modules);
        let load::Usable { context, modules, mut left_out } = load::usable(modules)?;
        left_out.extend(unread);
        left_out.sort();
        let lists = lists(&context);
        let kinds = canonical::KnownKinds::default();
        Ok(Self(Arc::new(Inner { context, digest, modules, left_out, lists, kinds })))
    }

    /// Compiles the files `*.yang` of a folder, not of folders in it. Blocking.
    ///
    /// # Errors
    /// As [`Yang::from_texts`], and files that can't be read or are too large, each with its file.
    pub fn load_folder(dir: &Path) -> Result<Self, Vec<Mistake>> {
        let (modules, files, unread) = read_folder(dir)?;
        let in_file = |YangMistake { module, line, message }| {
            let file = files.get(&module).cloned().unwrap_or_else(|| dir.to_owned());
            Mistake { file, line, message }
        };
        if modules.is_empty() && !unread.is_empty() {
            return Err(unread.into_iter().map(in_file).collect());
        }
        Self::compile(&modules, unread.clone())
            .map_err(|mistakes| mistakes.into_iter().chain(unread).map(in_file).collect())
    }

    /// SHA-256 of the set in hex, whatever order its texts came in.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.0.digest
    }

    /// How many modules and submodules the set was compiled from, without those left out.
    #[must_use]
    pub fn modules(&self) -> usize {
        self.0.modules
    }

    /// The modules and submodules of the set that it was compiled without, and why; also a text that was not
    /// used because there is another of the same revision.
    #[must_use]
    pub fn left_out(&self) -> &[YangMistake] {
        &self.0.left_out
    }

    /// Namespaces in `tree` that no module of the set has: what is in them is not checked.
    pub(crate) fn unchecked<'e>(&self, tree: &'e [Element]) -> BTreeSet<&'e str> {
        walk::unchecked(&self.0.context, tree)
    }

    /// The list or leaf-list at a path of local names from the top, such as `interfaces/interface`, below a
    /// node of the namespace `top`; also a node that has the name of a list but is none. `own` is its own
    /// namespace: another module may put a node of the same name there.
    #[must_use]
    pub fn list(&self, top: &str, path: &str, own: &str) -> Option<&List> {
        let nodes = self.0.lists.get(top)?.get(path)?;
        nodes.iter().find(|(namespace, _)| namespace == own).map(|(_, list)| list)
    }

    /// Configuration with values in canonical form, and what is known of its nodes; none if there is a value
    /// that can't be read. `config` is `tree`, written by `to_xml`.
    pub(crate) fn canonical(&self, tree: &[Element], config: &str) -> Option<Canonical> {
        canonical::canonical(&self.0.context, &self.0.kinds, tree, config)
    }

    /// Adds to what is known of `tree` what a device may show inside of the nodes that `is_owned` says of:
    /// defaults, and containers that say nothing.
    pub(crate) fn add_inside(
        &self,
        tree: &[Element],
        is_owned: &dyn Fn(&str) -> bool,
        facts: &mut NodeFacts,
    ) {
        inside::add(&self.0.context, tree, is_owned, facts);
    }

    /// Checks content of `<config>` (RFC 6241 §7.2): elements without operations.
    ///
    /// `whole` is asked with paths of local names from the top, such as `interfaces/interface/unit`: is a
    /// node there given as a whole (the service adds and removes all of it), so that nothing mandatory may be
    /// missing in it? It is not asked about what lies inside such a node. Anything else is taken as passed
    /// through: it may have more on the device than is given here.
    ///
    /// # Errors
    /// The violations, at most [`Yang::MAX_VIOLATIONS`], in order of their paths.
    pub fn check(&self, config: &str, whole: &dyn Fn(&str) -> bool) -> Result<(), Vec<Violation>> {
        const OPEN: &str = "<config>";
        let limits =
            Limits { max_bytes: MAX_OUTPUT_BYTES + 64, max_depth: 64, max_attributes: 32, max_nodes: 50_000 };
        let root = parse_str(&format!("{OPEN}{config}</config>"), &limits)
            .map_err(|error| vec![Violation { path: "/".to_owned(), reason: error.to_string() }])?;
        if !root.text().is_empty() {
            let reason = "text stands outside of the elements".to_owned();
            return Err(vec![Violation { path: "/".to_owned(), reason }]);
        }
        let tree: Vec<Element> = root.into_children().collect();
        // libyang does not read all of XML (text after a comment), but what is written here.
        self.check_tree(&tree, &crate::footprint::to_xml(&tree), whole, false)
    }

    /// [`Yang::check`] of configuration that has been parsed already: `config` is `tree`, written by `to_xml`.
    /// `values_are_good`: all of its values have been read by these modules.
    pub(crate) fn check_tree(
        &self,
        tree: &[Element],
        config: &str,
        whole: &dyn Fn(&str) -> bool,
        values_are_good: bool,
    ) -> Result<(), Vec<Violation>> {
        let structure = walk::walk(&self.0.context, tree, whole);
        let mut found = structure.violations;
        let values = if values_are_good {
            Vec::new()
        } else if structure.unusable.is_empty() {
            self.values(config)
        } else {
            // libyang judges the values of what is left.
            self.values(&crate::footprint::to_xml(&walk::without(tree, &structure.unusable)))
        };
        if !values.is_empty() {
            found.extend(walk::complete(&self.0.context, tree, values));
        }
        if found.is_empty() {
            return Ok(());
        }
        Err(found.into_iter().take(Self::MAX_VIOLATIONS).collect())
    }

    /// What libyang says of the values.
    fn values(&self, config: &str) -> Vec<Violation> {
        if config.contains('\0') {
            // No XML, and no C string.
            return vec![Violation { path: "/".to_owned(), reason: "holds a NUL character".to_owned() }];
        }
        let context = &self.0.context;
        let options = DataParserFlags::STRICT | DataParserFlags::NO_VALIDATION | DataParserFlags::NO_STATE;
        let every = DataValidationFlags::from_bits_retain(yang5::ffi::LYD_VALIDATE_MULTI_ERROR);
        let (parsed, heard) = log::listen(2 * Yang::MAX_VIOLATIONS, || {
            DataTree::parse_string(context, config, DataFormat::XML, options, every).map(drop)
        });
        let Err(error) = parsed else { return Vec::new() };
        let mut found: Vec<Violation> = heard
            .into_iter()
            // Keys are all there; an entry lacks one here only if the key's value is bad, which is told too.
            .filter(|said| !said.message.starts_with("List instance is missing its key"))
            .map(|said| Violation {
                path: walk::plain_path(said.data_path.or(said.schema_path).as_deref().unwrap_or("/")),
                reason: said.message,
            })
            .collect();
        if found.is_empty() {
            let path = walk::plain_path(error.path.as_deref().unwrap_or("/"));
            found.push(Violation { path, reason: error.to_string() });
        }
        found
    }
}

/// Names of the modules and submodules that a text imports and includes (RFC 7950 §7.1.5, §7.1.6), none for a text
/// that is no YANG.
#[must_use]
pub fn modules_needed(text: &str) -> Vec<String> {
    let Ok(header) = source::header(text) else { return Vec::new() };
    header.imports.into_iter().chain(header.includes).map(|need| need.name).collect()
}

/// Digest of a set of texts, whatever their order.
fn digest(modules: &[ModuleText]) -> String {
    let mut texts: Vec<&str> = modules.iter().map(|module| module.text.as_str()).collect();
    texts.sort_unstable();
    texts.dedup();
    let mut sha = Sha256::new();
    for text in texts {
        sha.update((text.len() as u64).to_be_bytes());
        sha.update(text);
    }
    sha.finalize().iter().fold(String::with_capacity(64), |hex, byte| hex + &format!("{byte:02x}"))
}

/// All lists and leaf-lists, and what else has their names.
fn lists(context: &Context) -> BTreeMap<String, BTreeMap<String, Vec<(String, List)>>> {
    fn collect<'c>(
        nodes: impl Iterator<Item = SchemaNode<'c>>,
        path: &str,
        found: &mut Vec<(String, String, String, Option<List>)>,
        namespace: &str,
    ) {
        for node in nodes.filter(|node| !node.is_state()) {
            let list = match node.kind() {
                SchemaNodeKind::Choice | SchemaNodeKind::Case => {
                    collect(node.children(), path, found, namespace);
                    continue;
                }
                SchemaNodeKind::List => {
                    let keys = node.list_keys().map(|key| key.name().to_owned()).collect();
                    Some(List { keys, ordered: node.is_user_ordered() })
                }
                SchemaNodeKind::LeafList => {
                    Some(List { keys: vec![".".to_owned()], ordered: node.is_user_ordered() })
                }
                SchemaNodeKind::Container | SchemaNodeKind::Leaf => None,
                _ => continue,
            };
            let here = child_path(path, node.name());
            if matches!(node.kind(), SchemaNodeKind::List | SchemaNodeKind::Container) {
                collect(node.children(), &here, found, namespace);
            }
            found.push((namespace.to_owned(), here, node.module().namespace().to_owned(), list));
        }
    }
    let mut found = Vec::new();
    for module in context.modules(false) {
        collect(module.data(), "", &mut found, module.namespace());
    }
    let name = |path: &str| path.rsplit_once('/').map_or(path, |(_, name)| name).to_owned();
    let names: BTreeSet<String> =
        found.iter().filter(|(.., list)| list.is_some()).map(|(_, path, ..)| name(path)).collect();
    let mut lists: BTreeMap<String, BTreeMap<String, Vec<(String, List)>>> = BTreeMap::new();
    for (top, path, own, list) in found {
        if list.is_some() || names.contains(&name(&path)) {
            lists.entry(top).or_default().entry(path).or_default().push((own, list.unwrap_or_default()));
        }
    }
    lists
}

/// Module → its file.
type Files = HashMap<String, PathBuf>;

/// The texts of a folder, their files, and the files that can't be read, by their names.
fn read_folder(dir: &Path) -> Result<(Vec<ModuleText>, Files, Vec<YangMistake>), Vec<Mistake>> {
    let whole = |message: String| vec![Mistake { file: dir.to_owned(), line: 1, message }];
    let entries = std::fs::read_dir(dir).map_err(|error| whole(format!("can't be read: {error}")))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| whole(format!("can't be read: {error}")))?.path();
        if path.extension().is_some_and(|extension| extension == "yang") {
            paths.push(path);
        }
        if paths.len() > Yang::MAX_MODULES {
            return Err(whole(format!(
                "has more than {} modules; keep only those that are needed",
                Yang::MAX_MODULES
            )));
        }
    }
    paths.sort();
    let (mut modules, mut files, mut mistakes) = (Vec::new(), HashMap::new(), Vec::new());
    let mut left = Yang::MAX_SET_BYTES;
    for path in paths {
        let read = read_text(&path, left.min(Yang::MAX_MODULE_BYTES)).map_err(|message| (1, message));
        let header = read.and_then(|text| source::header(&text).map(|header| (header, text)));
        match header {
            Ok((header, text)) => {
                left -= text.len();
                files.insert(header.name.clone(), path);
                modules.push(ModuleText { name: header.name, revision: header.revision, text });
            }
            Err((line, message)) => {
                let module = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                mistakes.push(YangMistake { module: module.clone(), line, message });
                files.entry(module).or_insert(path);
            }
        }
    }
    Ok((modules, files, mistakes))
}

fn read_text(path: &Path, limit: usize) -> Result<String, String> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(limit as u64 + 1).read_to_string(&mut text))
        .map_err(|error| format!("can't be read: {error}"))?;
    if text.len() > limit {
        return Err(format!(
            "is too large: a module may have {} MiB, a set {} MiB",
            Yang::MAX_MODULE_BYTES >> 20,
            Yang::MAX_SET_BYTES >> 20
        ));
    }
    Ok(text)
}
