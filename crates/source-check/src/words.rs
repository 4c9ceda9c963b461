//! The words of `words.txt`, and where they are found.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use proc_macro2::{TokenStream, TokenTree};

use crate::Result;
use crate::source::{files, without_docs};

const TABLE: &str = include_str!("../words.txt");

/// The folders that are looked at, and the files in them by their endings; none stands for all.
const FOLDERS: &[(&str, &[&str])] = &[
    ("src", &["rs", "c", "h"]),
    ("crates", &["rs", "toml"]),
    ("pg_test", &["rs"]),
    ("sql", &["sql"]),
    (".ci", &[]),
    ("crates/entra-emulator/bin", &[]),
    ("docs", &["md"]),
    ("packaging", &[]),
];

/// The pages and other files that are looked at.
const FILES: &[&str] = &[
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "Makefile",
];

/// String literals are held to the rules for strings below these.
const STRINGS: &[&str] = &["src/", "crates/"];

/// Names of modules that say nothing.
const MODULES: &[&str] = &["helper", "helpers", "manager", "util", "utils"];

struct Entry {
    patterns: Vec<&'static str>,
    strings_only: bool,
    instead: &'static str,
}

/// A word that is let through: the pattern and the file.
type Exception = (&'static str, &'static str);

pub struct Table {
    entries: Vec<Entry>,
    exceptions: Vec<Exception>,
}

pub struct Finding {
    pub file: String,
    pub line: usize,
    pub pattern: String,
    pub instead: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding {
            file,
            line,
            pattern,
            instead,
        } = self;
        write!(f, "{file}:{line}: \"{pattern}\": {instead}")
    }
}

impl Table {
    /// The table of this project.
    pub fn read() -> Result<Table> {
        Table::parse(TABLE)
    }

    fn parse(text: &'static str) -> Result<Table> {
        let (mut entries, mut exceptions) = (Vec::new(), Vec::new());
        for line in text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let columns: Vec<&str> = line.split('|').map(str::trim).collect();
            let [patterns, place, instead] = columns.as_slice() else {
                return Err(format!("words.txt: not three columns: {line}").into());
            };
            match (patterns.strip_prefix("except "), *place) {
                (Some(pattern), file) => exceptions.push((pattern.trim(), file)),
                (None, "anywhere" | "strings") => entries.push(Entry {
                    patterns: patterns.split(',').map(str::trim).collect(),
                    strings_only: *place == "strings",
                    instead,
                }),
                (None, _) => return Err(format!("words.txt: neither place: {line}").into()),
            }
        }
        Ok(Table {
            entries,
            exceptions,
        })
    }

    /// The patterns, and whether each is for strings only.
    pub fn patterns(&self) -> impl Iterator<Item = (&'static str, bool)> {
        self.entries.iter().flat_map(|entry| {
            let strings_only = entry.strings_only;
            entry
                .patterns
                .iter()
                .map(move |pattern| (*pattern, strings_only))
        })
    }

    /// All findings in the repository at `root`, and the number of files that were read.
    pub fn check(&self, root: &Path) -> Result<(Vec<Finding>, usize)> {
        let mut paths = Vec::new();
        for (folder, extensions) in FOLDERS {
            paths.extend(files(root, folder, extensions)?);
        }
        let single = FILES.iter().filter(|path| root.join(path).is_file());
        paths.extend(single.map(|path| (*path).to_owned()));
        let mut findings = Vec::new();
        for path in &paths {
            let text = fs::read_to_string(root.join(path)).map_err(|e| format!("{path}: {e}"))?;
            findings.extend(self.check_file(path, &text)?);
        }
        Ok((findings, paths.len()))
    }

    /// The findings in one file.
    pub fn check_file(&self, path: &str, text: &str) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let all = words(text, 1);
        self.find(path, &all, false, &mut findings);
        if path.ends_with(".sql") {
            self.find(path, &all, true, &mut findings);
        }
        if path.ends_with(".rs") {
            let tokens = TokenStream::from_str(text)
                .map_err(|e| format!("{path}:{}: {e}", e.span().start().line))?;
            if STRINGS.iter().any(|folder| path.starts_with(folder)) {
                let mut strings = Vec::new();
                literals(&tokens, &mut strings);
                for (literal, line) in strings {
                    self.find(path, &words(&literal, line), true, &mut findings);
                }
            }
            let mut names = Vec::new();
            let stem = path.strip_suffix(".rs").unwrap_or(path);
            names.extend(stem.split('/').map(|name| (name.to_owned(), 1)));
            modules(&tokens, &mut names);
            names.retain(|(name, _)| MODULES.contains(&name.as_str()));
            findings.extend(names.into_iter().map(|(name, line)| Finding {
                file: path.to_owned(),
                line,
                pattern: format!("mod {name}"),
                instead: "name what the module is about".to_owned(),
            }));
        }
        findings.sort_by_key(|finding| finding.line);
        Ok(findings)
    }

    fn find(&self, path: &str, words: &[Word], strings: bool, findings: &mut Vec<Finding>) {
        for entry in self
            .entries
            .iter()
            .filter(|entry| entry.strings_only == strings)
        {
            for pattern in &entry.patterns {
                if self.exceptions.contains(&(*pattern, path)) {
                    continue;
                }
                let parts: Vec<String> = pattern.split(' ').map(str::to_lowercase).collect();
                let found = words.windows(parts.len()).filter(|run| {
                    run.iter().skip(1).all(|word| word.goes_on)
                        && run
                            .iter()
                            .zip(&parts)
                            .all(|(word, part)| matches(&word.text, part))
                });
                findings.extend(found.filter_map(<[Word]>::first).map(|word| Finding {
                    file: path.to_owned(),
                    line: word.line,
                    pattern: (*pattern).to_owned(),
                    instead: entry.instead.to_owned(),
                }));
            }
        }
    }
}

