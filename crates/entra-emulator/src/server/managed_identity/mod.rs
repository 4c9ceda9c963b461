//! The managed identity endpoints: of virtual machines, and of App Service.

mod app_service;
mod identity;
mod machine;

pub(super) use app_service::app_service;
pub(super) use machine::machine;
