//! Names and texts that are not ASCII, in databases of several encodings, read by a client whose encoding is UTF8.

use std::process::Stdio;

use pg_test::Result;
use pg_test::place::program;
use pg_test::process::{as_postgres, checked};
use pg_test::server::Server;
use pg_test::wait::until;
use pg_test::wire::Connection;

use crate::Test;
use crate::rig::{OUR_LINES, Person, Rig, ensure};
use crate::sessions::standby::FUNCTIONS;

pub const TESTS: &[Test] = &[
    ("names_are_the_same_in_the_audit", audit),
    ("revocations_keep_their_reason", revocations),
    ("names_that_an_encoding_lacks_are_refused", names),
    (
        "characters_that_are_one_together_are_another_name",
        combined,
    ),
    ("every_sql_object", every_object),
];

/// The encoding of a database, and how `ロールÝ` is shown in it.
const ENCODINGS: [(&str, &str); 5] = [
    ("LATIN1", r"\u30ED\u30FC\u30EBÝ"),
    ("WIN1252", r"\u30ED\u30FC\u30EBÝ"),
    ("EUC_JP", "ロールÝ"),
    ("SQL_ASCII", "ロールÝ"),
    ("UTF8", "ロールÝ"),
];

const STRANGER: &str = "ロールÝ";
const ZOE: &str = "zoë@contoso.com";

/// A server whose `aadauth.database` has another encoding each time `body` is called with it; a standby can follow it.
fn for_each_encoding(
    rig: &Rig,
    name: &str,
    mut body: impl FnMut(&Server, &str, &str) -> Result<()>,
) -> Result<Server> {
    let [ours, of_replication] = OUR_LINES;
    let lines = ["local replication postgres peer", ours, of_replication];
    let mut server = rig.server(name, |plan| plan.hba(&lines))?;
    for (encoding, stranger) in ENCODINGS {
        let database = encoding.to_lowercase();
        server.sql(&format!(
            "CREATE DATABASE {database} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
        ))?;
        server.configure(&[("aadauth.database", Some(&database))])?;
        server.sql_in(&database, "CREATE EXTENSION aadauth")?;
        await_workers(&server, &database, 2)?;
        body(&server, &database, stranger).map_err(|error| format!("{encoding}: {error}"))?;
    }
    Ok(server)
}

fn await_workers(server: &Server, database: &str, count: u32) -> Result<()> {
    let workers = format!(
        "SELECT count(*) = {count} FROM pg_stat_activity WHERE datname = '{database}' AND backend_type LIKE 'aadauth%'"
    );
    until("the workers are in the database", || {
        Ok((server.sql(&workers)? == "t").then_some(()))
    })
}

/// The superuser, as a client whose encoding is UTF8.
fn superuser(server: &Server, database: &str) -> Result<Connection> {
    let mut superuser = server.superuser_in(database)?;
    superuser.query("SET client_encoding = 'UTF8'")?;
    Ok(superuser)
}

/// A session of that principal in the database, whose client's encoding is UTF8.
fn session(rig: &Rig, server: &Server, database: &str, person: &Person) -> Result<Connection> {
    let parameters = [("database", database), ("client_encoding", "UTF8")];
    let token = rig
        .user("alice@contoso.com")
        .object_id(person.object_id)
        .claim("upn", person.role.as_str())
        .claim("preferred_username", person.role.as_str())
        .text()?;
    rig.session_with(server, &person.role, &token, &parameters)
}

/// Leaves an attempt of a role that does not exist.
fn attempt(rig: &Rig, server: &Server, database: &str) -> Result<()> {
    let parameters = [("database", database)];
    let attempt = rig.session_with(server, STRANGER, "guessed", &parameters);
    ensure(attempt.is_err(), || "a stranger got in".to_owned())
}

