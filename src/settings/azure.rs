//! Settings of Azure Database for PostgreSQL that its scripts set.

use crate::pg::guc::define_settings;

define_settings! {
    VALIDATE_OIDS: bool = true, switch_without_effect(
        c"aad_validate_oids_in_tenant",
        c"Has no effect. It exists so that scripts for Azure can set it.",
        c"Object ids are looked up whenever a directory is configured.",
    );
}
