//! Mapping roles to principals: the labels, the SQL functions, and who may use them.

pub mod admins;
pub mod advice;
pub mod concurrent;
pub mod functions;
pub mod guard;
pub mod labels;
pub mod privileged;
pub mod rights;
pub mod terraform;

use pg_test::Result;
use pg_test::emulator::TENANT;
use pg_test::server::Server;
use pg_test::wire::{Connection, Refusal};

use crate::rig::{Person, Rig, ensure};

const ALICE: &str = "6f1c2d3e-4a5b-4c6d-8e7f-a0b1c2d3e4f5";
const BOB: &str = "7a2b3c4d-5e6f-4a1b-9c8d-0e1f2a3b4c5d";
const ROOT_ADMIN: &str = "0a0a0a0a-1b1b-4c2c-8d3d-4e4e4e4e4e4e";

const DENIED: &str = "42501";

/// A session whose statements are expected to return something, or to fail.
struct Session(Connection);

impl Session {
    fn run(&mut self, sql: &str) -> Result<()> {
        match self.0.rows(sql) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("{sql}: {error}").into()),
        }
    }

    /// Expects that the query returns one value, and which.
    fn expect(&mut self, query: &str, expected: &str) -> Result<()> {
        let rows = match self.0.rows(query) {
            Ok(rows) => rows,
            Err(error) => return Err(format!("{query}: {error}").into()),
        };
        ensure(rows == [[expected]], || {
            format!("{query}: {rows:?}, not {expected}")
        })
    }

    /// Expects the public and the internal label of a role, `-` for none.
    fn expect_labels(&mut self, role: &str, public: &str, internal: &str) -> Result<()> {
        let labels = ["pgaadauth", "pgaadauth-int"].map(|provider| {
            format!(
                "coalesce((SELECT label FROM pg_shseclabel WHERE provider = '{provider}'
                 AND classoid = 'pg_authid'::regclass AND objoid = r.oid), '-')"
            )
        });
        let query = format!(
            "SELECT {} FROM pg_roles r WHERE rolname = {}",
            labels.join(", "),
            literal(role)
        );
        let rows = self.0.rows(&query)?;
        ensure(rows == [[public, internal]], || {
            format!("labels of {role}: {rows:?}, not {public} and {internal}")
        })
    }

    /// Runs the statement, which must fail.
    fn failure(&mut self, sql: &str) -> Result<Failure> {
        match self.0.execute(sql)? {
            Ok(rows) => Err(format!("{sql} went through: {rows:?}").into()),
            Err(refusal) => Ok(Failure {
                sql: sql.to_owned(),
                refusal,
            }),
        }
    }

    /// [`Session::failure`] with this SQLSTATE.
    fn refused(&mut self, sql: &str, sqlstate: &str) -> Result<Failure> {
        let failure = self.failure(sql)?;
        failure.expect(sqlstate, failure.refusal.sqlstate == sqlstate)?;
        Ok(failure)
    }

    /// As in a session of that role's own.
    fn as_session_of(
        &mut self,
        role: &str,
        work: impl FnOnce(&mut Session) -> Result<()>,
    ) -> Result<()> {
        self.run(&format!("SET SESSION AUTHORIZATION {role}"))?;
        work(self)?;
        self.run("RESET SESSION AUTHORIZATION")
    }

    /// Makes `root_admin`, an Entra admin as the functions make them.
    fn make_admin(&mut self) -> Result<()> {
        self.run(&format!(
            "SELECT pgaadauth_create_principal_with_oid('root_admin', '{ROOT_ADMIN}', 'user', true, false)"
        ))
    }
}

/// A statement, and what the server refused it with.
struct Failure {
    sql: String,
    refusal: Refusal,
}

impl Failure {
    fn expect_detail(&self, words: &str) -> Result<()> {
        let detail = self.refusal.detail.as_deref().unwrap_or_default();
        self.expect(words, detail.contains(words))
    }

    fn expect_message(&self, message: &str) -> Result<()> {
        self.expect(message, self.refusal.message == message)
    }

    fn expect_in_message(&self, part: &str) -> Result<()> {
        self.expect(part, self.refusal.message.contains(part))
    }

    fn expect_in_hint(&self, part: &str) -> Result<()> {
        let hint = self.refusal.hint.as_deref();
        self.expect(part, hint.is_some_and(|hint| hint.contains(part)))
    }

    fn expect(&self, what: &str, holds: bool) -> Result<()> {
        ensure(holds, || {
            format!("{}: {:?}, not {what}", self.sql, self.refusal)
        })
    }
}

/// A server, and a session of its superuser's.
fn start(rig: &Rig, name: &str) -> Result<(Server, Session)> {
    let server = rig.server(&format!("mapping-{name}"), |plan| plan)?;
    let session = Session(server.superuser()?);
    Ok((server, session))
}

/// A session that `root_admin` has opened with a token.
fn signed_in(rig: &Rig, server: &Server) -> Result<Session> {
    let admin = Person {
        role: "root_admin".to_owned(),
        object_id: ROOT_ADMIN.parse()?,
    };
    let token = rig.token_of(&admin)?;
    Ok(Session(rig.session(server, &admin.role, &token)?))
}

/// [`signed_in`], and then made another role's session.
fn signed_in_for(
    rig: &Rig,
    server: &Server,
    superuser: &mut Session,
    other: &str,
) -> Result<Session> {
    superuser.run("ALTER ROLE root_admin SUPERUSER")?;
    let mut session = signed_in(rig, server)?;
    session.run(&format!("SET SESSION AUTHORIZATION {other}"))?;
    superuser.run("ALTER ROLE root_admin NOSUPERUSER")?;
    Ok(session)
}

fn expect_logged(server: &Server, text: &str) -> Result<()> {
    let log = server.log()?;
    ensure(log.contains(text), || format!("without {text}: {log}"))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn public(role: &str, text: &str) -> String {
    label("pgaadauth", role, &literal(text))
}

fn internal(role: &str, text: &str) -> String {
    label("pgaadauth-int", role, &literal(text))
}

fn no_public(role: &str) -> String {
    label("pgaadauth", role, "NULL")
}

fn no_internal(role: &str) -> String {
    label("pgaadauth-int", role, "NULL")
}

fn label(provider: &str, role: &str, value: &str) -> String {
    format!("SECURITY LABEL FOR \"{provider}\" ON ROLE {role} IS {value}")
}

/// A call of `pgaadauth_create_principal_with_oid`.
fn create(name: &str, object_id: &str, kind: &str, admin: bool, mfa: bool) -> String {
    call("create", name, object_id, kind, admin, mfa)
}

/// A call of `pgaadauth_update_principal_with_oid`.
fn update(name: &str, object_id: &str, kind: &str, admin: bool, mfa: bool) -> String {
    call("update", name, object_id, kind, admin, mfa)
}

fn call(verb: &str, name: &str, object_id: &str, kind: &str, admin: bool, mfa: bool) -> String {
    let [name, object_id, kind] = [name, object_id, kind].map(literal);
    format!(
        "SELECT pgaadauth_{verb}_principal_with_oid({name}, {object_id}, {kind}, {admin}, {mfa})"
    )
}