fn expect(session: &mut Connection, sql: &str, expected: &[&str]) -> Result<()> {
    let rows = session.query(sql)?;
    ensure(rows == expected, || {
        format!("{sql}: {rows:?} and not {expected:?}")
    })
}

fn audit(rig: &Rig) -> Result<()> {
    let mut zoe = None;
    let mut attempts = 0;
    for_each_encoding(rig, "encodings-audit", |server, database, stranger| {
        let zoe = match &zoe {
            Some(zoe) => zoe,
            None => zoe.insert(rig.person(server, ZOE)?),
        };
        attempt(rig, server, database)?;
        let mut own = session(rig, server, database, zoe)?;
        expect(
            &mut own,
            "SELECT role::text || ' ' || principal FROM aadauth.own_principal()",
            &[&format!("{ZOE} {ZOE}")],
        )?;
        let mut superuser = superuser(server, database)?;
        expect(
            &mut superuser,
            "SELECT role::text || ' ' || principal FROM aadauth.sessions",
            &[&format!("{ZOE} {ZOE}")],
        )?;
        let query =
            "SELECT json_build_array(event_id, role, coalesce(upn, '')) FROM aadauth.sign_in_audit
            WHERE method <> 'peer' ORDER BY occurred_at";
        // The spool still has those of the databases before.
        attempts += 2;
        let rows = until("the audit has both", || {
            let rows = superuser.query(query)?;
            Ok((rows.len() == attempts).then_some(rows))
        })?;
        let rows: Vec<[String; 3]> = rows
            .iter()
            .map(|row| Ok(serde_json::from_str(row)?))
            .collect::<Result<_>>()?;
        for (row, expected) in rows.iter().zip([[stranger, ""], [ZOE, ZOE]].iter().cycle()) {
            let [id, role, upn] = row;
            ensure([role, upn] == *expected, || format!("{row:?}"))?;
            let explained = superuser.query(&format!(
                "SELECT explanation FROM aadauth.explain_sign_in('{id}')"
            ))?;
            ensure(
                explained.concat().contains(&format!("role \"{role}\"")),
                || format!("{explained:?}"),
            )?;
        }
        // By the name as it is shown.
        let refused = superuser.query(&format!(
            "SELECT role FROM aadauth.why('{stranger}') WHERE time IS NOT NULL"
        ))?;
        ensure(refused.iter().any(|role| role == stranger), || {
            format!("{refused:?}")
        })?;
        let found = format!("SELECT role FROM aadauth.sign_ins WHERE principal = '{ZOE}'");
        expect(&mut superuser, &found, &vec![ZOE; attempts / 2])?;
        let dump = dump(server, database)?;
        for name in [ZOE, stranger] {
            // As COPY writes it.
            let name = name.replace('\\', r"\\");
            ensure(dump.contains(&format!("\t{name}\t")), || {
                format!("{name} is not in the dump")
            })?;
        }
        Ok(())
    })
    .map(drop)
}

/// What pg_dump writes in UTF-8.
fn dump(server: &Server, database: &str) -> Result<String> {
    let mut pg_dump = as_postgres(program("pg_dump")?)?;
    let file = server.socket().join(format!("{database}.sql"));
    pg_dump
        .arg("-h")
        .arg(server.socket())
        .args(["-p", &server.port().to_string(), "-U", "postgres"])
        .args(["--encoding", "UTF8", "-f"]);
    checked(pg_dump.arg(&file).arg(database).stdin(Stdio::null()))?;
    Ok(std::fs::read_to_string(file)?)
}

fn revocations(rig: &Rig) -> Result<()> {
    let mut zoe = None;
    for_each_encoding(rig, "encodings-revoked", |server, database, _| {
        let zoe = match &zoe {
            Some(zoe) => zoe,
            None => zoe.insert(rig.person(server, ZOE)?),
        };
        let _session = session(rig, server, database, zoe)?;
        let mut superuser = superuser(server, database)?;
        let id = zoe.object_id;
        superuser.query(&format!(
            "SELECT aadauth.revoke('{id}', reason => 'Gerät verloren: Übergabe')"
        ))?;
        expect(
            &mut superuser,
            "SELECT reason FROM aadauth.revocations",
            &["Gerät verloren: Übergabe"],
        )?;
        superuser.query(&format!("SELECT aadauth.restore('{id}')"))?;
        Ok(())
    })
    .map(drop)
}

