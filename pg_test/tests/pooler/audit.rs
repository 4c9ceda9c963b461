//! Each login through PgBouncer leaves one event, with the reason that PgBouncer's log has.

use pg_test::Result;
use pg_test::rig::{Rig, ensure};
use pg_test::wait::until;

use crate::Test;
use crate::pgbouncer::{Pooled, ROLE, SESSION};

pub const TESTS: &[Test] = &[("one_event_for_each_login", events)];

fn events(rig: &Rig) -> Result<()> {
    const EACH: usize = 20;
    let pooled = Pooled::start(rig, "pooled-audit", |plan| plan)?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    let good = rig.token_of(&person)?;
    let expired = rig
        .user("alice@contoso.com")
        .object_id(person.object_id)
        .expires_in(-7200)
        .text()?;
    for _ in 0..EACH {
        let outcome = pooled.sign_in(SESSION, &person.role, &good)?.outcome;
        ensure(outcome.is_in(), || format!("{outcome:?}"))?;
        let outcome = pooled.sign_in(SESSION, &person.role, &expired)?.outcome;
        ensure(!outcome.is_in(), || {
            "an expired token was let in".to_owned()
        })?;
    }
    let counts = "\
        SELECT outcome, reason, client_address, pooler, count(*) FROM aadauth.sign_in_audit
        WHERE method = 'pooler' GROUP BY 1, 2, 3, 4 ORDER BY 1";
    let expected =
        format!("authenticated||127.0.0.1|{ROLE}|{EACH}\nrefused|expired|127.0.0.1|{ROLE}|{EACH}");
    let mut found = String::new();
    until("the audit has each login", || {
        found = pooled.server.sql(counts)?;
        Ok((found == expected).then_some(()))
    })
    .map_err(|error| format!("{error}\n{found}"))?;
    // The event that the log names is the one in the table.
    let ids = pooled.server.sql(
        "SELECT event_id FROM aadauth.sign_in_audit WHERE method = 'pooler' AND outcome = 'refused'",
    )?;
    let log = pooled.log()?;
    for id in ids.lines() {
        let line = format!("refused: role \"{}\": expired, event {id}", person.role);
        ensure(log.matches(&line).count() == 1, || {
            format!("{line:?} is not in\n{log}")
        })?;
    }
    Ok(())
}
