//! The signing keys.

pub mod scope;
pub mod stored;
pub mod table;
