//! The documents say what is so: their commands run, their tables are the program's, their links
//! lead somewhere.
//!
//! In README.md and docs/*.md, fenced blocks are run in order, one shell per document:
//!
//! - `sh`: by bash, in the top directory; a command that fails ends the test;
//! - `sql`: by psql as the superuser;
//! - `conf postgresql.conf`, `conf pg_hba.conf`, `conf aadauth_hba.conf`: put into the server's file, above what is
//!   there;
//! - anything else is shown, not run.
//!
//! A block in an HTML comment is run and not shown. A document with the comment that `commands` names begins with a server
//! that is configured as README.md says.
//!
//! The shell finds a server that it may reconfigure and restart, reached as `db.example.com`;
//! `az`, `psql`, `sudo` and `systemctl` are those of `commands/` beside this file.

mod commands;
mod tables;

use std::path::PathBuf;
use std::process::ExitCode;

use libtest_mimic::Arguments;
use pg_test::place::source;
use pg_test::timing::{conclude, trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each document reconfigures a server, and several install.
    arguments.test_threads.get_or_insert(1);
    let mut trials = vec![
        trial("reasons", tables::reasons),
        trial("settings", tables::settings),
        trial("findings", tables::findings),
        trial("links", tables::links),
        trial("tests_that_are_named", tables::tests_named),
        trial("overview", tables::overview),
    ];
    for document in documents() {
        let name = document
            .strip_prefix(source())
            .unwrap_or(&document)
            .display()
            .to_string();
        trials.push(trial(format!("commands::{name}"), move || {
            commands::run(&document)
        }));
    }
    conclude("documents", &libtest_mimic::run(&arguments, trials))
}

/// README.md, and what is in docs.
pub fn documents() -> Vec<PathBuf> {
    let mut documents = vec![source().join("README.md")];
    let mut more: Vec<PathBuf> = std::fs::read_dir(source().join("docs"))
        .map(|entries| {
            entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .collect()
        })
        .unwrap_or_default();
    more.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    more.sort();
    documents.append(&mut more);
    documents
}
