//! No log has a credential, with everything turned up.

use pg_test::Result;
use pg_test::rig::{Rig, ensure};

use crate::Test;
use crate::pgbouncer::{Pooled, ROLE, SESSION, TRANSACTION};

pub const TESTS: &[Test] = &[("no_log_has_a_credential", logs)];

const LOUD: &[(&str, &str)] = &[
    ("auto_explain.log_analyze", "on"),
    ("auto_explain.log_min_duration", "0"),
    ("auto_explain.log_nested_statements", "on"),
    ("auto_explain.log_verbose", "on"),
    ("debug_print_parse", "on"),
    ("debug_print_plan", "on"),
    ("debug_print_rewritten", "on"),
    ("log_duration", "on"),
    ("log_error_verbosity", "verbose"),
    ("log_min_duration_statement", "0"),
    ("log_min_error_statement", "debug5"),
    ("log_min_messages", "debug5"),
    ("log_parameter_max_length", "-1"),
    ("log_parameter_max_length_on_error", "-1"),
    ("log_statement", "all"),
    ("shared_preload_libraries", "aadauth, auto_explain"),
];

fn logs(rig: &Rig) -> Result<()> {
    let pooled = Pooled::start(rig, "pooled-loud", |plan| {
        LOUD.iter()
            .fold(plan, |plan, (name, value)| plan.set(name, value))
    })?;
    pooled
        .server
        .sql(&format!("ALTER ROLE {ROLE} RESET log_statement"))?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    let good = rig.token_of(&person)?;
    let expired = rig
        .user("alice@contoso.com")
        .object_id(person.object_id)
        .expires_in(-7200)
        .text()?;
    let word = "correct horse battery staple";
    pooled.query(SESSION, &person.role, &good, "SELECT 1")?;
    pooled.query(TRANSACTION, &person.role, &good, "SELECT 1")?;
    for secret in [&expired, word, &good[..good.len() - 1]] {
        ensure(
            !pooled
                .sign_in(SESSION, &person.role, secret)?
                .outcome
                .is_in(),
            || "let in".to_owned(),
        )?;
    }
    let places = [
        ("the server's", pooled.server.log()?),
        ("PgBouncer's", pooled.log()?),
    ];
    for (whose, log) in &places {
        // The test sees what it should: the calls are logged.
        let expected = if *whose == "PgBouncer's" {
            "refused: role"
        } else {
            "fastpath function call"
        };
        ensure(log.contains(expected), || {
            format!("{whose} log has no {expected:?}")
        })?;
        let parts = [&good, &expired]
            .into_iter()
            .flat_map(|token| token.split('.'))
            .chain([word]);
        for part in parts {
            ensure(!log.contains(part), || {
                format!("{whose} log has a credential")
            })?;
        }
    }
    Ok(())
}
