-- The schema and the roles that the rest of the extension needs.
--
-- sql/aadauth--1.0.sql, which begins with this, is generated and committed, so that installing does not need
-- cargo-pgrx: cargo pgrx schema pg15 --release --out sql/aadauth--1.0.sql
CREATE SCHEMA aadauth;
COMMENT ON SCHEMA aadauth IS 'Sign-in with Microsoft Entra ID: audit, signing keys, configuration';
GRANT USAGE ON SCHEMA aadauth TO PUBLIC;

-- Roles belong to the whole server and may exist already, from another database or from a dump, so they are only
-- created if they are missing. DROP EXTENSION keeps them: another database may need them, and only an administrator
-- knows whether their members should keep them.
DO $$
DECLARE
    wanted text;
    existing pg_catalog.pg_roles;
    members text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['azure_pg_admin', 'aadauth_auditor'] LOOP
        SELECT * INTO existing FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) wanted;
        IF NOT FOUND THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', wanted);
            CONTINUE;
        END IF;
        -- Someone may have created it in advance, to gain the privileges that aadauth grants to it.
        IF existing.rolcanlogin OR existing.rolsuper OR existing.rolcreaterole THEN
            RAISE EXCEPTION 'role "%" exists and has attributes that aadauth does not allow', wanted
                USING ERRCODE = 'duplicate_object',
                      HINT = pg_catalog.format(
                          'Rename the role, or run ALTER ROLE %I NOLOGIN NOSUPERUSER NOCREATEROLE.', wanted);
        END IF;
        SELECT pg_catalog.string_agg(member::pg_catalog.regrole::text, ', ')
            INTO members FROM pg_catalog.pg_auth_members
            WHERE roleid OPERATOR(pg_catalog.=) existing.oid;
        IF members IS NOT NULL THEN
            RAISE NOTICE 'role "%" exists and keeps its members: %', wanted, members;
        END IF;
    END LOOP;
END
$$;
COMMENT ON ROLE azure_pg_admin IS 'Entra admins: may administer mapped roles, and read group sync and revocations';
COMMENT ON ROLE aadauth_auditor IS 'May read the sign-in audit (aadauth.sign_ins)';
