
-- One function that the update drops, privileges that it changes, a view that it replaces, and a comment on a role.
CREATE FUNCTION aadauth.retired() RETURNS integer LANGUAGE sql AS 'SELECT 1';
GRANT EXECUTE ON FUNCTION aadauth.retired() TO aadauth_auditor;

REVOKE SELECT ON aadauth.sessions FROM PUBLIC;

DO $$
BEGIN
    EXECUTE pg_catalog.format(
        'CREATE OR REPLACE VIEW aadauth.sign_ins WITH (security_invoker = true) AS SELECT * FROM (%s) AS later',
        pg_catalog.rtrim(pg_catalog.pg_get_viewdef('aadauth.sign_ins'::pg_catalog.regclass), ';'));
END
$$;

COMMENT ON ROLE azure_pg_admin IS 'As an earlier version describes it';