fn matches(word: &str, pattern: &str) -> bool {
    if let Some(ending) = pattern.strip_prefix('*') {
        word.len() > ending.len() && word.ends_with(ending)
    } else if let Some(beginning) = pattern.strip_suffix('*') {
        word.starts_with(beginning)
    } else {
        word == pattern
    }
}

struct Word {
    text: String,
    line: usize,
    /// Whether nothing that ends a phrase stands before it.
    goes_on: bool,
}

/// The words of a text, in lower case. Identifiers are taken apart.
fn words(text: &str, first_line: usize) -> Vec<Word> {
    let text = text.replace("''", "'").replace('\u{2019}', "'");
    let characters: Vec<char> = text.chars().collect();
    let at = |index: usize| characters.get(index).copied().unwrap_or(' ');
    let mut words: Vec<Word> = Vec::new();
    let (mut line, mut goes_on, mut within) = (first_line, false, false);
    for index in 0..characters.len() {
        let (before, now, after) = (at(index.wrapping_sub(1)), at(index), at(index + 1));
        let joins = now == '\'' && before.is_alphabetic() && after.is_alphabetic();
        if now.is_alphanumeric() || joins {
            let hump = now.is_uppercase() && before.is_lowercase();
            match words.last_mut() {
                Some(word) if within && !hump => word.text.extend(now.to_lowercase()),
                _ => words.push(Word {
                    text: now.to_lowercase().collect(),
                    line,
                    goes_on,
                }),
            }
            (within, goes_on) = (true, true);
            continue;
        }
        within = false;
        let blank_line = now == '\n' && after == '\n';
        if blank_line || ".,;:!?()[]{}\"`=|<>\u{2014}".contains(now) {
            goes_on = false;
        }
        if now == '\n' {
            line += 1;
        }
    }
    words
}

/// The string literals, also those within macros, as they are written but for escapes.
fn literals(tokens: &TokenStream, found: &mut Vec<(String, usize)>) {
    for token in without_docs(tokens) {
        match token {
            TokenTree::Group(group) => literals(&group.stream(), found),
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                if !text.contains('"') || text.starts_with('\'') {
                    continue;
                }
                let is_raw = text
                    .split('"')
                    .next()
                    .is_some_and(|prefix| prefix.contains('r'));
                let text = if is_raw {
                    text
                } else {
                    text.replace("\\n", "  ")
                        .replace("\\t", "  ")
                        .replace("\\\"", "  ")
                };
                found.push((text, literal.span().start().line));
            }
            _ => {}
        }
    }
}

/// The modules that a file declares.
fn modules(tokens: &TokenStream, found: &mut Vec<(String, usize)>) {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    for pair in tokens.windows(2) {
        if let [TokenTree::Ident(keyword), TokenTree::Ident(name)] = pair
            && keyword == "mod"
        {
            found.push((name.to_string(), name.span().start().line));
        }
    }
    for token in tokens {
        if let TokenTree::Group(group) = token {
            modules(&group.stream(), found);
        }
    }
}

/// How many there are of each pattern, by folder.
pub fn summary(findings: &[Finding]) -> String {
    let mut folders: BTreeMap<String, BTreeMap<&str, usize>> = BTreeMap::new();
    for finding in findings {
        let parts: Vec<&str> = finding.file.split('/').collect();
        let folder = match parts.as_slice() {
            [top @ ("src" | "crates"), room, ..] => format!("{top}/{room}"),
            [top, _, ..] => (*top).to_owned(),
            _ => finding.file.clone(),
        };
        let patterns = folders.entry(folder).or_default();
        *patterns.entry(&finding.pattern).or_default() += 1;
    }
    let mut text = String::new();
    for (folder, patterns) in folders {
        let mut list: Vec<(&str, usize)> = patterns.into_iter().collect();
        list.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let total: usize = list.iter().map(|(_, count)| count).sum();
        let list: Vec<String> = list
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        text += &format!("{total:6}  {folder:24}  {}\n", list.join(", "));
    }
    text + &format!("{:6}  in all\n", findings.len())
}
