//! Which directory an answer comes from.

use entra_api::DirectorySettings;

use crate::shared::bytes::Bytes;

/// Tenant, authority and Graph endpoint in one text, long enough for two hosts of 253 characters with ports.
///
/// An answer is only for askers of the same scope, so that a reload ends the use of earlier answers. The credential is
/// not part of the scope: it decides whether a directory answers, not what.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Scope(Bytes<640>);

impl Scope {
    /// The scope of no directory.
    #[cfg(test)]
    pub const NONE: Scope = Scope(Bytes::EMPTY);

    /// `None` if the settings are longer than their checks allow.
    pub fn from_settings(settings: &DirectorySettings) -> Option<Scope> {
        let (tenant, authority) = (settings.tenant, &settings.authority);
        // No part has a space in it.
        let text = format!(
            "{tenant} {} {} {}",
            authority.cloud,
            authority.host.as_deref().unwrap_or("-"),
            settings.graph
        );
        Bytes::new(text.as_bytes()).map(Scope)
    }

    #[cfg(test)]
    pub fn is_zeros(&self) -> bool {
        self.0.is_zeros()
    }
}

#[cfg(test)]
mod tests {
    use entra_api::{CredentialSource, HttpSettings};
    use entra_token::{Authority, Cloud};
    use uuid::Uuid;

    use super::*;

    fn settings() -> DirectorySettings {
        DirectorySettings {
            tenant: Uuid::from_u128(1),
            authority: Authority {
                cloud: Cloud::Public,
                host: None,
            },
            graph: "https://graph.microsoft.com".to_owned(),
            client_id: None,
            credential: CredentialSource::ManagedIdentity,
            http: HttpSettings::default(),
        }
    }

    #[test]
    fn another_tenant_authority_or_graph_is_another_scope() {
        let own = Scope::from_settings(&settings()).unwrap();
        let mut others = vec![settings(), settings(), settings(), settings()];
        let mut change = others.iter_mut();
        change.next().unwrap().tenant = Uuid::from_u128(2);
        change.next().unwrap().authority.cloud = Cloud::China;
        change.next().unwrap().authority.host = Some("https://localhost:8443".to_owned());
        change.next().unwrap().graph = "https://localhost:8443".to_owned();
        for other in &others {
            assert!(Scope::from_settings(other).unwrap() != own, "{other:?}");
        }
        let mut credential = settings();
        credential.client_id = Some(Uuid::from_u128(3));
        assert!(Scope::from_settings(&credential).unwrap() == own);
        assert!(own != Scope::NONE);
    }

    #[test]
    fn the_longest_hosts_have_room() {
        let label = "a".repeat(63);
        let host = format!("https://{label}.{label}.{label}.{}:65535", "a".repeat(61));
        Authority::check_host(&host).unwrap();
        let mut long = settings();
        long.authority.host = Some(host.clone());
        long.graph = host;
        assert!(Scope::from_settings(&long).is_some());
    }
}
