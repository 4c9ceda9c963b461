use std::fs;

use pg_test::Result;
use pg_test::server::Server;
use pg_test::wire::Connection;

use super::{expect, expect_silence, good_server};
use crate::rig::{OUR_LINES, Rig, ensure};

const NAMED: &str = "pgb1=cn:pgb1.example.com";
const MODULE: &str = concat!("pam_aadauth ", env!("CARGO_PKG_VERSION"));

pub fn mistakes(rig: &Rig) -> Result<()> {
    let [ours, of_replication] = OUR_LINES;
    let mut server = good_server(rig, "check-poolers", |plan| {
        plan.hba(&["local all pgb1 scram-sha-256", ours, of_replication])
    })?;
    let one = rig.emulator.authorities();
    let two = rig.run().path().join("two-authorities.pem");
    fs::write(&two, fs::read_to_string(&one)?.repeat(2))?;
    let (one, two) = (one.display().to_string(), two.display().to_string());
    set(&mut server, NAMED, None)?;
    // No role of that name yet.
    let unknown = (
        "pooler-unknown",
        &["no role \"pgb1\"", "IN ROLE aadauth_pooler"][..],
    );
    let invisible = ("pooler-without-authority", &["\"pgb1\"", "ssl_ca_file"][..]);
    expect(&server, "no role", &[invisible, unknown])?;
    server.sql("CREATE ROLE pgb1 LOGIN PASSWORD 'its own'")?;
    expect(&server, "no member", &[invisible, unknown])?;
    server.sql("GRANT aadauth_pooler TO pgb1")?;
    let silent = ("pooler-silent", &["\"pgb1\" is not connected"][..]);
    expect(&server, "no authority", &[invisible, silent])?;
    set(&mut server, NAMED, Some(&two))?;
    let not_unique = (
        "pooler-name-not-unique",
        &["two-authorities.pem", "2 authorities"][..],
    );
    expect(&server, "two authorities", &[not_unique, silent])?;
    set(&mut server, "pgb1=peer:pgbouncer", None)?;
    expect(&server, "a pooler on a socket", &[silent])?;
    set(&mut server, "pgb1=peer:postgres", None)?;
    let own = ("pooler-of-own-user", &["\"pgb1\"", "runs as"][..]);
    expect(&server, "the server's own user", &[own, silent])?;
    set(&mut server, NAMED, Some(&one))?;
    let socket = server.socket().join(format!(".s.PGSQL.{}", server.port()));
    let connect = |name: &str| -> Result<Connection> {
        let parameters = [
            ("user", "pgb1"),
            ("database", "postgres"),
            ("application_name", name),
        ];
        let mut session = Connection::open_local(&socket, &parameters)?;
        session.request()?;
        let outcome = session.scram(b"its own", || Ok(()))?;
        ensure(outcome.is_in(), || format!("{outcome:?}"))?;
        Ok(session)
    };
    let older = connect("pam_aadauth 0.9")?;
    let other = (
        "pooler-of-another-version",
        &["runs \"pam_aadauth 0.9\"", MODULE][..],
    );
    expect(&server, "another version", &[other])?;
    let _same = connect(MODULE)?;
    expect(&server, "another version beside ours", &[other])?;
    drop(older);
    expect_silence(&server, "a pooler of this version")
}

fn set(server: &mut Server, poolers: &str, authorities: Option<&str>) -> Result<()> {
    server.configure(&[
        ("aadauth.poolers", Some(poolers)),
        ("ssl_ca_file", authorities),
    ])
}
