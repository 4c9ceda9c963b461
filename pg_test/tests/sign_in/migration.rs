//! From passwords to tokens on a live server, with the statements of docs/migration.md.

use std::fs;
use std::process::Command;

use pg_test::Result;
use pg_test::client::Printed;
use pg_test::document::block_with;
use pg_test::place::{pg_config_says, source};
use pg_test::plan::MAJOR;
use pg_test::server::Server;

use crate::Test;
use crate::rig::{Rig, Subject, ensure};

pub const TESTS: &[Test] = &[
    ("a_password_and_a_person_lead_to_one_role", both),
    ("who_would_be_kept_out", kept_out),
    ("who_still_uses_passwords", password_users),
    ("two_hundred_roles_from_a_file", from_file),
    ("a_wrong_line_in_the_file_changes_nothing", wrong_lines),
    ("the_file_has_no_commands", no_commands),
    ("nor_does_the_schema_public", no_functions),
];

const ALICE: &str = "alice@contoso.com";
/// How many lines the files have.
const LINES: usize = 200;

/// The block that has a line with this beginning.
fn documented(begin: &str) -> Result<String> {
    let text = fs::read_to_string(source().join("docs/migration.md"))?;
    Ok(block_with(&text, begin)?.text)
}

/// A server with the records of the document, and its roles with passwords.
fn server(rig: &Rig, name: &str) -> Result<Server> {
    let records = documented("hostssl  all  +entra_users")?;
    let records: Vec<String> = records
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .map(|line| line.replace("aadauth-15", &format!("aadauth-{MAJOR}")))
        .collect();
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let server = rig.server(name, |plan| plan.hba(&records))?;
    server.sql(&documented("CREATE ROLE entra_users")?)?;
    Ok(server)
}

fn gets_in(rig: &Rig, server: &Server, role: &str, secret: &str, expected: bool) -> Result<()> {
    let printed = rig.attempt(server, role, secret).psql("", "SELECT 1")?;
    ensure(printed.success == expected, || {
        format!("{role}: {printed:?}")
    })
}

fn both(rig: &Rig) -> Result<()> {
    let server = server(rig, "migration-both")?;
    server.sql("GRANT CREATE ON SCHEMA public TO clerk")?;
    server.sql(&documented(
        "SELECT pgaadauth_create_principal_with_oid('alice",
    )?)?;
    let token = rig.alice()?;
    let mut session = rig.session(&server, ALICE, &token)?;
    session.query("CREATE TABLE public.of_alice ()")?;
    let seen = session.query(
        "SELECT concat_ws(' ', session_user, current_user, (aadauth.current_principal()).principal,
             (SELECT tableowner FROM pg_tables WHERE tablename = 'of_alice'))",
    )?;
    let seen = seen.concat();
    ensure(seen == format!("{ALICE} clerk {ALICE} clerk"), || seen)?;
    let (mut connection, mark) = rig.connect(&server, ALICE)?;
    connection.request()?;
    connection.password(token.as_bytes())?;
    connection.outcome()?;
    let event = rig.event(&server, &mark)?;
    ensure(event["role"] == ALICE && event["upn"] == ALICE, || {
        event.to_string()
    })?;
    gets_in(rig, &server, "clerk", "a password", true)?;
    server.sql(&documented("ALTER ROLE clerk NOLOGIN")?)?;
    gets_in(rig, &server, "clerk", "a password", false)?;
    let printed = rig
        .attempt(&server, ALICE, &token)
        .psql("", "SELECT current_user")?;
    ensure(printed.success && printed.output == "clerk", || {
        format!("{printed:?}")
    })?;
    // The application, whose role is the mapped one.
    gets_in(rig, &server, "reporting", "another password", true)?;
    server.sql(&documented("GRANT entra_users TO reporting")?)?;
    gets_in(rig, &server, "reporting", "another password", false)?;
    let token = rig
        .emulator
        .token(Subject::ServicePrincipal("reporting".into()))
        .text()?;
    gets_in(rig, &server, "reporting", &token, true)
}

