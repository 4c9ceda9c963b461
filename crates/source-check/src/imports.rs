//! The rooms of `src/`, and what may import what.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::path::Path;

use crate::Result;
use crate::modules::{Crate, Edge, unsafe_lines};
use crate::picture::Picture;
use crate::source::files;
use crate::text;

/// The rooms of `src/` that call C or are called by it.
const UNSAFE_ROOMS: &[&str] = &["pg", "hooks"];

/// The one other file with unsafe code: the `unsafe impl`s of what lies in shared memory.
const UNSAFE_FILES: &[&str] = &["src/shared/shmem.rs"];

/// Other libraries that are called by way of C, and their rooms for that.
const UNSAFE_FOLDERS: &[&str] = &["crates/aadauth-network/src/", "crates/pam-pooler/src/ffi/"];

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rule {
    Picture,
    Direction,
    Circle,
    Unsafe,
    Text,
}

impl Rule {
    fn name(self) -> &'static str {
        match self {
            Rule::Picture => "picture",
            Rule::Direction => "direction",
            Rule::Circle => "circle",
            Rule::Unsafe => "unsafe",
            Rule::Text => "text",
        }
    }
}

pub struct Violation {
    pub rule: Rule,
    pub file: String,
    pub line: usize,
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation {
            file, line, text, ..
        } = self;
        write!(f, "{file}:{line}: {}: {text}", self.rule.name())
    }
}

pub struct Report {
    pub violations: Vec<Violation>,
    /// Rooms that import each other.
    pub mutual: BTreeSet<(String, String)>,
    /// How many imports were looked at: none would be a test that checks nothing.
    pub edges: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts: BTreeMap<Rule, usize> = BTreeMap::new();
        for violation in &self.violations {
            writeln!(f, "{violation}")?;
            *counts.entry(violation.rule).or_default() += 1;
        }
        writeln!(f, "\n{} imports between files", self.edges)?;
        for (rule, count) in counts {
            writeln!(f, "{count:6}  {}", rule.name())?;
        }
        for (one, other) in &self.mutual {
            writeln!(f, "        {one} and {other} import each other")?;
        }
        Ok(())
    }
}

/// Checks the repository at `root`.
pub fn check(root: &Path) -> Result<Report> {
    let mut report = Report {
        violations: Vec::new(),
        mutual: BTreeSet::new(),
        edges: 0,
    };
    let extension = Crate::read(root, "src/lib.rs")?;
    let edges = extension.edges();
    report.rooms(&Picture::read(root)?, &extension, &edges);
    report.unsafe_code(&extension);
    report.text(&extension);
    report.circles(&edges);
    report.edges += edges.len();
    for file in roots(root)? {
        let read = Crate::read(root, &file)?;
        report.unsafe_code(&read);
        let edges = read.edges();
        report.circles(&edges);
        report.edges += edges.len();
    }
    report.violations.sort_by(|a, b| {
        (a.rule, &a.file, a.line, &a.text).cmp(&(b.rule, &b.file, b.line, &b.text))
    });
    Ok(report)
}

/// The root files of the libraries and programs in `crates/`.
fn roots(root: &Path) -> Result<Vec<String>> {
    let mut found = files(root, "crates", &["rs"])?;
    found.retain(
        |path| match path.split('/').collect::<Vec<_>>().as_slice() {
            [_, _, "src", file] => matches!(*file, "lib.rs" | "main.rs"),
            [_, _, "src", "bin", ..] | [_, _, "examples", _] => true,
            [_, _, "examples", .., file] => *file == "main.rs",
            _ => false,
        },
    );
    Ok(found)
}

/// The top-level folder or file of `src/`.
fn room(file: &str) -> &str {
    let inside = file.strip_prefix("src/").unwrap_or(file);
    match inside.split_once('/') {
        Some((room, _)) => room,
        None => inside.strip_suffix(".rs").unwrap_or(inside),
    }
}

impl Report {
    fn add(&mut self, rule: Rule, file: &str, line: usize, text: String) {
        self.violations.push(Violation {
            rule,
            file: file.to_owned(),
            line,
            text,
        });
    }

