//! A container of the image for tests: a machine of the image's files, and the image's process in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use pg_test::Result;
use pg_test::client::Printed;
use pg_test::machine::{Machine, Network};
use pg_test::place::{RunDirectory, source, target};
use pg_test::process::checked;
use pg_test::rig::ensure;
use pg_test::wait::until;

use crate::build::{Build, Place, Settings, Stage};
use crate::compose::Compose;
use crate::instructions::{Instruction, read};
use crate::prepared::Prepared;

pub const DOCKERFILE: &str = "packaging/Dockerfile";
/// What `docker build --target` names.
pub const STAGE: &str = "ci";

const BEGIN: &str = r#"
setsid bash -c 'setpriv --reuid="$0" --regid="$0" --init-groups -- "$@" >>/srv/log 2>&1 &
    echo $! >/srv/pid
    wait $! && echo 0 >/srv/status || echo $? >/srv/status' \
"#;

/// Mounts a directory at another place, read-only, and runs a program without what lets root read others' files.
const BESIDE: &str = r#"
mount -t tmpfs tmpfs "${2%/*}"
mkdir "$2"
mount --bind "$1" "$2"
mount -o remount,bind,ro "$2"
shift 2
exec setpriv --bounding-set=-dac_override,-dac_read_search -- "$@"
"#;

pub struct Container {
    pub machine: Machine,
    pub settings: Settings,
}

impl Container {
    /// Of the steps of its own stage; the earlier stages are what was prepared.
    pub fn of_last_steps(prepared: &Prepared, run: &RunDirectory) -> Result<Container> {
        checked(
            Command::new("make")
                .args(["--silent", "emulator"])
                .current_dir(source())
                .env("CARGO_TARGET_DIR", target()),
        )?;
        let emulator = run.path().join("emulator");
        fs::create_dir_all(emulator.join("srv"))?;
        checked(
            Command::new("cp")
                .arg("-a")
                .arg(target().join("emulator"))
                .arg(emulator.join("srv")),
        )?;

        let machine = prepared.machine(run.path().join("server"))?;
        let mut build = Build::new(run)?;
        build.add(Stage {
            name: Some("server".to_owned()),
            settings: Settings::of_postgresql(&machine, &prepared.major)?,
            place: Place::Machine(machine),
            shared: Vec::new(),
        });
        build.add(Stage {
            name: Some("emulator".to_owned()),
            settings: Settings::of_debian(),
            place: Place::Files(emulator),
            shared: Vec::new(),
        });
        let instructions = read(&fs::read_to_string(source().join(DOCKERFILE))?)?;
        let begins =
            |one: &Instruction| matches!(one, Instruction::From(_, Some(name)) if name == STAGE);
        let own = instructions.iter().skip_while(|one| !begins(one));
        for (place, instruction) in own.enumerate() {
            if place > 0 && matches!(instruction, Instruction::From(..)) {
                break;
            }
            build.follow(instruction)?;
        }
        Container::of(build.take(Some(STAGE))?, run)
    }

    pub fn of(stage: Stage, run: &RunDirectory) -> Result<Container> {
        let Place::Machine(machine) = stage.place else {
            return Err("a stage without a machine".into());
        };
        Ok(Container {
            machine: (machine.stop()?).start(run.path().join("container"), Network::Own)?,
            settings: stage.settings,
        })
    }

    /// Starts it with arguments of the shell's, and waits until it is healthy.
    pub fn start(&self, arguments: &str) -> Result<()> {
        let user = self.settings.user.as_deref().ok_or("it runs as root")?;
        let entry_point = self.settings.entry_point.join(" ");
        self.run(&format!(
            "rm -f /srv/status\n{}{user} {entry_point} {arguments} </dev/null >/dev/null 2>&1 &",
            BEGIN.trim_start_matches('\n'),
        ))?;
        let check = self.settings.health_check.as_deref();
        fs::write(
            self.machine.path("/srv/healthy"),
            check.ok_or("it has no health check")?,
        )?;
        until("it is healthy", || {
            if let Some(status) = self.status()? {
                return Err(format!("it ended with {status}: {}", self.log()?).into());
            }
            let checked = self.run(&format!("{} sh /srv/healthy", self.as_user()?));
            Ok(checked.is_ok().then_some(()))
        })
        .map_err(|error| format!("{error}\n{}", self.log().unwrap_or_default()).into())
    }

    /// Ends it as Docker does; what it ended with.
    pub fn end(&self) -> Result<String> {
        self.run("kill -TERM $(cat /srv/pid)")?;
        until("it ends", || self.status())
    }

    pub fn status(&self) -> Result<Option<String>> {
        let path = self.machine.path("/srv/status");
        Ok(match path.exists() {
            true => {
                Some(fs::read_to_string(path)?.trim().to_owned()).filter(|text| !text.is_empty())
            }
            false => None,
        })
    }

    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.machine.path("/srv/log"))?)
    }

    /// Runs SQL as the superuser.
    pub fn sql(&self, sql: &str) -> Result<String> {
        fs::write(self.machine.path("/srv/statements.sql"), sql)?;
        let psql = "psql -XAtq -v ON_ERROR_STOP=1 -f /srv/statements.sql postgres";
        self.run(&format!("{} {psql}", self.as_user()?))
    }

    /// Runs a script as root, with the image's environment.
    pub fn run(&self, script: &str) -> Result<String> {
        let exported = self.settings.exported();
        self.machine.run(&format!("{exported}\n{script}"))
    }

    /// Runs a program of this machine's in its network, with the volume that the compose file gives to the application.
    pub fn beside(
        &self,
        compose: &Compose,
        words: &[&str],
        environment: &BTreeMap<String, String>,
    ) -> Result<Printed> {
        let [own, app] = ["db", "app"].map(|service| compose.mounts(service));
        let (own, app) = (own?, app?);
        let [mount] = app.as_slice() else {
            return Err("another number of volumes than one".into());
        };
        ensure(mount.read_only, || "it may be written to".to_owned())?;
        let volume = (own.iter().find(|one| one.name == mount.name)).ok_or("no such volume")?;
        let mut command = self.machine.in_network();
        command
            .args(["unshare", "--mount", "--", "bash", "-ec", BESIDE, "beside"])
            .arg(self.machine.path(&volume.inside))
            .arg(&mount.inside)
            .args(words)
            .env_clear()
            .envs(environment)
            // Not of the image's.
            .env("NODE_PATH", target().join("node/node_modules"))
            .env("HOME", Path::new("/nonexistent"));
        Ok(command.output()?.into())
    }

    fn as_user(&self) -> Result<String> {
        let user = self.settings.user.as_deref().ok_or("it runs as root")?;
        Ok(format!(
            "setpriv --reuid={user} --regid={user} --init-groups --"
        ))
    }
}
