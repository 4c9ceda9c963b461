//! Local roles without a password that an aadauth record accepts.

use std::io::Write;
use std::process::Stdio;

use pg_test::Result;
use pg_test::client::Printed;
use pg_test::place::program;
use pg_test::process::as_postgres;
use pg_test::server::Server;

use super::{expect, expect_silence, findings, good_server};
use crate::rig::{OUR_LINES, Rig, ensure};

const CODE: &str = "local-role-without-scram";
const OURS: &str = OUR_LINES[0];

pub fn mistakes(rig: &Rig) -> Result<()> {
    let mut server = good_server(rig, "check-passwords", |plan| plan)?;
    server.sql(
        "CREATE ROLE modern LOGIN PASSWORD 'modern password'; CREATE ROLE no_login; CREATE ROLE users;
         CREATE ROLE standby LOGIN REPLICATION",
    )?;
    expect_silence(
        &server,
        "roles with SCRAM, without LOGIN, and for replication",
    )?;
    server.sql(
        "SET password_encryption = md5; CREATE ROLE old LOGIN PASSWORD 'old password' IN ROLE users;
         CREATE ROLE \"The \"\"clerk\"\"\" LOGIN",
    )?;
    let both: (&str, &[&str]) = (
        CODE,
        &[
            "2 local roles: \"The \"clerk\"\", \"old\" |",
            "line 2)",
            "1 with an MD5 password, 1 without a password",
            "\n\\password \"old\"",
        ],
    );
    expect(&server, "the record of the README", &[both])?;
    signs_in(rig, &server, "old", "old password", false)?;
    for (lines, found, gets_in) in [
        (["host all +users all md5", OURS], 1, true),
        ([OURS, "hostssl all all all md5"], 2, false),
        (["hostnossl all all all reject", OURS], 2, false),
        (["local all users,old md5", OURS], 1, false),
    ] {
        server.set_hba(&lines)?;
        let clerk: (&str, &[&str]) = (
            CODE,
            &[
                "1 local role: \"The \"clerk\"\" |",
                "0 with an MD5 password, 1 without",
            ],
        );
        let expected = if found == 1 {
            clerk
        } else {
            (CODE, &["2 local roles"][..])
        };
        expect(&server, &format!("{lines:?}"), &[expected])?;
        signs_in(rig, &server, "old", "old password", gets_in)?;
    }
    server.set_hba(&[OURS])?;
    server.configure(&[("aadauth.authentication", Some("entra"))])?;
    expect_silence(&server, "where all local roles are refused")?;
    server.configure(&[("aadauth.authentication", None)])?;
    expect(&server, "with passwords again", &[both])?;
    follow_remedy(&server)?;
    expect_silence(&server, "after the commands that it says")?;
    signs_in(rig, &server, "old", "another password", true)?;
    // A mapped role's password is another finding.
    server.sql(
        "SET password_encryption = md5; ALTER ROLE old PASSWORD 'old password';
         SELECT pgaadauth_update_principal_with_oid('old', '01d00000-0000-4000-8000-000000000001', 'user', false, false)",
    )?;
    expect(
        &server,
        "a mapped role",
        &[("role-with-password", &["\"old\""])],
    )
}

fn signs_in(rig: &Rig, server: &Server, role: &str, password: &str, expected: bool) -> Result<()> {
    let printed = rig.attempt(server, role, password).psql("", "SELECT 1")?;
    ensure(printed.success == expected, || {
        format!("{role}: {printed:?}")
    })
}

/// Gives psql what the remedy says from `SET` on, and a password twice for each role. Without a terminal, which it would
/// otherwise ask.
fn follow_remedy(server: &Server) -> Result<()> {
    let found = findings(server)?;
    let text = found
        .first()
        .map(|finding| finding.text.as_str())
        .unwrap_or_default();
    let (_, commands) = text.split_once(":\nSET ").ok_or_else(|| text.to_owned())?;
    let mut input = String::new();
    for line in format!("SET {commands}").lines() {
        input += &format!("{line}\n");
        if line.starts_with('\\') {
            input += "another password\nanother password\n";
        }
    }
    let mut psql = as_postgres("setsid")?
        .arg("-w")
        .arg(program("psql")?)
        .args([
            "-Xq",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            &server.connection_string(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = psql.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let printed = Printed::from(psql.wait_with_output()?);
    ensure(printed.success, || format!("{printed:?}"))
}
