//! What the pool's mode changes, beyond `sign_ins`, whose tests try each mode.

use pg_test::Result;
use pg_test::rig::{Rig, ensure};

use crate::Test;
use crate::pgbouncer::{Pooled, STATEMENT};

pub const TESTS: &[Test] = &[(
    "statement_mode_takes_statements_and_no_transactions",
    statement,
)];

/// By PgBouncer's rule, not ours: the login is good, and each statement is the role's.
fn statement(rig: &Rig) -> Result<()> {
    let pooled = Pooled::start(rig, "pooled-statement", |plan| plan)?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    let other = rig.person(&pooled.server, "pooled_other")?;
    let mut sessions = Vec::new();
    for whose in [&person, &other] {
        let token = rig.token_of(whose)?;
        sessions.push((&whose.role, pooled.session(STATEMENT, &whose.role, &token)?));
    }
    for _ in 0..10 {
        for (role, session) in &mut sessions {
            let user = session.query("SELECT current_user")?;
            ensure(user == [role.as_str()], || format!("{role}: {user:?}"))?;
        }
    }
    let (_, mut session) = sessions.swap_remove(0);
    let refused = session.query("BEGIN").err().ok_or("a transaction began")?;
    ensure(
        refused
            .to_string()
            .contains("transaction blocks not allowed in statement pooling mode"),
        || refused.to_string(),
    )
}