    fn rooms(&mut self, picture: &Picture, extension: &Crate, edges: &[Edge]) {
        let mut there = BTreeSet::new();
        for file in extension.sources.keys() {
            if there.insert(room(file)) && !picture.rooms.contains_key(room(file)) {
                let text = format!("{} is not in {}", room(file), Picture::PAGE);
                self.add(Rule::Picture, file, 1, text);
            }
        }
        for (name, place) in &picture.rooms {
            if !there.contains(name.as_str()) {
                let text = format!("src/ has no room {name}");
                self.add(Rule::Picture, Picture::PAGE, place.line, text);
            }
        }
        let pairs: BTreeSet<(&str, &str)> = edges
            .iter()
            .map(|edge| (room(&edge.from), room(&edge.to)))
            .collect();
        for (from, to) in &pairs {
            if from < to && pairs.contains(&(to, from)) {
                self.mutual.insert(((*from).to_owned(), (*to).to_owned()));
            }
        }
        for edge in edges {
            let (from, to) = (room(&edge.from), room(&edge.to));
            let (Some(upper), Some(lower)) = (picture.rooms.get(from), picture.rooms.get(to))
            else {
                continue;
            };
            if from != to && upper.level >= lower.level {
                let place = if upper.level == lower.level {
                    "beside"
                } else {
                    "above"
                };
                let text = format!("{from} imports {to}, which is {place} it: {}", edge.path);
                self.add(Rule::Direction, &edge.from, edge.line, text);
            }
        }
    }

    fn unsafe_code(&mut self, read: &Crate) {
        for (file, source) in &read.sources {
            let allowed = file.starts_with("src/") && UNSAFE_ROOMS.contains(&room(file))
                || UNSAFE_FILES.contains(&file.as_str())
                || UNSAFE_FOLDERS.iter().any(|folder| file.starts_with(folder));
            if !allowed {
                for line in unsafe_lines(&source.tokens) {
                    self.add(Rule::Unsafe, file, line, "unsafe code".to_owned());
                }
            }
        }
    }

    fn text(&mut self, extension: &Crate) {
        for (file, source) in &extension.sources {
            if file != text::CONVERSION {
                for line in text::unconverted(&source.tokens) {
                    let text = "String or str where SQL has text; use pg::text::SqlText".to_owned();
                    self.add(Rule::Text, file, line, text);
                }
            }
        }
    }

    /// One violation for each set of files that all lead to each other, with a shortest way round.
    fn circles(&mut self, edges: &[Edge]) {
        let mut from: BTreeMap<&str, Vec<&Edge>> = BTreeMap::new();
        for edge in edges {
            from.entry(&edge.from).or_default().push(edge);
        }
        let reached: BTreeMap<&str, BTreeSet<&str>> = from
            .keys()
            .map(|file| (*file, reachable(&from, file)))
            .collect();
        let leads = |a: &str, b: &str| reached.get(a).is_some_and(|files| files.contains(b));
        let mut told: BTreeSet<&str> = BTreeSet::new();
        for file in from.keys() {
            if told.contains(file) || !leads(file, file) {
                continue;
            }
            let circle: Vec<&str> = reached
                .keys()
                .copied()
                .filter(|other| leads(file, other) && leads(other, file))
                .collect();
            told.extend(&circle);
            let round = circle
                .iter()
                .filter_map(|file| way_round(&from, file))
                .min_by_key(Vec::len)
                .unwrap_or_default();
            let Some(first) = round.first() else { continue };
            let mut text = format!(
                "{} files lead to each other: {}",
                circle.len(),
                circle.join(" ")
            );
            for Edge {
                from,
                line,
                to,
                path,
            } in &round
            {
                text += &format!("\n    {from}:{line} needs {to} ({path})");
            }
            self.add(Rule::Circle, &first.from, first.line, text);
        }
    }
}

fn reachable<'a>(from: &BTreeMap<&'a str, Vec<&'a Edge>>, start: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next = vec![start];
    while let Some(file) = next.pop() {
        for edge in from.get(file).into_iter().flatten() {
            if reached.insert(edge.to.as_str()) {
                next.push(&edge.to);
            }
        }
    }
    reached
}

/// The shortest way from a file back to itself.
fn way_round<'a>(from: &BTreeMap<&'a str, Vec<&'a Edge>>, start: &str) -> Option<Vec<&'a Edge>> {
    let mut came_by: BTreeMap<&str, &Edge> = BTreeMap::new();
    let mut next = VecDeque::from([start]);
    while let Some(file) = next.pop_front() {
        for edge in from.get(file).into_iter().flatten() {
            if !came_by.contains_key(edge.to.as_str()) {
                came_by.insert(&edge.to, edge);
                next.push_back(&edge.to);
            }
        }
    }
    let mut way = Vec::new();
    let mut file = start;
    loop {
        let edge = *came_by.get(file)?;
        way.push(edge);
        file = &edge.from;
        if file == start {
            way.reverse();
            return Some(way);
        }
    }
}
