//! What the test suites share: one emulator, one server that nobody reconfigures, and the means to start
//! more.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

pub use entra_emulator::Subject;
use entra_token::Reason;
use rustls::ClientConfig;
use serde_json::Value;
use uuid::Uuid;

use crate::Result;
use crate::client::Attempt;
use crate::emulator::{AUDIENCE, AUDIENCE_V2_ID, Emulator, TENANT, Token};
use crate::pam;
use crate::place::{RunDirectory, major, pg_config, pg_config_says, source, target};
use crate::plan::Plan;
use crate::process::checked;
use crate::server::Server;
use crate::wait::until;
use crate::wire::{Connection, Outcome, Request};

/// The `pg_hba.conf` records that README.md gives, with the PAM service that `make install` writes.
pub const OUR_LINES: [&str; 2] = [
    "hostssl all all all pam pamservice=aadauth-{major}",
    "hostssl replication all all pam pamservice=aadauth-{major}",
];

pub struct Rig {
    // Dropped in this order: what runs, before the directory that it runs in.
    pub server: Server,
    pub emulator: Emulator,
    pub tls: Arc<ClientConfig>,
    certificate: (PathBuf, PathBuf),
    /// A data directory with the extension, and with the signing keys of the emulator: servers start from copies.
    prepared: PathBuf,
    run: RunDirectory,
}

/// A user of the tenant who is mapped to a role on some server.
pub struct Person {
    pub role: String,
    pub object_id: Uuid,
}

/// A sign-in over the wire, with the name by which the audit has it.
pub struct SignIn {
    pub request: Request,
    pub outcome: Outcome,
    pub mark: String,
}

