//! A server that asks a directory, and the emulator that it asks.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::Result;
use crate::emulator::{Emulator, TENANT, Token};
use crate::place::give_to_server;
use crate::plan::Plan;
use crate::process::checked;
use crate::rig::{Rig, SignIn, Subject, ensure};
use crate::server::Server;
use crate::wait::until;

/// The application of the emulator's directory that servers ask Graph as.
pub const SERVER_APPLICATION: &str = "aada5e4e-0000-4000-8000-000000000070";
pub const SERVER_SECRET: &str = "aadauth-server-secret";

pub const ALICE: &str = "alice@contoso.com";
pub const GUEST: &str = "bob_fabrikam.com#EXT#@contoso.onmicrosoft.com";
/// In no group of the emulator's directory.
pub const STRANGER: &str = "mallory@contoso.com";

/// Groups of the emulator's directory, each mapped to the role of its name.
pub const GROUPS: &[(&str, &str)] = &[
    ("dba", "dba00000-0000-4000-8000-000000000010"),
    ("analysts", "a4a10000-0000-4000-8000-000000000011"),
    ("loop-a", "1009a000-0000-4000-8000-000000000012"),
    ("loop-b", "1009b000-0000-4000-8000-000000000013"),
];

/// A server and an emulator of a test's own, which it may disturb.
pub struct DirectoryServer<'a> {
    pub rig: &'a Rig,
    pub server: Server,
    pub emulator: Emulator,
}

impl Rig {
    /// Starts a server that asks an emulator of its own, by a client secret.
    pub fn directory_server(&self, name: &str) -> Result<DirectoryServer<'_>> {
        self.directory_server_with(name, |plan, _| Ok(plan))
    }

    /// [`Rig::directory_server`], with what `change` makes of the plan.
    pub fn directory_server_with(
        &self,
        name: &str,
        change: impl FnOnce(Plan, &Emulator) -> Result<Plan>,
    ) -> Result<DirectoryServer<'_>> {
        let emulator = Emulator::prepare(self.run(), &format!("entra-{name}"))?;
        self.server_of_directory(name, emulator, change)
    }

    /// [`Rig::directory_server_with`], with an emulator that has not been started.
    pub fn server_of_directory(
        &self,
        name: &str,
        mut emulator: Emulator,
        change: impl FnOnce(Plan, &Emulator) -> Result<Plan>,
    ) -> Result<DirectoryServer<'_>> {
        emulator.start()?;
        let plan = self.plan_asking(name, &emulator)?;
        let server = self.start_prepared(change(plan, &emulator)?)?;
        for (role, group) in GROUPS {
            self.map_unasked(&server, role, group, "group", "")?;
        }
        Ok(DirectoryServer {
            rig: self,
            server,
            emulator,
        })
    }

    /// Maps a new role by the label for which the directory is never asked: so that nothing has been
    /// asked yet, or because it doesn't know the principal. `more` is what the label says beyond type,
    /// object id and tenant.
    pub fn map_unasked(
        &self,
        server: &Server,
        role: &str,
        id: &str,
        kind: &str,
        more: &str,
    ) -> Result<()> {
        server
            .sql(&format!(
                "CREATE ROLE \"{role}\" LOGIN; SECURITY LABEL FOR \"pgaadauth-int\" ON ROLE \"{role}\"
                     IS 'type={kind},oid={id},tenant_id={TENANT}{more}'"
            ))
            .map(drop)
    }

    /// A plan for a server that asks this emulator, by a client secret.
    pub fn plan_asking(&self, name: &str, emulator: &Emulator) -> Result<Plan> {
        let secret = self.secret_file(&format!("{name}.secret"), SERVER_SECRET)?;
        let authorities = emulator.authorities().display().to_string();
        Ok(self
            .plan(name)?
            .set("aadauth.authority_host", &emulator.authority())
            .set("aadauth.graph_endpoint", &emulator.authority())
            .set("aadauth.ca_file", &authorities)
            .set("aadauth.credential", "client_secret")
            .set("aadauth.client_id", SERVER_APPLICATION)
            .set("aadauth.client_secret_file", &secret.display().to_string()))
    }

    /// A file that only the server's account may read.
    pub fn secret_file(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.run().path().join(name);
        std::fs::write(&path, content)?;
        give_to_server(&path)?;
        set_mode(&path, "0600")?;
        Ok(path)
    }
}

impl DirectoryServer<'_> {
    /// A token that doesn't say which groups its owner is in.
    pub fn silent(&self, subject: Subject) -> Result<String> {
        self.token(subject).without("groups").text()
    }

    /// [`DirectoryServer::silent`] for a user.
    pub fn silent_user(&self, upn: &str) -> Result<String> {
        self.silent(Subject::User(upn.to_owned()))
    }

    pub fn token(&self, subject: Subject) -> Token<'_> {
        self.emulator.token(subject)
    }

    pub fn sign_in(&self, role: &str, token: &str) -> Result<SignIn> {
        self.rig.sign_in(&self.server, role, token)
    }

    /// Signs in, expects to get in, and returns where the membership is known from.
    pub fn accepted(&self, role: &str, token: &str) -> Result<String> {
        let sign_in = self.rig.accepted(&self.server, role, token)?;
        let event = self.rig.event(&self.server, &sign_in.mark)?;
        membership_source(&event)
    }

    /// Signs in, expects to be refused for `reason`, and returns where the membership is known from.
    pub fn refused(&self, role: &str, token: &str, reason: &str) -> Result<String> {
        let sign_in = self.sign_in(role, token)?;
        self.rig
            .expect_refused(&self.server, role, &sign_in, reason)?;
        let event = self.rig.event(&self.server, &sign_in.mark)?;
        membership_source(&event)
    }

    /// How often Graph is asked for memberships while `body` runs.
    pub fn requests_during(&self, body: impl FnOnce() -> Result<()>) -> Result<u64> {
        let before = self.emulator.membership_requests()?;
        body()?;
        Ok(self.emulator.membership_requests()? - before)
    }

    /// Signs alice in as a role, with a token that says all that tokens say.
    pub fn accepted_with_claims(&self, role: &str) -> Result<()> {
        let token = self.token(Subject::User(ALICE.to_owned())).text()?;
        self.rig.accepted(&self.server, role, &token).map(drop)
    }

    /// Waits until a session of the superuser's waits for the directory.
    pub fn wait_for_request(&self, statement: &str) -> Result<()> {
        until("a session waits for the directory", || {
            let waiting = self.server.sql(&format!(
                "SELECT count(*) FROM pg_stat_activity
                 WHERE state = 'active' AND wait_event_type = 'Extension' AND query LIKE '{statement}%'"
            ))?;
            Ok((waiting == "1").then_some(()))
        })
    }
}

/// Who was asked about the membership, by the audit's checks.
pub fn membership_source(event: &Value) -> Result<String> {
    let checks = event["checks"]
        .as_array()
        .ok_or_else(|| format!("no checks: {event}"))?;
    let asked: Vec<&Value> = checks
        .iter()
        .filter(|check| check["name"] == "principal" && check["source"].is_string())
        .collect();
    ensure(asked.len() == 1 && asked[0]["group"].is_string(), || {
        format!("not one membership: {event}")
    })?;
    Ok(asked[0]["source"].as_str().unwrap_or_default().to_owned())
}

pub fn set_mode(path: &Path, mode: &str) -> Result<()> {
    checked(Command::new("chmod").arg(mode).arg(path)).map(drop)
}
