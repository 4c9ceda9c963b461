//! The audit's table: its weeks, how long they are kept, and what happens to them when the extension or
//! the database goes, or comes back from a dump.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use pg_test::Result;
use pg_test::place::give_to_server;
use pg_test::process::checked;
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
    ("a_dump_by_others_leaves_it_out", dumped_by_others),
    ("it_moves_to_a_database_of_its_own", moved),
    ("a_dump_is_restored_in_one_transaction", restored_at_once),
    (
        "a_dump_is_restored_while_sign_ins_are_recorded",
        restored_at_work,
    ),
    ("a_clean_restore_keeps_the_revocations", restored_clean),
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

/// A server that has recorded something this week and long ago, a dump of it, which is gone with the server, and the ids
/// of these events.
fn dump(rig: &Rig, name: &str) -> Result<(Server, PathBuf, BTreeSet<String>)> {
    let server = rig.server(&format!("{name}-dumped"), |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    plant(&server, &[("old-1", 50)])?;
    await_roles(&server, "old-1")?;
    let sign_in = rig.accepted(&server, "someone", &rig.token_of(&person)?)?;
    rig.event(&server, &sign_in.mark)?;
    let file = pg_dump(&server, &[])?;
    let events = ids(&server, "role IN ('someone', 'old-1')")?;
    Ok((server, file, events))
}

/// A dump of the database `postgres`.
fn pg_dump(server: &Server, options: &[&str]) -> Result<PathBuf> {
    let file = server.socket().join("dump.sql");
    let mut pg_dump = server.client("pg_dump")?;
    pg_dump.args(options).arg("-f").arg(&file).arg("postgres");
    checked(&mut pg_dump)?;
    Ok(file)
}

fn ids(server: &Server, condition: &str) -> Result<BTreeSet<String>> {
    let query = format!("SELECT event_id FROM aadauth.sign_in_audit WHERE {condition}");
    Ok(server.sql(&query)?.lines().map(str::to_owned).collect())
}

/// Restores a dump, going on after errors, and returns what psql said.
fn restore(server: &Server, database: &str, file: &Path, options: &[&str]) -> Result<String> {
    let mut psql = server.client("psql")?;
    let output = psql
        .args(options)
        .args(["-XAtq", "-d", database, "-f"])
        .arg(file)
        .output()?;
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The owner of what else is in the database.
fn dumped_by_others(rig: &Rig) -> Result<()> {
    let server = rig.server("dumped-by-others", |plan| plan)?;
    server.sql(
        "CREATE ROLE owner; CREATE SCHEMA app AUTHORIZATION owner;
         SET ROLE owner; CREATE TABLE app.notes AS SELECT 4711 AS id",
    )?;
    let all = pg_dump(&server, &["--role=owner"]);
    let refusal = all.err().map(|error| error.to_string()).unwrap_or_default();
    ensure(refusal.contains("permission denied"), || refusal)?;
    let dumped = fs::read_to_string(pg_dump(&server, &["--role=owner", "-N", "aadauth"])?)?;
    ensure(
        dumped.contains("4711") && dumped.contains("EXTENSION IF NOT EXISTS aadauth"),
        || dumped.clone(),
    )
}

fn moved(rig: &Rig) -> Result<()> {
    let mut server = rig.server("moved", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    let revoked = rig.person(&server, "revoked")?;
    server.sql(&format!("SELECT aadauth.revoke('{}')", revoked.object_id))?;
    let sign_in = rig.accepted(&server, "someone", &rig.token_of(&person)?)?;
    let recorded = rig.event(&server, &sign_in.mark)?;
    server.sql("CREATE DATABASE audit")?;
    server.configure(&[("aadauth.database", Some("audit"))])?;
    let meanwhile = rig.sign_in(&server, "revoked", &rig.token_of(&revoked)?)?;
    ensure(!meanwhile.outcome.is_in(), || "let in".to_owned())?;
    let file = pg_dump(&server, &["-n", "aadauth", "-e", "aadauth"])?;
    let said = restore(&server, "audit", &file, &["-1"])?;
    ensure(said.is_empty(), || said)?;
    server.sql_beside_workers("DROP EXTENSION aadauth CASCADE")?;
    let later = rig.accepted(&server, "someone", &rig.token_of(&person)?)?;
    let refused = rig.sign_in(&server, "revoked", &rig.token_of(&revoked)?)?;
    ensure(!refused.outcome.is_in(), || "let in".to_owned())?;
    let id = recorded["event_id"].as_str().ok_or("no id")?;
    let query = format!(
        "SELECT string_agg(outcome || coalesce(reason, ''), ' ' ORDER BY occurred_at) FROM aadauth.sign_in_audit
         WHERE event_id = '{id}' OR application_name IN ('{}', '{}', '{}')",
        meanwhile.mark, later.mark, refused.mark
    );
    let expected = "authenticated refusedrevoked authenticated refusedrevoked";
    until("all four are in the new database", || {
        Ok((server.sql_in("audit", &query)? == expected).then_some(()))
    })?;
    server.restart()?;
    let refused = rig.sign_in(&server, "revoked", &rig.token_of(&revoked)?)?;
    ensure(!refused.outcome.is_in(), || "let in".to_owned())
}

fn restored_at_once(rig: &Rig) -> Result<()> {
    let (_dumped, file, events) = dump(rig, "at-once")?;
    ensure(events.len() == 2, || format!("{events:?}"))?;
    let server = rig.start_plan(rig.plan("at-once")?)?;
    // The workers see all of it at once.
    let said = restore(&server, "postgres", &file, &["-1"])?;
    ensure(said.is_empty(), || said)?;
    await_local(&server)?;
    // Under another name, beside it, the old weeks can be looked at.
    server.sql("CREATE DATABASE archive")?;
    restore(&server, "archive", &file, &[])?;
    let old = "SELECT min(c.oid::regclass::text) FROM pg_class AS c
        WHERE relnamespace = 'aadauth'::regnamespace AND relkind = 'r' AND NOT relispartition";
    let week = server.sql_in("archive", old)?;
    let rows = server.sql_in("archive", &format!("SELECT count(*) > 0 FROM {week}"))?;
    ensure(rows == "t", || week.clone())?;
    let restored = ids(&server, "true")?;
    ensure(events.is_subset(&restored), || format!("{restored:?}"))?;
    let tables = server.sql(WEEKS)?;
    let guarded = server.sql(
        "SELECT bool_and(relrowsecurity) AND count(*) = 3 FROM pg_inherits
         JOIN pg_class ON oid = inhrelid WHERE inhparent = 'aadauth.sign_in_audit'::regclass",
    )?;
    ensure(guarded == "t", || tables)
}

fn restored_at_work(rig: &Rig) -> Result<()> {
    let (_dumped, file, events) = dump(rig, "at-work")?;
    let server = rig.start_plan(rig.plan("at-work")?)?;
    let said = restore(&server, "postgres", &file, &[])?;
    // The week that this server has begun already is there, and is filled.
    for error in said.lines().filter(|line| line.contains("ERROR:")) {
        ensure(
            [
                "already exists",
                "already a partition",
                "multiple primary keys",
            ]
            .iter()
            .any(|harmless| error.contains(harmless)),
            || said.clone(),
        )?;
    }
    await_local(&server)?;
    let all = server.sql("SELECT event_id FROM aadauth.sign_in_audit")?;
    let restored: BTreeSet<String> = all.lines().map(str::to_owned).collect();
    ensure(restored.len() == all.lines().count(), || {
        "events are there twice".to_owned()
    })?;
    ensure(events.is_subset(&restored), || {
        format!("{said}\n{restored:?}")
    })
}

/// `pg_dump --clean` onto the server that was dumped, with the workers connected.
fn restored_clean(rig: &Rig) -> Result<()> {
    let server = rig.server("clean", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    let revoked = rig.person(&server, "revoked")?;
    server.sql(&format!("SELECT aadauth.revoke('{}')", revoked.object_id))?;
    plant(&server, &[("old-1", 50)])?;
    await_roles(&server, "old-1")?;
    let sign_in = rig.accepted(&server, "someone", &rig.token_of(&person)?)?;
    rig.event(&server, &sign_in.mark)?;
    let file = pg_dump(&server, &["--clean", "--if-exists"])?;
    let dumped = ids(&server, "role IN ('someone', 'old-1')")?;
    let is_refused = || rig.refused(&server, "revoked", &rig.token_of(&revoked)?, "revoked");
    // In one transaction, nothing happens.
    let said = restore(&server, "postgres", &file, &["-1", "-v", "ON_ERROR_STOP=1"])?;
    ensure(
        said.contains("cannot drop extension aadauth without deleting the revocations"),
        || said.clone(),
    )?;
    is_refused()?;
    // Otherwise, the extension stays with the revocations, and the weeks are as they were dumped.
    restore(&server, "postgres", &file, &[])?;
    is_refused()?;
    let later = rig.accepted(&server, "someone", &rig.token_of(&person)?)?;
    rig.event(&server, &later.mark)?;
    let all = server.sql("SELECT event_id FROM aadauth.sign_in_audit")?;
    let restored: BTreeSet<String> = all.lines().map(str::to_owned).collect();
    ensure(
        restored.len() == all.lines().count() && dumped.is_subset(&restored),
        || format!("{dumped:?} became {restored:?}"),
    )?;
    let listed = server.sql("SELECT roles FROM aadauth.revocations")?;
    ensure(listed == "{revoked}", || listed)
}

/// Waits until the server has recorded something of its own.
fn await_local(server: &Server) -> Result<()> {
    let own = "SELECT count(*) > 0 FROM aadauth.sign_in_audit WHERE role = 'postgres'
        AND occurred_at > pg_postmaster_start_time()";
    until("the server records its own sign-ins", || {
        Ok((server.sql_in_new_session(own)? == "t").then_some(()))
    })
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
