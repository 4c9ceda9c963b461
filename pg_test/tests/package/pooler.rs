//! PgBouncer's package: on a machine that has the server as well, which the documents call db.example.com.

use std::fs;

use pg_test::Result;
use pg_test::client::Printed;
use pg_test::document::block_with;
use pg_test::place::source;
use pg_test::rig::ensure;
use pg_test::wait::until;

use crate::Test;
use crate::prepared::{Prepared, Server};

pub const TESTS: &[Test] = &[
    ("people_sign_in_through_pgbouncer", people_sign_in),
    ("the_checker_finds_what_lets_people_in", checker),
    ("its_service_file_is_kept_and_comes_back", service_file),
    ("removing_it_lets_nobody_in", removed),
];

const ALICE: &str = "alice@contoso.com";

const DOCUMENT: &str = "docs/pgbouncer.md";

const SERVICE: &str = "/etc/pam.d/pgbouncer";

fn people_sign_in(prepared: &Prepared) -> Result<()> {
    let server = pooled(prepared, "pooled-people")?;
    let machine = &server.machine;
    machine.run("dpkg --verify aadauth-pgbouncer && dpkg --audit")?;
    let linked = machine.run(
        "ldd /usr/lib/*/security/pam_aadauth.so && ldd /usr/bin/aadauth-pooler-check && stat -c %a /etc/pam.d/pgbouncer",
    )?;
    ensure(
        !linked.contains("not found") && linked.ends_with("\n644"),
        || linked.clone(),
    )?;
    let token = server.token(ALICE)?;
    lets_in(&server, &token)?;
    lets_in(&server, &token)?;
    for secret in [server.token("mallory@contoso.com")?.as_str(), "anything"] {
        refuses(&server, secret)?;
    }
    until("the audit has the logins", || {
        let outcomes = server.sql(
            "SELECT string_agg(DISTINCT outcome, ' ' ORDER BY outcome) FROM aadauth.sign_in_audit WHERE method = 'pooler'",
        )?;
        Ok((outcomes == "authenticated refused").then_some(()))
    })
}

fn checker(prepared: &Prepared) -> Result<()> {
    let server = prepared.server("pooled-checker")?;
    configure(prepared, &server)?;
    let check = |change: &str| {
        server
            .machine
            .try_run(&format!("{change}\naadauth-pooler-check || exit $?"))
    };
    let printed = check("")?;
    ensure(printed.success && printed.output == "no findings", || {
        format!("{printed:?}")
    })?;
    let ini = "/etc/pgbouncer/pgbouncer.ini";
    for (change, code) in [
        (
            format!("sed -i 's/^app = /&user=app /' {ini}"),
            "error: forced-user",
        ),
        (
            format!("sed -i 's/^auth_type.*/auth_type = any/' {ini}"),
            "error: auth-type",
        ),
        (
            format!("echo 'account sufficient pam_permit.so' >>{SERVICE}"),
            "error: pam-service-changed",
        ),
        (
            "chmod a+r /etc/aadauth/pgb1.key".to_owned(),
            "error: key-exposed",
        ),
        (
            "chown nobody /etc/aadauth/pooler.conf".to_owned(),
            "error: conf-refused",
        ),
    ] {
        let printed = check(&change)?;
        ensure(!printed.success && printed.output.contains(code), || {
            format!("{code} is not in {printed:?}")
        })?;
    }
    let printed = server
        .machine
        .try_run("aadauth-pooler-check /nothing || echo $?")?;
    ensure(printed.output == "2", || format!("{printed:?}"))
}

fn service_file(prepared: &Prepared) -> Result<()> {
    let server = prepared.server("pooled-service")?;
    let machine = &server.machine;
    let install = format!("apt-get install -y --reinstall {}", prepared.pooler_file);
    let own = "auth required pam_deny.so";
    machine.run(&format!("echo '{own}' >{SERVICE}"))?;
    let said = machine.run(&install)?;
    ensure(
        said.contains(&format!("{SERVICE} is left as it is"))
            && machine.run(&format!("cat {SERVICE}"))? == own,
        || said.clone(),
    )?;
    machine.run(&format!("rm {SERVICE}"))?;
    machine.run(&install)?;
    let shipped = "/usr/share/aadauth-pgbouncer/pam-service";
    machine.run(&format!("cmp {SERVICE} {shipped}"))?;
    let lines = machine.run(&format!(
        "grep -c '^[a-z]* required pam_aadauth.so$' {SERVICE}"
    ))?;
    ensure(lines == "2", || lines.clone())
}

fn removed(prepared: &Prepared) -> Result<()> {
    let server = pooled(prepared, "pooled-removed")?;
    let machine = &server.machine;
    let token = server.token(ALICE)?;
    lets_in(&server, &token)?;
    let said = machine.run("apt-get purge -y aadauth-pgbouncer")?;
    for told in [
        "stays, and refuses everyone",
        "is left in place on purpose",
        "it is restarted",
    ] {
        ensure(said.contains(told), || format!("{told} is not in\n{said}"))?;
    }
    // It goes on with what it has loaded.
    lets_in(&server, &token)?;
    refuses(&server, "anything")?;
    // `other` would let them in.
    machine.run(
        "printf 'auth required pam_permit.so\\naccount required pam_permit.so\\n' >/etc/pam.d/other
         kill $(cat /var/run/postgresql/pgbouncer.pid)",
    )?;
    until("PgBouncer ends", || Ok((!listens(&server)?).then_some(())))?;
    start(&server)?;
    refuses(&server, &token)?;
    refuses(&server, "anything")?;
    // That is no idle threat: without the service file, PgBouncer lets anybody in, and the server has to refuse.
    machine.run(&format!("rm {SERVICE}"))?;
    let printed = sign_in(&server, "anything")?;
    ensure(!printed.error.contains("PAM authentication failed"), || {
        format!("{printed:?}")
    })
}

