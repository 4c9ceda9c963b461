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
    membership record;
    admin name;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['azure_pg_admin', 'aadauth_auditor', 'aadauth_monitor', 'aadauth_pooler'] LOOP
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
        -- The role has privileges from now on. Only a superuser may have given it to others; a role gets ADMIN OPTION on
        -- the roles that it creates, by the name of the bootstrap superuser (user.c, CreateRole).
        FOR membership IN
            SELECT member.rolname AS member, grantor.rolname AS grantor,
                grantor.rolsuper IS TRUE AND NOT pg_catalog.to_jsonb(m) OPERATOR(pg_catalog.@>)
                    '{"admin_option": true, "inherit_option": false, "set_option": false}'::pg_catalog.jsonb AS is_trusted
            FROM pg_catalog.pg_auth_members AS m
            JOIN pg_catalog.pg_roles AS member ON member.oid OPERATOR(pg_catalog.=) m.member
            LEFT JOIN pg_catalog.pg_roles AS grantor ON grantor.oid OPERATOR(pg_catalog.=) m.grantor
            WHERE m.roleid OPERATOR(pg_catalog.=) existing.oid AND NOT member.rolsuper AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_shseclabel AS l
                WHERE l.objoid OPERATOR(pg_catalog.=) m.member AND l.provider OPERATOR(pg_catalog.=) 'pgaadauth-int'::text
                    AND 'admin'::text OPERATOR(pg_catalog.=) ANY (pg_catalog.string_to_array(l.label, ',')))
        LOOP
            IF membership.is_trusted THEN
                RAISE WARNING 'role "%" exists and keeps its member "%"', wanted, membership.member;
                CONTINUE;
            END IF;
            EXECUTE pg_catalog.format('REVOKE %I FROM %I', wanted, membership.member) OPERATOR(pg_catalog.||) CASE
                WHEN pg_catalog.current_setting('server_version_num')::pg_catalog.int4 OPERATOR(pg_catalog.>=) 160000
                    THEN pg_catalog.format(' GRANTED BY %I CASCADE', membership.grantor) ELSE '' END;
            RAISE WARNING 'revoked the membership of role "%" in role "%", which was not granted by a superuser',
                membership.member, wanted;
        END LOOP;
    END LOOP;
    -- Those whose labels were set before.
    FOR admin IN
        SELECT r.rolname
        FROM pg_catalog.pg_shseclabel AS l
        JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) l.objoid
        WHERE l.provider OPERATOR(pg_catalog.=) 'pgaadauth-int'::text AND NOT r.rolsuper
            AND 'admin'::text OPERATOR(pg_catalog.=) ANY (pg_catalog.string_to_array(l.label, ','))
            AND NOT pg_catalog.pg_has_role(r.oid, 'azure_pg_admin', 'MEMBER WITH ADMIN OPTION')
    LOOP
        EXECUTE pg_catalog.format('GRANT azure_pg_admin TO %I WITH ADMIN OPTION', admin);
    END LOOP;
END
$$;
COMMENT ON ROLE azure_pg_admin IS 'Entra admins: may administer mapped roles, and read group sync and revocations';
COMMENT ON ROLE aadauth_auditor IS 'May read the sign-in audit (aadauth.sign_ins)';
COMMENT ON ROLE aadauth_monitor IS 'May read counters and states, and how many problems the configuration has (aadauth.statistics, aadauth.configuration_findings)';
COMMENT ON ROLE aadauth_pooler IS 'May ask whether a credential signs in to a role (aadauth.pooler_check)';
