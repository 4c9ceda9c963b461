//! What others do in the audit's database neither stops the workers nor leads them astray.

use pg_test::Result;
use pg_test::place::major;
use pg_test::process::checked;
use pg_test::server::Server;
use pg_test::wait::until;
use uuid::Uuid;

use crate::Test;
use crate::audit::full_disk::Disk;
use crate::audit_table::{await_roles, await_weeks, plant};
use crate::rig::{Person, Rig, answer, ensure};

pub const TESTS: &[Test] = &[
    ("all_that_others_may_do_at_once", hostile),
    ("rows_of_another_server_are_left_out", replicated),
    ("other_databases_say_where_the_tables_are", elsewhere),
    ("no_statement_takes_the_database_away", taken_away),
    ("nor_while_its_worker_is_not_connected", between_workers),
];

/// Each of it once stopped the audit, group sync or sign-ins, some only after the next start.
const HOSTILE: &str = "
    CREATE ROLE nobody;
    CREATE FUNCTION pg_catalog.raise() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END';
    CREATE TRIGGER raise BEFORE INSERT OR UPDATE OR DELETE ON aadauth.sign_in_audit
        FOR EACH ROW EXECUTE FUNCTION raise();
    CREATE TRIGGER raise BEFORE INSERT OR UPDATE OR DELETE ON aadauth.audit_spool
        FOR EACH ROW EXECUTE FUNCTION raise();
    CREATE TRIGGER raise BEFORE INSERT OR UPDATE OR DELETE ON aadauth.revoked_principals
        FOR EACH ROW EXECUTE FUNCTION raise();
    CREATE FUNCTION aadauth.skip_replicated(integer) RETURNS integer LANGUAGE sql AS 'SELECT $1';
    CREATE PUBLICATION everything FOR ALL TABLES;
    DROP OWNED BY aadauth_auditor;
    DROP SCHEMA public CASCADE;
    ALTER DATABASE postgres SET role = nobody;
    ALTER DATABASE postgres SET session_replication_role = origin;
    ALTER DATABASE postgres SET statement_timeout = '1ms';
    CREATE FUNCTION pg_catalog.give() RETURNS event_trigger LANGUAGE plpgsql AS 'DECLARE made record; BEGIN
        FOR made IN SELECT * FROM pg_event_trigger_ddl_commands() WHERE command_tag = ''CREATE TABLE'' LOOP
            EXECUTE ''ALTER TABLE '' || made.object_identity || '' OWNER TO nobody'';
        END LOOP; END';
    CREATE FUNCTION pg_catalog.refuse() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END';
    CREATE EVENT TRIGGER give ON ddl_command_end EXECUTE FUNCTION give();
    CREATE EVENT TRIGGER refuse ON ddl_command_start EXECUTE FUNCTION refuse()";

