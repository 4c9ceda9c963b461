//! Building an image by a Dockerfile, without Docker: each stage on a machine of its own, whose PostgreSQL is Debian's
//! in place of the official image's. Rust is this machine's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pg_test::Result;
use pg_test::machine::{Image, Machine, Network};
use pg_test::place::{RunDirectory, major, source, target};
use pg_test::process::checked;
use pg_test::rig::ensure;

use crate::instructions::{Instruction, replaced};
use crate::prepared::{bare, release};

/// The stages so far; the last is being built.
pub struct Build<'a> {
    run: &'a RunDirectory,
    /// What was given with ARG before the first stage.
    arguments: BTreeMap<String, String>,
    stages: Vec<Stage>,
}

pub struct Stage {
    pub name: Option<String>,
    pub place: Place,
    pub settings: Settings,
    /// Directories of this machine's that it has in place of copies, and where.
    pub shared: Vec<(PathBuf, String)>,
}

/// Where a stage's files are.
pub enum Place {
    Machine(Machine),
    /// Only what is copied from it.
    Files(PathBuf),
    /// The image of Rust.
    Rust,
}

/// What the image says beside its files.
#[derive(Clone)]
pub struct Settings {
    pub environment: BTreeMap<String, String>,
    pub directory: String,
    pub user: Option<String>,
    pub health_check: Option<String>,
    pub entry_point: Vec<String>,
}

impl Build<'_> {
    pub fn new(run: &RunDirectory) -> Result<Build<'_>> {
        let major = major()?;
        let debian = release(&major)?.to_owned();
        Ok(Build {
            run,
            // As with --build-arg.
            arguments: [("PG_MAJOR", major), ("DEBIAN", debian)]
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
            stages: Vec::new(),
        })
    }

    /// Takes a stage as built.
    pub fn add(&mut self, stage: Stage) {
        self.stages.push(stage);
    }

    pub fn follow(&mut self, instruction: &Instruction) -> Result<()> {
        match instruction {
            Instruction::Argument(name, default) => {
                let value = self.arguments.entry(name.clone());
                value.or_insert_with(|| default.clone());
            }
            Instruction::From(image, name) => {
                let image = replaced(image, &self.arguments)?;
                let stage = self.begin(&image, name.clone())?;
                self.stages.push(stage);
            }
            Instruction::Environment(name, value) => {
                let settings = &mut self.stage()?.settings;
                let value = replaced(value, &settings.environment)?;
                settings.environment.insert(name.clone(), value);
            }
            Instruction::WorkingDirectory(path) => {
                let stage = self.stage()?;
                stage.settings.directory.clone_from(path);
                fs::create_dir_all(stage.path(path)?)?;
            }
            Instruction::Copy { stage, from, to } => self.copy(stage.as_deref(), from, to)?,
            Instruction::Run { caches, script } => {
                for cache in caches {
                    let place = cache_for(cache)?;
                    self.stage()?.machine()?.share(&place, cache)?;
                }
                self.stage()?.run(script)?;
            }
            Instruction::Label(_) => {}
            Instruction::User(name) => self.stage()?.settings.user = Some(name.clone()),
            Instruction::HealthCheck(command) => {
                self.stage()?.settings.health_check = Some(command.clone());
            }
            Instruction::EntryPoint(words) => {
                self.stage()?.settings.entry_point.clone_from(words);
            }
        }
        Ok(())
    }

    /// The stage of that name, or the last.
    pub fn take(&mut self, name: Option<&str>) -> Result<Stage> {
        let found = match name {
            None => self.stages.len().checked_sub(1),
            name => (self.stages.iter()).position(|stage| stage.name.as_deref() == name),
        };
        Ok(self.stages.remove(found.ok_or("there is no such stage")?))
    }

    fn begin(&self, image: &str, name: Option<String>) -> Result<Stage> {
        let major = &self.arguments["PG_MAJOR"];
        let debian = &self.arguments["DEBIAN"];
        let place = self.run.path().join(format!("stage-{}", self.stages.len()));
        if let Some(earlier) = self.named(image) {
            let machine = Image::of(earlier.path("/")?).start(place, Network::Shared)?;
            for (place, inside) in &earlier.shared {
                machine.share(place, inside)?;
            }
            return Ok(Stage {
                name,
                place: Place::Machine(machine),
                settings: earlier.settings.clone(),
                shared: earlier.shared.clone(),
            });
        }
        if (self.arguments.get("RUST")).is_some_and(|rust| image == format!("rust:{rust}-{debian}"))
        {
            return Ok(Stage {
                name,
                place: Place::Rust,
                settings: Settings::of_debian(),
                shared: Vec::new(),
            });
        }
        ensure(image == format!("postgres:{major}-{debian}"), || {
            format!("from {image}")
        })?;
        let machine = bare(major)?.start(place, Network::Shared)?;
        machine.run(&format!(
            "apt-get install -y --no-install-recommends postgresql-{major}"
        ))?;
        Ok(Stage {
            name,
            settings: Settings::of_postgresql(&machine, major)?,
            place: Place::Machine(machine),
            shared: Vec::new(),
        })
    }

    fn copy(&mut self, from_stage: Option<&str>, from: &str, to: &str) -> Result<()> {
        let Some(name) = from_stage else {
            let directory = self.stage()?.settings.directory.clone();
            let to = Path::new(&directory).join(to);
            return copy_sources(from, &self.stage()?.path(&to.to_string_lossy())?);
        };
        let origin = self
            .named(name)
            .ok_or_else(|| format!("there is no stage {name}"))?;
        if matches!(origin.place, Place::Rust) {
            let place = of_rust(from)?;
            let stage = self.stage()?;
            stage.machine()?.share(&place, to)?;
            stage.shared.push((place, to.to_owned()));
            return Ok(());
        }
        let from = origin.path(from)?.join(".");
        let to = self.stage()?.path(to)?;
        fs::create_dir_all(&to)?;
        checked(Command::new("cp").arg("-a").arg(from).arg(to)).map(drop)
    }

    fn named(&self, name: &str) -> Option<&Stage> {
        (self.stages.iter()).find(|stage| stage.name.as_deref() == Some(name))
    }

    fn stage(&mut self) -> Result<&mut Stage> {
        Ok(self.stages.last_mut().ok_or("no stage yet")?)
    }
}