impl Rig {
    /// Installs the library, starts the emulator and the server.
    pub fn start() -> Result<Rig> {
        install(&pg_config())?;
        let run = RunDirectory::create()?;
        let mut emulator = Emulator::with_own_keys(&run, "entra")?;
        let certificate = emulator.server_certificate()?;
        emulator.start()?;
        let tls = crate::tls::trusting(&emulator.authorities())?;
        // What the servers begin with has no events.
        let plan = plan(&emulator, &certificate, "main")?;
        let plan = plan.set("aadauth.audit_local_sign_ins", "off");
        let prepared = run.path().join("prepared");
        let mut rig = Rig {
            server: plan.start(&run)?,
            emulator,
            tls,
            certificate,
            prepared,
            run,
        };
        rig.prepare(&rig.server)?;
        rig.server.stop()?;
        checked(
            Command::new("cp")
                .arg("-a")
                .arg(rig.server.data())
                .arg(&rig.prepared),
        )?;
        rig.server.start()?;
        rig.server
            .configure(&[("aadauth.audit_local_sign_ins", None)])?;
        rig.await_keys(&rig.server)?;
        rig.map(
            &rig.server,
            "alice@contoso.com",
            "a11ce000-0000-4000-8000-000000000001",
            "user",
        )?;
        rig.map(
            &rig.server,
            "dba",
            "dba00000-0000-4000-8000-000000000010",
            "group",
        )?;
        rig.map(
            &rig.server,
            "reporting",
            "4e904700-0000-4000-8000-000000000021",
            "service",
        )?;
        rig.map(
            &rig.server,
            "vm-app",
            "0a7b0000-0000-4000-8000-000000000031",
            "service",
        )?;
        rig.server.sql(
            "SELECT pgaadauth_create_principal_with_oid('carol@contoso.com',
                 'ca401000-0000-4000-8000-000000000003', 'user', false, true);
             CREATE ROLE local LOGIN PASSWORD 'local password';",
        )?;
        Ok(rig)
    }

    /// A plan for a server like the main one, under a name of its own.
    pub fn plan(&self, name: &str) -> Result<Plan> {
        plan(&self.emulator, &self.certificate, name)
    }

    /// Starts a server like the main one, with what `change` makes of the plan.
    pub fn server(&self, name: &str, change: impl FnOnce(Plan) -> Plan) -> Result<Server> {
        self.start_prepared(change(self.plan(name)?))
    }

    /// Starts a server with the extension, and waits until it has keys to judge tokens with.
    pub fn start_prepared(&self, plan: Plan) -> Result<Server> {
        let main = self.server.plan();
        let is_same = |name: &str| plan.settings.get(name) == main.settings.get(name);
        let has_keys = [
            "aadauth.authority_host",
            "aadauth.cloud",
            "aadauth.jwks_file",
            "aadauth.tenant_id",
        ]
        .into_iter()
        .all(is_same);
        // The catalogs are of one version.
        if plan.binaries != main.binaries {
            let server = self.start_plan(plan)?;
            self.prepare(&server)?;
            return Ok(server);
        }
        let mut server = plan.set_up_from(&self.run, &self.prepared)?;
        if !has_keys {
            std::fs::remove_file(server.data().join("aadauth/signing-keys.json"))?;
        }
        server.start()?;
        self.await_keys(&server)?;
        Ok(server)
    }

    /// The extension, and keys to judge tokens with, on a server that was started without.
    pub fn prepare(&self, server: &Server) -> Result<()> {
        server.sql("CREATE EXTENSION aadauth")?;
        self.await_keys(server)
    }

    /// Starts a server and does nothing more.
    pub fn start_plan(&self, plan: Plan) -> Result<Server> {
        plan.start(&self.run)
    }

    /// Waits for the keys of both versions: a version without keys has a row, but none that's served.
    pub fn await_keys(&self, server: &Server) -> Result<()> {
        until("the signing keys are there", || {
            let both =
                "SELECT count(DISTINCT token_version) = 2 FROM aadauth.signing_keys WHERE served";
            Ok((server.sql(both)? == "t").then_some(()))
        })
    }

    pub fn run(&self) -> &RunDirectory {
        &self.run
    }

    /// A copy of `/etc/pam.d` for one server.
    pub fn pam_directory(&self, name: &str) -> Result<pam::Directory> {
        pam::Directory::copy_to(self.run.path().join(format!("pam-{name}")))
    }

    /// Maps a role with the SQL function, as the superuser.
    pub fn map(&self, server: &Server, role: &str, object_id: &str, kind: &str) -> Result<()> {
        server
            .sql(&format!(
                "SELECT pgaadauth_create_principal_with_oid('{role}', '{object_id}', '{kind}', false, false)"
            ))
            .map(drop)
    }

    /// Maps a role of that name to a user of the tenant that nobody else is mapped to.
    pub fn person(&self, server: &Server, role: &str) -> Result<Person> {
        let object_id = Uuid::new_v4();
        self.map(server, role, &object_id.to_string(), "user")?;
        Ok(Person {
            role: role.to_owned(),
            object_id,
        })
    }

    /// A good token for them.
    pub fn token_of(&self, person: &Person) -> Result<String> {
        self.user("alice@contoso.com")
            .object_id(person.object_id)
            .text()
    }

    pub fn user(&self, name: &str) -> Token<'_> {
        self.emulator.token(Subject::User(name.to_owned()))
    }

    /// A good token for the user that the main server knows.
    pub fn alice(&self) -> Result<String> {
        self.user("alice@contoso.com").text()
    }

    pub fn attempt(&self, server: &Server, role: &str, secret: &str) -> Attempt {
        Attempt {
            port: server.port(),
            role: role.to_owned(),
            secret: secret.to_owned(),
            database: "postgres".to_owned(),
            authorities: self.emulator.authorities(),
        }
    }

    /// Connects over TLS and returns the connection with its mark in the audit.
    pub fn connect(&self, server: &Server, role: &str) -> Result<(Connection, String)> {
        self.connect_with(server, role, Some(&self.tls), &[("database", "postgres")])
    }

    pub fn connect_with(
        &self,
        server: &Server,
        role: &str,
        tls: Option<&Arc<ClientConfig>>,
        more: &[(&str, &str)],
    ) -> Result<(Connection, String)> {
        let mark = format!("test-{}", Uuid::new_v4().simple());
        let mut parameters = vec![("user", role), ("application_name", mark.as_str())];
        parameters.extend_from_slice(more);
        Ok((Connection::open(server.port(), tls, &parameters)?, mark))
    }

    /// Signs in over TLS; the session stays open.
    pub fn session(&self, server: &Server, role: &str, secret: &str) -> Result<Connection> {
        self.session_with(server, role, secret, &[("database", "postgres")])
    }

    /// [`Rig::session`] with other startup parameters.
    pub fn session_with(
        &self,
        server: &Server,
        role: &str,
        secret: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Connection> {
        let (mut connection, _) = self.connect_with(server, role, Some(&self.tls), parameters)?;
        let outcome = match connection.request()? {
            Request::Password => {
                connection.password(secret.as_bytes())?;
                connection.outcome()?
            }
            Request::Sasl(_) => connection.scram(secret.as_bytes(), || Ok(()))?,
            other => return Err(format!("{role} was asked for {other:?}").into()),
        };
        match outcome {
            Outcome::In => Ok(connection),
            other => Err(format!("{role} was not let in: {other:?}").into()),
        }
    }

    /// Signs in over TLS, answering a request for a password with `secret`.
    pub fn sign_in(&self, server: &Server, role: &str, secret: &str) -> Result<SignIn> {
        let (connection, mark) = self.connect(server, role)?;
        answer(connection, mark, secret)
    }

    /// The audit's row of a sign-in, once it's there.
    pub fn event(&self, server: &Server, mark: &str) -> Result<Value> {
        let rows = until(&format!("the audit has {mark}"), || {
            let rows = server.sql(&format!(
                "SELECT coalesce(json_agg(s), '[]') FROM aadauth.sign_in_audit s WHERE application_name = '{mark}'"
            ))?;
            let rows: Vec<Value> = serde_json::from_str(&rows)?;
            Ok((!rows.is_empty()).then_some(rows))
        })?;
        match <[Value; 1]>::try_from(rows) {
            Ok([row]) => Ok(row),
            Err(rows) => Err(format!("{} events for one sign-in: {rows:?}", rows.len()).into()),
        }
    }

    /// Signs in and expects to be refused for `reason`, at the client and in the audit.
    pub fn refused(&self, server: &Server, role: &str, secret: &str, reason: &str) -> Result<()> {
        let sign_in = self.sign_in(server, role, secret)?;
        self.expect_refused(server, role, &sign_in, reason)
    }

    /// Expects a sign-in to have been refused for `reason`.
    pub fn expect_refused(
        &self,
        server: &Server,
        role: &str,
        sign_in: &SignIn,
        reason: &str,
    ) -> Result<()> {
        let code = Reason::from_code(reason).ok_or("no such reason code")?;
        let refusal = sign_in
            .outcome
            .refusal()
            .ok_or_else(|| format!("expected {reason}, got {:?}", sign_in.outcome))?;
        let told = match (code, &sign_in.request) {
            // As a role that is not mapped, so that the client cannot tell which are.
            (Reason::TokenMalformed, Request::Sasl(_)) => Reason::RoleNotMapped,
            _ => code,
        };
        let text = entra_token::client_text(told, role, Some(AUDIENCE));
        ensure(refusal.message == text, || {
            format!(
                "{reason}: the client was told {:?}, not {text:?}",
                refusal.message
            )
        })?;
        ensure(refusal.severity == "FATAL", || {
            format!("severity {}", refusal.severity)
        })?;
        ensure(refusal.sqlstate == entra_token::sqlstate(code), || {
            format!("{reason}: SQLSTATE {}", refusal.sqlstate)
        })?;
        ensure(refusal.detail.is_none(), || {
            format!("the client was told {:?}", refusal.detail)
        })?;
        let event = self.event(server, &sign_in.mark)?;
        ensure(
            event["outcome"] == "refused" && event["reason"] == reason,
            || format!("expected refused for {reason}, the audit says {event}"),
        )
    }

    /// Signs in and expects to get in.
    pub fn accepted(&self, server: &Server, role: &str, secret: &str) -> Result<SignIn> {
        let sign_in = self.sign_in(server, role, secret)?;
        ensure(sign_in.outcome.is_in(), || {
            format!("{role} was not let in: {:?}", sign_in.outcome)
        })?;
        Ok(sign_in)
    }
}

