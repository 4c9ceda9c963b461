//! A pooler that `aadauth.poolers` names, and its key in other hands.

use std::fs;
use std::path::{Path, PathBuf};

use pg_test::Result;
use pg_test::client::Printed;
use pg_test::plan::Plan;
use pg_test::rig::{Rig, ensure};

use crate::pgbouncer::{Pooled, documented};

/// The pooler of docs/pgbouncer.md, as it names it.
pub fn name() -> Result<String> {
    let line = documented("aadauth.poolers = ")?;
    let (_, value) = line.trim_end().split_once(" = ").ok_or("no value")?;
    Ok(value.trim_matches('\'').to_owned())
}

/// Starts a server that trusts it, and it.
pub fn start<'a>(
    rig: &'a Rig,
    server: &str,
    change: impl FnOnce(Plan) -> Plan,
) -> Result<Pooled<'a>> {
    let name = name()?;
    Pooled::start(rig, server, |plan| {
        let plan = plan.set("aadauth.poolers", &name);
        change(plan.set("aadauth.clock_skew", "0"))
    })
}

/// The pooler's certificate and key, as somebody has them who connects to the server directly.
pub struct Stolen<'a> {
    rig: &'a Rig,
    pooled: &'a Pooled<'a>,
    certificate: PathBuf,
    key: PathBuf,
}

impl Stolen<'_> {
    pub fn of<'a>(rig: &'a Rig, pooled: &'a Pooled<'a>) -> Result<Stolen<'a>> {
        let configuration = pooled.configuration();
        let home = configuration.parent().ok_or("no directory")?;
        let copy = |name: &str| -> Result<PathBuf> {
            // Owned by the user who runs psql.
            let own = home.join(format!("stolen-{name}"));
            fs::copy(home.join(name), &own)?;
            Ok(own)
        };
        Ok(Stolen {
            rig,
            pooled,
            certificate: copy("pgb1.crt")?,
            key: copy("pgb1.key")?,
        })
    }

    /// What psql prints that connects to the server as the pooler does.
    pub fn psql(&self, role: &str, secret: &str, sql: &str) -> Result<Printed> {
        let show = |path: &Path| path.display().to_string();
        let extra = format!(
            "sslcert='{}' sslkey='{}'",
            show(&self.certificate),
            show(&self.key)
        );
        let attempt = self.rig.attempt(&self.pooled.server, role, secret);
        attempt.psql(&extra, sql)
    }

    /// Expects the server to let it in.
    pub fn accepted(&self, role: &str, secret: &str) -> Result<()> {
        let printed = self.psql(role, secret, "SELECT current_user")?;
        ensure(printed.success && printed.output == role, || {
            format!("{role}: {printed:?}")
        })
    }

    /// Expects the server to refuse it with that text for the client.
    pub fn refused(&self, role: &str, secret: &str, text: &str) -> Result<()> {
        let printed = self.psql(role, secret, "SELECT current_user")?;
        ensure(!printed.success && printed.error.contains(text), || {
            format!("{role}: {printed:?} and not {text:?}")
        })
    }
}
