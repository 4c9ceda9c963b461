//! The audit's table: its weeks, how long they are kept, and what happens to them when the extension or
//! the database is dropped.

pub mod dumps;

use std::collections::BTreeSet;
use std::fs;

use pg_test::Result;
use pg_test::place::give_to_server;
use pg_test::server::Server;
use pg_test::wait::until;
use serde_json::json;
use uuid::Uuid;

use crate::Test;
use crate::rig::{Rig, ensure};

pub const TESTS: &[Test] = &[
    ("each_week_is_a_table", weeks),
    ("old_weeks_are_dropped", retention),
    ("a_detached_week_is_taken_in_again", detached),
    ("a_week_that_is_not_a_superusers", not_a_superusers),
    (
        "what_others_have_been_given_is_taken_back",
        default_privileges,
    ),
    ("statistics_list_nobody", column_statistics),
    ("an_address_is_no_name", addresses),
    ("an_auditors_queries_have_an_index", indexes),
    ("the_extension_is_not_dropped_unasked", drop_extension),
    ("schema_public_is_not_its_home", schema_public),
    ("a_database_dropped_and_made_again", database_dropped),
];

const WEEKS: &str =
    "SELECT string_agg(inhrelid::regclass::text, ' ' ORDER BY inhrelid::regclass::text)
    FROM pg_inherits WHERE inhparent = 'aadauth.sign_in_audit'::regclass";

/// Waits until the worker has prepared the tables of this week and the next.
pub fn await_weeks(server: &Server) -> Result<()> {
    until("the tables of this week and the next are there", || {
        Ok((server.sql(WEEKS)?.split(' ').count() == 2).then_some(()))
    })
}

/// Leaves events of roles, each so many days old, for the worker to find in the spool.
pub fn plant(server: &Server, events: &[(&str, i64)]) -> Result<()> {
    let now: i64 = server
        .sql("SELECT (extract(epoch FROM now()) * 1000000)::bigint")?
        .parse()?;
    let lines: String = events
        .iter()
        .map(|(role, days)| {
            let event = json!({
                "id": Uuid::new_v4(), "at": now - days * 86_400_000_000, "role": role,
                "outcome": "refused", "reason": "token-expired", "method": "entra-token",
                "tls": true, "backend_pid": 1, "decision_micros": 1, "count": 1,
            });
            format!("{event}\n")
        })
        .collect();
    let id = Uuid::new_v4();
    let spool = server.data().join("aadauth/spool");
    let hidden = spool.join(format!("{id}.part"));
    fs::write(&hidden, lines)?;
    give_to_server(&hidden)?;
    Ok(fs::rename(hidden, spool.join(format!("{id}.jsonl")))?)
}

/// Waits until the audit has exactly those of the roles `old-1`, `old-2`.
pub fn await_roles(server: &Server, roles: &str) -> Result<()> {
    let query = "SELECT coalesce(string_agg(role, ' ' ORDER BY role), '')
        FROM aadauth.sign_in_audit WHERE role LIKE 'old-%'";
    until(&format!("the audit has {roles:?}"), || {
        Ok((server.sql(query)? == roles).then_some(()))
    })
}

fn weeks(rig: &Rig) -> Result<()> {
    let server = rig.server("audit-weeks", |plan| {
        // What a database's owner sets for every session must not lead the worker astray.
        plan.set("datestyle", "German")
            .set("timezone", "Asia/Tokyo")
    })?;
    plant(&server, &[("old-1", 0), ("old-2", 7)])?;
    await_roles(&server, "old-1 old-2")?;
    let expected = server.sql(
        "SELECT string_agg('aadauth.sign_in_audit_' || to_char(monday, 'YYYYMMDD'), ' ' ORDER BY monday)
         FROM unnest(ARRAY[-7, 0, 7]) AS ago,
             date_trunc('week', now() AT TIME ZONE 'UTC' - make_interval(days => ago)) AS monday",
    )?;
    let weeks = server.sql(WEEKS)?;
    ensure(weeks == expected, || format!("{weeks}, not {expected}"))
}

