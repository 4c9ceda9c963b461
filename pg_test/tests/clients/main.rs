//! The clients of docs/clients.md sign in with the code that it shows, and Prometheus's exporter reads the statistics: a
//! real server, an emulated Entra ID.
//!
//! `cargo test --release --workspace --test clients -- python::` runs a part. Run as root, after
//! `.ci/prerequisites all`.

mod go;
mod java;
mod libpq;
mod monitoring;
mod node;
mod odbc;
mod page;
mod pgadmin;
mod python;
mod rust;
mod surroundings;
mod versions;

use std::process::ExitCode;

use pg_test::Result;
use pg_test::rig::Rig;
use pg_test::suite::{Module, Test, run};

use crate::surroundings::prepare;

/// A client as the page's table names it, and its version, which it reports itself.
type Installed = (&'static str, fn() -> Result<String>);

const MODULES: &[Module] = &[
    ("page", page::TESTS),
    ("libpq", libpq::TESTS),
    ("node", node::TESTS),
    ("python", python::TESTS),
    ("java", java::TESTS),
    ("go", go::TESTS),
    ("odbc", odbc::TESTS),
    ("rust", rust::TESTS),
    ("pgadmin", pgadmin::TESTS),
    ("monitoring", monitoring::TESTS),
];

const INSTALLED: &[&[Installed]] = &[
    libpq::INSTALLED,
    node::INSTALLED,
    python::INSTALLED,
    java::INSTALLED,
    go::INSTALLED,
    odbc::INSTALLED,
    rust::INSTALLED,
    pgadmin::INSTALLED,
];

fn main() -> ExitCode {
    run("clients", 3, || Rig::start().and_then(prepare), MODULES)
}
