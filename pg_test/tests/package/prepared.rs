//! A machine with the package installed and configured, and copies of it that run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pg_test::Result;
use pg_test::client::Printed;
use pg_test::document::{Block, blocks};
use pg_test::emulator::program;
use pg_test::machine::{Image, Machine, Network};
use pg_test::place::{RunDirectory, major, pg_config, source, target, version_of};
use pg_test::process::checked;
use pg_test::rig::ensure;
use pg_test::wait::until;

/// Where the machines have the package.
pub const PACKAGES: &str = "/srv/packages";

pub struct Prepared {
    /// What the server is: 15, 17.
    pub major: String,
    /// Package name, as apt knows it.
    pub package: String,
    /// The PAM service, and the name of its file.
    pub service: String,
    /// What apt printed while it installed the package.
    pub installing: String,
    /// The package's file, on the machines.
    pub file: String,
    /// That of PgBouncer's package.
    pub pooler_file: String,
    /// That of the package for clients.
    pub token_file: String,
    /// All packages, on this machine.
    pub built: [PathBuf; 3],
    image: Image,
    run: RunDirectory,
}

/// Alice is an administrator, `local` a role with a password, and nobody else can sign in.
pub struct Server {
    pub machine: Machine,
    pub major: String,
}

impl Prepared {
    /// Builds the package and installs it on a bare machine.
    pub fn prepare() -> Result<Prepared> {
        let major = major()?;
        let package = format!("postgresql-{major}-aadauth");
        let service = format!("aadauth-{major}");
        let built = build()?;
        let pooler = build_pooler()?;
        let token = build_token()?;
        let run = RunDirectory::create()?;
        let machine = bare(&major)?.start(run.path().join("prepared"), Network::Own)?;
        // Nobody is there who could answer.
        fs::write(
            machine.path("/etc/apt/apt.conf.d/yes"),
            "APT::Get::Assume-Yes \"true\";\n",
        )?;
        fs::create_dir_all(machine.path(PACKAGES))?;
        let place = |built: &Path| -> Result<String> {
            let name = built.file_name().ok_or("no package")?.to_string_lossy();
            let file = format!("{PACKAGES}/{name}");
            fs::copy(built, machine.path(&file))?;
            Ok(file)
        };
        let (file, pooler_file) = (place(&built)?, place(&pooler)?);
        let token_file = place(&token)?;
        fs::copy(program(), machine.path("/usr/local/bin/entra-emulator"))?;
        machine.run(&format!(
            "apt-get install -y --no-install-recommends postgresql-{major}"
        ))?;
        let server = Server {
            machine,
            major: major.clone(),
        };
        let installing = server.set_up(true)?;
        server.control("stop")?;
        Ok(Prepared {
            major,
            package,
            service,
            installing,
            file,
            pooler_file,
            token_file,
            built: [built, pooler, token],
            image: server.machine.stop()?,
            run,
        })
    }

    /// A machine at that place, on which nothing runs yet.
    pub fn machine(&self, root: PathBuf) -> Result<Machine> {
        self.image.start(root, Network::Own)
    }

    /// A machine of that name, with the server running and Alice an administrator.
    pub fn server(&self, name: &str) -> Result<Server> {
        let server = Server {
            machine: self.machine(self.run.path().join(name))?,
            major: self.major.clone(),
        };
        server.start_emulator()?;
        server.start()?;
        server.await_keys()?;
        Ok(server)
    }
}

impl Server {
    /// A certificate that the clients trust, and what a server has in earnest without a word: it
    /// believes the emulator.
    fn trust_the_emulator(&self) -> Result<()> {
        let Server { machine, major } = self;
        machine.run(&format!(
            "entra-emulator certificate --state /srv/entra --name localhost --name db.example.com \
                 --out-cert /etc/ssl/server.crt --out-key /etc/ssl/server.key
             chown postgres: /etc/ssl/server.key
             install -m 0644 /srv/entra/ca.pem /etc/ssl/entra.pem
             cat >/etc/postgresql/{major}/main/conf.d/server.conf <<'END'
ssl_cert_file = '/etc/ssl/server.crt'
ssl_key_file = '/etc/ssl/server.key'
aadauth.authority_host = 'https://localhost:8443'
aadauth.ca_file = '/etc/ssl/entra.pem'
END"
        ))?;
        Ok(())
    }

