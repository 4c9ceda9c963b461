//! The directory: tenants and who is in them, and the resources that tokens are for.

mod change;
mod check;
mod credential;
mod file;
mod graph;
mod index;
mod lookup;
mod members;
mod model;
mod read;
mod redirect_uri;

pub use change::{Change, ChangeError};
pub use credential::{AssertionAlgorithm, Certificate, FederatedCredential, TOKEN_EXCHANGE};
pub use graph::GRAPH;
pub use lookup::Object;
pub use model::{
    Application, Directory, Group, Guest, Home, Identity, IdentityKind, LookupError,
    ManagedIdentity, Principal, Resource, SUBSCRIPTION, Secret, Subject, Tenant, User,
};
pub use read::{BUILT_IN, DirectoryError};
pub use redirect_uri::RedirectUri;

#[cfg(test)]
mod tests;
