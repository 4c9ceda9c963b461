\echo Use "ALTER EXTENSION aadauth UPDATE TO '0.2'" to load this file. \quit

-- It may see revocations as well, and since PostgreSQL 16 mapped roles are granted to it.
COMMENT ON ROLE azure_pg_admin IS 'Entra admins; administers mapped roles, sees group sync and revocations, and nothing else';
