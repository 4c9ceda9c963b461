//! Group sync: the members of mapped groups have roles of their own, and what they have by them.

pub mod failures;
pub mod large;
pub mod members;
pub mod names;
pub mod on_demand;
pub mod races;
pub mod unsynchronized;

use pg_test::Result;
use pg_test::emulator::Emulator;
use pg_test::plan::Plan;
use pg_test::server::Server;
use serde::Deserialize;
use uuid::Uuid;

pub use crate::directory_server::{ALICE, GUEST, STRANGER};
use crate::rig::{Rig, Subject, ensure};

/// The emulator's own directory, which the tests add to.
const DIRECTORY: &str = include_str!("../../../crates/entra-emulator/directory.toml");

pub const ALICE_ID: &str = "a11ce000-0000-4000-8000-000000000001";
pub const CAROL: &str = "carol@contoso.com";

pub const DBA: (&str, &str) = ("dba", "dba00000-0000-4000-8000-000000000010");
/// Has the guest, the application `reporting`, and the group above.
pub const ANALYSTS: (&str, &str) = ("analysts", "a4a10000-0000-4000-8000-000000000011");
/// Two groups that contain each other, the second of which has alice.
pub const LOOP_A: (&str, &str) = ("loop-a", "1009a000-0000-4000-8000-000000000012");
pub const LOOP_B: (&str, &str) = ("loop-b", "1009b000-0000-4000-8000-000000000013");

/// A server that synchronizes groups, and the emulator that it asks.
pub struct Synced<'a> {
    pub rig: &'a Rig,
    pub server: Server,
    pub emulator: Emulator,
}

/// A row of `pgaadauth_sync_roles_for_group_members()`.
#[derive(Clone, Debug, Deserialize)]
pub struct Row {
    pub group_role: String,
    pub member: Option<String>,
    pub action: String,
    pub detail: Option<String>,
}

impl Row {
    /// Member and action; of a row that is about the group, the group's role and action.
    pub fn short(&self) -> (&str, &str) {
        let who = self.member.as_deref().unwrap_or(&self.group_role);
        (who, &self.action)
    }
}

impl Synced<'_> {
    /// Starts both, with `more` in the directory, and waits until groups are synchronized: none is
    /// mapped yet, so that nothing has been done.
    pub fn start<'a>(rig: &'a Rig, name: &str, more: &str) -> Result<Synced<'a>> {
        let mut synced = Synced::prepare(rig, name, more, |plan| plan)?;
        synced.enable()?;
        let rows = synced.sync()?;
        ensure(rows.is_empty(), || format!("{rows:?}"))?;
        Ok(synced)
    }

    /// The same with group sync off.
    pub fn prepare<'a>(
        rig: &'a Rig,
        name: &str,
        more: &str,
        change: impl FnOnce(Plan) -> Plan,
    ) -> Result<Synced<'a>> {
        let mut emulator = Emulator::prepare(rig.run(), &format!("entra-{name}"))?
            .with_directory(&format!("{DIRECTORY}\n{more}"))?;
        emulator.start()?;
        let plan = rig
            .plan_asking(name, &emulator)?
            // Runs that nobody asked for would change what the tests count.
            .set("aadauth.group_sync_interval", "1d");
        let server = rig.start_prepared(change(plan))?;
        Ok(Synced {
            rig,
            server,
            emulator,
        })
    }

    pub fn enable(&mut self) -> Result<()> {
        self.server
            .configure(&[("pgaadauth.enable_group_sync", Some("on"))])
    }

    pub fn disable(&mut self) -> Result<()> {
        self.server
            .configure(&[("pgaadauth.enable_group_sync", None)])
    }

    /// Maps a role of its own to each group.
    pub fn map(&self, groups: &[(&str, &str)]) -> Result<()> {
        for (role, id) in groups {
            self.rig.map(&self.server, role, id, "group")?;
        }
        Ok(())
    }

    /// [`Rig::map_unasked`], on this server.
    pub fn map_unasked(&self, role: &str, id: &str, kind: &str, more: &str) -> Result<()> {
        self.rig.map_unasked(&self.server, role, id, kind, more)
    }

    /// Has groups synchronized, and waits.
    pub fn sync(&self) -> Result<Vec<Row>> {
        let rows = self.server.sql(
            "SELECT coalesce(json_agg(s), '[]') FROM pgaadauth_sync_roles_for_group_members() AS s",
        )?;
        Ok(serde_json::from_str(&rows)?)
    }

    /// Has groups synchronized, and expects these members and actions, in whatever order.
    pub fn sync_and_expect(&self, expected: &[(&str, &str)]) -> Result<()> {
        let rows = self.sync()?;
        let mut found: Vec<(&str, &str)> = rows.iter().map(Row::short).collect();
        let mut expected = expected.to_vec();
        found.sort_unstable();
        expected.sort_unstable();
        ensure(found == expected, || {
            format!("expected {expected:?}, got {rows:?}")
        })
    }

    /// The roles that have the role themselves, in order, separated by commas.
    pub fn members_of(&self, role: &str) -> Result<String> {
        self.server.sql(&format!(
            "SELECT string_agg(m.rolname, ',' ORDER BY m.rolname COLLATE \"C\") FROM pg_auth_members am
             JOIN pg_roles m ON m.oid = am.member JOIN pg_roles g ON g.oid = am.roleid
             WHERE g.rolname = '{role}' AND m.rolname <> 'azure_pg_admin'"
        ))
    }

    pub fn expect_members(&self, role: &str, expected: &str) -> Result<()> {
        let members = self.members_of(role)?;
        ensure(members == expected, || {
            format!("{role} has {members}, not {expected}")
        })
    }

    /// A good token of a user.
    pub fn token(&self, upn: &str) -> Result<String> {
        self.emulator.token(Subject::User(upn.to_owned())).text()
    }

    /// A good token of a user of the tenant with this object id.
    pub fn token_about(&self, object_id: Uuid) -> Result<String> {
        self.emulator
            .token(Subject::User(ALICE.to_owned()))
            .object_id(object_id)
            .text()
    }

    /// The view's row of a group's role, as JSON.
    pub fn status(&self, role: &str) -> Result<serde_json::Value> {
        let row = self.server.sql(&format!(
            "SELECT row_to_json(s) FROM aadauth.group_sync_status s WHERE group_role = '{role}'"
        ))?;
        Ok(serde_json::from_str(&row)?)
    }
}