/// A machine with a PgBouncer before the server.
fn pooled(prepared: &Prepared, name: &str) -> Result<Server> {
    let server = prepared.server(name)?;
    configure(prepared, &server)?;
    start(&server)?;
    Ok(server)
}

/// What the document says of the server and of PgBouncer's machine, the checker being last.
fn configure(prepared: &Prepared, server: &Server) -> Result<()> {
    let Server { machine, major } = server;
    let text = fs::read_to_string(source().join(DOCUMENT))?;
    let documented = |begin: &str| Ok::<_, pg_test::Error>(block_with(&text, begin)?.text);
    machine.run(&format!(
        "apt-get install -y --no-install-recommends pgbouncer
         mkdir /etc/aadauth
         cd /etc/aadauth
         install -m 0644 /etc/ssl/entra.pem ca.crt
         install -m 0644 /etc/ssl/server.crt server.crt
         openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=pgb1.example.com \
             -keyout pgb1.key -out pgb1.csr
         openssl x509 -req -in pgb1.csr -CA /srv/entra/ca.pem -CAkey /srv/entra/ca.key -set_serial 2 -days 2 \
             -out pgb1.crt
         rm pgb1.csr
         install -m 0600 -o postgres /etc/ssl/server.key server.key
         chown postgres: pgb1.key
         chmod 0600 pgb1.key
         echo \"ssl_ca_file = '/etc/aadauth/ca.crt'\" >>/etc/postgresql/{major}/main/conf.d/server.conf"
    ))?;
    server.sql(&documented("CREATE ROLE pgb1")?)?;
    server.sql("CREATE DATABASE app")?;
    for (file, line) in [
        (
            "pg_hba.conf",
            documented("hostssl  postgres")?.replace("192.0.2.10/32", "all"),
        ),
        ("pg_ident.conf", documented("pooler  pgb1")?),
    ] {
        let path = machine.path(&format!("/etc/postgresql/{major}/main/{file}"));
        let before = fs::read_to_string(&path)?;
        fs::write(&path, format!("{line}{before}"))?;
    }
    server.restart()?;
    server.await_keys()?;
    for block in server.blocks(DOCUMENT, "pooler-package")? {
        server.run_block(&block)?;
    }
    ensure(
        machine
            .run("cat /usr/share/doc/aadauth-pgbouncer/examples/pooler.conf")?
            .trim()
            == documented("# Where to ask")?.trim(),
        || format!("{} has another example", prepared.pooler_file),
    )?;
    // What the document leaves to the administrator; and the machine is slow.
    machine
        .run(
            "sed -i 's/^deadline.*/deadline = 2000/' /etc/aadauth/pooler.conf
             printf '%s\\n' 'listen_addr = 127.0.0.1' 'pidfile = /var/run/postgresql/pgbouncer.pid' \
                 >>/etc/pgbouncer/pgbouncer.ini",
        )
        .map(drop)
}

fn start(server: &Server) -> Result<()> {
    server.machine.run(
        "cd /
         setsid setpriv --reuid=postgres --regid=postgres --init-groups -- \
             pgbouncer /etc/pgbouncer/pgbouncer.ini >/srv/pgbouncer.log 2>&1 </dev/null &",
    )?;
    until("PgBouncer listens", || Ok(listens(server)?.then_some(())))
}

fn listens(server: &Server) -> Result<bool> {
    let connected = server
        .machine
        .try_run("(: </dev/tcp/127.0.0.1/6432) 2>/dev/null")?;
    Ok(connected.success)
}

/// As Alice, over TLS, with PgBouncer's name verified.
fn sign_in(server: &Server, secret: &str) -> Result<Printed> {
    let file = "/srv/secret";
    fs::write(server.machine.path(file), secret)?;
    server.machine.try_run(&format!(
        "PGPASSWORD=$(<{file}) psql -XAtq -c 'SELECT session_user' \"host=db.example.com port=6432 dbname=app \
             user={ALICE} sslmode=verify-full sslrootcert=/etc/aadauth/ca.crt\""
    ))
}

fn lets_in(server: &Server, token: &str) -> Result<()> {
    let printed = sign_in(server, token)?;
    ensure(printed.success && printed.output == ALICE, || {
        let log = fs::read_to_string(server.machine.path("/srv/pgbouncer.log"));
        format!("not let in: {printed:?}\n{}", log.unwrap_or_default())
    })
}

/// PgBouncer itself refuses, with a connection of Alice's waiting in its pool.
fn refuses(server: &Server, secret: &str) -> Result<()> {
    let printed = sign_in(server, secret)?;
    ensure(
        !printed.success && printed.error.contains("PAM authentication failed"),
        || format!("not refused: {printed:?}"),
    )
}
