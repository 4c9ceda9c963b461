//! The views and functions of sessions and revocations, in SQL.

use pgrx::prelude::*;

extension_sql_file!(
    "../../sql/sessions.sql",
    name = "sessions",
    requires = [
        view::sessions,
        view::own_principal,
        functions::revoke,
        functions::restore,
        background::database::is_recorded_here,
        functions::pg_catalog::pgaadauth_list_principals
    ]
);
