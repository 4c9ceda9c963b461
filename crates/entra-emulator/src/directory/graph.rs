//! Microsoft Graph among the resources: every tenant has it, whatever the directory file says.

use uuid::Uuid;

use super::model::Resource;
use crate::authority::TokenVersion;

/// The application id of Microsoft Graph, the same in every cloud.
pub const GRAPH: Uuid = Uuid::from_u128(0x0000_0003_0000_0000_c000_0000_0000_0000);

/// Its addresses in the public, US Government and China clouds.
const ADDRESSES: [&str; 4] = [
    "https://graph.microsoft.com",
    "https://graph.microsoft.us",
    "https://dod-graph.microsoft.us",
    "https://microsoftgraph.chinacloudapi.cn",
];

/// The permissions (app roles) that a directory file may grant: those that decide about what the
/// emulator's Graph has. Microsoft: "Microsoft Graph permissions reference".
pub(super) const PERMISSIONS: [&str; 13] = [
    "Application.Read.All",
    "Application.ReadWrite.All",
    "Application.ReadWrite.OwnedBy",
    "Directory.Read.All",
    "Directory.ReadWrite.All",
    "Group.Read.All",
    "Group.ReadWrite.All",
    "GroupMember.Read.All",
    "GroupMember.ReadWrite.All",
    "Organization.Read.All",
    "User.Read.All",
    "User.ReadBasic.All",
    "User.ReadWrite.All",
];

impl Resource {
    pub(super) fn graph() -> Resource {
        Resource {
            name: "Microsoft Graph".to_owned(),
            audiences: ADDRESSES.map(str::to_owned).to_vec(),
            app_id: GRAPH,
            version: TokenVersion::V1,
            groups: false,
            idtyp: true,
            token_lifetime: None,
        }
    }

    /// Tokens of this resource name permissions, and only Graph can verify them.
    pub fn is_graph(&self) -> bool {
        self.app_id == GRAPH
    }
}