fn names(rig: &Rig) -> Result<()> {
    for_each_encoding(rig, "encodings-names", |server, database, stranger| {
        let mut superuser = superuser(server, database)?;
        let has_it = stranger == STRANGER;
        let create = |name: &str| {
            format!(
                "SELECT pgaadauth_create_principal_with_oid('{name}', '{}', 'user', false, false)",
                uuid::Uuid::new_v4()
            )
        };
        // As CREATE ROLE would name it.
        let name = format!("noël-{database}");
        expect(
            &mut superuser,
            &create(&name),
            &[&format!("Created role for \"{name}\"")],
        )?;
        expect(
            &mut superuser,
            &format!("SELECT rolname FROM pg_roles WHERE rolname = '{name}'"),
            &[&name],
        )?;
        // An error names it with escapes where text would need a conversion.
        let refusal = superuser.execute(&create(&name))?.err().ok_or("twice")?;
        let shown = match database {
            "sql_ascii" | "utf8" => name.clone(),
            _ => name.replace('ë', r"\u00EB"),
        };
        ensure(
            refusal.sqlstate == "42710" && refusal.message.contains(&shown),
            || format!("{refusal:?}"),
        )?;
        // An error of PostgreSQL's own is valid as well, though pgrx has lost what is not UTF-8.
        let reserved = format!("pg_noël-{database}");
        let refusal = superuser
            .execute(&create(&reserved))?
            .err()
            .ok_or("reserved")?;
        let shown = match database {
            "sql_ascii" | "utf8" => reserved.as_str(),
            _ => r"pg_no\uFFFD",
        };
        ensure(
            refusal.sqlstate == "42939" && refusal.message.contains(shown),
            || format!("{refusal:?}"),
        )?;
        // Other encodings' names are listed, whatever they are in this one.
        let listed = superuser.query("SELECT rolname FROM pgaadauth_list_principals(false)")?;
        ensure(listed.contains(&name), || format!("{listed:?}"))?;
        // What looks like an escape is another name.
        let literal = format!(r"\u30ED-{database}");
        superuser.query(&create(&literal))?;
        let listed = superuser.query("SELECT rolname FROM pgaadauth_list_principals(false)")?;
        let shown = literal.replace(r"\u", r"\x5Cu");
        ensure(listed.contains(&shown), || format!("{listed:?}"))?;
        if database == "euc_jp" {
            twins(&mut superuser)?;
        }
        // The client's own conversion refuses it otherwise.
        let created = superuser.execute(&create(&format!("ロ-{database}")))?;
        ensure(created.is_ok() == has_it, || format!("{created:?}"))
    })
    .map(drop)
}

/// Two characters of EUC_JP that are one in Unicode are two names.
fn twins(superuser: &mut Connection) -> Result<()> {
    for (bytes, shown) in [("a2c0", "∪"), ("adfc", r"\xAD\xFC")] {
        superuser.query(&format!(
            "DO $$ DECLARE name text := convert_from('\\x{bytes}', 'SQL_ASCII'); BEGIN
                 EXECUTE format('CREATE ROLE %I', name);
                 EXECUTE format('SECURITY LABEL FOR pgaadauth ON ROLE %I IS %L', name, 'aadauth,type=user,oid={}');
             END $$",
            uuid::Uuid::new_v4()
        ))?;
        let listed = superuser.query("SELECT rolname FROM pgaadauth_list_principals(false)")?;
        ensure(listed.iter().any(|name| name == shown), || {
            format!("{listed:?}")
        })?;
    }
    Ok(())
}