/// What the two queries list are the roles that are refused.
fn kept_out(rig: &Rig) -> Result<()> {
    let mut server = server(rig, "migration-kept-out")?;
    server.sql(
        "SET password_encryption = md5; CREATE ROLE old LOGIN PASSWORD 'old password' IN ROLE entra_users;
         CREATE ROLE bare LOGIN IN ROLE entra_users; GRANT entra_users TO clerk",
    )?;
    rig.person(&server, "someone")?;
    let text = fs::read_to_string(source().join("docs/migration.md"))?;
    let queries: Vec<String> = pg_test::document::blocks(&text)
        .into_iter()
        .map(|block| block.text)
        .filter(|text| text.starts_with("SELECT rolename, authtype"))
        .collect();
    let [now, with_entra] = queries.as_slice() else {
        return Err(format!("{queries:?}").into());
    };
    let listed = |query: &str| -> Result<String> { Ok(server.sql(query)?.replace('\n', " ")) };
    let found = listed(now)?;
    // The superuser has no password either, and signs in by another record.
    ensure(found == "bare| old|MD5 postgres|", || found)?;
    let found = listed(with_entra)?;
    ensure(
        found == "bare| clerk|SCRAM-256 old|MD5 postgres| reporting|SCRAM-256",
        || found,
    )?;
    gets_in(rig, &server, "old", "old password", false)?;
    gets_in(rig, &server, "clerk", "a password", true)?;
    server.configure(&[("aadauth.authentication", Some("entra"))])?;
    gets_in(rig, &server, "clerk", "a password", false)
}

fn password_users(rig: &Rig) -> Result<()> {
    let server = server(rig, "migration-users")?;
    server.sql("GRANT entra_users TO clerk")?;
    let person = rig.person(&server, "someone")?;
    server.sql("GRANT entra_users TO someone")?;
    rig.accepted(&server, "someone", &rig.token_of(&person)?)?;
    gets_in(rig, &server, "clerk", "a password", true)?;
    gets_in(rig, &server, "reporting", "another password", true)?;
    gets_in(rig, &server, "clerk", "a password", true)?;
    gets_in(rig, &server, "clerk", "wrong", false)?;
    let query = documented("SELECT role, through, client")?;
    let query = query.trim().trim_end_matches(';');
    let listed = server.sql(&format!(
        "SELECT role, through, client, sign_ins, last > now() - interval '1 minute' FROM ({query}) AS q"
    ))?;
    let expected = "clerk|password|127.0.0.1|2|t\nreporting|scram-sha-256|127.0.0.1|1|t";
    ensure(listed == expected, || listed)
}

/// Line `number` of a file: every other role exists already.
fn line(number: usize) -> String {
    format!("\"p, {number}\",{},user", object_id(number))
}

fn object_id(number: usize) -> String {
    format!("9e450000-0000-4000-8000-{number:012}")
}

fn prepare_half(server: &Server) -> Result<()> {
    server
        .sql(&format!(
            "DO $$ BEGIN FOR n IN 1..{LINES} BY 2 LOOP
                 EXECUTE format('CREATE ROLE %I LOGIN PASSWORD ''a password''', 'p, ' || n);
             END LOOP; END $$"
        ))
        .map(drop)
}

/// Runs the documented command, with these lines in the file.
fn run_with(rig: &Rig, server: &Server, lines: &[String]) -> Result<Printed> {
    let commands = source().join("pg_test/tests/documents/commands");
    let directory = rig.run().path().join(server.name());
    fs::create_dir_all(&directory)?;
    fs::write(directory.join("roles.csv"), lines.join("\n") + "\n")?;
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c"])
        .arg(documented("sudo -u postgres psql -b")?)
        .current_dir(directory)
        .env(
            "PATH",
            format!("{}:{}", commands.display(), std::env::var("PATH")?),
        )
        .env("DOCUMENTED_BINARIES", pg_config_says("--bindir")?)
        .env("DOCUMENTED_SOCKET", server.socket())
        .env("DOCUMENTED_PORT", server.port().to_string())
        .output()?;
    Ok(output.into())
}

/// How many roles are mapped, are members of the group, and exist.
const COUNTS: &str = "SELECT count(*) FILTER (WHERE p.rolname IS NOT NULL),
        count(*) FILTER (WHERE pg_has_role(r.oid, 'entra_users', 'MEMBER')), count(*)
    FROM pg_roles AS r LEFT JOIN pgaadauth_list_principals(false) AS p ON p.rolname = r.rolname
    WHERE r.rolname LIKE 'p, %'";