    /// Runs what docs/install.md says, from the package to the first administrator; what was printed.
    /// Then a role that isn't mapped.
    pub fn set_up(&self, install: bool) -> Result<String> {
        self.trust_the_emulator()?;
        self.start_emulator()?;
        self.start()?;
        let mut printed = String::new();
        for block in self.blocks("docs/install.md", "package")? {
            if install || !block.text.starts_with("apt-get install") {
                printed += &self.run_block(&block)?;
            }
        }
        self.sql("CREATE ROLE local LOGIN PASSWORD 'local password'")?;
        self.await_keys()?;
        Ok(printed)
    }

    /// The blocks of a document that are marked so, for this server's major version.
    pub fn blocks(&self, document: &str, mark: &str) -> Result<Vec<Block>> {
        let text = fs::read_to_string(source().join(document))?;
        // The documents speak of 15.
        let text = text
            .replace("aadauth-15", &format!("aadauth-{}", self.major))
            .replace("postgresql-15-", &format!("postgresql-{}-", self.major))
            .replace("/15/", &format!("/{}/", self.major))
            .replace(
                "pg_ctlcluster 15 ",
                &format!("pg_ctlcluster {} ", self.major),
            );
        let blocks: Vec<Block> = blocks(&text)
            .into_iter()
            .filter(|block| block.kind.split(' ').nth(1) == Some(mark))
            .collect();
        ensure(!blocks.is_empty(), || format!("{document} has no {mark}"))?;
        Ok(blocks)
    }

    /// Runs a block, or puts it into the file that it names, in place of what is there.
    pub fn run_block(&self, block: &Block) -> Result<String> {
        let mut words = block.kind.split(' ');
        match (words.next(), words.nth(1)) {
            (Some("sh"), None) => self.machine.run(&format!("cd {PACKAGES}\n{}", block.text)),
            (Some("conf"), Some(file)) => {
                fs::write(self.machine.path(file), &block.text)?;
                Ok(String::new())
            }
            _ => Err(format!("a block {}", block.kind).into()),
        }
    }

    pub fn run_blocks(&self, document: &str, mark: &str) -> Result<()> {
        for block in self.blocks(document, mark)? {
            self.run_block(&block)?;
        }
        Ok(())
    }

    pub fn start_emulator(&self) -> Result<()> {
        self.machine.run(
            "setsid entra-emulator serve --state /srv/entra --port 8443 >/srv/entra.log 2>&1 </dev/null &",
        )?;
        until("the emulator listens", || {
            let there = self
                .machine
                .try_run("(: </dev/tcp/127.0.0.1/8443) 2>/dev/null")?;
            Ok(there.success.then_some(()))
        })
    }

    pub fn await_keys(&self) -> Result<()> {
        until("the signing keys are there", || {
            let served = self.sql("SELECT count(*) > 0 FROM aadauth.signing_keys WHERE served")?;
            Ok((served == "t").then_some(()))
        })
    }

    pub fn start(&self) -> Result<()> {
        self.control("start").map(drop)
    }

    pub fn restart(&self) -> Result<String> {
        self.control("restart")
    }

    /// Debian's way of controlling a server, as its service manager does it.
    pub fn control(&self, what: &str) -> Result<String> {
        let major = &self.major;
        self.machine
            .run(&format!("pg_ctlcluster {major} main {what}"))
    }

    /// What the server has said since it was installed.
    pub fn log(&self) -> Result<String> {
        let major = &self.major;
        self.machine.run(&format!(
            "cat /var/log/postgresql/postgresql-{major}-main.log"
        ))
    }

