//! What `aadauth.check_configuration` finds: each planted mistake, that one alone, and nothing on a good
//! server.

mod alternate_hba_file;
mod audit;
mod directory;
mod files;
mod hba;
mod keys;
mod oauth;
mod pam;
mod passwords;
mod poolers;
mod roles;
mod settings;

use std::collections::BTreeSet;

use pg_test::Result;
use pg_test::place::{major, source};
use pg_test::plan::{MAJOR, Plan};
use pg_test::server::Server;
use pg_test::wait::until;
use serde_json::Value;

use crate::Test;
use crate::rig::{Rig, ensure};

pub const TESTS: &[Test] = &[
    ("settings", settings::mistakes),
    ("secrets_in_the_wrong_place", settings::secrets),
    ("nothing_while_tokens_are_off", settings::tokens_off),
    ("lines_of_pg_hba_conf", hba::mistakes),
    ("lines_of_pg_hba_conf_that_are_fine", hba::fine),
    (
        "lines_of_the_alternate_hba_file",
        alternate_hba_file::mistakes,
    ),
    (
        "the_servers_own_file_beside_it",
        alternate_hba_file::own_file,
    ),
    (
        "pam_services_of_the_servers_own_file",
        alternate_hba_file::pam_services_of_own_file,
    ),
    (
        "a_setting_that_waits_for_a_restart",
        alternate_hba_file::restart_pending,
    ),
    (
        "other_libraries_in_the_way",
        alternate_hba_file::hostile_libraries,
    ),
    ("lines_of_oauthbearer", oauth::mistakes),
    ("pam_service_files", pam::mistakes),
    ("roles", roles::mistakes),
    ("local_roles_that_a_record_refuses", passwords::mistakes),
    ("what_a_database_exposes", roles::exposed),
    ("roles_that_admins_cannot_administer", roles::unadministered),
    ("the_database_of_the_audit", audit::mistakes),
    ("what_drop_owned_takes_from_our_roles", audit::drop_owned),
    ("an_extension_that_was_just_created", audit::just_created),
    ("a_spool_that_fills", audit::spool),
    ("workers_that_are_not_running", audit::workers),
    ("signing_keys", keys::mistakes),
    ("a_clock_that_is_off", keys::clock),
    ("files_that_others_can_change", files::changeable),
    ("a_recovered_server", files::recovered),
    ("the_directory", directory::mistakes),
    ("trusted_poolers", poolers::mistakes),
    ("to_superusers_alone", readers),
    ("every_code_is_shown_by_a_test", every_code),
];

/// What the function returned, without the severities.
pub struct Finding {
    pub code: String,
    /// Place, problem and remedy.
    pub text: String,
}

pub fn findings(server: &Server) -> Result<Vec<Finding>> {
    let rows = server.sql(
        "SELECT coalesce(json_agg(f ORDER BY ordinality), '[]')
         FROM aadauth.check_configuration() WITH ORDINALITY AS f",
    )?;
    let rows: Vec<Value> = serde_json::from_str(&rows)?;
    let text = |row: &Value, column: &str| row[column].as_str().unwrap_or_default().to_owned();
    Ok(rows
        .iter()
        .map(|row| Finding {
            code: text(row, "code"),
            text: ["place", "problem", "remedy"]
                .map(|c| text(row, c))
                .join(" | "),
        })
        .collect())
}

/// Waits until these findings and no others are there, each with these words in its text. (Workers and new
/// sessions notice a change a moment later.)
fn expect(server: &Server, what: &str, expected: &[(&str, &[&str])]) -> Result<()> {
    let codes: Vec<&str> = expected.iter().map(|(code, _)| *code).collect();
    let mut found = Vec::new();
    let met = until(&format!("{what}: {codes:?}"), || {
        found = findings(server)?;
        let is_met = found.iter().map(|finding| &finding.code).eq(codes.iter());
        Ok(is_met.then_some(()))
    });
    let list = || -> String {
        let lines = found
            .iter()
            .map(|finding| format!("\n{}: {}", finding.code, finding.text));
        lines.collect()
    };
    met.map_err(|error| format!("{error}; found{}", list()))?;
    let major = major()?;
    for ((code, words), finding) in expected.iter().zip(&found) {
        for word in *words {
            let word = word.replace(MAJOR, &major);
            ensure(finding.text.contains(&word), || {
                format!("{what}: {code} does not say {word:?}:{}", list())
            })?;
        }
    }
    Ok(())
}

