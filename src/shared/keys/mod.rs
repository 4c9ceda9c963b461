//! The signing keys in shared memory.

pub mod scope;
pub mod stored;
pub mod table;
