-- Group sync: how far it is, and what it has done. Only the group sync worker writes here.

CREATE TABLE aadauth.group_sync_groups (
    tenant_id     uuid NOT NULL,
    group_id      uuid NOT NULL,
    run           bigint NOT NULL,
    state         text NOT NULL,
    seen          integer NOT NULL DEFAULT 0,
    done          integer NOT NULL DEFAULT 0,
    created       integer NOT NULL DEFAULT 0,
    granted       integer NOT NULL DEFAULT 0,
    revoked       integer NOT NULL DEFAULT 0,
    not_possible  integer NOT NULL DEFAULT 0,
    started_at    timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    finished_at   timestamptz,
    problem       text,
    PRIMARY KEY (tenant_id, group_id)
);

COMMENT ON TABLE aadauth.group_sync_groups IS
    'How far the last run is, or was, with each group. The view aadauth.group_sync_status is easier to read.';
COMMENT ON COLUMN aadauth.group_sync_groups.state IS
    'listing (its members), changing (roles), done, failed or skipped.';
COMMENT ON COLUMN aadauth.group_sync_groups.seen IS
    'Members that the directory has listed: users and service principals, those of nested groups included.';
COMMENT ON COLUMN aadauth.group_sync_groups.done IS
    'Members that have been processed.';
COMMENT ON COLUMN aadauth.group_sync_groups.created IS
    'Roles that were made, with the group role.';
COMMENT ON COLUMN aadauth.group_sync_groups.granted IS
    'Roles that were there and were given the group role.';
COMMENT ON COLUMN aadauth.group_sync_groups.revoked IS
    'Roles that have lost the group role.';
COMMENT ON COLUMN aadauth.group_sync_groups.not_possible IS
    'Members who have no role for a reason that aadauth.group_sync_changes names.';

CREATE TABLE aadauth.group_sync_changes (
    run          bigint NOT NULL,
    at           timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    group_role   text NOT NULL,
    tenant_id    uuid NOT NULL,
    group_id     uuid NOT NULL,
    member       text,
    member_id    uuid,
    action       text NOT NULL,
    detail       text,
    first_at     timestamptz
);

-- What was not possible in one run is mostly not in the next: it has one row, not one per run.
CREATE UNIQUE INDEX group_sync_obstacles
    ON aadauth.group_sync_changes (tenant_id, group_id, member_id, action) NULLS NOT DISTINCT
    WHERE first_at IS NOT NULL;

COMMENT ON TABLE aadauth.group_sync_changes IS
    'What group sync has changed, and what it could not, for 30 days.';
COMMENT ON COLUMN aadauth.group_sync_changes.run IS
    'The run that made the change; for an obstacle, the last run that found it.';
COMMENT ON COLUMN aadauth.group_sync_changes.member IS
    'The member''s role, or the name that it would have. NULL where the row is about the group.';
COMMENT ON COLUMN aadauth.group_sync_changes.member_id IS
    'The member''s object id; of a role that was mapped by its application id, that.';
COMMENT ON COLUMN aadauth.group_sync_changes.action IS
    'created (with the group role), granted, revoked; anything else names the obstacle.';
COMMENT ON COLUMN aadauth.group_sync_changes.first_at IS
    'When an obstacle was found first; NULL for changes.';

-- For people at psql. A run that a crash or a shutdown has ended left its state behind; a standby
-- can't tell, since the worker runs on the primary.
CREATE VIEW aadauth.group_sync_status AS
SELECT
    p.rolname AS group_role,
    p.objectid::uuid AS group_id,
    CASE
        WHEN g.state IS NULL THEN 'never'
        WHEN g.finished_at IS NULL AND NOT pg_catalog.pg_is_in_recovery()
            AND w.run IS DISTINCT FROM g.run THEN 'interrupted'
        ELSE g.state
    END AS state,
    g.seen,
    g.done,
    g.created,
    g.granted,
    g.revoked,
    g.not_possible,
    g.started_at::timestamptz(0) AS started,
    g.finished_at::timestamptz(0) AS finished,
    g.problem,
    w.next_run::timestamptz(0) AS next_run
FROM pg_catalog.pgaadauth_list_principals(false) AS p
CROSS JOIN aadauth.group_sync_worker() AS w
LEFT JOIN aadauth.group_sync_groups AS g
    ON g.tenant_id = p.tenantid::uuid AND g.group_id = p.objectid::uuid
WHERE p.principaltype = 'group'
ORDER BY p.rolname;

COMMENT ON VIEW aadauth.group_sync_status IS
    'One row per mapped group: how far group sync is with it, and how its last run ended. Without a next run, group sync is off or its worker is not connected.';

REVOKE ALL ON FUNCTION aadauth.group_sync_worker() FROM PUBLIC;
REVOKE ALL ON aadauth.group_sync_groups, aadauth.group_sync_changes, aadauth.group_sync_status FROM PUBLIC;
-- Who may map groups must see what becomes of them.
GRANT EXECUTE ON FUNCTION aadauth.group_sync_worker() TO aadauth_auditor, azure_pg_admin;
GRANT SELECT ON aadauth.group_sync_groups, aadauth.group_sync_changes, aadauth.group_sync_status
    TO aadauth_auditor, azure_pg_admin;

-- A record, as the audit is. How far a run was says nothing on another server.
SELECT pg_catalog.pg_extension_config_dump('aadauth.group_sync_changes', '');
