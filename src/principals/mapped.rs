//! The roles that are mapped to principals, read all at once.

use entra_token::{InternalLabel, PrincipalKind};
use pgrx::pg_sys;
use uuid::Uuid;

use crate::pg::label;

/// A role with a well-formed internal label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedRole {
    pub tenant: Uuid,
    /// For a service its object id or its application id.
    pub object_id: Uuid,
    pub role: pg_sys::Oid,
    pub kind: PrincipalKind,
    pub admin: bool,
    pub mfa: bool,
    /// The two labels agree, so that sign-in as the role is possible.
    pub is_sound: bool,
}

/// Every such role, by the current labels. If read under [`label::lock`], it stays valid until the
/// transaction ends, except for the transaction's own changes.
pub struct MappedRoles(Vec<MappedRole>);

impl MappedRoles {
    pub fn read() -> MappedRoles {
        let roles = label::all().into_iter().filter_map(|(role, labels)| {
            let internal: InternalLabel = labels.internal.as_deref()?.parse().ok()?;
            let InternalLabel {
                kind,
                object_id,
                tenant,
                admin,
            } = internal;
            let mapping = labels.mapping().ok().flatten();
            Some(MappedRole {
                tenant,
                object_id,
                role,
                kind,
                admin,
                mfa: mapping.as_ref().is_some_and(|mapping| mapping.mfa),
                is_sound: mapping.is_some(),
            })
        });
        roles.collect()
    }

    /// The roles mapped to this object id (or application id): at most one, unless labels were written to
    /// the catalog directly.
    pub fn of(&self, tenant: Uuid, object_id: Uuid) -> &[MappedRole] {
        let key = (tenant, object_id);
        let start = self.0.partition_point(|role| role.key() < key);
        let behind = self.0.get(start..).unwrap_or_default();
        let count = behind.partition_point(|role| role.key() == key);
        behind.get(..count).unwrap_or_default()
    }

    pub fn iter(&self) -> impl Iterator<Item = &MappedRole> {
        self.0.iter()
    }
}

impl MappedRole {
    /// Whether group sync may revoke a group role from it: its labels are valid, and it is mapped to a user
    /// or a service. A role with invalid labels admits nobody.
    pub fn may_leave(&self) -> bool {
        self.is_sound && self.kind != PrincipalKind::Group
    }

    fn key(&self) -> (Uuid, Uuid) {
        (self.tenant, self.object_id)
    }
}

impl FromIterator<MappedRole> for MappedRoles {
    fn from_iter<I: IntoIterator<Item = MappedRole>>(roles: I) -> MappedRoles {
        let mut roles: Vec<MappedRole> = roles.into_iter().collect();
        roles.sort_unstable_by_key(|role| (role.key(), role.role.to_u32()));
        MappedRoles(roles)
    }
}
