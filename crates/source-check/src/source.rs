//! Rust files, parsed, with their tests set aside.

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::ToTokens;
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, Meta, Token};

use crate::Result;

pub struct Source {
    pub text: String,
    /// All of the file.
    pub tokens: TokenStream,
    /// The file without its tests.
    pub code: syn::File,
    /// The lines of its tests.
    tests: Vec<RangeInclusive<usize>>,
}

impl Source {
    pub fn read(root: &Path, path: &str) -> Result<Source> {
        let text = fs::read_to_string(root.join(path)).map_err(|e| format!("{path}: {e}"))?;
        let tokens = TokenStream::from_str(&text)
            .map_err(|e| format!("{path}:{}: {e}", e.span().start().line))?;
        let mut code: syn::File = syn::parse2(tokens.clone())
            .map_err(|e| format!("{path}:{}: {e}", e.span().start().line))?;
        let mut strip = Strip { tests: Vec::new() };
        if code.attrs.iter().any(is_test) {
            code.items.clear();
            strip.tests.push(1..=text.lines().count());
        }
        strip.visit_file_mut(&mut code);
        Ok(Source {
            text,
            tokens,
            code,
            tests: strip.tests,
        })
    }

    /// Lines of code: no comments, no blank lines; and how many of them belong to tests.
    pub fn lines(&self) -> (usize, usize) {
        let mut lines = BTreeSet::new();
        collect_lines(&self.tokens, &mut lines);
        for (number, text) in (1..).zip(self.text.lines()) {
            if text.trim().is_empty() {
                lines.remove(&number);
            }
        }
        let tests = lines
            .iter()
            .filter(|line| self.tests.iter().any(|range| range.contains(line)))
            .count();
        (lines.len() - tests, tests)
    }
}

fn collect_lines(tokens: &TokenStream, lines: &mut BTreeSet<usize>) {
    for token in without_docs(tokens) {
        match token {
            TokenTree::Group(group) => {
                if group.delimiter() != Delimiter::None {
                    lines.insert(group.span_open().start().line);
                    lines.insert(group.span_close().start().line);
                }
                collect_lines(&group.stream(), lines);
            }
            other => lines.extend(other.span().start().line..=other.span().end().line),
        }
    }
}

/// The tokens without doc comments, which the parser turns into attributes.
pub fn without_docs(tokens: &TokenStream) -> Vec<TokenTree> {
    let mut kept: Vec<TokenTree> = Vec::new();
    for token in tokens.clone() {
        if is_doc(&token) {
            let is = |token: Option<&TokenTree>, sign| matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == sign);
            let inner = is(kept.last(), '!');
            let length = kept.len();
            let start = length.wrapping_sub(if inner { 2 } else { 1 });
            if is(kept.get(start), '#') {
                kept.truncate(start);
                continue;
            }
        }
        kept.push(token);
    }
    kept
}

fn is_doc(token: &TokenTree) -> bool {
    let TokenTree::Group(group) = token else {
        return false;
    };
    let mut inside = group.stream().into_iter();
    group.delimiter() == Delimiter::Bracket
        && matches!(inside.next(), Some(TokenTree::Ident(name)) if name == "doc")
        && matches!(inside.next(), Some(TokenTree::Punct(sign)) if sign.as_char() == '=')
        && matches!(inside.next(), Some(TokenTree::Literal(_)))
}

/// Every path of two segments or more, with its line; `use` items are not looked at.
pub fn paths(tokens: &TokenStream, found: &mut Vec<(Vec<String>, usize)>) {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let mut at = 0;
    // A path goes on behind a dot, a quote or a double colon; none begins there.
    let mut begins = true;
    let mut after_pub = false;
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Ident(name) => {
                let line = name.span().start().line;
                let mut path = vec![name.to_string()];
                while let (true, Some(TokenTree::Ident(next))) =
                    (is_double_colon(&tokens, at + 1), tokens.get(at + 3))
                {
                    path.push(next.to_string());
                    at += 3;
                }
                after_pub = path == ["pub"];
                if begins && path.len() > 1 {
                    found.push((path, line));
                }
                begins = true;
            }
            TokenTree::Group(group) => {
                if !after_pub {
                    paths(&group.stream(), found);
                }
                (begins, after_pub) = (true, false);
            }
            TokenTree::Punct(sign) => {
                let continues = matches!(sign.as_char(), '.' | '\'')
                    || at > 0 && is_double_colon(&tokens, at - 1);
                begins = !continues;
                after_pub = false;
            }
            TokenTree::Literal(_) => (begins, after_pub) = (true, false),
        }
        at += 1;
    }
}

