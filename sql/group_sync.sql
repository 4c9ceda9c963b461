-- Group sync: its progress, and the changes that it has made. Only the group sync worker writes here.

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
    'The progress or result of the last run for each group. The view aadauth.group_sync_status is easier to read.';
COMMENT ON COLUMN aadauth.group_sync_groups.state IS
    'listing (the members), changing (roles), done, failed or skipped.';
COMMENT ON COLUMN aadauth.group_sync_groups.seen IS
    'Members that the directory has listed: users and service principals, including those of nested groups.';
COMMENT ON COLUMN aadauth.group_sync_groups.done IS
    'Members that have been processed.';
COMMENT ON COLUMN aadauth.group_sync_groups.created IS
    'Roles that were created and granted the group role.';
COMMENT ON COLUMN aadauth.group_sync_groups.granted IS
    'Existing roles that were granted the group role.';
COMMENT ON COLUMN aadauth.group_sync_groups.revoked IS
    'Roles from which the group role was revoked.';
COMMENT ON COLUMN aadauth.group_sync_groups.not_possible IS
    'Members without a role; aadauth.group_sync_changes has the reason.';

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

-- Without a key, publications for all tables would keep rows from being changed.
ALTER TABLE aadauth.group_sync_changes REPLICA IDENTITY FULL;

-- A member that is skipped in one run is usually skipped in the next: it has one row, not one per run.
CREATE UNIQUE INDEX group_sync_skipped
    ON aadauth.group_sync_changes (tenant_id, group_id, member_id, action) NULLS NOT DISTINCT
    WHERE first_at IS NOT NULL;

COMMENT ON TABLE aadauth.group_sync_changes IS
    'Changes of group sync, and members that it skipped; kept for 30 days.';
COMMENT ON COLUMN aadauth.group_sync_changes.run IS
    'The run that made the change; for a skipped member, the last run that skipped it.';
COMMENT ON COLUMN aadauth.group_sync_changes.member IS
    'The member''s role, or the name that it would have. NULL if the row is about the group.';
COMMENT ON COLUMN aadauth.group_sync_changes.member_id IS
    'The member''s object id; for a role that was mapped by its application id, that id.';
COMMENT ON COLUMN aadauth.group_sync_changes.action IS
    'created (with the group role), granted or revoked; any other value is the reason why the member was skipped.';
COMMENT ON COLUMN aadauth.group_sync_changes.first_at IS
    'When the member was first skipped for this reason; NULL for changes.';

-- For use in psql. A run that was ended by a crash or a shutdown leaves its state behind; a standby cannot detect this,
-- because the worker runs on the primary.
CREATE VIEW aadauth.group_sync_status AS
SELECT
    p.rolname AS group_role,
    p.objectid::uuid AS group_id,
    CASE
        -- The run failed before it came to the groups, or between two.
        WHEN w.run IS NULL AND w.problem IS NOT NULL THEN 'failed'
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
    COALESCE(CASE WHEN w.run IS NULL THEN w.problem END, g.problem) AS problem,
    w.next_run::timestamptz(0) AS next_run
FROM pg_catalog.pgaadauth_list_principals(false) AS p
CROSS JOIN aadauth.group_sync_worker() AS w
LEFT JOIN aadauth.group_sync_groups AS g
    ON g.tenant_id = p.tenantid::uuid AND g.group_id = p.objectid::uuid
WHERE p.principaltype = 'group' AND aadauth.is_recorded_here()
ORDER BY p.rolname;

COMMENT ON VIEW aadauth.group_sync_status IS
    'One row per mapped group: its progress, and the result of its last run. If next_run is NULL, group sync is off or its worker is not connected.';

REVOKE ALL ON FUNCTION aadauth.group_sync_worker() FROM PUBLIC;
REVOKE ALL ON aadauth.group_sync_groups, aadauth.group_sync_changes, aadauth.group_sync_status FROM PUBLIC;
-- Those who may map groups must see the results.
GRANT EXECUTE ON FUNCTION aadauth.group_sync_worker() TO aadauth_auditor, azure_pg_admin;
GRANT SELECT ON aadauth.group_sync_groups, aadauth.group_sync_changes, aadauth.group_sync_status
    TO aadauth_auditor, azure_pg_admin;

-- The changes are a record, like the audit. The progress of a run has no meaning on another server.
SELECT pg_catalog.pg_extension_config_dump('aadauth.group_sync_changes', '');
