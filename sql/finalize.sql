-- Comments on generated functions, and privileges on the objects in schema aadauth.
COMMENT ON FUNCTION pg_catalog.pgaadauth_create_principal(text, boolean, boolean) IS
    'create a role for the Entra principal with that name (requires a directory)';
COMMENT ON FUNCTION
    pg_catalog.pgaadauth_create_principal_with_oid(text, text, text, boolean, boolean) IS
    'create a role for the Entra principal with that object id; types are user, group and service';
COMMENT ON FUNCTION
    pg_catalog.pgaadauth_update_principal_with_oid(text, text, text, boolean, boolean) IS
    'map an existing role to the Entra principal with that object id; it keeps its objects and privileges';
COMMENT ON FUNCTION pg_catalog.pgaadauth_list_principals(boolean) IS
    'roles mapped to Entra principals; true lists admins, false lists all';
COMMENT ON FUNCTION pg_catalog.pgaadauth_sync_roles_for_group_members() IS
    'create or update roles for the members of mapped groups now; returns the changes, and the members that were skipped';
COMMENT ON FUNCTION aadauth.grant_azure_rights() IS
    'grant azure_pg_admin what administrators have on Azure beyond ours; returns the statements';
REVOKE ALL ON FUNCTION aadauth.grant_azure_rights() FROM PUBLIC;