/// Reads the server's request, answers a request for a password, reads the outcome.
pub fn answer(mut connection: Connection, mark: String, secret: &str) -> Result<SignIn> {
    let request = connection.request()?;
    let outcome = match &request {
        Request::Password => {
            connection.password(secret.as_bytes())?;
            connection.outcome()?
        }
        Request::Nothing => connection.outcome()?,
        Request::Refused(refusal) => Outcome::Refused(refusal.clone()),
        Request::Closed => Outcome::Closed,
        Request::Sasl(_) | Request::Other(_) => {
            return Err(format!("the server asked for {request:?}").into());
        }
    };
    Ok(SignIn {
        request,
        outcome,
        mark,
    })
}

/// # Errors
/// What `otherwise` says, unless `condition` holds.
pub fn ensure(condition: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if condition {
        Ok(())
    } else {
        Err(otherwise().into())
    }
}

/// Options of cargo, in the source tree, for a library that takes half the time to build.
pub const UNOPTIMIZED: [&str; 2] = ["--config", ".ci/unoptimized.toml"];

/// A directory like the one that the server's libraries are in, with another build of ours: with
/// `features` beside the version's.
pub fn library_directory(run: &RunDirectory, name: &str, features: &[&str]) -> Result<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME
        .lock()
        .map_err(|_| "another library could not be built")?;
    let directory = run.path().join(name);
    checked(
        Command::new("cp")
            .arg("-a")
            .arg(library_place()?)
            .arg(&directory),
    )?;
    if !features.is_empty() {
        std::fs::copy(built_with(features)?, directory.join("aadauth.so"))?;
    }
    Ok(directory)
}

