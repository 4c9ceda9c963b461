-- The sign-in audit: one row per attempt to sign in, with its role, client and outcome. Only the audit worker writes it.

-- A partition per week, which the worker creates when there is an event in that week (audit/partition.rs). Each partition
-- has its own key and indexes, and partitions are not members of the extension, so pg_dump dumps each as a table that can
-- be restored as a partition of this one or by itself.
CREATE TABLE aadauth.sign_in_audit (
    event_id          uuid NOT NULL,
    occurred_at       timestamptz NOT NULL,
    role              text NOT NULL,
    outcome           text NOT NULL,
    reason            text,
    method            text NOT NULL,
    pooler            text,
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
    token_audience    text,
    token_version     text,
    amr               text[],
    key_id            text,
    backend_pid       integer NOT NULL,
    decision_time     interval NOT NULL,
    checks            jsonb,
    count             bigint NOT NULL
) PARTITION BY RANGE (occurred_at);

COMMENT ON TABLE aadauth.sign_in_audit IS
    'One row per attempt to sign in; one partition per week. The view aadauth.sign_ins is easier to read.';
COMMENT ON COLUMN aadauth.sign_in_audit.event_id IS
    'Assigned by the server process that handled the sign-in; no event is recorded twice.';
COMMENT ON COLUMN aadauth.sign_in_audit.role IS
    'The role that the client requested; it may not exist.';
COMMENT ON COLUMN aadauth.sign_in_audit.outcome IS
    'authenticated, refused or interrupted. PostgreSQL may still have refused an authenticated session (no such database, CONNECTION LIMIT).';
COMMENT ON COLUMN aadauth.sign_in_audit.reason IS
    'The stable code of the reason for a refusal or an interruption.';
COMMENT ON COLUMN aadauth.sign_in_audit.method IS
    'entra-token, password, pooler, or the authentication method of the pg_hba.conf record.';
COMMENT ON COLUMN aadauth.sign_in_audit.pooler IS
    'The role of the pooler. With the method pooler, it asked whether its client may sign in, and client_address is what it said; otherwise it has opened the connection, with a token about which it had asked.';
COMMENT ON COLUMN aadauth.sign_in_audit.object_id IS
    'The principal''s object id, from a token whose signature was verified.';
COMMENT ON COLUMN aadauth.sign_in_audit.group_id IS
    'The object id of the group that the principal signed in through.';
COMMENT ON COLUMN aadauth.sign_in_audit.client_address IS
    'NULL for a local socket.';
COMMENT ON COLUMN aadauth.sign_in_audit.token_id IS
    'The token''s uti claim, as in Entra''s sign-in logs.';
COMMENT ON COLUMN aadauth.sign_in_audit.token_audience IS
    'The resource that a refused token whose signature was verified was issued for.';
COMMENT ON COLUMN aadauth.sign_in_audit.token_version IS
    'The version of a refused token whose signature was verified: 1.0 or 2.0.';
COMMENT ON COLUMN aadauth.sign_in_audit.checks IS
    'For a refusal after the signature was verified: each check by name, with the reason if it failed. For each membership check, also of accepted sign-ins: the group and the source (the token''s claim, the cache or the directory). For an accepted sign-in of a pooler: that the token had expired.';
COMMENT ON COLUMN aadauth.sign_in_audit.count IS
    'The number of attempts that the row counts.';

CREATE TABLE aadauth.audit_spool (
    spool_id       uuid PRIMARY KEY,
    read_to        bigint NOT NULL,
    skipped_lines  bigint NOT NULL,
    read_at        timestamptz NOT NULL DEFAULT pg_catalog.now()
);

COMMENT ON TABLE aadauth.audit_spool IS
    'How far the audit worker has read each spool file; committed together with the audit rows. Do not delete rows: a standby may have a copy of the file.';

-- For use in psql: fits a terminal, newest first. It omits first attempts without a password or token, which psql and
-- other clients make before they prompt for one, and the connections that a trusted pooler opens for its clients.
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
    a.count,
    a.event_id
FROM aadauth.sign_in_audit AS a
WHERE (a.reason IS NULL OR a.reason NOT IN ('no-password', 'token-discovery') OR a.count > 1)
    AND (a.pooler IS NULL OR a.method = 'pooler' OR a.outcome <> 'authenticated')
    AND aadauth.await_sign_ins()
ORDER BY a.occurred_at DESC, a.event_id DESC;

COMMENT ON VIEW aadauth.sign_ins IS
    'Accepted and refused sign-ins, newest first. All details are in aadauth.sign_in_audit.';
COMMENT ON COLUMN aadauth.sign_ins.client IS
    'The client''s address; NULL for a local socket.';
COMMENT ON COLUMN aadauth.sign_ins.event_id IS
    'For aadauth.explain_sign_in.';

REVOKE ALL ON aadauth.sign_in_audit, aadauth.audit_spool, aadauth.sign_ins FROM PUBLIC;
GRANT SELECT ON aadauth.sign_in_audit, aadauth.audit_spool, aadauth.sign_ins TO aadauth_auditor;

-- The partitions' rows are in every dump. The offsets must be as well: otherwise a restored server that still has its
-- spool files would read them again from the beginning after retention has removed the rows.
SELECT pg_catalog.pg_extension_config_dump('aadauth.audit_spool', '');