fn retention(rig: &Rig) -> Result<()> {
    let mut server = rig.server("audit-retention", |plan| plan)?;
    let auditor = rig.person(&server, "auditor")?;
    server.sql("GRANT aadauth_auditor TO auditor")?;
    // When the second is there, the worker has looked for old weeks; it does so again when the configuration
    // is read again, or an hour has passed.
    for _ in 0..2 {
        let sign_in = rig.accepted(&server, "auditor", &rig.token_of(&auditor)?)?;
        rig.event(&server, &sign_in.mark)?;
    }
    plant(
        &server,
        &[
            ("old-1", 500),
            ("old-2", 410),
            ("old-3", 390),
            ("old-4", 20),
        ],
    )?;
    await_roles(&server, "old-1 old-2 old-3 old-4")?;

    // A reader delays that, and delays nothing else.
    let (mut reader, _) = rig.connect(&server, "auditor")?;
    reader.request()?;
    reader.password(rig.token_of(&auditor)?.as_bytes())?;
    ensure(reader.outcome()?.is_in(), || "not let in".to_owned())?;
    reader.query("BEGIN")?;
    reader.query("SELECT count(*) FROM aadauth.sign_ins")?;
    let mark = server.log()?.len();
    server.reload()?;
    server.wait_for_log(
        mark,
        "could not drop old sign-ins: canceling statement due to lock timeout",
    )?;
    let sign_in = rig.accepted(&server, "auditor", &rig.token_of(&auditor)?)?;
    rig.event(&server, &sign_in.mark)?;
    reader.query("COMMIT")?;

    server.reload()?;
    await_roles(&server, "old-3 old-4")?;
    server.wait_for_log(
        mark,
        "dropped the sign-ins in table \"aadauth.sign_in_audit_",
    )?;
    server.configure(&[("aadauth.audit_retention", Some("-1"))])?;
    plant(&server, &[("old-5", 9_000)])?;
    await_roles(&server, "old-3 old-4 old-5")?;
    // It could be taken for no limit.
    let refused = server
        .sql("ALTER SYSTEM SET aadauth.audit_retention = 0")
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    ensure(refused.contains("or -1 for no limit"), || refused)?;
    server.configure(&[("aadauth.audit_retention", Some("1"))])?;
    await_roles(&server, "")?;
    // This week is kept whatever is set.
    rig.event(&server, &sign_in.mark).map(drop)
}

fn detached(rig: &Rig) -> Result<()> {
    let server = rig.server("audit-detached", |plan| plan)?;
    plant(&server, &[("old-1", 30)])?;
    await_roles(&server, "old-1")?;
    let week =
        server.sql("SELECT tableoid::regclass FROM aadauth.sign_in_audit WHERE role = 'old-1'")?;
    server.sql(&format!(
        "ALTER TABLE aadauth.sign_in_audit DETACH PARTITION {week}"
    ))?;
    await_roles(&server, "")?;
    plant(&server, &[("old-2", 30)])?;
    await_roles(&server, "old-1 old-2")
}

/// Its owner could have given it triggers, which the worker would run.
fn not_a_superusers(rig: &Rig) -> Result<()> {
    let server = rig.server("audit-owned", |plan| plan)?;
    plant(&server, &[("old-1", 30)])?;
    await_roles(&server, "old-1")?;
    let week =
        server.sql("SELECT tableoid::regclass FROM aadauth.sign_in_audit WHERE role = 'old-1'")?;
    server.sql(&format!(
        "CREATE ROLE keeper; ALTER TABLE aadauth.sign_in_audit DETACH PARTITION {week};
         ALTER TABLE {week} OWNER TO keeper"
    ))?;
    let mark = server.log()?.len();
    plant(&server, &[("old-2", 30)])?;
    server.wait_for_log(mark, "is not owned by a superuser")?;
    let rows = server.sql(&format!("SELECT count(*) FROM {week}"))?;
    ensure(rows == "1", || {
        format!("{rows} rows in somebody else's table")
    })?;
    server.sql(&format!("ALTER TABLE {week} OWNER TO postgres"))?;
    await_roles(&server, "old-1 old-2")
}

/// The worker, a superuser, would run the trigger of a role that may create one on the table.
fn default_privileges(rig: &Rig) -> Result<()> {
    let server = rig.start_plan(rig.plan("audit-given")?)?;
    server.sql(
        "CREATE ROLE app; ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO app;
         ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO app;
         ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO app",
    )?;
    rig.prepare(&server)?;
    let person = rig.person(&server, "someone")?;
    let sign_in = rig.accepted(&server, "someone", &rig.token_of(&person)?)?;
    rig.event(&server, &sign_in.mark)?;
    let given = "SELECT coalesce(string_agg(object, ' '), '') FROM (
            SELECT relname::text, relacl FROM pg_class WHERE relnamespace = 'aadauth'::regnamespace
            UNION ALL
            SELECT proname::text, proacl FROM pg_proc
                WHERE pronamespace = 'aadauth'::regnamespace OR proname = 'azure_roles_authtype'
            UNION ALL
            SELECT nspname::text, nspacl FROM pg_namespace WHERE nspname = 'aadauth'
        ) AS o (object, acl), aclexplode(acl) WHERE grantee = 'app'::regrole";
    let given_to_app = server.sql(given)?;
    ensure(given_to_app.is_empty(), || given_to_app)?;
    // What is given later is noticed; nothing is written, and nothing lost.
    for what in [
        "GRANT TRIGGER ON aadauth.sign_in_audit TO app",
        "GRANT CREATE ON SCHEMA aadauth TO app",
        "GRANT INSERT ON {} TO app",
    ] {
        let weeks = server.sql(WEEKS)?.replace(' ', ", ");
        let grant = what.replace("{}", &weeks);
        let mark = server.log()?.len();
        server.sql(&grant)?;
        let sign_in = rig.accepted(&server, "someone", &rig.token_of(&person)?)?;
        server.wait_for_log(mark, "or other roles may write to them")?;
        server.sql(&grant.replace("GRANT", "REVOKE").replace(" TO ", " FROM "))?;
        rig.event(&server, &sign_in.mark)?;
    }
    Ok(())
}

