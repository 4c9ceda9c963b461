//! `pgbouncer.ini`, read as PgBouncer does it (`parse_ini_file_internal` in libusual's cfparser.c, `load_handler` and
//! `bouncer_params` in main.c).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::finding::Place;
use super::pairs::{self, Pairs};

/// How deeply files may include each other.
const MAX_INCLUDE: u32 = 10;

/// The settings without a default that are of interest here: another `[pgbouncer]` resets all others.
const WITHOUT_DEFAULT: &[&str] = &[
    "auth_dbname",
    "auth_file",
    "auth_ident_file",
    "auth_user",
    "user",
];

/// A line of `[databases]`.
pub struct Line {
    pub name: String,
    pub pairs: Pairs,
    pub place: Place,
}

impl Line {
    pub fn value(&self, name: &str) -> Option<&str> {
        let mut named = self.pairs.iter().filter(|(key, _)| key == name);
        named.next_back().map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
pub struct Ini {
    /// Every file that was read, the first being the one that was asked for.
    pub files: Vec<PathBuf>,
    pub settings: BTreeMap<String, (String, Place)>,
    pub databases: Vec<Line>,
    section: String,
    has_settings: bool,
}

impl Ini {
    /// # Errors
    /// A file cannot be read, or has something that PgBouncer does not accept.
    pub fn read(file: &Path) -> Result<Ini, String> {
        let mut ini = Ini::default();
        ini.add(file, 0)?;
        if ini.has_settings {
            Ok(ini)
        } else {
            Err(format!("{}: it has no section [pgbouncer]", file.display()))
        }
    }

    fn add(&mut self, file: &Path, depth: u32) -> Result<(), String> {
        let bytes = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        self.files.push(file.to_owned());
        let text = String::from_utf8_lossy(&bytes);
        let mut cursor = Cursor {
            rest: text.split('\0').next().unwrap_or_default(),
            line: 1,
        };
        loop {
            cursor.take_while(is_space);
            if cursor.rest.is_empty() {
                return Ok(());
            }
            let place = Place(file.to_owned(), Some(cursor.line));
            self.item(&mut cursor, &place, depth)
                .map_err(|what| format!("{place}: {what}"))?;
        }
    }

    /// What begins at the cursor: an inclusion, a comment, a section or a value.
    fn item(&mut self, cursor: &mut Cursor<'_>, place: &Place, depth: u32) -> Result<(), String> {
        if cursor.rest.starts_with("%include ") || cursor.rest.starts_with("%include\t") {
            cursor.take_while(|c| !is_blank(c));
            cursor.take_while(is_blank);
            if depth >= MAX_INCLUDE {
                return Err("too many files include each other".to_owned());
            }
            return self.add(Path::new(cursor.value()), depth + 1);
        }
        if cursor.rest.starts_with(['#', ';']) {
            cursor.take_while(|c| c != '\n');
            return Ok(());
        }
        let syntax = || "syntax error".to_owned();
        if cursor.eat('[') {
            let name = cursor.take_while(|c| c != ']' && c != '\n');
            return cursor
                .eat(']')
                .then_some(name)
                .ok_or_else(syntax)
                .and_then(|name| self.begin(name));
        }
        // Quotes are of 1.25; before, they are a syntax error.
        let is_quoted = cursor.eat('\'');
        let name = match is_quoted {
            true => cursor.take_while(|c| c != '\''),
            false => cursor.take_while(|c| c.is_ascii_alphanumeric() || "_.-*".contains(c)),
        };
        let is_closed = !is_quoted || cursor.eat('\'');
        cursor.take_while(is_blank);
        if name.is_empty() || !is_closed || !cursor.eat('=') {
            return Err(syntax());
        }
        cursor.take_while(is_blank);
        let value = cursor.value();
        self.set(name, value, place)
    }

    fn begin(&mut self, name: &str) -> Result<(), String> {
        if !["pgbouncer", "databases", "users", "peers"].contains(&name) {
            return Err(format!("PgBouncer has no section \"{name}\""));
        }
        if name == "pgbouncer" {
            self.has_settings = true;
            self.settings
                .retain(|name, _| WITHOUT_DEFAULT.contains(&name.as_str()));
        }
        name.clone_into(&mut self.section);
        Ok(())
    }

    fn set(&mut self, name: &str, value: &str, place: &Place) -> Result<(), String> {
        let (name, place) = (name.to_owned(), place.clone());
        if self.section == "pgbouncer" {
            self.settings.insert(name, (value.to_owned(), place));
            return Ok(());
        }
        if self.section.is_empty() {
            return Err("a value outside of all sections".to_owned());
        }
        let pairs = pairs::parse(value)?;
        if self.section == "databases" {
            self.databases.push(Line { name, pairs, place });
        }
        Ok(())
    }
}

/// What is left of a file.
struct Cursor<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Cursor<'a> {
    fn take_while(&mut self, is_taken: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !is_taken(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.line += taken.matches('\n').count();
        taken
    }

    fn eat(&mut self, c: char) -> bool {
        let rest = self.rest.strip_prefix(c);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// The rest of the line: a `;` or `#` in it begins no comment.
    fn value(&mut self) -> &'a str {
        self.take_while(|c| c != '\n').trim_end_matches(is_space)
    }
}

/// C's `isspace`.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r')
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

#[cfg(test)]
mod tests;
