//! Beside other libraries with an authentication hook, before and after aadauth in
//! `shared_preload_libraries`: each sees a refusal as a refusal, and none can let anybody in.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use pg_test::Result;
use pg_test::compiler::shared_library;
use pg_test::server::Server;

use crate::Test;
use crate::alternate_hba_file::{by_password, recorded};
use crate::rig::{OUR_LINES, Rig, SignIn, ensure};

pub const TESTS: &[Test] = &[
    ("each_sees_refusals_as_refusals", chained),
    ("what_they_refuse_is_not_a_sign_in", banned),
    ("a_membership_that_stays_is_an_error", not_revoked),
    ("auth_delay_before_ours", |rig| {
        delayed(rig, "auth_delay,aadauth")
    }),
    ("auth_delay_after_ours", |rig| {
        delayed(rig, "aadauth,auth_delay")
    }),
];

/// Compiles `chained_hook.c` under a name of its own.
fn chained_hook(rig: &Rig, server: &str, name: &str) -> Result<PathBuf> {
    let library = rig.run().path().join(format!("{server}-{name}.so"));
    let called = format!("NAME=\"{name}\"");
    let macros = [called.as_str(), "BANNED=\"banned\""];
    shared_library("other_libraries/chained_hook.c", &library, &macros)?;
    Ok(library)
}

/// A server with aadauth between two libraries that chain the hook, whose first line takes passwords of mapped roles too.
fn between(rig: &Rig, name: &str) -> Result<Server> {
    let first = chained_hook(rig, name, "first")?;
    let second = chained_hook(rig, name, "second")?;
    let libraries = format!("{},aadauth,{}", first.display(), second.display());
    let mut lines = vec!["hostssl all by_scram all scram-sha-256"];
    lines.extend(OUR_LINES);
    rig.server(name, |plan| {
        plan.hba(&lines).set("shared_preload_libraries", &libraries)
    })
}

/// Runs a sign-in, and expects both of the others to have been told that status, once.
fn told(
    server: &Server,
    role: &str,
    status: i32,
    sign_in: impl FnOnce() -> Result<SignIn>,
) -> Result<SignIn> {
    let mark = server.log_length()?;
    let sign_in = sign_in()?;
    for name in ["first", "second"] {
        let said = format!("{name}: status {status} for {role}");
        server.wait_for_log(mark, &said)?;
        let log = server.log_since(mark)?;
        let times = log.matches(&format!("{name}: status ")).count();
        ensure(times == 1, || format!("{said}: {times} times\n{log}"))?;
    }
    Ok(sign_in)
}

fn chained(rig: &Rig) -> Result<()> {
    let server = between(rig, "chained")?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    rig.person(&server, "by_scram")?;
    server.sql(
        "ALTER ROLE by_scram PASSWORD 'secret'; CREATE ROLE local LOGIN PASSWORD 'local password'",
    )?;

    told(&server, "someone", 0, || {
        rig.accepted(&server, "someone", &token)
    })?;
    let sign_in = told(&server, "someone", -1, || {
        rig.sign_in(&server, "someone", &rig.alice()?)
    })?;
    rig.expect_refused(&server, "someone", &sign_in, "object-id-mismatch")?;
    let sign_in = told(&server, "someone", -1, || {
        rig.sign_in(&server, "someone", "x")
    })?;
    rig.expect_refused(&server, "someone", &sign_in, "token-malformed")?;

    let password = |role: &str, password: &str, status: i32| {
        told(&server, role, status, || {
            by_password(rig, &server, role, password)
        })
    };
    let sign_in = password("local", "local password", 0)?;
    recorded(rig, &server, &sign_in.mark, "authenticated", "")?;
    for (role, secret) in [("local", "another"), ("nobody", "another")] {
        let sign_in = password(role, secret, -1)?;
        ensure(!sign_in.outcome.is_in(), || format!("{role} got in"))?;
        recorded(rig, &server, &sign_in.mark, "refused", "password-failed")?;
    }
    // PostgreSQL has found the password right and says 0; the final authorization check is ours.
    let sign_in = password("by_scram", "secret", -1)?;
    rig.expect_refused(&server, "by_scram", &sign_in, "wrong-line")
}

/// They are called before anything is recorded.
fn banned(rig: &Rig) -> Result<()> {
    let server = between(rig, "banned")?;
    let person = rig.person(&server, "banned")?;
    let token = rig.token_of(&person)?;
    let sign_in = rig.sign_in(&server, "banned", &token)?;
    let refusal = sign_in.outcome.refusal().ok_or("a banned role got in")?;
    ensure(refusal.message.ends_with("has banned you"), || {
        refusal.message.clone()
    })?;
    let event = rig.event(&server, &sign_in.mark)?;
    ensure(event["outcome"] != "authenticated", || event.to_string())?;
    // What they don't refuse, we still do.
    rig.refused(&server, "banned", "x", "token-malformed")
}

/// What a REVOKE leaves is neither taken for revoked nor tried forever.
fn not_revoked(rig: &Rig) -> Result<()> {
    let library = rig.run().path().join("revokes-nothing.so");
    shared_library("other_libraries/revokes_nothing.c", &library, &[])?;
    let libraries = format!("aadauth,{}", library.display());
    let server = rig.server("not-revoked", |plan| {
        plan.set("shared_preload_libraries", &libraries)
    })?;
    server.sql(
        "CREATE ROLE app; CREATE ROLE friend; CREATE ROLE clerk; GRANT app TO friend;
         SET allow_system_table_mods = on;
         UPDATE pg_auth_members SET grantor = 'clerk'::regrole WHERE member = 'friend'::regrole",
    )?;
    let error = server.sql("SET statement_timeout = '10s'; GRANT pg_read_all_data TO app");
    let error = error
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    let said = "could not revoke the membership of role \"friend\" in role \"app\"";
    ensure(
        error.contains(said) && error.contains("granted by role \"clerk\""),
        || error.clone(),
    )?;
    let granted =
        server.sql("SELECT count(*) FROM pg_auth_members WHERE member = 'app'::regrole")?;
    ensure(granted == "0", || {
        format!("app became privileged: {granted}")
    })
}

/// `auth_delay` (contrib) sleeps when it is told of a refusal.
fn delayed(rig: &Rig, libraries: &str) -> Result<()> {
    const DELAY: Duration = Duration::from_secs(2);
    let name = libraries.replace(',', "-then-");
    let server = rig.server(&name, |plan| {
        plan.set("shared_preload_libraries", libraries)
            .set("auth_delay.milliseconds", &DELAY.as_millis().to_string())
    })?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    server.sql("CREATE ROLE local LOGIN PASSWORD 'local password'")?;
    let took = |sign_in: &dyn Fn() -> Result<SignIn>| -> Result<Duration> {
        let start = Instant::now();
        sign_in()?;
        Ok(start.elapsed())
    };
    let refusals: [&dyn Fn() -> Result<SignIn>; 3] = [
        &|| rig.sign_in(&server, "someone", &rig.alice()?),
        &|| by_password(rig, &server, "local", "another"),
        &|| by_password(rig, &server, "nobody", "another"),
    ];
    for refusal in refusals {
        let refused = took(refusal)?;
        ensure(refused >= DELAY, || format!("refused after {refused:?}"))?;
    }
    let sign_in = rig.accepted(&server, "someone", &token)?;
    recorded(rig, &server, &sign_in.mark, "authenticated", "")?;
    let sign_in = by_password(rig, &server, "local", "local password")?;
    recorded(rig, &server, &sign_in.mark, "authenticated", "")
}
