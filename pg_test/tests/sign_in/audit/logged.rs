//! Which sign-ins the server log has.

use pg_test::Result;
use pg_test::place::major;
use pg_test::server::Server;
use pg_test::wait::until;

use crate::rig::{Person, Rig, ensure};

const BEGINS: &str = "Microsoft Entra ID connection authorized: UPN=alice@contoso.com";
const ENDS: &str = "Microsoft Entra ID session ended: UPN=alice@contoso.com";

/// `aadauth.log_sign_ins`, `log_connections`, `log_disconnections`; whether the log has a sign-in, and its session's end.
type Case = (Option<&'static str>, &'static str, &'static str, bool, bool);

const CASES: &[Case] = &[
    (None, "off", "off", false, false),
    (None, "on", "off", true, false),
    (None, "off", "on", false, true),
    (Some("on"), "off", "off", true, true),
    (Some("off"), "on", "on", false, false),
];

/// `log_connections` as the list that it is from PostgreSQL 18 on.
const LISTS: &[Case] = &[
    (None, "receipt,authentication", "off", false, false),
    (None, "authorization", "off", true, false),
    (None, "all", "off", true, false),
];

/// Good sign-ins are logged as the settings say; refusals, and sessions that aadauth ends, in any case.
pub fn as_set(rig: &Rig) -> Result<()> {
    let mut server = rig.server("log-sign-ins", |plan| plan.unset("aadauth.log_sign_ins"))?;
    let person = rig.person(&server, "someone")?;
    let lists = if major()?.parse::<u32>()? >= 18 {
        LISTS
    } else {
        &[]
    };
    for case in CASES.iter().chain(lists) {
        let (own, connections, disconnections, begins, ends) = *case;
        server.configure(&[
            ("aadauth.log_sign_ins", own),
            ("log_connections", Some(connections)),
            ("log_disconnections", Some(disconnections)),
        ])?;
        let mark = server.log_length()?;
        sign_in_and_out(rig, &server, &person)?;
        let log = server.log_since(mark)?;
        ensure(
            (log.contains(BEGINS), log.contains(ENDS)) == (begins, ends),
            || format!("{case:?}:\n{log}"),
        )?;
    }
    server.configure(&[("aadauth.log_sign_ins", Some("off"))])?;
    let mark = server.log_length()?;
    rig.refused(&server, "someone", &rig.alice()?, "object-id-mismatch")?;
    server.wait_for_log(mark, "Reason: object-id-mismatch.")?;
    let _session = rig.session(&server, "someone", &rig.token_of(&person)?)?;
    server.sql(&format!("SELECT aadauth.revoke('{}')", person.object_id))?;
    server
        .wait_for_log(mark, "Microsoft Entra ID session ended (principal revoked)")
        .map(drop)
}

/// Returns when the backend has gone, and with it all that it logs.
fn sign_in_and_out(rig: &Rig, server: &Server, person: &Person) -> Result<()> {
    let mut session = rig.session(server, &person.role, &rig.token_of(person)?)?;
    let pid = session.query("SELECT pg_backend_pid()")?.concat();
    drop(session);
    until("the session has ended", || {
        let gone = format!("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {pid})");
        Ok((server.sql(&gone)? == "t").then_some(()))
    })
}