fn hostile(rig: &Rig) -> Result<()> {
    let mut server = rig.server("hostile-database", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    let revoked = rig.person(&server, "revoked")?;
    server.sql(&format!("SELECT aadauth.revoke('{}')", revoked.object_id))?;
    server.sql_in("template1", "CREATE EXTENSION aadauth")?;
    server.sql_beside_workers(HOSTILE)?;
    if major()?.parse::<u32>()? >= 17 {
        server.sql(
            "SET statement_timeout = 0; SET ROLE NONE; ALTER EVENT TRIGGER give ENABLE ALWAYS; ALTER EVENT TRIGGER refuse ENABLE ALWAYS;
             ALTER DATABASE postgres SET transaction_timeout = '1ms'",
        )?;
    }
    let close = |server: &Server, how: &str| {
        let alter = format!("ALTER DATABASE postgres ALLOW_CONNECTIONS {how}");
        server.sql_in("template1", &alter)
    };
    close(&server, "false")?;
    server.stop()?;
    let disk = Disk::give_to(&server, rig.run().path().join("hostile-disk"))?;
    server.start()?;
    let signs_in = |person: &Person, expected: bool| -> Result<String> {
        let elsewhere = &[("database", "template1")];
        let (connection, mark) =
            rig.connect_with(&server, &person.role, Some(&rig.tls), elsewhere)?;
        let sign_in = answer(connection, mark, &rig.token_of(person)?)?;
        ensure(sign_in.outcome.is_in() == expected, || {
            format!("{}: {:?}", person.role, sign_in.outcome)
        })?;
        Ok(sign_in.mark)
    };
    disk.fill()?;
    // A page of the file that is there may still have room.
    for _ in 0..30 {
        signs_in(&person, true)?;
        signs_in(&revoked, false)?;
    }
    disk.make_room()?;
    let mut marks = vec![signs_in(&person, true)?, signs_in(&revoked, false)?];
    let id = person.object_id;
    server.sql_in("template1", &format!("SELECT aadauth.revoke('{id}')"))?;
    marks.push(signs_in(&person, false)?);
    server.sql_in("template1", &format!("SELECT aadauth.restore('{id}')"))?;
    marks.push(signs_in(&person, true)?);
    // What keeps readers out is undone, to see that nothing is missing.
    close(&server, "true")?;
    server.sql_in("template1", "ALTER DATABASE postgres RESET ALL")?;
    // A week that has no table yet.
    plant(&server, &[("old-1", 30)])?;
    for mark in marks {
        rig.event(&server, &mark)?;
    }
    await_roles(&server, "old-1")?;
    let all =
        "SELECT sum(count) >= 30 AND bool_or(role = '(not recorded)') FROM aadauth.sign_in_audit
        WHERE role IN ('someone', '(not recorded)') AND outcome = 'authenticated'";
    until("the full disk's sign-ins are counted", || {
        Ok((server.sql(all)? == "t").then_some(()))
    })?;
    let owners = server.sql(
        "SELECT DISTINCT relowner::regrole FROM pg_class WHERE relnamespace = 'aadauth'::regnamespace",
    )?;
    ensure(owners == "postgres", || owners)?;
    let found = server.sql(
        "SELECT string_agg(remedy, ' ') FROM aadauth.check_configuration()
         WHERE code = 'own-role-without-privileges'",
    )?;
    // It says what to run.
    server.sql("DROP EVENT TRIGGER refuse; DROP EVENT TRIGGER give")?;
    let statements = found
        .strip_prefix("Run ")
        .and_then(|rest| rest.strip_suffix('.'));
    server.sql(statements.ok_or(found.clone())?)?;
    server.sql("CREATE ROLE audrey IN ROLE aadauth_auditor")?;
    let read = server
        .sql("SET ROLE audrey; SELECT count(*) > 0 FROM aadauth.sign_ins WHERE role = 'someone'")?;
    ensure(read == "t", || format!("auditors read nothing: {read}"))?;
    let findings = server.sql(
        "SELECT string_agg(code, ' ') FROM aadauth.check_configuration() WHERE code LIKE 'audit%'",
    )?;
    // For the publication.
    ensure(findings == "audit-database-shared", || findings)
}

fn replicated(rig: &Rig) -> Result<()> {
    let start = |name: &str| {
        rig.server(name, |plan| {
            plan.set("wal_level", "logical")
                .set("max_worker_processes", "16")
        })
    };
    let publisher = start("publisher")?;
    let subscriber = start("subscriber")?;
    let person = rig.person(&subscriber, "someone")?;
    let own = rig.person(&subscriber, "own")?;
    rig.map(&publisher, "someone", &person.object_id.to_string(), "user")?;
    let revoke = |server: &Server, id: Uuid| server.sql(&format!("SELECT aadauth.revoke('{id}')"));
    let restore =
        |server: &Server, id: Uuid| server.sql(&format!("SELECT aadauth.restore('{id}')"));
    for server in [&publisher, &subscriber] {
        server.sql("CREATE TABLE notes (id integer PRIMARY KEY)")?;
        await_weeks(server)?;
    }
    // One that is copied, one that is there already, and one that comes later.
    let sign_in = rig.accepted(&publisher, "someone", &rig.token_of(&person)?)?;
    let copied = rig.event(&publisher, &sign_in.mark)?;
    revoke(&publisher, person.object_id)?;
    revoke(&subscriber, own.object_id)?;
    publisher.sql("INSERT INTO notes VALUES (1); CREATE PUBLICATION everything FOR ALL TABLES")?;
    subscriber.sql(&format!(
        "CREATE SUBSCRIPTION everything CONNECTION '{} dbname=postgres' PUBLICATION everything",
        publisher.connection_string()
    ))?;
    let arrived = |id: u32| {
        until(&format!("row {id} has arrived"), || {
            let query = format!(
                "SELECT (SELECT count(*) FROM notes WHERE id = {id}) = 1
                     AND (SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel)"
            );
            Ok((subscriber.sql(&query)? == "t").then_some(()))
        })
    };
    arrived(1)?;
    restore(&publisher, person.object_id)?;
    let sign_in = rig.accepted(&publisher, "someone", &rig.token_of(&person)?)?;
    let streamed = rig.event(&publisher, &sign_in.mark)?;
    revoke(&publisher, person.object_id)?;
    // Their row is updated and deleted; the subscriber has one with that key.
    revoke(&publisher, own.object_id)?;
    revoke(&publisher, own.object_id)?;
    restore(&publisher, own.object_id)?;
    // A table that the subscription does not know, as at each new week.
    for server in [&publisher, &subscriber] {
        let week = server.sql("SELECT max(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'aadauth.sign_in_audit'::regclass")?;
        server.sql(&format!("DROP TABLE {week}"))?;
        server.reload()?;
        until("the next week's table is there again", || {
            let exists = server.sql(&format!("SELECT to_regclass('{week}') IS NOT NULL"))?;
            Ok((exists == "t").then_some(()))
        })?;
    }
    publisher.sql(
        "INSERT INTO aadauth.sign_in_audit
            (event_id, occurred_at, role, outcome, method, tls, backend_pid, decision_time, count)
         VALUES (gen_random_uuid(), now() + interval '7 days', 'old-9', 'refused', 'none', true, 1, '1 s', 1);
         INSERT INTO notes VALUES (2)",
    )?;
    arrived(2)?;
    for event in [copied, streamed] {
        let id = event["event_id"].as_str().ok_or("no id")?;
        let query = format!("SELECT count(*) FROM aadauth.sign_in_audit WHERE event_id = '{id}'");
        let found = subscriber.sql(&query)?;
        ensure(found == "0", || format!("imported: {event}"))?;
    }
    await_roles(&subscriber, "")?;
    truncated(&publisher, &subscriber)?;
    rig.accepted(&subscriber, "someone", &rig.token_of(&person)?)?;
    let revoked = subscriber.sql("SELECT roles FROM aadauth.revocations")?;
    ensure(revoked == "{own}", || revoked)?;
    rig.refused(&subscriber, "own", &rig.token_of(&own)?, "revoked")
}

/// What cannot be left out stops the subscription.
fn truncated(publisher: &Server, subscriber: &Server) -> Result<()> {
    // The subscriber goes on recording its own.
    let recorded = subscriber
        .sql("SELECT array_agg(event_id) FROM aadauth.sign_in_audit HAVING count(*) > 0")?;
    ensure(!recorded.is_empty(), || "nothing to lose".to_owned())?;
    let week = publisher.sql(
        "SELECT min(inhrelid::regclass::text) FROM pg_inherits
         WHERE inhparent = 'aadauth.sign_in_audit'::regclass",
    )?;
    for table in ["aadauth.revoked_principals", week.as_str()] {
        let mark = subscriber.log_length()?;
        publisher.sql(&format!("TRUNCATE {table}"))?;
        subscriber.wait_for_log(mark, "cannot replicate TRUNCATE")?;
        // The transaction is skipped.
        subscriber.sql("ALTER SUBSCRIPTION everything DISABLE")?;
        until("the subscription has stopped", || {
            let stopped =
                "SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'everything'";
            Ok((publisher.sql(stopped)? == "t").then_some(()))
        })?;
        publisher.sql("SELECT pg_replication_slot_advance('everything', pg_current_wal_lsn())")?;
        subscriber.sql("ALTER SUBSCRIPTION everything ENABLE")?;
    }
    let kept = subscriber.sql(&format!(
        "SELECT count(*) = cardinality('{recorded}'::uuid[]) FROM aadauth.sign_in_audit
         WHERE event_id = ANY ('{recorded}')"
    ))?;
    ensure(kept == "t", || "events are missing".to_owned())
}

/// An empty view would read as if nobody had signed in, or were revoked; tables would be in dumps and publications.
fn elsewhere(rig: &Rig) -> Result<()> {
    let mut server = rig.server("elsewhere", |plan| plan)?;
    server.sql("CREATE ROLE owner")?;
    server.sql("CREATE DATABASE other OWNER owner")?;
    server.sql_in("other", "CREATE EXTENSION aadauth")?;
    let says_where = |server: &Server, database: &str, hint: &str| -> Result<()> {
        for view in ["sign_ins", "revocations", "group_sync_status"] {
            let query = format!("SELECT * FROM aadauth.{view}");
            let refusal = server.sql_in(database, &query).err();
            let refusal = refusal.map(|error| error.to_string()).unwrap_or_default();
            let expected = format!("not recorded in database \"{database}\"");
            ensure(
                refusal.contains("55000:") && refusal.contains(&expected) && refusal.contains(hint),
                || format!("{view}: {refusal}"),
            )?;
        }
        Ok(())
    };
    says_where(&server, "other", "Connect to database \"postgres\"")?;
    // The views have the columns and the privileges that they have where the tables are.
    let views =
        "SELECT string_agg(format('%s %s %s', c.oid::regclass, c.relacl, (SELECT string_agg(
            format('%s %s', attname, atttypid::regtype), ', ' ORDER BY attnum) FROM pg_attribute
            WHERE attrelid = c.oid AND attnum > 0)), '\n' ORDER BY relname)
        FROM pg_class AS c WHERE relnamespace = 'aadauth'::regnamespace AND relkind = 'v'";
    let (there, here) = (server.sql(views)?, server.sql_in("other", views)?);
    ensure(there == here && !here.is_empty(), || {
        format!("{there}\n{here}")
    })?;
    let tables = server.sql_in(
        "other",
        "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = 'aadauth'::regnamespace AND relkind IN ('r', 'p'))
            || ' ' || (SELECT coalesce(extconfig::text, 'none') FROM pg_extension WHERE extname = 'aadauth')",
    )?;
    ensure(tables == "0 none", || tables)?;
    // Nor do they keep the database's owner from dumping it.
    let mut pg_dump = server.client("pg_dump")?;
    checked(pg_dump.args(["--role=owner", "other"]))?;
    // What works everywhere.
    let person = rig.person(&server, "someone")?;
    let revoke = format!("SELECT aadauth.revoke('{}')", person.object_id);
    server.sql_in("other", &revoke)?;
    rig.refused(&server, "someone", &rig.token_of(&person)?, "revoked")?;
    server.sql_in("other", &revoke.replace("revoke", "restore"))?;
    // A database where the tables are missing is not taken for an empty one.
    server.sql("ALTER DATABASE other OWNER TO postgres")?;
    server.configure(&[("aadauth.database", Some("other"))])?;
    server.wait_for_log(
        0,
        "tables of extension aadauth are missing in database \"other\"",
    )?;
    says_where(
        &server,
        "other",
        "Run DROP EXTENSION aadauth and CREATE EXTENSION aadauth",
    )?;
    says_where(&server, "postgres", "Connect to database \"other\"")?;
    let sign_in = rig.accepted(&server, "someone", &rig.token_of(&person)?)?;
    server.sql_in("other", "DROP EXTENSION aadauth; CREATE EXTENSION aadauth")?;
    let recorded = format!(
        "SELECT count(*) FROM aadauth.sign_in_audit WHERE application_name = '{}'",
        sign_in.mark
    );
    until("what waited is recorded there", || {
        Ok((server.sql_in("other", &recorded)? == "1").then_some(()))
    })
}