    pub fn postmaster(&self) -> Result<String> {
        let major = &self.major;
        self.machine.run(&format!(
            "head -n 1 /var/lib/postgresql/{major}/main/postmaster.pid"
        ))
    }

    /// Runs SQL as the superuser, by the line that is left when all else fails.
    pub fn sql(&self, sql: &str) -> Result<String> {
        let file = "/srv/statements.sql";
        fs::write(self.machine.path(file), sql)?;
        self.machine.run(&format!(
            "cd /; setpriv --reuid=postgres --regid=postgres --clear-groups -- \
                 psql -XAtq -v ON_ERROR_STOP=1 -f {file} postgres"
        ))
    }

    /// Signs in over TLS, with the server's name verified, and asks who that is.
    pub fn sign_in(&self, role: &str, secret: &str) -> Result<Printed> {
        let file = "/srv/secret";
        fs::write(self.machine.path(file), secret)?;
        self.machine.try_run(&format!(
            "PGPASSWORD=$(<{file}) psql -XAtq -c 'SELECT session_user' \"host=localhost \
                 dbname=postgres user={role} sslmode=verify-full sslrootcert=/etc/ssl/entra.pem\""
        ))
    }

    pub fn token(&self, user: &str) -> Result<String> {
        self.machine.run(&format!(
            "entra-emulator token --state /srv/entra --user {user}"
        ))
    }

    /// Expects that person's token to open a session of the role.
    pub fn lets_in(&self, role: &str, secret: &str) -> Result<()> {
        let printed = self.sign_in(role, secret)?;
        ensure(printed.success && printed.output == role, || {
            format!("{role} was not let in: {printed:?}")
        })
    }

    /// Expects the role to be refused.
    pub fn refuses(&self, role: &str, secret: &str) -> Result<()> {
        let printed = self.sign_in(role, secret)?;
        // By the server's decision, not because it is starting or not there.
        let decided = printed.error.contains("failed: FATAL:  ")
            && !printed.error.contains("the database system is");
        ensure(!printed.success && decided, || {
            format!("{role} was not refused: {printed:?}")
        })
    }
}

/// A bare machine, to which this server can be installed without a network. A package wants a server that is no
/// older than the headers it was built with.
pub fn bare(major: &str) -> Result<Image> {
    let server = format!("postgresql-{major}");
    let version = version_of(&pg_config())?;
    Image::debian(
        release(major)?,
        &[&server, "ssl-cert", "pgbouncer", "ca-certificates"],
        &version,
    )
}

/// The release of Debian that has that PostgreSQL.
pub fn release(major: &str) -> Result<&'static str> {
    match major {
        "15" => Ok("bookworm"),
        "17" => Ok("trixie"),
        _ => Err(format!(
            "no release of Debian has PostgreSQL {major}: run these tests for 15 and 17"
        )
        .into()),
    }
}

/// Builds library, emulator and package; where the package is.
fn build() -> Result<PathBuf> {
    let said = checked(
        Command::new("make")
            .args(["-s", "-C"])
            .arg(source())
            .arg("deb")
            .arg(format!("PG_CONFIG={}", pg_config().display()))
            .arg("PACKAGES=--workspace")
            .env("CARGO_TARGET_DIR", target()),
    )?;
    made(&said)
}

/// The package for PgBouncer's machine, of what `build` has built as well.
fn build_pooler() -> Result<PathBuf> {
    let mut command = Command::new(source().join("packaging/deb"));
    let said = checked(command.arg("pooler").env("CARGO_TARGET_DIR", target()))?;
    made(&said)
}

fn build_token() -> Result<PathBuf> {
    let mut command = Command::new("make");
    command
        .args(["--silent", "deb-token"])
        .current_dir(source());
    made(&checked(command.env("CARGO_TARGET_DIR", target()))?)
}

fn made(said: &str) -> Result<PathBuf> {
    said.lines()
        .find_map(|line| line.strip_prefix("made "))
        .map(PathBuf::from)
        .ok_or_else(|| format!("it is not said what was made: {said}").into())
}
