//! Servers on which the library itself asks, by the `trust` lines of an alternate HBA file (`aadauth.hba_file`), while
//! the server's own pg_hba.conf rejects.

pub mod fail_closed;
pub mod hostile_hook;
pub mod sign_ins;

use pg_test::Result;
use pg_test::plan::Plan;
use pg_test::route::Route;
use pg_test::server::Server;
use pg_test::wire::{Connection, Outcome, Request};
use uuid::Uuid;

use crate::rig::{Rig, SignIn, answer, ensure};

/// For TLS, replication and the local socket.
const LINES: &[&str] = &[
    "local all,replication all trust",
    "hostssl all,replication all all trust",
];

/// A server with these lines in its alternate HBA file.
fn server(rig: &Rig, name: &str, change: impl FnOnce(Plan) -> Plan) -> Result<Server> {
    rig.server(name, |plan| change(plan.route(Route::HbaFile).hba(LINES)))
}

/// Signs in over the server's Unix socket.
fn over_socket(server: &Server, role: &str, secret: &str) -> Result<SignIn> {
    let mark = format!("test-{}", Uuid::new_v4().simple());
    let path = server.socket().join(format!(".s.PGSQL.{}", server.port()));
    let parameters = [
        ("user", role),
        ("database", "postgres"),
        ("application_name", mark.as_str()),
    ];
    answer(Connection::open_local(&path, &parameters)?, mark, secret)
}

/// Gives a password by SCRAM.
pub fn by_password(rig: &Rig, server: &Server, role: &str, password: &str) -> Result<SignIn> {
    let (mut connection, mark) = rig.connect(server, role)?;
    let request = connection.request()?;
    let outcome = match &request {
        Request::Sasl(_) => connection.scram(password.as_bytes(), || Ok(()))?,
        Request::Refused(refusal) => Outcome::Refused(refusal.clone()),
        _ => return Err(format!("{role}: asked for {request:?}").into()),
    };
    Ok(SignIn {
        request,
        outcome,
        mark,
    })
}

/// What the audit has of a sign-in, which must be one event.
pub fn recorded(rig: &Rig, server: &Server, mark: &str, outcome: &str, reason: &str) -> Result<()> {
    let event = rig.event(server, mark)?;
    let is_so = event["outcome"] == outcome && event["reason"].as_str().unwrap_or("") == reason;
    ensure(is_so, || format!("not {outcome} {reason}: {event}"))
}