-- Azure's, for those who move local roles to better passwords. A mapped role's password is of no use.
CREATE FUNCTION pg_catalog.azure_roles_authtype() RETURNS TABLE (rolename name, authtype text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT
        r.rolname,
        CASE
            WHEN NOT r.rolcanlogin THEN 'NOLOGIN'
            WHEN r.rolname IN (SELECT p.rolname FROM pg_catalog.pgaadauth_list_principals(false) AS p) THEN 'ENTRA'
            WHEN pg_catalog.starts_with(r.rolpassword, 'SCRAM-SHA-256$') THEN 'SCRAM-256'
            WHEN pg_catalog.starts_with(r.rolpassword, 'md5') THEN 'MD5'
        END
    FROM pg_catalog.pg_authid AS r
    ORDER BY r.rolname;
END;
COMMENT ON FUNCTION pg_catalog.azure_roles_authtype() IS
    'how each role authenticates: NOLOGIN, ENTRA, SCRAM-256, MD5, or NULL without a password';
REVOKE ALL ON FUNCTION pg_catalog.azure_roles_authtype() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pg_catalog.azure_roles_authtype() TO azure_pg_admin;

-- Default privileges may have granted more than this script does.
DO $$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT pg_catalog.format('REVOKE ALL ON TABLE %s FROM %I', c.oid::regclass, r.rolname)
        FROM pg_catalog.pg_class AS c
        CROSS JOIN pg_catalog.aclexplode(c.relacl) AS a
        JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee
        WHERE c.relnamespace = 'aadauth'::regnamespace AND c.relkind IN ('r', 'p', 'v')
            AND a.grantee <> c.relowner
            AND r.rolname NOT IN ('aadauth_auditor', 'aadauth_monitor', 'aadauth_pooler', 'azure_pg_admin')
        UNION
        SELECT pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM %I', p.oid::regprocedure, r.rolname)
        FROM pg_catalog.pg_proc AS p
        CROSS JOIN pg_catalog.aclexplode(p.proacl) AS a
        JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee
        WHERE (p.pronamespace = 'aadauth'::regnamespace OR p.oid = 'pg_catalog.azure_roles_authtype()'::regprocedure)
            AND a.grantee <> p.proowner
            AND r.rolname NOT IN ('aadauth_auditor', 'aadauth_monitor', 'aadauth_pooler', 'azure_pg_admin')
        UNION
        SELECT pg_catalog.format('REVOKE ALL ON SCHEMA aadauth FROM %I', r.rolname)
        FROM pg_catalog.pg_namespace AS n
        CROSS JOIN pg_catalog.aclexplode(n.nspacl) AS a
        JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee
        WHERE n.nspname = 'aadauth' AND a.grantee <> n.nspowner
    LOOP
        EXECUTE statement;
    END LOOP;
END
$$;

-- Fires where session_replication_role is replica, as in the processes of a subscription. The condition keeps the function,
-- and so the library's file, out of what the workers write, which has no replication origin.
DO $$
DECLARE
    name pg_catalog.regclass;
BEGIN
    FOR name IN
        SELECT oid FROM pg_catalog.pg_class
        WHERE relnamespace = 'aadauth'::regnamespace AND relkind IN ('r', 'p') ORDER BY relname
    LOOP
        EXECUTE pg_catalog.format('CREATE TRIGGER skip_replicated BEFORE INSERT OR UPDATE OR DELETE ON %s
            FOR EACH ROW WHEN (pg_catalog.pg_replication_origin_session_is_setup())
            EXECUTE FUNCTION aadauth.skip_replicated()', name);
        EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE REPLICA TRIGGER skip_replicated', name);
        EXECUTE pg_catalog.format('CREATE TRIGGER refuse_replicated BEFORE TRUNCATE ON %s
            FOR EACH STATEMENT WHEN (pg_catalog.pg_replication_origin_session_is_setup())
            EXECUTE FUNCTION aadauth.skip_replicated()', name);
        EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE REPLICA TRIGGER refuse_replicated', name);
    END LOOP;
END
$$;

-- pg_read_all_data and pg_write_all_data give no access to these tables, because they do not bypass row-level security.
-- The workers and dumps do, as superusers.
ALTER TABLE aadauth.sign_in_audit ENABLE ROW LEVEL SECURITY;
CREATE POLICY auditors ON aadauth.sign_in_audit FOR SELECT TO aadauth_auditor USING (true);
ALTER TABLE aadauth.audit_spool ENABLE ROW LEVEL SECURITY;
CREATE POLICY auditors ON aadauth.audit_spool FOR SELECT TO aadauth_auditor USING (true);
ALTER TABLE aadauth.group_sync_groups ENABLE ROW LEVEL SECURITY;
CREATE POLICY readers ON aadauth.group_sync_groups FOR SELECT
    TO aadauth_auditor, azure_pg_admin USING (true);
ALTER TABLE aadauth.group_sync_changes ENABLE ROW LEVEL SECURITY;
CREATE POLICY readers ON aadauth.group_sync_changes FOR SELECT
    TO aadauth_auditor, azure_pg_admin USING (true);
ALTER TABLE aadauth.revoked_principals ENABLE ROW LEVEL SECURITY;
CREATE POLICY readers ON aadauth.revoked_principals FOR SELECT
    TO aadauth_auditor, azure_pg_admin USING (true);
-- A superuser owns the views: with their owner's privileges they would show rows that the policies hide.
ALTER VIEW aadauth.sign_ins SET (security_invoker = true);
ALTER VIEW aadauth.revocations SET (security_invoker = true);
ALTER VIEW aadauth.group_sync_status SET (security_invoker = true);

-- The tables are used only in the database that aadauth.database names. In others they would be in the way of dumps by
-- the database's owner and of subscribers without the extension; the views stay, and say where the tables are.
DO $$
DECLARE
    used text := COALESCE(NULLIF(pg_catalog.current_setting('aadauth.database'), ''), 'postgres');
    relation pg_catalog.regclass;
    nulls text;
BEGIN
    IF used = pg_catalog.current_database() OR NOT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = used) THEN
        RETURN;
    END IF;
    FOREACH relation IN ARRAY ARRAY['aadauth.sign_ins', 'aadauth.group_sync_status', 'aadauth.revocations'] LOOP
        SELECT pg_catalog.string_agg(pg_catalog.format(
                'NULL::%s AS %I', pg_catalog.format_type(a.atttypid, a.atttypmod), a.attname), ', ' ORDER BY a.attnum)
            INTO nulls
            FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = relation AND a.attnum > 0;
        EXECUTE pg_catalog.format(
            'CREATE OR REPLACE VIEW %s AS SELECT %s WHERE aadauth.is_recorded_here()', relation, nulls);
    END LOOP;
    FOR relation IN
        SELECT oid FROM pg_catalog.pg_class WHERE relnamespace = 'aadauth'::regnamespace AND relkind IN ('r', 'p')
    LOOP
        -- DROP TABLE leaves members in pg_extension.extconfig.
        EXECUTE pg_catalog.format('ALTER EXTENSION aadauth DROP TABLE %s', relation);
        EXECUTE pg_catalog.format('DROP TABLE %s', relation);
    END LOOP;
    RAISE NOTICE 'sign-ins, revocations and group sync are recorded in database "%", which aadauth.database names', used
        USING HINT = 'The functions for principals and revocations can be used here. To have the tables here, set aadauth.database first.';
END
$$;
