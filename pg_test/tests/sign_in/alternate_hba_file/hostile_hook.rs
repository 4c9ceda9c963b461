//! Other libraries that get in the way.

use std::fs;
use std::path::PathBuf;

use pg_test::Result;
use pg_test::compiler::shared_library;
use pg_test::place::give_to_server;
use pg_test::plan::Plan;
use pg_test::server::Server;
use pg_test::wire::Request;

use super::{by_password, recorded};
use crate::Test;
use crate::fail_closed::stays_up;
use crate::rig::{Rig, answer, ensure};

pub const TESTS: &[Test] = &[
    ("the_hook_displaced", |rig| displaced(rig, "displaced", &[])),
    ("the_hook_displaced_by_one_that_calls_it", |rig| {
        displaced(rig, "chained", &["CHAINED"])
    }),
    ("the_start_of_shared_memory_displaced", startup_displaced),
    ("another_file_in_force", another_file),
];

/// A server with `hostile_hook.c` loaded after our library.
fn start(rig: &Rig, name: &str, defines: &[&str]) -> Result<Server> {
    let library = build(rig, name, defines)?;
    rig.start_plan(plan(rig, name, &library)?)
}

fn plan(rig: &Rig, name: &str, library: &std::path::Path) -> Result<Plan> {
    Ok(rig
        .plan(&format!("second-{name}"))?
        .route(pg_test::route::Route::HbaFile)
        .hba(super::LINES)
        .set(
            "shared_preload_libraries",
            &format!("aadauth,{}", library.display()),
        ))
}

/// Compiles it with these macros.
pub fn build(rig: &Rig, name: &str, defines: &[&str]) -> Result<PathBuf> {
    let library = rig.run().path().join(format!("hostile-{name}.so"));
    shared_library("alternate_hba_file/hostile_hook.c", &library, defines)?;
    Ok(library)
}

/// Nobody gets in because the hostile hook accepts, and it is still called for every attempt.
fn displaced(rig: &Rig, name: &str, defines: &[&str]) -> Result<()> {
    let mut server = start(rig, name, defines)?;
    rig.prepare(&server)?;
    server.wait_for_log(0, "another library has replaced the authentication hook")?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    server.sql("CREATE ROLE bare LOGIN SUPERUSER; CREATE ROLE local LOGIN PASSWORD 'secret'")?;
    let check = |server: &Server| {
        stays_up(server, || {
            rig.refused(server, "someone", "x", "token-malformed")?;
            let sign_in = by_password(rig, server, "bare", "")?;
            recorded(rig, server, &sign_in.mark, "refused", "password-failed")?;
            let mark = server.log_length()?;
            let sign_in = rig.accepted(server, "someone", &token)?;
            recorded(rig, server, &sign_in.mark, "authenticated", "")?;
            server.wait_for_log(mark, "hostile hook: status 0 for someone")?;
            let mark = server.log_length()?;
            let sign_in = by_password(rig, server, "local", "wrong")?;
            recorded(rig, server, &sign_in.mark, "refused", "password-failed")?;
            server.wait_for_log(mark, "hostile hook: status -1 for local")?;
            let sign_in = by_password(rig, server, "local", "secret")?;
            recorded(rig, server, &sign_in.mark, "authenticated", "")
        })
    };
    check(&server)?;
    // Everything is set up once more after a crash.
    let worker = server.child("aadauth network worker")?.ok_or("no worker")?;
    server.crash(worker)?;
    rig.await_keys(&server)?;
    check(&server)
}

/// Without the library's part of shared memory nothing can be decided, so everybody is refused.
fn startup_displaced(rig: &Rig) -> Result<()> {
    let library = build(rig, "startup", &["UNCHAINED_STARTUP"])?;
    let server = plan(rig, "startup", &library)?;
    // The other library is loaded last, and does not call our shmem_startup hook.
    let server = rig.start_plan(server)?;
    for role in ["postgres", "nobody"] {
        let (mut connection, _) = rig.connect(&server, role)?;
        let outcome = match connection.request()? {
            Request::Sasl(_) => connection.scram(b"x", || Ok(()))?,
            _ => connection.outcome()?,
        };
        ensure(!outcome.is_in(), || format!("{role} got in"))?;
    }
    Ok(())
}

/// Another file with lines that let everybody in: its trust lines demand a credential as well.
fn another_file(rig: &Rig) -> Result<()> {
    let other = rig.run().path().join("other_hba.conf");
    fs::write(&other, "local all postgres peer\nhost all all all trust\n")?;
    give_to_server(&other)?;
    let define = format!("HBA_FILE=\"{}\"", other.display());
    let server = start(rig, "other", &[&define])?;
    rig.prepare(&server)?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    server.sql("CREATE ROLE bare LOGIN; CREATE ROLE local LOGIN PASSWORD 'secret'")?;
    stays_up(&server, || {
        for role in ["someone", "bare", "local", "nobody"] {
            let (connection, mark) = rig.connect(&server, role)?;
            let sign_in = answer(connection, mark, &token)?;
            ensure(matches!(sign_in.request, Request::Refused(_)), || {
                format!("{role}: asked for {:?}", sign_in.request)
            })?;
            rig.expect_refused(&server, role, &sign_in, "hba-file-not-in-force")?;
        }
        Ok(())
    })
}