fn from_file(rig: &Rig) -> Result<()> {
    let server = server(rig, "migration-file")?;
    prepare_half(&server)?;
    let lines: Vec<String> = (1..=LINES).map(line).collect();
    let printed = run_with(rig, &server, &lines)?;
    ensure(printed.success, || format!("{printed:?}"))?;
    let counts = server.sql(COUNTS)?;
    ensure(counts == format!("{LINES}|{LINES}|{LINES}"), || counts)?;
    for number in [1, LINES] {
        let token = rig
            .user(ALICE)
            .object_id(object_id(number).parse()?)
            .text()?;
        gets_in(rig, &server, &format!("p, {number}"), &token, true)?;
    }
    gets_in(rig, &server, "p, 1", "a password", false)?;
    // Again, with the same file.
    let printed = run_with(rig, &server, &lines)?;
    ensure(printed.success, || format!("{printed:?}"))
}

fn wrong_lines(rig: &Rig) -> Result<()> {
    let server = server(rig, "migration-wrong")?;
    prepare_half(&server)?;
    rig.map(&server, "taken", &object_id(LINES + 1), "user")?;
    let (id, taken) = (object_id(150), object_id(LINES + 1));
    let (created, updated) = ("pgaadauth_create_principal", "pgaadauth_update_principal");
    for (wrong, says) in [
        (
            format!("\"p, 150\",{id}"),
            vec!["missing data for column \"type\"", "line 150"],
        ),
        (
            format!("\"p, 150\",{id},person"),
            vec!["invalid object type", created, "'p, 150'"],
        ),
        (
            "\"p, 149\",alice@contoso.com,user".into(),
            vec!["invalid object id", updated, "'p, 149'"],
        ),
        (
            format!("\"p, 150\",{taken},user"),
            vec!["already mapped to role \"taken\"", "'p, 150'"],
        ),
        (
            format!("\"p, 148\",{id},user"),
            vec!["role \"p, 148\" already exists", id.as_str()],
        ),
        (
            format!(",{id},user"),
            vec!["rolename must not be null", id.as_str()],
        ),
        (
            format!("postgres,{id},user"),
            vec!["role \"postgres\" cannot be mapped", "'postgres'"],
        ),
    ] {
        let mut lines: Vec<String> = (1..=LINES).map(line).collect();
        lines[149] = wrong.clone();
        let printed = run_with(rig, &server, &lines)?;
        let is_named = says.iter().all(|word| printed.error.contains(word));
        ensure(!printed.success && is_named, || {
            format!("{wrong}: {printed:?}")
        })?;
        let counts = server.sql(COUNTS)?;
        ensure(counts == format!("0|0|{}", LINES / 2), || {
            format!("{wrong}: {counts}")
        })?;
    }
    gets_in(rig, &server, "p, 1", "a password", true)
}

/// What psql takes for the end of the data would make commands of the lines that follow it.
fn no_commands(rig: &Rig) -> Result<()> {
    let server = server(rig, "migration-commands")?;
    for end in ["\\.", "\\.\r"] {
        let lines = [
            line(1),
            end.to_owned(),
            "COMMIT; CREATE ROLE intruder SUPERUSER;".to_owned(),
        ];
        let printed = run_with(rig, &server, &lines)?;
        ensure(printed.error.contains("line 2"), || format!("{printed:?}"))?;
        let counts = server.sql(COUNTS)?;
        ensure(counts == "0|0|0", || counts)?;
        let made = server.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'intruder'")?;
        ensure(made == "0", || format!("{printed:?}"))?;
    }
    Ok(())
}

/// Somebody who may create functions in `public` has one that suits the script's calls better than PostgreSQL's.
fn no_functions(rig: &Rig) -> Result<()> {
    let server = server(rig, "migration-functions")?;
    server.sql(
        "GRANT CREATE ON SCHEMA public TO clerk; SET ROLE clerk;
         CREATE FUNCTION public.format(text, text, text, text, text) RETURNS text LANGUAGE plpgsql AS $$
         BEGIN ALTER ROLE clerk SUPERUSER; RETURN 'SELECT'; END $$; RESET ROLE",
    )?;
    let printed = run_with(rig, &server, &[line(1)])?;
    ensure(printed.success, || format!("{printed:?}"))?;
    let seen = server.sql("SELECT rolsuper FROM pg_roles WHERE rolname = 'clerk'")?;
    ensure(seen == "f", || format!("{printed:?}"))
}
