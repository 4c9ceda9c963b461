//! A module that may ask one of two servers.

use std::time::Instant;

use pg_test::Result;
use pg_test::process::signal;
use pg_test::rig::{Person, Rig, ensure};
use pg_test::server::Server;
use pg_test::wait::until;
use rustix::process::Signal;

use crate::Test;
use crate::pgbouncer::{ELSEWHERE, Pooled, ROLE, documented, server};

pub const TESTS: &[Test] = &[
    (
        "the_second_host_is_asked_when_the_first_is_stopped",
        stopped,
    ),
    ("the_second_host_is_asked_when_the_first_hangs", hanging),
];

/// PgBouncer's own connections go to a third server, which knows the person as well.
struct Two<'a> {
    pooled: Pooled<'a>,
    second: Server,
    person: Person,
    token: String,
}

impl<'a> Two<'a> {
    fn start(rig: &'a Rig, name: &str, deadline: &str) -> Result<Two<'a>> {
        let pooled = Pooled::start(rig, name, |plan| plan)?;
        let second = server(rig, &format!("{name}-second"), &pooled.home, |plan| plan)?;
        let person = rig.person(&pooled.server, &name.replace('-', "_"))?;
        for other in [&second, &rig.server] {
            rig.map(other, &person.role, &person.object_id.to_string(), "user")?;
        }
        let here = format!(
            "host=localhost,localhost hostaddr=127.0.0.1,127.0.0.1 port={},{}",
            pooled.server.port(),
            second.port()
        );
        let hosts = "host=db1.example.com,db2.example.com";
        let documented = documented(&format!("server = {hosts}"))?.replace(hosts, &here);
        pooled.write_configuration(&documented, deadline)?;
        let token = rig.token_of(&person)?;
        let two = Two {
            pooled,
            second,
            person,
            token,
        };
        until("a server is asked", || {
            Ok(two.is_in(&two.token)?.then_some(()))
        })?;
        two.pooled.standing_backend()?;
        two.asks_second(false)?;
        Ok(two)
    }

    fn is_in(&self, secret: &str) -> Result<bool> {
        let sign_in = self.pooled.sign_in(ELSEWHERE, &self.person.role, secret)?;
        Ok(sign_in.outcome.is_in())
    }

    fn asks_second(&self, expected: bool) -> Result<()> {
        let connections = self.second.sql(&format!(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = '{ROLE}'"
        ))?;
        ensure(connections == if expected { "1" } else { "0" }, || {
            format!("the second server has {connections} connections of the module")
        })
    }

    /// It judges, and does not just say yes.
    fn second_judges(&self) -> Result<()> {
        ensure(!self.is_in("password")?, || "a word was let in".to_owned())?;
        self.second.sql(&format!(
            "SELECT aadauth.revoke('{}')",
            self.person.object_id
        ))?;
        ensure(!self.is_in(&self.token)?, || {
            "somebody whom the second server has revoked was let in".to_owned()
        })
    }
}

/// No login notices.
fn stopped(rig: &Rig) -> Result<()> {
    let mut two = Two::start(rig, "pooled-first-stopped", "deadline = 2000")?;
    two.pooled.server.stop()?;
    ensure(two.is_in(&two.token)?, || {
        "refused although the second server answers".to_owned()
    })?;
    two.asks_second(true)?;
    // The first is asked again only when the second has ended.
    two.pooled.server.start()?;
    rig.await_keys(&two.pooled.server)?;
    ensure(two.is_in(&two.token)?, || "refused".to_owned())?;
    two.asks_second(true)?;
    two.second_judges()
}

/// libpq gives a host up after `connect_timeout`, two seconds.
fn hanging(rig: &Rig) -> Result<()> {
    let two = Two::start(rig, "pooled-first-hangs", "deadline = 500")?;
    let mut processes = two.pooled.server.children("")?;
    processes.push(two.pooled.server.postmaster()?);
    for process in &processes {
        signal(*process, Signal::STOP)?;
    }
    let began = Instant::now();
    let first = two.is_in(&two.token);
    let answered = until("the second server answers", || {
        Ok(two.is_in(&two.token)?.then_some(()))
    });
    println!(
        "the second server answers {:?} after the first began to hang",
        began.elapsed()
    );
    for process in &processes {
        signal(*process, Signal::CONT)?;
    }
    answered?;
    ensure(!first?, || "let in by a server that hangs".to_owned())?;
    two.asks_second(true)?;
    two.second_judges()
}