/// `pg_stats` hides what a table's policies hide, and not what an index has.
fn column_statistics(rig: &Rig) -> Result<()> {
    let server = rig.server("audit-statistics", |plan| plan)?;
    plant(&server, &[("old-1", 0); 50])?;
    until("the audit has them", || {
        let count = "SELECT count(*) = 50 FROM aadauth.sign_in_audit WHERE role = 'old-1'";
        Ok((server.sql(count)? == "t").then_some(()))
    })?;
    let seen =
        "SELECT count(*) FROM pg_stats WHERE schemaname = 'aadauth' AND tablename LIKE 'sign_in_%'";
    let by_owner = server.sql(&format!("ANALYZE; {seen}"))?;
    ensure(by_owner != "0", || "nothing was analyzed".to_owned())?;
    let by_reader = server.sql(&format!(
        "CREATE ROLE reader; GRANT pg_read_all_data TO reader; SET ROLE reader; {seen}"
    ))?;
    ensure(by_reader == "0", || {
        format!("{by_reader} columns are shown")
    })
}

/// With `log_hostname` PostgreSQL has names in place of addresses.
fn addresses(rig: &Rig) -> Result<()> {
    let server = rig.server("audit-names", |plan| plan.set("log_hostname", "on"))?;
    let person = rig.person(&server, "someone")?;
    let sign_in = rig.accepted(&server, "someone", &rig.token_of(&person)?)?;
    let event = rig.event(&server, &sign_in.mark)?;
    ensure(
        event["client_address"] == "127.0.0.1" && event["client_port"].is_number(),
        || event.to_string(),
    )
}

fn indexes(rig: &Rig) -> Result<()> {
    let server = &rig.server;
    let sign_in = rig.accepted(server, "alice@contoso.com", &rig.alice()?)?;
    rig.event(server, &sign_in.mark)?;
    for condition in [
        "principal = 'alice@contoso.com'",
        "role = 'alice@contoso.com'",
        "client = '127.0.0.1'",
        "client <<= '127.0.0.0/8'",
        "outcome = 'refused'",
    ] {
        let plan = server.sql(&format!(
            "SET enable_seqscan = off; SET enable_bitmapscan = off; SET role aadauth_auditor;
             EXPLAIN SELECT * FROM aadauth.sign_ins WHERE {condition} LIMIT 20"
        ))?;
        ensure(
            plan.contains("Index Scan") && !plan.contains("Seq Scan"),
            || format!("{condition}: {plan}"),
        )?;
        let filters = plan.lines().filter(|line| line.contains("Filter:"));
        for filter in filters {
            ensure(
                !filter.contains("127.0.0.1") && !filter.contains("alice"),
                || format!("{condition} is no condition of the index: {plan}"),
            )?;
        }
    }
    Ok(())
}