/// In EUC_JIS_2004, some pairs of characters are in Unicode what another character is, though neither is by itself.
fn combined(rig: &Rig) -> Result<()> {
    let server = rig.server("encodings-combined", |plan| plan)?;
    server.sql("CREATE DATABASE jis ENCODING 'EUC_JIS_2004' LOCALE 'C' TEMPLATE template0")?;
    server.sql_in("jis", "CREATE EXTENSION aadauth")?;
    let mut superuser = superuser(&server, "jis")?;
    let name = |bytes: &str| format!("convert_from('\\x{bytes}', 'EUC_JIS_2004')");
    let label_of = |bytes: &str| {
        format!(
            "SELECT count(*) FROM pg_shseclabel JOIN pg_roles AS r ON r.oid = objoid
             WHERE r.rolname = {}::name AND provider = 'pgaadauth'",
            name(bytes)
        )
    };
    for (one, pair) in [
        ("abc4", "a9dcabdc"),
        ("abc8", "abb8abdc"),
        ("abc9", "abb8abdd"),
        ("abca", "abb7abdc"),
        ("abcb", "abb7abdd"),
        ("abcc", "abb0abdc"),
        ("abcd", "abb0abdd"),
        ("abe5", "abe4abe0"),
        ("abe6", "abe0abe4"),
    ] {
        for bytes in [one, pair] {
            let create = format!(
                "DO $$ BEGIN EXECUTE format('CREATE ROLE %I', {}); END $$",
                name(bytes)
            );
            superuser.query(&create)?;
        }
        // It may be refused, and never be the other.
        let map = format!(
            "SELECT pgaadauth_update_principal_with_oid({}, '{}', 'user', false, false)",
            name(pair),
            uuid::Uuid::new_v4()
        );
        let outcome = superuser.execute(&map)?;
        let labeled = superuser.query(&label_of(one))?.concat();
        ensure(labeled == "0", || format!("{one} for {pair}: {outcome:?}"))?;
        let appoint = format!(
            "DO $$ BEGIN EXECUTE format('SECURITY LABEL FOR pgaadauth ON ROLE %I IS %L', {},
                 'aadauth,type=user,admin,oid={}'); END $$",
            name(pair),
            uuid::Uuid::new_v4()
        );
        let outcome = superuser.execute(&appoint)?;
        let admins = superuser.query(
            "SELECT encode(convert_to(rolname::text, 'EUC_JIS_2004'), 'hex') FROM pg_roles WHERE rolcreaterole AND rolname <> 'postgres'",
        )?;
        ensure(!admins.contains(&one.to_owned()), || {
            format!("{admins:?}: {outcome:?}")
        })?;
    }
    Ok(())
}

fn every_object(rig: &Rig) -> Result<()> {
    let mut persons = None;
    let primary = for_each_encoding(rig, "encodings-objects", |server, database, _| {
        if persons.is_none() {
            let chief = Person {
                role: "chéf".to_owned(),
                object_id: uuid::Uuid::new_v4(),
            };
            server.sql(&format!(
                "SELECT pgaadauth_create_principal_with_oid('chéf', '{}', 'user', true, false);
                 CREATE ROLE prüferin IN ROLE aadauth_auditor; CREATE ROLE örtlich",
                chief.object_id
            ))?;
            persons = Some([chief, rig.person(server, ZOE)?]);
        }
        let persons = persons.as_ref().ok_or("nobody")?;
        attempt(rig, server, database)?;
        let mut superuser = superuser(server, database)?;
        // With a password, so that a finding names it. In each database, the name is written as it is there.
        superuser.query(&format!(
            "SELECT pgaadauth_create_principal_with_oid('käthe-{database}', '{}', 'user', false, false);
             ALTER ROLE \"käthe-{database}\" PASSWORD 'secret'",
            uuid::Uuid::new_v4()
        ))?;
        until("the audit has all", || {
            let rows = superuser.query("SELECT role FROM aadauth.sign_in_audit")?;
            Ok((rows.len() > 2).then_some(()))
        })?;
        every_object_in(rig, server, database, persons)
    })?;
    let persons = persons.ok_or("nobody")?;
    let mut standby = rig
        .plan("encodings-standby")?
        .start_standby(rig.run(), &primary)?;
    for (encoding, _) in ENCODINGS {
        let database = encoding.to_lowercase();
        standby.configure(&[("aadauth.database", Some(&database))])?;
        await_workers(&standby, &database, 1)?;
        every_object_in(rig, &standby, &database, &persons)
            .map_err(|error| format!("{encoding} on a standby: {error}"))?;
    }
    Ok(())
}

