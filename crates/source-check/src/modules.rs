//! The modules of one crate, and the files that its paths lead to.

use std::collections::BTreeMap;
use std::path::Path;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::visit_mut::{self, VisitMut};
use syn::{Item, UseTree, Visibility};

use crate::Result;
use crate::source::{Source, paths};

/// What a name in a module is.
enum Name {
    Module(usize),
    Item,
    Import(Vec<String>),
}

struct Module {
    /// From the root of the crate, which is empty.
    path: Vec<String>,
    parent: Option<usize>,
    file: String,
    names: BTreeMap<String, Name>,
    globs: Vec<Vec<String>>,
}

/// Where a path leads.
#[derive(Clone, Copy)]
enum Target {
    Module(usize),
    /// Something that is defined in the module.
    Item(usize),
}

/// A path in the source.
struct Mention {
    module: usize,
    path: Vec<String>,
    line: usize,
    /// From a `use` item.
    imported: bool,
    reexported: bool,
}

/// One file that needs another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    pub from: String,
    pub line: usize,
    pub to: String,
    pub path: String,
}

/// How deep a chain of re-exports may be; a circle of them ends here.
const DEEPEST: usize = 16;

#[derive(Default)]
pub struct Crate {
    modules: Vec<Module>,
    mentions: Vec<Mention>,
    pub sources: BTreeMap<String, Source>,
}

impl Crate {
    /// Reads the crate of a root file such as `src/lib.rs`, without its tests.
    pub fn read(root: &Path, file: &str) -> Result<Crate> {
        let mut read = Crate::default();
        read.file(root, file, Vec::new(), None)?;
        Ok(read)
    }

    fn file(
        &mut self,
        root: &Path,
        file: &str,
        path: Vec<String>,
        parent: Option<usize>,
    ) -> Result<usize> {
        let mut source = Source::read(root, file)?;
        let items = std::mem::take(&mut source.code.items);
        self.sources.insert(file.to_owned(), source);
        let (folder, stem) = file
            .strip_suffix(".rs")
            .and_then(|file| file.rsplit_once('/'))
            .ok_or_else(|| format!("{file} is in no folder"))?;
        let is_folder = path.is_empty() || stem == "mod";
        let children = if is_folder {
            folder.to_owned()
        } else {
            format!("{folder}/{stem}")
        };
        self.module(root, file, &children, path, parent, items)
    }

    fn module(
        &mut self,
        root: &Path,
        file: &str,
        children: &str,
        path: Vec<String>,
        parent: Option<usize>,
        items: Vec<Item>,
    ) -> Result<usize> {
        let id = self.modules.len();
        self.modules.push(Module {
            path: path.clone(),
            parent,
            file: file.to_owned(),
            names: BTreeMap::new(),
            globs: Vec::new(),
        });
        for mut item in items {
            if let Item::Mod(module) = item {
                let name = module.ident.to_string();
                let mut path = path.clone();
                path.push(name.clone());
                let child = match module.content {
                    Some((_, items)) => {
                        let children = format!("{children}/{name}");
                        self.module(root, file, &children, path, Some(id), items)?
                    }
                    None => {
                        let flat = format!("{children}/{name}.rs");
                        let nested = format!("{children}/{name}/mod.rs");
                        let file = if root.join(&flat).is_file() {
                            flat
                        } else {
                            nested
                        };
                        self.file(root, &file, path, Some(id))?
                    }
                };
                self.define(id, name, Name::Module(child));
                continue;
            }
            let mut uses = Uses::default();
            if let Item::Use(item) = &item {
                uses.list(item);
            } else {
                uses.visit_item_mut(&mut item);
                if let Some(name) = name_of(&item) {
                    self.define(id, name, Name::Item);
                }
                let mut found = Vec::new();
                paths(&item.to_token_stream(), &mut found);
                self.mentions
                    .extend(found.into_iter().map(|(path, line)| Mention {
                        module: id,
                        path,
                        line,
                        imported: false,
                        reexported: false,
                    }));
            }
            self.import(id, uses);
        }
        Ok(id)
    }

    fn define(&mut self, module: usize, name: String, meaning: Name) {
        if let Some(module) = self.modules.get_mut(module) {
            let is_import = matches!(meaning, Name::Import(_));
            // A macro and the `use` that lets it out have one name.
            if !is_import || !module.names.contains_key(&name) {
                module.names.insert(name, meaning);
            }
        }
    }

    fn import(&mut self, module: usize, uses: Uses) {
        for used in uses.found {
            match used.name {
                Some(name) => self.define(module, name, Name::Import(used.path.clone())),
                None => {
                    if let Some(module) = self.modules.get_mut(module) {
                        module.globs.push(used.path.clone());
                    }
                }
            }
            self.mentions.push(Mention {
                module,
                path: used.path,
                line: used.line,
                imported: true,
                reexported: used.reexported,
            });
        }
    }

    /// Which file needs which. A module file that only passes on what its own children define does not.
    pub fn edges(&self) -> Vec<Edge> {
        let mut edges: Vec<Edge> = self.mentions.iter().filter_map(|m| self.edge(m)).collect();
        edges.sort();
        edges.dedup();
        edges
    }

    fn edge(&self, mention: &Mention) -> Option<Edge> {
        let from = self.modules.get(mention.module)?;
        let rooted = matches!(mention.path.first()?.as_str(), "crate" | "self" | "super");
        if !mention.imported && !rooted {
            // `Type::function` is told by the `use` of the type.
            let first = mention.path.get(..1)?;
            let Target::Module(_) = self.resolve(mention.module, first, 0)? else {
                return None;
            };
        }
        let (Target::Module(to) | Target::Item(to)) =
            self.resolve(mention.module, &mention.path, 0)?;
        let to = self.modules.get(to)?;
        let passed_on = mention.reexported && to.path.starts_with(&from.path);
        (from.file != to.file && !passed_on).then(|| Edge {
            from: from.file.clone(),
            line: mention.line,
            to: to.file.clone(),
            path: mention.path.join("::"),
        })
    }

