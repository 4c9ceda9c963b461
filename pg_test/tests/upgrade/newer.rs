//! The newer server.

use std::path::{Path, PathBuf};
use std::process::Command;

use pg_test::Result;
use pg_test::place::target;
use pg_test::plan::Plan;
use pg_test::process::checked;
use pg_test::rig::{Rig, install};
use pg_test::route::Route;

pub struct Newer {
    binaries: PathBuf,
    has_pam: bool,
}

impl Newer {
    /// Installs the library for it.
    pub fn install() -> Result<Newer> {
        let pg_config = std::env::var_os("NEWER_PG_CONFIG")
            .map_or_else(|| target().join("servers/17/bin/pg_config"), PathBuf::from);
        let says = |option: &str| says(&pg_config, option);
        install(&pg_config)?;
        Ok(Newer {
            has_pam: says("--configure")?.contains("--with-pam"),
            binaries: PathBuf::from(says("--bindir")?),
        })
    }

    pub fn binaries(&self) -> &Path {
        &self.binaries
    }

    /// Whether it is built with PAM.
    pub fn has_pam(&self) -> bool {
        self.has_pam
    }

    /// A plan for a newer server that is configured as [`Rig::plan`] has the other, but for the alternate HBA file
    /// where there is no PAM.
    pub fn plan(&self, rig: &Rig, name: &str) -> Result<Plan> {
        let mut plan = rig.plan(name)?;
        plan.binaries.clone_from(&self.binaries);
        if !self.has_pam {
            plan.route = Route::HbaFile;
        }
        Ok(plan)
    }
}

fn says(pg_config: &Path, option: &str) -> Result<String> {
    let says = checked(Command::new(pg_config).arg(option))
        .map_err(|error| format!("{error}\nNEWER_PG_CONFIG names another"))?;
    Ok(says.trim().to_owned())
}
