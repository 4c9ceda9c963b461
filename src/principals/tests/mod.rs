//! Tests of principals inside one transaction of a superuser's session with trust authentication. What
//! requires a real sign-in is tested end to end (pg_test/tests/sign_in).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod functions;
mod guard;
mod labels;
mod rights;

use std::sync::atomic::{AtomicU32, Ordering};

use pgrx::prelude::*;
pub use pgrx::spi::{quote_identifier, quote_literal};

/// The tenant that the test server is configured with.
pub const TENANT: &str = "11111111-2222-4333-8444-555555555555";
pub const ALICE: &str = "6f1c2d3e-4a5b-4c6d-8e7f-a0b1c2d3e4f5";
pub const BOB: &str = "7a2b3c4d-5e6f-4a1b-9c8d-0e1f2a3b4c5d";

/// The role that this backend pretends to have signed in as with a token, for what no test inside
/// the server can really do.
static SIGNED_IN_AS: AtomicU32 = AtomicU32::new(0);

pub fn signed_in_as() -> Option<pg_sys::Oid> {
    match SIGNED_IN_AS.load(Ordering::Relaxed) {
        0 => None,
        role => Some(pg_sys::Oid::from_u32(role)),
    }
}

/// An error as a client gets it.
#[derive(Debug)]
pub struct Failure {
    pub sqlstate: String,
    pub message: String,
    pub detail: String,
    pub hint: String,
}

pub fn run(statement: &str) {
    Spi::run(statement).unwrap();
}

pub fn text(query: &str) -> Option<String> {
    Spi::get_one::<String>(query).unwrap()
}

pub fn is_true(query: &str) -> bool {
    Spi::get_one::<bool>(query).unwrap() == Some(true)
}

/// Runs the statement, which must fail; what it did is rolled back.
#[track_caller]
pub fn failure(statement: &str) -> Failure {
    attempt(statement).unwrap_or_else(|| panic!("went through: {statement}"))
}

fn attempt(statement: &str) -> Option<Failure> {
    if !is_true("SELECT to_regproc('pg_temp.attempt') IS NOT NULL") {
        run(
            "CREATE FUNCTION pg_temp.attempt(statement text) RETURNS text[] LANGUAGE plpgsql AS $$
             DECLARE state text; message text; detail text; hint text;
             BEGIN
                 EXECUTE statement;
                 RETURN NULL;
             EXCEPTION WHEN OTHERS THEN
                 GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
                     detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
                 RETURN ARRAY[state, message, detail, hint];
             END $$",
        );
    }
    let parts = Spi::get_one_with_args::<Vec<String>>(
        "SELECT pg_temp.attempt($1)",
        &[statement.to_owned().into()],
    );
    parts.unwrap().map(|parts| match parts.as_slice() {
        [sqlstate, message, detail, hint] => Failure {
            sqlstate: sqlstate.clone(),
            message: message.clone(),
            detail: detail.clone(),
            hint: hint.clone(),
        },
        other => panic!("{other:?}"),
    })
}

/// As in a session of that role's own. What panics inside ends the test, and the session with it.
pub fn as_session_of<T>(role: &str, work: impl FnOnce() -> T) -> T {
    run(&format!("SET SESSION AUTHORIZATION {role}"));
    let result = work();
    run("RESET SESSION AUTHORIZATION");
    result
}

/// As in a session that the role has opened with a token.
pub fn as_signed_in<T>(role: &str, work: impl FnOnce() -> T) -> T {
    with_verdict_for(role, || as_session_of(role, work))
}

/// As in a backend that let this role in as an admin.
pub fn with_verdict_for<T>(role: &str, work: impl FnOnce() -> T) -> T {
    let oid = Spi::get_one::<pg_sys::Oid>(&format!("SELECT '{role}'::regrole::oid")).unwrap();
    SIGNED_IN_AS.store(oid.unwrap().to_u32(), Ordering::Relaxed);
    let result = work();
    SIGNED_IN_AS.store(0, Ordering::Relaxed);
    result
}

/// Public and internal label of a role, `-` for none.
pub fn labels(role: &str) -> (String, String) {
    let label = |provider: &str| {
        text(&format!(
            "SELECT coalesce((SELECT label FROM pg_shseclabel WHERE provider = '{provider}'
             AND classoid = 'pg_authid'::regclass AND objoid = '{role}'::regrole), '-')"
        ))
        .unwrap()
    };
    (label("pgaadauth"), label("pgaadauth-int"))
}

/// Makes `root_admin`, an Entra admin as the functions make them.
pub fn make_admin() {
    run("SELECT pgaadauth_create_principal_with_oid('root_admin',
         '0a0a0a0a-1b1b-4c2c-8d3d-4e4e4e4e4e4e', 'user', true, false)");
}

pub fn label(provider: &str, role: &str, label: &str) -> String {
    let label = if label == "NULL" {
        label.to_owned()
    } else {
        format!("'{label}'")
    };
    format!("SECURITY LABEL FOR \"{provider}\" ON ROLE {role} IS {label}")
}

pub fn public(role: &str, text: &str) -> String {
    label("pgaadauth", role, text)
}

pub fn internal(role: &str, text: &str) -> String {
    label("pgaadauth-int", role, text)
}