/// The library, built with `features` beside the version's in a build directory of its own: the main one holds the
/// library that is installed.
fn built_with(features: &[&str]) -> Result<PathBuf> {
    let version = format!("pg{}", major()?);
    let own = build_directory(&format!("{}-{version}", features.join("+")))?;
    checked(
        Command::new("cargo")
            .args([
                "build",
                "--release",
                "--locked",
                "-q",
                "--workspace",
                "--lib",
            ])
            .arg("--no-default-features")
            .args(["--features", &format!("{version},{}", features.join(","))])
            .args(UNOPTIMIZED)
            .env("CARGO_TARGET_DIR", &own)
            .env("PGRX_PG_CONFIG_PATH", pg_config())
            .current_dir(source()),
    )?;
    Ok(own.join("release/libaadauth.so"))
}

/// Another build directory than the main one, which is kept. It begins with what was compiled there, since most of it
/// is the same.
pub fn build_directory(name: &str) -> Result<PathBuf> {
    let own = target().join(name);
    if !own.exists() {
        let unfinished = own.with_extension("unfinished");
        checked(Command::new("rm").arg("-rf").arg(&unfinished))?;
        std::fs::create_dir(&unfinished)?;
        let release = target().join("release");
        checked(Command::new("cp").arg("-a").arg(release).arg(&unfinished))?;
        std::fs::rename(&unfinished, &own)?;
    }
    Ok(own)
}

/// The directory of the server's libraries.
pub fn library_place() -> Result<PathBuf> {
    Ok(PathBuf::from(pg_config_says("--pkglibdir")?))
}

/// Where `make install` puts the library.
pub fn installed_library() -> Result<PathBuf> {
    Ok(library_place()?.join("aadauth.so"))
}

/// Builds everything and installs the library for the server of that `pg_config`, so that nobody tests
/// yesterday's; without optimization for the server below the directory `AADAUTH_UNOPTIMIZED`.
///
/// # Errors
/// It doesn't compile, or can't be written to its place.
pub fn install(pg_config: &Path) -> Result<()> {
    let mut packages = vec!["--workspace"];
    if std::env::var_os("AADAUTH_UNOPTIMIZED").is_some_and(|server| pg_config.starts_with(server)) {
        packages.extend(UNOPTIMIZED);
    }
    checked(
        Command::new("make")
            .args(["-s", "-C"])
            .arg(source())
            .args(["build", "install"])
            .arg(format!("PG_CONFIG={}", pg_config.display()))
            .arg(format!("PACKAGES={}", packages.join(" ")))
            .env("CARGO_TARGET_DIR", target()),
    )
    .map(drop)
}

fn plan(emulator: &Emulator, certificate: &(PathBuf, PathBuf), name: &str) -> Result<Plan> {
    let mut plan = Plan::new(name)?
        .hba(&OUR_LINES)
        .set("shared_preload_libraries", "aadauth")
        .set("aadauth.tenant_id", TENANT)
        .set("aadauth.audience", &format!("{AUDIENCE}, {AUDIENCE_V2_ID}"))
        // Tests look for their events and log lines one by one, and at once.
        .set("aadauth.audit_single_refusals", "100000")
        .set("aadauth.audit_delay", "50ms")
        .set("aadauth.log_sign_ins", "on")
        .set("aadauth.log_rate", "0")
        .set("aadauth.authority_host", &emulator.authority())
        .set(
            "aadauth.ca_file",
            &emulator.authorities().display().to_string(),
        );
    plan.tls = Some(certificate.clone());
    Ok(plan)
}
