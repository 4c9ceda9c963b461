//! Roles that belong to somebody else than when the pool's connections were opened.

use pg_test::Result;
use pg_test::rig::{Rig, ensure};
use pg_test::wait::until;
use uuid::Uuid;

use crate::Test;
use crate::pgbouncer::{Pooled, TRANSACTION};
use crate::trusted;

pub const TESTS: &[Test] = &[(
    "nobody_gets_a_connection_of_the_principal_before",
    no_connection_of_another,
)];

const GROUP: &str = "7ea30000-0000-4000-8000-000000000078";
const ROLE: &str = "payroll";

fn no_connection_of_another(rig: &Rig) -> Result<()> {
    let pooled = trusted::start(rig, "pooled-remapped", |plan| {
        plan.set("aadauth.pooler_group_roles", "on")
            .set("aadauth.pooler_local_roles", "on")
    })?;
    let (one, other) = (rig.person(&pooled.server, ROLE)?, Uuid::new_v4());
    let of_one = rig.token_of(&one)?;
    let user = |object_id: Uuid| rig.user("alice@contoso.com").object_id(object_id);
    let map = |object_id: &str, kind: &str| {
        format!(
            "SELECT pgaadauth_update_principal_with_oid('{ROLE}', '{object_id}', '{kind}', false, false)"
        )
    };
    let again = format!(
        "DROP ROLE {ROLE}; SELECT pgaadauth_create_principal_with_oid('{ROLE}', '{}', 'user', false, false)",
        one.object_id
    );
    let local = format!(
        "SECURITY LABEL FOR pgaadauth ON ROLE {ROLE} IS NULL; ALTER ROLE {ROLE} PASSWORD 'x'"
    );
    let member = user(Uuid::new_v4()).claim("groups", vec![GROUP]).text()?;
    let of_other = user(other).text()?;
    let shown = |pooled: &Pooled, secret: &str| {
        pooled.session(TRANSACTION, ROLE, secret)?.query(
            "SELECT concat_ws(' ', pg_backend_pid(), (aadauth.current_principal()).object_id, current_user)",
        )
    };
    let mut before = shown(&pooled, &of_one)?;
    for (change, secret, principal) in [
        (
            map(&other.to_string(), "user"),
            &of_other,
            other.to_string(),
        ),
        (
            map(&one.object_id.to_string(), "user"),
            &of_one,
            one.object_id.to_string(),
        ),
        (again, &of_one, one.object_id.to_string()),
        (map(GROUP, "group"), &member, String::new()),
        (
            map(&other.to_string(), "user"),
            &of_other,
            other.to_string(),
        ),
        (local, &"x".to_owned(), String::new()),
    ] {
        pooled.server.sql(&change)?;
        // The first login finds the connection still open.
        let outcome = pooled.sign_in(TRANSACTION, ROLE, secret)?.outcome;
        ensure(!outcome.is_in(), || format!("at once, after {change}"))?;
        let after = until("the new one gets in", || Ok(shown(&pooled, secret).ok()))?;
        let [text] = after.as_slice() else {
            return Err(format!("{after:?}").into());
        };
        let (_, identity) = text.split_once(' ').ok_or("one column")?;
        let expected = format!("{principal} {ROLE}");
        ensure(after != before && identity == expected.trim_start(), || {
            format!("{after:?} and not {expected:?}, after {change}")
        })?;
        before = after;
    }
    let log = pooled.server.log()?;
    ensure(
        log.contains("belongs to another principal now")
            && log.contains("session ended (role mapped to another principal)"),
        || log,
    )
}
