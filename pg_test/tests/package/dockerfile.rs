//! The steps of `packaging/Dockerfile`, without Docker: each stage on a machine of its own, whose
//! PostgreSQL is Debian's in place of the official image's. Rust is this machine's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pg_test::Result;
use pg_test::emulator::program;
use pg_test::machine::{Machine, Network};
use pg_test::place::{RunDirectory, major, source, target};
use pg_test::process::checked;
use pg_test::rig::ensure;

use crate::instructions::{Instruction, read, replaced};
use crate::prepared::{PACKAGES, Server, bare, release};

/// One test, and whether it runs only on request.
type Test = (&'static str, bool, fn() -> Result<()>);

pub const TESTS: &[Test] = &[
    ("what_is_built_is_left_out", false, context),
    ("its_steps_lead_to_a_server", true, steps),
];

const FILE: &str = "packaging/Dockerfile";

/// Docker sends everything that it isn't told to leave out.
fn context() -> Result<()> {
    let left_out = fs::read_to_string(source().join(format!("{FILE}.dockerignore")))?;
    for name in [".git", "target", "results"] {
        ensure(left_out.lines().any(|line| line == name), || {
            format!("{name} would be sent")
        })?;
    }
    Ok(())
}

fn steps() -> Result<()> {
    let run = RunDirectory::create()?;
    let instructions = read(&fs::read_to_string(source().join(FILE))?)?;
    let mut build = Build::new(&run)?;
    for instruction in &instructions {
        build
            .follow(instruction)
            .map_err(|error| format!("{instruction:?}: {error}"))?;
    }
    let machine = build.stage()?.machine.take().ok_or("no last stage")?;
    // From here on nothing may come from elsewhere.
    fs::copy(program(), machine.path("/usr/local/bin/entra-emulator"))?;
    // Where the document's commands are run; the image has no package left there.
    fs::create_dir_all(machine.path(PACKAGES))?;
    let machine = machine
        .stop()?
        .start(run.path().join("container"), Network::Own)?;
    let server = Server {
        machine,
        major: major()?,
    };
    server.set_up(false)?;
    let alice = "alice@contoso.com";
    server.lets_in(alice, &server.token(alice)?)?;
    server.refuses(alice, &server.token("mallory@contoso.com")?)
}

/// The stages so far; the last is being built.
struct Build<'a> {
    run: &'a RunDirectory,
    /// What was given with ARG before the first stage.
    arguments: BTreeMap<String, String>,
    stages: Vec<Stage>,
}

struct Stage {
    name: Option<String>,
    /// `None` is the image of Rust.
    machine: Option<Machine>,
    environment: BTreeMap<String, String>,
    directory: String,
}

impl Build<'_> {
    fn new(run: &RunDirectory) -> Result<Build<'_>> {
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

    fn follow(&mut self, instruction: &Instruction) -> Result<()> {
        match instruction {
            Instruction::Argument(name, default) => {
                let value = self.arguments.entry(name.clone());
                value.or_insert_with(|| default.clone());
                Ok(())
            }
            Instruction::From(image, name) => {
                let image = replaced(image, &self.arguments)?;
                let stage = self.begin(&image, name.clone())?;
                self.stages.push(stage);
                Ok(())
            }
            Instruction::Environment(name, value) => {
                let stage = self.stage()?;
                let value = replaced(value, &stage.environment)?;
                stage.environment.insert(name.clone(), value);
                Ok(())
            }
            Instruction::WorkingDirectory(path) => {
                let stage = self.stage()?;
                stage.directory.clone_from(path);
                fs::create_dir_all(stage.path(path)?)?;
                Ok(())
            }
            Instruction::Copy { stage, from, to } => self.copy(stage.as_deref(), from, to),
            Instruction::Run { caches, script } => {
                for cache in caches {
                    let place = cache_for(cache)?;
                    self.stage()?.machine()?.share(&place, cache)?;
                }
                self.stage()?.run(script)
            }
        }
    }

    fn begin(&self, image: &str, name: Option<String>) -> Result<Stage> {
        let major = &self.arguments["PG_MAJOR"];
        let debian = &self.arguments["DEBIAN"];
        let mut environment = BTreeMap::from([(
            "PATH".to_owned(),
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        )]);
        if image == format!("rust:{}-{debian}", self.arguments["RUST"]) {
            return Ok(Stage {
                name,
                machine: None,
                environment,
                directory: "/".to_owned(),
            });
        }
        ensure(image == format!("postgres:{major}-{debian}"), || {
            format!("from {image}")
        })?;
        let server = format!("postgresql-{major}");
        let place = self.run.path().join(format!("stage-{}", self.stages.len()));
        let machine = bare(major)?.start(place, Network::Shared)?;
        machine.run(&format!(
            "apt-get install -y --no-install-recommends {server}"
        ))?;
        // What the official image sets.
        let version = machine.run(&format!("dpkg-query -W -f '${{Version}}' {server}"))?;
        environment.insert("PG_MAJOR".to_owned(), major.clone());
        environment.insert("PG_VERSION".to_owned(), version);
        Ok(Stage {
            name,
            machine: Some(machine),
            environment,
            directory: "/".to_owned(),
        })
    }

    fn copy(&mut self, from_stage: Option<&str>, from: &str, to: &str) -> Result<()> {
        let Some(name) = from_stage else {
            ensure(from == "." && to == ".", || format!("copies {from}"))?;
            let to = self.stage()?.directory.clone();
            return copy_sources(&self.stage()?.path(&to)?);
        };
        let origin = self
            .stages
            .iter()
            .find(|stage| stage.name.as_deref() == Some(name))
            .ok_or_else(|| format!("there is no stage {name}"))?;
        if origin.machine.is_none() {
            let place = of_rust(from)?;
            return self.stage()?.machine()?.share(&place, to);
        }
        let from = origin.path(from)?;
        let to = self.stage()?.path(to)?;
        checked(Command::new("cp").arg("-a").arg(from).arg(to)).map(drop)
    }

    fn stage(&mut self) -> Result<&mut Stage> {
        Ok(self.stages.last_mut().ok_or("no stage yet")?)
    }
}

impl Stage {
    fn machine(&self) -> Result<&Machine> {
        Ok(self.machine.as_ref().ok_or("a stage without a machine")?)
    }

    fn path(&self, inside: &str) -> Result<PathBuf> {
        Ok(self.machine()?.path(inside))
    }

    fn run(&self, script: &str) -> Result<()> {
        let environment: String = self
            .environment
            .iter()
            .map(|(name, value)| format!("export {name}='{value}'\n"))
            .collect();
        // Docker's shell is sh.
        let file = "/srv/step.sh";
        fs::write(self.path(file)?, script)?;
        let all = format!(
            "{environment}cd {}\nsh -e {file}\nrm {file}",
            self.directory
        );
        self.machine()?.run(&all).map(drop)
    }
}

/// The sources as Docker would send them: what is in the repository, and what is about to be.
fn copy_sources(to: &Path) -> Result<()> {
    let mut command = Command::new("bash");
    command
        .arg("-c")
        .arg(
            "set -o pipefail; git ls-files -z --cached --others --exclude-standard |
             tar -c --null -T - | tar -x --no-same-owner -C \"$1\"",
        )
        .arg("copy")
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