    /// `None` is another crate, or nothing that is written in the source.
    fn resolve(&self, from: usize, path: &[String], depth: usize) -> Option<Target> {
        let (first, rest) = path.split_first()?;
        let start = match first.as_str() {
            "crate" => Target::Module(0),
            "self" => Target::Module(from),
            "super" => Target::Module(self.modules.get(from)?.parent?),
            name => self.look_up(from, name, depth)?,
        };
        let mut target = start;
        for name in rest {
            let Target::Module(module) = target else {
                break;
            };
            target = if name == "super" {
                Target::Module(self.modules.get(module)?.parent?)
            } else {
                // What a macro defines is found nowhere; it is in the module all the same.
                self.look_up(module, name, depth)
                    .unwrap_or(Target::Item(module))
            };
        }
        Some(target)
    }

    fn look_up(&self, module: usize, name: &str, depth: usize) -> Option<Target> {
        if depth > DEEPEST {
            return None;
        }
        let within = self.modules.get(module)?;
        match within.names.get(name) {
            Some(Name::Module(child)) => Some(Target::Module(*child)),
            Some(Name::Item) => Some(Target::Item(module)),
            // `use entra_token::X` and the like names another crate, even if it has our name.
            Some(Name::Import(path)) if path.first().is_some_and(|first| first != name) => {
                self.resolve(module, path, depth + 1)
            }
            Some(Name::Import(_)) => None,
            None => within.globs.iter().find_map(|path| {
                // A glob's own path is not looked for in globs: most lead into other crates.
                let first = path.first()?;
                let rooted = matches!(first.as_str(), "crate" | "self" | "super");
                if !rooted && !within.names.contains_key(first) {
                    return None;
                }
                match self.resolve(module, path, depth + 1)? {
                    Target::Module(of) if of != module => self.look_up(of, name, depth + 1),
                    _ => None,
                }
            }),
        }
    }
}

struct Used {
    path: Vec<String>,
    /// `None` for a glob.
    name: Option<String>,
    line: usize,
    reexported: bool,
}

/// Collects `use` items, and takes those within functions out.
#[derive(Default)]
struct Uses {
    found: Vec<Used>,
}

impl Uses {
    fn list(&mut self, item: &syn::ItemUse) {
        if item.leading_colon.is_none() {
            let reexported = !matches!(item.vis, Visibility::Inherited);
            self.tree(&item.tree, &mut Vec::new(), reexported);
        }
    }

    fn tree(&mut self, tree: &UseTree, prefix: &mut Vec<String>, reexported: bool) {
        let (ident, name) = match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.tree(&path.tree, prefix, reexported);
                prefix.pop();
                return;
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(tree, prefix, reexported);
                }
                return;
            }
            UseTree::Glob(glob) => {
                let line = glob
                    .star_token
                    .spans
                    .first()
                    .map_or(0, |span| span.start().line);
                self.found.push(Used {
                    path: prefix.clone(),
                    name: None,
                    line,
                    reexported,
                });
                return;
            }
            UseTree::Name(name) => (&name.ident, None),
            UseTree::Rename(rename) => (&rename.ident, Some(rename.rename.to_string())),
        };
        let mut path = prefix.clone();
        if ident != "self" || path.is_empty() {
            path.push(ident.to_string());
        }
        self.found.push(Used {
            name: name.or_else(|| path.last().cloned()),
            path,
            line: ident.span().start().line,
            reexported,
        });
    }
}

impl VisitMut for Uses {
    fn visit_block_mut(&mut self, block: &mut syn::Block) {
        block.stmts.retain(|statement| {
            let syn::Stmt::Item(Item::Use(item)) = statement else {
                return true;
            };
            self.list(item);
            false
        });
        visit_mut::visit_block_mut(self, block);
    }
}

fn name_of(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

/// Whether a type such as `unsafe extern "C" fn(usize)` goes on so: a function of that name would have one.
fn is_function_pointer(after_unsafe: &[proc_macro2::TokenTree]) -> bool {
    use proc_macro2::TokenTree::{Group, Ident, Literal};
    matches!(after_unsafe, [Ident(external), Literal(_), Ident(function), Group(_), ..]
        if external == "extern" && function == "fn")
}

/// Where a file has unsafe code or lets itself have it: the lines.
pub fn unsafe_lines(tokens: &TokenStream) -> Vec<usize> {
    let mut lines = Vec::new();
    let mut allowing = false;
    let tokens: Vec<_> = tokens.clone().into_iter().collect();
    for (token, number) in tokens.iter().zip(1..) {
        match token {
            proc_macro2::TokenTree::Ident(name) => {
                let rest = tokens.get(number..).unwrap_or_default();
                if name == "unsafe" && !is_function_pointer(rest) {
                    lines.push(name.span().start().line);
                }
                allowing = name == "allow" || name == "expect" || name == "warn";
            }
            proc_macro2::TokenTree::Group(group) => {
                let named = group.stream().into_iter().find_map(|token| match token {
                    proc_macro2::TokenTree::Ident(name) if name == "unsafe_code" => {
                        Some(name.span())
                    }
                    _ => None,
                });
                lines.extend(named.filter(|_| allowing).map(|span| span.start().line));
                lines.extend(unsafe_lines(&group.stream()));
                allowing = false;
            }
            _ => allowing = false,
        }
    }
    lines
}