fn drop_extension(rig: &Rig) -> Result<()> {
    let server = rig.server("audit-drop", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    let sign_in = rig.accepted(&server, "someone", &rig.token_of(&person)?)?;
    rig.event(&server, &sign_in.mark)?;
    for drop in [
        "DROP EXTENSION aadauth",
        "DROP EXTENSION IF EXISTS plpgsql_check, aadauth RESTRICT",
        "DO $$ BEGIN EXECUTE 'DROP EXTENSION aadauth'; END $$",
    ] {
        match server.sql(drop) {
            Ok(_) => return Err(format!("allowed: {drop}").into()),
            Err(error) => {
                let error = error.to_string();
                ensure(
                    error.contains("2BP01: cannot drop extension aadauth without deleting the sign-ins recorded since 2")
                        && error.contains("CASCADE"),
                    || error,
                )?;
            }
        }
    }
    server.sql("CREATE ROLE owner SUPERUSER; UPDATE pg_extension SET extowner = 'owner'::regrole WHERE extname = 'aadauth';
        INSERT INTO pg_shdepend SELECT d.oid, 'pg_extension'::regclass, e.oid, 0, 'pg_authid'::regclass, e.extowner, 'o'
            FROM pg_extension AS e, pg_database AS d WHERE e.extname = 'aadauth' AND d.datname = current_database()")?;
    let refusal = server.sql("DROP OWNED BY owner").err();
    let refusal = refusal.map(|error| error.to_string()).unwrap_or_default();
    ensure(refusal.contains("without deleting the sign-ins"), || {
        refusal
    })?;
    // Others are told what PostgreSQL tells them.
    server.sql("CREATE ROLE nobody")?;
    match server.sql("SET ROLE nobody; DROP EXTENSION aadauth") {
        Ok(_) => return Err("dropped by nobody".into()),
        Err(error) => ensure(
            error.to_string().contains("must be owner of extension"),
            || error.to_string(),
        )?,
    }
    server.sql_beside_workers("DROP EXTENSION aadauth CASCADE; CREATE EXTENSION aadauth")?;
    // With nothing recorded yet, revocations are worth asking for as well.
    server.sql("SELECT aadauth.revoke(gen_random_uuid())")?;
    match server.sql("TRUNCATE aadauth.sign_in_audit; DROP EXTENSION aadauth") {
        Ok(_) => return Err("revocations are dropped unasked".into()),
        Err(error) => ensure(
            error
                .to_string()
                .contains("without deleting the revocations"),
            || error.to_string(),
        )?,
    }
    server.sql_beside_workers("DROP EXTENSION aadauth CASCADE")?;
    // What comes meanwhile waits; then it goes on.
    let meanwhile = rig.accepted(&server, "someone", &rig.token_of(&person)?)?;
    server.sql("CREATE EXTENSION aadauth")?;
    rig.event(&server, &meanwhile.mark).map(drop)
}

fn database_dropped(rig: &Rig) -> Result<()> {
    let mut server = rig.server("audit-database", |plan| plan)?;
    let create = "CREATE DATABASE audit";
    server.sql(create)?;
    server.configure(&[("aadauth.database", Some("audit"))])?;
    server.sql_in("audit", "CREATE EXTENSION aadauth")?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    let stranger = rig.alice()?;
    // A sign-in and a refusal, which are decided before this returns.
    let both = || -> Result<[String; 2]> {
        let accepted = rig.accepted(&server, "someone", &token)?;
        let refused = rig.sign_in(&server, "someone", &stranger)?;
        ensure(!refused.outcome.is_in(), || "a stranger got in".to_owned())?;
        Ok([accepted.mark, refused.mark])
    };
    let recorded = || -> Result<Vec<String>> {
        let marks = server.sql_in(
            "audit",
            "SELECT application_name FROM aadauth.sign_in_audit WHERE role = 'someone'",
        )?;
        Ok(marks.lines().map(str::to_owned).collect())
    };
    let before: BTreeSet<String> = both()?.into_iter().chain(both()?).collect();
    until("the sign-ins are recorded", || {
        Ok((recorded()?.len() == before.len()).then_some(()))
    })?;
    server.sql("DROP DATABASE audit WITH (FORCE)")?;
    let mut after = BTreeSet::new();
    for _ in 0..10 {
        after.extend(both()?);
    }
    server.wait_for_log(
        0,
        "could not connect to database \"audit\" to record sign-ins",
    )?;
    after.extend(both()?);
    server.sql(create)?;
    server.sql_in("audit", "CREATE EXTENSION aadauth")?;
    server.reload()?;
    after.extend(both()?);
    until("what came since is recorded", || {
        let recorded: BTreeSet<String> = recorded()?.into_iter().collect();
        Ok(after.is_subset(&recorded).then_some(()))
    })?;
    let rows = recorded()?;
    let different: BTreeSet<&String> = rows.iter().collect();
    ensure(different.len() == rows.len(), || {
        format!("{} rows of {} sign-ins", rows.len(), different.len())
    })?;
    ensure(
        rows.iter()
            .all(|mark| after.contains(mark) || before.contains(mark)),
        || "rows of sign-ins that nobody made".to_owned(),
    )
}

/// What others do with `public` is theirs.
fn schema_public(rig: &Rig) -> Result<()> {
    let server = rig.server("no-public", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    server.sql(&format!("SELECT aadauth.revoke('{}')", person.object_id))?;
    server.sql("DROP SCHEMA public CASCADE")?;
    rig.refused(&server, "someone", &rig.token_of(&person)?, "revoked")?;
    let listed = server.sql("SELECT roles FROM aadauth.revocations")?;
    ensure(listed == "{someone}", || listed)?;
    // Nor is it needed.
    server.sql("CREATE DATABASE bare TEMPLATE template0")?;
    server.sql_in("bare", "DROP SCHEMA public")?;
    server.sql_in("bare", "CREATE EXTENSION aadauth").map(drop)
}
