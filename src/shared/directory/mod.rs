//! Questions to Microsoft Graph, and what it said of groups.

pub mod groups;
pub mod lookup_error;
pub mod question;
pub mod scope;
pub mod table;
