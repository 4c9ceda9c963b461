-- Live sessions, and principals that may not have one.

CREATE VIEW aadauth.sessions AS
SELECT
    s.pid,
    s.role,
    s.principal,
    s.principal_type AS type,
    s.object_id,
    s.group_id,
    s.database,
    s.client,
    pg_catalog.date_trunc('second', s.signed_in_at) AS signed_in_at,
    s.token_expires_at::timestamptz(0) AS token_expires_at,
    s.application,
    s.pooler
FROM aadauth.sessions() AS s
ORDER BY s.signed_in_at, s.pid;

COMMENT ON VIEW aadauth.sessions IS
    'The principal of each session that was authenticated with a token. Superusers and members of pg_read_all_stats and aadauth_auditor see all sessions, others their own.';
COMMENT ON COLUMN aadauth.sessions.group_id IS
    'The object id of the group that the principal signed in through.';
COMMENT ON COLUMN aadauth.sessions.client IS
    'The client''s address, or "local" for a local socket.';
COMMENT ON COLUMN aadauth.sessions.application IS
    'The application_name that the client sent when it connected.';
COMMENT ON COLUMN aadauth.sessions.pooler IS
    'The role of the trusted pooler that opened the session with a client''s token; members of a group may share it.';
GRANT SELECT ON aadauth.sessions TO PUBLIC;

CREATE TYPE aadauth.principal AS (
    type              text,
    object_id         uuid,
    tenant_id         uuid,
    principal         text,
    app_id            uuid,
    role              name,
    group_id          uuid,
    token_id          text,
    signed_in_at      timestamptz,
    token_expires_at  timestamptz
);

COMMENT ON TYPE aadauth.principal IS
    'The principal that signed in to a session. Compare object_id, never principal: that is a display name.';

-- One value, not a set, so that it can be used in a DEFAULT and in a policy.
CREATE FUNCTION aadauth.current_principal() RETURNS aadauth.principal
    LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
    SELECT
        p.principal_type,
        p.object_id,
        p.tenant_id,
        p.principal,
        p.app_id,
        p.role,
        p.group_id,
        p.token_id,
        pg_catalog.date_trunc('second', p.signed_in_at),
        p.token_expires_at::timestamptz(0)
    FROM aadauth.own_principal() AS p;
END;

COMMENT ON FUNCTION aadauth.current_principal() IS
    'the principal that signed in to this session with a token, regardless of SET ROLE; NULL in other sessions, and in those that members of a group share through a pooler';

-- Only the session worker writes here, for aadauth.revoke and aadauth.restore.
CREATE TABLE aadauth.revoked_principals (
    object_id      uuid PRIMARY KEY,
    until          timestamptz NOT NULL,
    reason         text,
    revoked_at     timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    revoked_by     text NOT NULL,
    revoked_by_id  uuid,
    by_superuser   boolean NOT NULL DEFAULT true
);

COMMENT ON TABLE aadauth.revoked_principals IS
    'Principals that may not sign in, as set by aadauth.revoke and aadauth.restore. The view aadauth.revocations also shows their roles.';
COMMENT ON COLUMN aadauth.revoked_principals.object_id IS
    'The object id of a user, a group or a service principal; or an application id.';
COMMENT ON COLUMN aadauth.revoked_principals.revoked_by IS
    'The principal that called aadauth.revoke, or the local role.';
COMMENT ON COLUMN aadauth.revoked_principals.revoked_by_id IS
    'The object id of that principal; NULL for a local role.';
COMMENT ON COLUMN aadauth.revoked_principals.by_superuser IS
    'Whether only a superuser may restore the principal.';

CREATE VIEW aadauth.revocations AS
SELECT
    r.object_id,
    ARRAY(
        SELECT p.rolname FROM pg_catalog.pgaadauth_list_principals(false) AS p
        WHERE p.objectid::uuid = r.object_id
        ORDER BY p.rolname
    ) AS roles,
    r.until::timestamptz(0) AS until,
    r.reason,
    pg_catalog.date_trunc('second', r.revoked_at) AS revoked_at,
    r.revoked_by,
    r.by_superuser
FROM aadauth.revoked_principals AS r
WHERE r.until > pg_catalog.now() AND aadauth.is_recorded_here()
ORDER BY r.revoked_at, r.object_id;

COMMENT ON VIEW aadauth.revocations IS
    'Principals that may not sign in, and the roles that are mapped to them.';

COMMENT ON FUNCTION aadauth.revoke(uuid, timestamptz, text) IS
    'deny sign-ins of a principal, an application, or a group and everyone who signs in through it until that time, and end their sessions';
COMMENT ON FUNCTION aadauth.restore(uuid) IS
    'allow a revoked principal to sign in again';

REVOKE ALL ON aadauth.revoked_principals, aadauth.revocations FROM PUBLIC;
-- Those who may revoke must see the revocations.
GRANT SELECT ON aadauth.revoked_principals, aadauth.revocations TO aadauth_auditor, azure_pg_admin;

-- A restored dump must not lift a revocation.
SELECT pg_catalog.pg_extension_config_dump('aadauth.revoked_principals', '');
