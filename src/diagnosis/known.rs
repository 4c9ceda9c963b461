//! What the server has now that a refusal is compared with.

use std::collections::HashMap;

use entra_token::{Audience, Mapping, PrincipalKind, TokenVersion};
use uuid::Uuid;

use crate::auth::sample_record;
use crate::pg::{label, privileges};
use crate::settings;

/// The settings and roles that a refusal is compared with.
#[derive(Default)]
pub struct Known {
    pub tenant: Option<Uuid>,
    pub audiences: Vec<Audience>,
    /// The value of aadauth.audience.
    pub audience_setting: String,
    pub issuers: Vec<String>,
    /// What the connections of mapped roles must match.
    pub record: String,
    /// Mapped roles by name; `None` if their labels are invalid.
    pub mapped: HashMap<String, Option<Mapping>>,
    /// Other roles, and whether they are superusers.
    pub local: HashMap<String, bool>,
}

/// What a role's name is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role<'a> {
    Missing,
    Local { is_superuser: bool },
    Damaged,
    Mapped(&'a Mapping),
}

impl Known {
    /// With what roles of these names are.
    pub fn read<'a>(names: impl Iterator<Item = &'a str>) -> Known {
        let tenant = settings::tenant();
        let authority = settings::authority();
        let issuer = |tenant| TokenVersion::ALL.map(|version| authority.issuer(version, tenant));
        let mapped: HashMap<String, Option<Mapping>> = label::all()
            .into_iter()
            .filter_map(|(role, labels)| {
                Some((privileges::name_of(role)?, labels.mapping().ok().flatten()))
            })
            .collect();
        let mut known = Known {
            local: HashMap::new(),
            tenant,
            audiences: settings::audiences(),
            audience_setting: settings::audience_setting(),
            issuers: tenant.map(issuer).into_iter().flatten().collect(),
            record: sample_record(),
            mapped,
        };
        known.look_up(names);
        known
    }

    /// Adds what roles of these names are.
    pub fn look_up<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let others = names.filter(|name| !self.mapped.contains_key(*name));
        let local = others.filter_map(|name| {
            let role = privileges::role_named(name)?;
            Some((name.to_owned(), privileges::is_superuser(role)))
        });
        self.local.extend(local);
    }

    pub fn role(&self, name: &str) -> Role<'_> {
        match (self.mapped.get(name), self.local.get(name)) {
            (Some(Some(mapping)), _) => Role::Mapped(mapping),
            (Some(None), _) => Role::Damaged,
            (None, Some(is_superuser)) => Role::Local {
                is_superuser: *is_superuser,
            },
            (None, None) => Role::Missing,
        }
    }

    /// The role that is mapped to this object id, or to a service's application id.
    pub fn role_of(&self, object_id: Option<Uuid>, app_id: Option<Uuid>) -> Option<&str> {
        let is_theirs = |mapping: &Mapping| {
            let id = Some(mapping.object_id);
            id == object_id || mapping.kind == PrincipalKind::Service && id == app_id
        };
        let mut names = self.mapped.iter();
        names.find_map(|(name, mapping)| {
            mapping
                .as_ref()
                .is_some_and(is_theirs)
                .then_some(name.as_str())
        })
    }
}
