-- The sign-in audit: who tried to sign in, as what, from where, and how it ended.
-- Only the audit worker writes here.

-- A partition per week, which the worker makes when it has something for that week (audit/partition.rs).
-- Keys and indexes are each partition's own, and partitions are no members of the extension: so pg_dump
-- dumps each as a table that can be restored below this one, or beside it.
CREATE TABLE aadauth.sign_in_audit (
    event_id          uuid NOT NULL,
    occurred_at       timestamptz NOT NULL,
    role              text NOT NULL,
    outcome           text NOT NULL,
    reason            text,
    method            text NOT NULL,
    principal_type    text,
    object_id         uuid,
    tenant_id         uuid,
    upn               text,
    app_id            uuid,
    display_name      text,
    group_id          uuid,
    client_address    inet,
    client_port       integer,
    database          text,
    application_name  text,
    tls               boolean NOT NULL,
    token_id          text,
    issued_at         timestamptz,
    expires_at        timestamptz,
    amr               text[],
    key_id            text,
    backend_pid       integer NOT NULL,
    decision_time     interval NOT NULL,
    checks            jsonb,
    count             bigint NOT NULL
) PARTITION BY RANGE (occurred_at);

COMMENT ON TABLE aadauth.sign_in_audit IS
    'One row per attempt to sign in, in a partition per week. The view aadauth.sign_ins is easier to read.';
COMMENT ON COLUMN aadauth.sign_in_audit.event_id IS
    'Made where the sign-in was decided; no event is recorded twice.';
COMMENT ON COLUMN aadauth.sign_in_audit.role IS
    'The role that the client asked for; it need not exist.';
COMMENT ON COLUMN aadauth.sign_in_audit.outcome IS
    'authenticated, refused or interrupted. After authenticated PostgreSQL may still have refused (no such database, CONNECTION LIMIT).';
COMMENT ON COLUMN aadauth.sign_in_audit.reason IS
    'The stable code of what was wrong.';
COMMENT ON COLUMN aadauth.sign_in_audit.method IS
    'entra-token, password, or the method of the pg_hba.conf line.';
COMMENT ON COLUMN aadauth.sign_in_audit.object_id IS
    'The principal''s object id, from a token whose signature was verified.';
COMMENT ON COLUMN aadauth.sign_in_audit.group_id IS
    'The object id of the group that the principal signed in through.';
COMMENT ON COLUMN aadauth.sign_in_audit.client_address IS
    'NULL for a local socket.';
COMMENT ON COLUMN aadauth.sign_in_audit.token_id IS
    'The token''s uti claim, as in Entra''s sign-in logs.';
COMMENT ON COLUMN aadauth.sign_in_audit.checks IS
    'For a refusal after the signature: each check by name, with the reason of those that failed. Where a membership was asked for, also of those who got in: the group, and whether the token''s claim, the cache or the directory was the source.';
COMMENT ON COLUMN aadauth.sign_in_audit.count IS
    'The number of attempts that the row counts.';

CREATE TABLE aadauth.audit_spool (
    spool_id       uuid PRIMARY KEY,
    read_to        bigint NOT NULL,
    skipped_lines  bigint NOT NULL,
    read_at        timestamptz NOT NULL DEFAULT pg_catalog.now()
);

COMMENT ON TABLE aadauth.audit_spool IS
    'How far the audit worker has read each spool file; written together with the rows. Do not delete rows: a standby may hold a copy of the file.';

-- For people at psql: fits a terminal, newest first. A first try without a password or token, which psql
-- and others make before they ask for one, is left out.
CREATE VIEW aadauth.sign_ins AS
SELECT
    pg_catalog.date_trunc('second', a.occurred_at) AS "time",
    a.role,
    COALESCE(a.upn, a.display_name, a.app_id::text, a.object_id::text) AS principal,
    CASE
        WHEN a.group_id IS NOT NULL THEN 'group'
        WHEN a.method = 'entra-token' THEN 'token'
        ELSE a.method
    END AS through,
    a.outcome,
    a.reason,
    a.client_address AS client,
    a.database,
    a.count
FROM aadauth.sign_in_audit AS a
WHERE a.reason IS NULL OR a.reason NOT IN ('no-password', 'token-discovery') OR a.count > 1
ORDER BY a.occurred_at DESC, a.event_id DESC;

COMMENT ON VIEW aadauth.sign_ins IS
    'Who signed in and who was refused, newest first. All that is known is in aadauth.sign_in_audit.';
COMMENT ON COLUMN aadauth.sign_ins.client IS
    'The address; NULL for a local socket.';

REVOKE ALL ON aadauth.sign_in_audit, aadauth.audit_spool, aadauth.sign_ins FROM PUBLIC;
GRANT SELECT ON aadauth.sign_in_audit, aadauth.audit_spool, aadauth.sign_ins TO aadauth_auditor;

-- The partitions' rows are in every dump. The offsets belong there as well, lest a restored server that
-- still has its spool files reads them again from their beginning after retention has removed the rows.
SELECT pg_catalog.pg_extension_config_dump('aadauth.audit_spool', '');
