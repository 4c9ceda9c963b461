//! Servers and machines that have no PAM: the library loads, and lets no mapped role in.

use std::path::PathBuf;

use pg_test::Result;
use pg_test::place::target;
use pg_test::server::Server;

use crate::Test;
use crate::rig::{Rig, ensure, installed_library};

pub const TESTS: &[Test] = &[
    ("a_server_built_without_pam", server_without_pam),
    ("a_machine_without_libpam", machine_without_libpam),
    ("the_library_needs_no_libpam", no_libpam_needed),
];

/// The same major version from another packager, built without PAM, with our installed library.
fn start(rig: &Rig, name: &str, hidden: &[PathBuf]) -> Result<Server> {
    let mut plan = rig
        .plan(name)?
        .hba(&["hostssl all all all scram-sha-256"])
        .set(
            "shared_preload_libraries",
            &installed_library()?.display().to_string(),
        );
    plan.binaries = target().join("postgresql-without-pam/bin");
    plan.hidden = hidden.to_vec();
    rig.start_plan(plan)
}

fn libpam() -> Vec<PathBuf> {
    [
        "/lib/x86_64-linux-gnu/libpam.so.0",
        "/lib/aarch64-linux-gnu/libpam.so.0",
    ]
    .iter()
    .filter_map(|path| std::fs::canonicalize(path).ok())
    .collect()
}

fn works(rig: &Rig, server: &Server) -> Result<()> {
    server.sql(
        "CREATE ROLE local LOGIN PASSWORD 'secret';
         CREATE ROLE mapped LOGIN PASSWORD 'secret';
         SECURITY LABEL FOR pgaadauth ON ROLE mapped IS
             'aadauth,oid=e15e0000-0000-4000-8000-0000000000e4,type=user'",
    )?;
    let printed = rig
        .attempt(server, "local", "secret")
        .psql("", "SELECT session_user")?;
    ensure(printed.success && printed.output == "local", || {
        format!("{printed:?}")
    })?;
    let printed = rig
        .attempt(server, "mapped", "secret")
        .psql("", "SELECT 1")?;
    ensure(!printed.success && printed.error.contains("HINT"), || {
        format!("{printed:?}")
    })
}

fn server_without_pam(rig: &Rig) -> Result<()> {
    works(rig, &start(rig, "no-pam", &[])?)
}

fn machine_without_libpam(rig: &Rig) -> Result<()> {
    let hidden = libpam();
    ensure(!hidden.is_empty(), || "no libpam to hide".to_owned())?;
    works(rig, &start(rig, "no-libpam", &hidden)?)
}

fn no_libpam_needed(_: &Rig) -> Result<()> {
    let needed =
        pg_test::process::checked(std::process::Command::new("ldd").arg(installed_library()?))?;
    ensure(!needed.contains("libpam"), || needed.clone())
}