/// Calls and reads everything as each kind of role.
fn every_object_in(
    rig: &Rig,
    server: &Server,
    database: &str,
    persons: &[Person; 2],
) -> Result<()> {
    let [chief, zoe] = persons;
    let mut admin = session(rig, server, database, chief)?;
    let mut own = session(rig, server, database, zoe)?;
    let mut superuser = superuser(server, database)?;
    let findings = superuser.query(
        "SELECT place FROM aadauth.check_configuration() WHERE code = 'role-with-password'",
    )?;
    ensure(
        findings.concat().contains(&format!("käthe-{database}")),
        || format!("{findings:?}"),
    )?;
    let objects = objects(&mut superuser)?;
    every_object_as("the superuser", &mut superuser, &objects)?;
    every_object_as("an Entra admin", &mut admin, &objects)?;
    every_object_as("a mapped role", &mut own, &objects)?;
    // As the catalogs have them, whatever that is in the database's encoding.
    for (who, last) in [("an auditor", "ferin"), ("a local role", "rtlich")] {
        let mut as_role = self::superuser(server, database)?;
        as_role.query(&format!(
            "DO $$ BEGIN EXECUTE (SELECT format('SET SESSION AUTHORIZATION %I', rolname)
                 FROM pg_roles WHERE rolname LIKE '%{last}'); END $$"
        ))?;
        every_object_as(who, &mut as_role, &objects)?;
    }
    Ok(())
}

/// A query for each table and view of the extension.
fn objects(superuser: &mut Connection) -> Result<Vec<String>> {
    let relations = superuser.query(
        "SELECT c.oid::regclass FROM pg_class AS c
         JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
         JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'aadauth'
         WHERE c.relkind IN ('r', 'p', 'v')",
    )?;
    ensure(relations.len() > 8, || format!("{relations:?}"))?;
    let query = |relation: &String| format!("SELECT * FROM {relation}");
    Ok(relations.iter().map(query).collect())
}

/// Each is read, or refused for what it does.
fn every_object_as(who: &str, session: &mut Connection, objects: &[String]) -> Result<()> {
    let calls = FUNCTIONS.iter().map(|(call, _)| *call);
    for call in objects.iter().map(String::as_str).chain(calls) {
        let Err(refusal) = session.execute(call)? else {
            continue;
        };
        // Not permitted; no such event; no directory; it exists, or is mapped; it is not revoked; on a standby; by no
        // statement.
        let expected = [
            "42501", "P0002", "55000", "42710", "23505", "42704", "25006", "0A000",
        ];
        ensure(
            expected.contains(&refusal.sqlstate.as_str())
                && !refusal.to_string().contains(char::REPLACEMENT_CHARACTER),
            || format!("{call} as {who}: {refusal:?}"),
        )?;
        let is_for_all =
            !call.contains("revoke") && !call.contains("restore") && !call.contains("principal");
        ensure(
            who != "the superuser" || !is_for_all || refusal.sqlstate != "42501",
            || format!("{call} as {who}: {refusal:?}"),
        )?;
    }
    Ok(())
}