/// Expects the statement to be refused because it takes the database away.
fn refused(server: &Server, database: &str, statement: &str) -> Result<()> {
    let error = server
        .sql_in("template1", statement)
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    let expected = format!("55006: database \"{database}\", which aadauth uses, must keep");
    ensure(error.contains(&expected) && error.contains("HINT:"), || {
        format!("{statement}: {error}")
    })
}

/// Without it nobody would sign in with a token after the next start.
fn taken_away(rig: &Rig) -> Result<()> {
    let mut server = rig.server("taken-away", |plan| plan)?;
    server.sql("CREATE ROLE owner; CREATE ROLE root SUPERUSER")?;
    server.sql("CREATE DATABASE other")?;
    // Superusers may own it, and what is said of others and of another database is not for us to refuse.
    server.sql("ALTER DATABASE postgres OWNER TO root")?;
    for statement in [
        "ALTER DATABASE postgres OWNER TO owner",
        "ALTER DATABASE postgres RENAME TO mine",
        "REASSIGN OWNED BY root TO owner",
        "ALTER ROLE root NOSUPERUSER",
        "DO $$ BEGIN ALTER USER root NOSUPERUSER; END $$",
    ] {
        refused(&server, "postgres", statement)?;
    }
    server.sql(
        "ALTER ROLE root NOCREATEDB; ALTER ROLE owner SUPERUSER; REASSIGN OWNED BY root TO owner;
         ALTER ROLE root NOSUPERUSER; REASSIGN OWNED BY owner TO postgres; ALTER ROLE owner NOSUPERUSER",
    )?;
    for change in ["OWNER TO owner", "RENAME TO mine"] {
        server.sql(&format!("ALTER DATABASE other {change}"))?;
    }
    // Another database is used.
    server.sql_in("mine", "ALTER DATABASE mine OWNER TO postgres")?;
    server.configure(&[("aadauth.database", Some("mine"))])?;
    server.sql_in("mine", "CREATE EXTENSION aadauth")?;
    until("the other database is used", || {
        Ok(refused(&server, "mine", "ALTER DATABASE mine RENAME TO postgres").ok())
    })?;
    refused(&server, "mine", "ALTER DATABASE mine OWNER TO owner")?;
    server.sql_in("template1", "ALTER DATABASE postgres OWNER TO owner")?;
    // One without the extension is not used.
    server.sql_in("template1", "CREATE DATABASE bare")?;
    server.configure(&[("aadauth.database", Some("bare"))])?;
    until("the extension is missed", || {
        let given = server.sql_in("template1", "ALTER DATABASE bare OWNER TO owner");
        Ok(given.ok().map(drop))
    })
}

/// It is started again seconds after it has ended.
fn between_workers(rig: &Rig) -> Result<()> {
    let mut server = rig.server("between-workers", |plan| plan)?;
    server.sql("CREATE ROLE owner")?;
    server.sql("CREATE DATABASE bare")?;
    let given = "ALTER DATABASE postgres OWNER TO owner";
    let ended = |server: &Server| {
        until("the audit worker has ended", || {
            Ok(server.child("audit worker")?.is_none().then_some(()))
        })
    };
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'aadauth audit worker'";
    server.sql_in("template1", end)?;
    ended(&server)?;
    refused(&server, "postgres", given)?;
    // What it last said was of another database.
    server.configure(&[("aadauth.database", Some("bare"))])?;
    until("the extension is missed", || {
        let given = server.sql_in("template1", "ALTER DATABASE bare OWNER TO owner");
        Ok(given.ok().map(drop))
    })?;
    server.configure(&[("aadauth.database", None)])?;
    ended(&server)?;
    refused(&server, "postgres", given)
}
