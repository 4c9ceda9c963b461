//! Servers and machines that have no PAM: the library loads, and lets no mapped role in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use pg_test::Result;
use pg_test::place::{source, target};
use pg_test::process::checked;
use pg_test::server::Server;

use crate::Test;
use crate::rig::{Rig, UNOPTIMIZED, build_directory, ensure, installed_library};

pub const TESTS: &[Test] = &[
    ("a_server_built_without_pam", server_without_pam),
    ("a_machine_without_libpam", machine_without_libpam),
    ("the_library_needs_no_libpam", no_libpam_needed),
];

/// The same major version from another packager, built without PAM, with a library that was built
/// with its headers and installed with `make install`.
fn start(rig: &Rig, name: &str, hidden: &[PathBuf]) -> Result<Server> {
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut installed = INSTALLED
        .lock()
        .map_err(|_| "the library could not be installed")?;
    let copy = rig.run().path().join("postgresql-without-pam");
    if !*installed {
        let server = target().join("servers/15");
        checked(Command::new("cp").arg("-a").arg(&server).arg(&copy))?;
        let build = build_directory("without-pam")?;
        // Built with the headers of the one that stays where it is, since pgrx makes its bindings again for another.
        let make = |goal: &str, server: &Path| {
            let pg_config = server.join("bin/pg_config");
            let mut command = Command::new("make");
            command.args(["-s", "-C"]).arg(source()).arg(goal);
            command.arg(format!("PG_CONFIG={}", pg_config.display()));
            command.arg(format!("PACKAGES=--workspace {}", UNOPTIMIZED.join(" ")));
            checked(command.env("CARGO_TARGET_DIR", &build))
        };
        make("build", &server)?;
        let printed = make("install", &copy)?;
        ensure(printed.contains("built without PAM"), || printed.clone())?;
        *installed = true;
    }
    drop(installed);
    let mut plan = rig.plan(name)?.hba(&["hostssl all all all scram-sha-256"]);
    plan.binaries = copy.join("bin");
    for path in hidden {
        plan = plan.mount(Path::new("/dev/null"), path);
    }
    let server = rig.start_prepared(plan)?;
    Ok(server)
}

fn libpam() -> Vec<PathBuf> {
    [
        "/lib/x86_64-linux-gnu/libpam.so.0",
        "/lib/aarch64-linux-gnu/libpam.so.0",
    ]
    .iter()
    .filter_map(|path| fs::canonicalize(path).ok())
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
    let mark = server.log_length()?;
    let printed = rig
        .attempt(server, "mapped", "secret")
        .psql("", "SELECT 1")?;
    ensure(!printed.success, || format!("{printed:?}"))?;
    server.wait_for_log(mark, "Reason: wrong-line").map(drop)
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
