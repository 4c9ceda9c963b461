//! What clients send: large tokens, tokens of version 2, replication connections. The program `clients` has the clients.

use pg_test::Result;
use pg_test::emulator::AUDIENCE_V2;

use crate::Test;
use crate::rig::{Rig, ensure};

pub const TESTS: &[Test] = &[
    ("a_token_of_12_kilobytes", a_token_of_12_kilobytes),
    ("a_token_as_large_as_the_setting_allows", largest_token),
    ("a_v2_token", v2_token),
    ("replication_connections", replication),
    ("a_group_member_under_the_group_roles_name", group_member),
];

const WHO: &str =
    "SELECT session_user || ' ' || (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid())";

fn a_token_of_12_kilobytes(rig: &Rig) -> Result<()> {
    let token = rig.user("alice@contoso.com").size(12 * 1024).text()?;
    ensure(token.len() >= 12 * 1024 - 1, || {
        format!("the token has {} bytes", token.len())
    })?;
    let printed = rig
        .attempt(&rig.server, "alice@contoso.com", &token)
        .psql("", WHO)?;
    ensure(printed.success, || format!("{printed:?}"))
}

/// The default of `aadauth.max_token_size` is 16 kB.
fn largest_token(rig: &Rig) -> Result<()> {
    let token = rig.user("alice@contoso.com").size(16 * 1024).text()?;
    rig.accepted(&rig.server, "alice@contoso.com", &token)?;
    let token = rig.user("alice@contoso.com").size(16 * 1024 + 2).text()?;
    rig.refused(&rig.server, "alice@contoso.com", &token, "token-too-large")
}

fn v2_token(rig: &Rig) -> Result<()> {
    let token = rig.user("alice@contoso.com").audience(AUDIENCE_V2).text()?;
    rig.accepted(&rig.server, "alice@contoso.com", &token)
        .map(drop)
}

fn replication(rig: &Rig) -> Result<()> {
    let server = rig.server("replication", |plan| plan)?;
    let person = rig.person(&server, "replicator")?;
    server.sql("ALTER ROLE replicator REPLICATION")?;
    let attempt = rig.attempt(&server, &person.role, &rig.token_of(&person)?);
    for replication in ["replication=true", "replication=database"] {
        let printed = attempt.psql(replication, "IDENTIFY_SYSTEM")?;
        ensure(printed.success && !printed.output.is_empty(), || {
            format!("{printed:?}")
        })?;
    }
    let refused = rig
        .attempt(&server, &person.role, "not a token")
        .psql("replication=true", "IDENTIFY_SYSTEM")?;
    ensure(!refused.success && refused.output.is_empty(), || {
        format!("{refused:?}")
    })
}

fn group_member(rig: &Rig) -> Result<()> {
    rig.accepted(&rig.server, "dba", &rig.alice()?)?;
    let outsider = rig.user("mallory@contoso.com").text()?;
    // The token of a user without groups has no such claim, as if groups had never been configured.
    rig.refused(&rig.server, "dba", &outsider, "groups-unknown")
}