impl Stage {
    pub fn machine(&self) -> Result<&Machine> {
        match &self.place {
            Place::Machine(machine) => Ok(machine),
            Place::Files(_) | Place::Rust => Err("a stage without a machine".into()),
        }
    }

    fn path(&self, inside: &str) -> Result<PathBuf> {
        match &self.place {
            Place::Machine(machine) => Ok(machine.path(inside)),
            Place::Files(root) => Ok(root.join(inside.trim_start_matches('/'))),
            Place::Rust => Err("only directories of Rust's image are known".into()),
        }
    }

    fn run(&self, script: &str) -> Result<()> {
        ensure(self.settings.user.is_none(), || {
            format!("not as root: {script}")
        })?;
        // Docker's shell is sh.
        let file = "/srv/step.sh";
        fs::write(self.path(file)?, script)?;
        let all = format!("{}\nsh -e {file}\nrm {file}", self.settings.exported());
        self.machine()?.run(&all).map(drop)
    }
}

impl Settings {
    pub fn of_debian() -> Settings {
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        Settings {
            environment: [("PATH".to_owned(), path.to_owned())].into(),
            directory: "/".to_owned(),
            user: None,
            health_check: None,
            entry_point: Vec::new(),
        }
    }

    /// Those of the official image.
    pub fn of_postgresql(machine: &Machine, major: &str) -> Result<Settings> {
        let mut settings = Settings::of_debian();
        let query = format!("dpkg-query -W -f '${{Version}}' postgresql-{major}");
        let set = [
            ("PG_MAJOR", major.to_owned()),
            ("PG_VERSION", machine.run(&query)?),
            (
                "PATH",
                format!(
                    "{}:/usr/lib/postgresql/{major}/bin",
                    settings.environment["PATH"]
                ),
            ),
        ];
        let environment = &mut settings.environment;
        environment.extend(set.map(|(name, value)| (name.to_owned(), value)));
        Ok(settings)
    }

    /// Statements of a shell that make them its own.
    pub fn exported(&self) -> String {
        let environment: String = (self.environment.iter())
            .map(|(name, value)| format!("export {name}='{value}'\n"))
            .collect();
        format!("{environment}cd {}", self.directory)
    }
}

/// The sources as Docker would send them: what is in the repository, and what is about to be.
fn copy_sources(from: &str, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let mut command = Command::new("bash");
    command
        .arg("-c")
        .arg(
            "set -o pipefail; cd \"$1\"
             git ls-files -z --cached --others --exclude-standard . |
             tar -c --null -T - | tar -x --no-same-owner -C \"$2\"",
        )
        .args(["copy", from])
        .arg(to)
        .current_dir(source());
    checked(&mut command).map(drop)
}

/// Where a cache of the build is kept from one run to the next.
fn cache_for(inside: &str) -> Result<PathBuf> {
    if inside.ends_with("/registry") {
        // What this machine has downloaded already.
        return Ok(of_rust("/usr/local/cargo")?.join("registry"));
    }
    let name = inside.trim_start_matches('/').replace('/', "-");
    let place = target().join(format!("machines/cache-{}-{name}", major()?));
    fs::create_dir_all(&place)?;
    Ok(place)
}

/// What this machine has in place of the directories of Rust's image.
fn of_rust(path: &str) -> Result<PathBuf> {
    let (variable, fallback) = match path {
        "/usr/local/rustup" => ("RUSTUP_HOME", ".rustup"),
        "/usr/local/cargo" => ("CARGO_HOME", ".cargo"),
        _ => return Err(format!("Rust's image may have no {path}").into()),
    };
    match (std::env::var_os(variable), std::env::var_os("HOME")) {
        (Some(place), _) => Ok(place.into()),
        (None, Some(home)) => Ok(Path::new(&home).join(fallback)),
        (None, None) => Err(format!("{variable} is not set").into()),
    }
}