fn is_double_colon(tokens: &[TokenTree], at: usize) -> bool {
    matches!(
        (tokens.get(at), tokens.get(at + 1)),
        (Some(TokenTree::Punct(first)), Some(TokenTree::Punct(second)))
            if first.as_char() == ':' && first.spacing() == Spacing::Joint && second.as_char() == ':'
    )
}

/// Takes the tests out.
struct Strip {
    tests: Vec<RangeInclusive<usize>>,
}

impl Strip {
    fn strip<T: ToTokens>(&mut self, items: &mut Vec<T>) {
        items.retain(|item| {
            let tokens = item.to_token_stream();
            let is_a_test = attributes(&tokens).iter().any(is_test);
            if is_a_test {
                let mut lines = BTreeSet::new();
                collect_lines(&tokens, &mut lines);
                if let (Some(first), Some(last)) = (lines.first(), lines.last()) {
                    self.tests.push(*first..=*last);
                }
            }
            !is_a_test
        });
    }
}

impl VisitMut for Strip {
    fn visit_file_mut(&mut self, file: &mut syn::File) {
        self.strip(&mut file.items);
        visit_mut::visit_file_mut(self, file);
    }

    fn visit_item_mod_mut(&mut self, module: &mut syn::ItemMod) {
        if let Some((_, items)) = &mut module.content {
            self.strip(items);
        }
        visit_mut::visit_item_mod_mut(self, module);
    }

    fn visit_item_impl_mut(&mut self, item: &mut syn::ItemImpl) {
        self.strip(&mut item.items);
        visit_mut::visit_item_impl_mut(self, item);
    }

    fn visit_block_mut(&mut self, block: &mut syn::Block) {
        self.strip(&mut block.stmts);
        visit_mut::visit_block_mut(self, block);
    }
}

pub fn attributes(tokens: &TokenStream) -> Vec<Attribute> {
    let leading = |input: ParseStream<'_>| {
        let attributes = Attribute::parse_outer(input)?;
        input.parse::<TokenStream>()?;
        Ok(attributes)
    };
    leading.parse2(tokens.clone()).unwrap_or_default()
}

fn is_test(attribute: &Attribute) -> bool {
    let name = attribute
        .path()
        .segments
        .last()
        .map(|s| s.ident.to_string());
    match name.as_deref() {
        Some("test") => true,
        Some("cfg") => attribute.parse_args().is_ok_and(|meta| is_for_tests(&meta)),
        _ => false,
    }
}

/// Whether a condition holds in builds of tests only.
fn is_for_tests(condition: &Meta) -> bool {
    let parts = |list: &syn::MetaList| {
        list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
            .unwrap_or_default()
    };
    match condition {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("all") => parts(list).iter().any(is_for_tests),
        Meta::List(list) if list.path.is_ident("any") => parts(list).iter().all(is_for_tests),
        Meta::List(_) | Meta::NameValue(_) => false,
    }
}

/// The files below a folder, as paths from the root, in order.
pub fn files(root: &Path, folder: &str, extensions: &[&str]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    if !root.join(folder).is_dir() {
        return Ok(found);
    }
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            if !path.ends_with("/target") && !path.ends_with("/node_modules") {
                found.extend(files(root, &path, extensions)?);
            }
        } else {
            let extension = Path::new(&path).extension().and_then(|e| e.to_str());
            if extensions.is_empty() || extension.is_some_and(|e| extensions.contains(&e)) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