fn expect_silence(server: &Server, what: &str) -> Result<()> {
    expect(server, what, &[])
}

/// A plan for a server that nothing is wrong with: Microsoft's authority, and keys from a file, since no
/// test asks Microsoft.
fn good(rig: &Rig, name: &str) -> Result<Plan> {
    let file = rig.run().path().join(format!("{name}.jwks"));
    let keys = entra_emulator::SigningKeys::open(rig.emulator.state())?.key_set(None);
    std::fs::write(&file, keys.to_string())?;
    Ok(rig
        .plan(name)?
        .unset("aadauth.authority_host")
        .unset("aadauth.ca_file")
        .set("aadauth.jwks_file", &file.display().to_string()))
}

/// Such a server, with the extension and a mapped role `someone`.
fn good_server(rig: &Rig, name: &str, change: impl FnOnce(Plan) -> Plan) -> Result<Server> {
    let server = rig.start_prepared(change(good(rig, name)?))?;
    rig.person(&server, "someone")?;
    expect_silence(&server, "a good server")?;
    Ok(server)
}

/// A mistake that statements make and undo, and what must be found. The configuration is reloaded after each, so that the
/// workers look at once.
struct BySql {
    plant: &'static str,
    undo: &'static str,
    code: &'static str,
    says: &'static [&'static str],
}

fn plant_by_sql(server: &Server, mistakes: &[BySql]) -> Result<()> {
    for mistake in mistakes {
        server.sql(mistake.plant)?;
        server.reload()?;
        expect(server, mistake.plant, &[(mistake.code, mistake.says)])?;
        server.sql(mistake.undo)?;
        server.reload()?;
        expect_silence(server, mistake.undo)?;
    }
    Ok(())
}

fn readers(rig: &Rig) -> Result<()> {
    rig.server.sql(
        "CREATE ROLE check_auditor; GRANT aadauth_auditor TO check_auditor;
         CREATE ROLE check_reader; GRANT EXECUTE ON FUNCTION aadauth.check_configuration() TO check_reader",
    )?;
    for (role, message) in [
        (
            "check_auditor",
            "42501: permission denied for function check_configuration",
        ),
        (
            "check_reader",
            "42501: must be superuser to check the configuration",
        ),
    ] {
        match rig.server.sql(&format!(
            "SET ROLE {role}; SELECT * FROM aadauth.check_configuration()"
        )) {
            Ok(rows) => return Err(format!("{role} was told: {rows}").into()),
            Err(error) => ensure(error.to_string().contains(message), || error.to_string())?,
        }
    }
    Ok(())
}

/// The codes in the program's own table.
pub fn codes() -> Result<BTreeSet<String>> {
    let table = std::fs::read_to_string(source().join("src/diagnosis/finding.rs"))?;
    let codes: BTreeSet<String> = table
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.trim().split_once(" \"")?;
            let code = rest.strip_suffix('"')?;
            let is_row = name.chars().all(char::is_alphanumeric)
                && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
            is_row.then(|| code.to_owned())
        })
        .collect();
    ensure(codes.len() > 30, || format!("only {codes:?}"))?;
    Ok(codes)
}

fn every_code(_: &Rig) -> Result<()> {
    let directory = source().join("pg_test/tests/sign_in/check_configuration");
    let mut tests = String::new();
    for entry in std::fs::read_dir(directory)? {
        tests.push_str(&std::fs::read_to_string(entry?.path())?);
    }
    let missing: Vec<String> = codes()?
        .into_iter()
        .filter(|code| !tests.contains(&format!("\"{code}\"")))
        .collect();
    ensure(missing.is_empty(), || format!("no test shows {missing:?}"))
}
