\echo Use "ALTER EXTENSION aadauth UPDATE TO '0.2'" to load this file. \quit

-- It may see revocations as well, and since PostgreSQL 16 mapped roles are granted to it.
COMMENT ON ROLE azure_pg_admin IS 'Entra admins; administers mapped roles, sees group sync and revocations, and nothing else';

-- It leaves out the questions that clients of OAUTHBEARER ask before they fetch a token. Replacing a view takes its
-- options away: without this one it would show with its owner's rights what the table's policies hide.
CREATE OR REPLACE VIEW aadauth.sign_ins WITH (security_invoker = true) AS
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
