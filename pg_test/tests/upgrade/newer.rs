//! The newer server.

use std::path::{Path, PathBuf};
use std::process::Command;

use pg_test::Result;
use pg_test::place::target;
use pg_test::process::checked;
use pg_test::rig::{Rig, ensure, install};
use pg_test::server::Plan;

pub struct Newer {
    binaries: PathBuf,
}

impl Newer {
    /// Installs the library for it.
    pub fn install() -> Result<Newer> {
        let pg_config = std::env::var_os("NEWER_PG_CONFIG").map_or_else(
            || target().join("servers/17-pam/bin/pg_config"),
            PathBuf::from,
        );
        let says = |option: &str| says(&pg_config, option);
        ensure(says("--configure")?.contains("--with-pam"), || {
            format!("{} is of a server without PAM", pg_config.display())
        })?;
        install(&pg_config)?;
        Ok(Newer {
            binaries: PathBuf::from(says("--bindir")?),
        })
    }

    pub fn binaries(&self) -> &Path {
        &self.binaries
    }

    /// A plan for a newer server that is configured as [`Rig::plan`] has the other.
    pub fn plan(&self, rig: &Rig, name: &str) -> Result<Plan> {
        let mut plan = rig.plan(name)?;
        plan.binaries.clone_from(&self.binaries);
        Ok(plan)
    }
}

fn says(pg_config: &Path, option: &str) -> Result<String> {
    let says = checked(Command::new(pg_config).arg(option))
        .map_err(|error| format!("{error}\nNEWER_PG_CONFIG names another"))?;
    Ok(says.trim().to_owned())
}
