-- Comments on functions that are generated, and rights on what is in schema aadauth.
COMMENT ON FUNCTION pg_catalog.pgaadauth_create_principal(text, boolean, boolean) IS
    'create a role for the Entra principal of that name (needs a directory)';
COMMENT ON FUNCTION
    pg_catalog.pgaadauth_create_principal_with_oid(text, text, text, boolean, boolean) IS
    'create a role for the Entra principal with that object id; types are user, group and service';
COMMENT ON FUNCTION
    pg_catalog.pgaadauth_update_principal_with_oid(text, text, text, boolean, boolean) IS
    'map an existing role to the Entra principal with that object id, keeping what it owns and may do';
COMMENT ON FUNCTION pg_catalog.pgaadauth_list_principals(boolean) IS
    'roles mapped to Entra principals; true lists admins, false lists all';
COMMENT ON FUNCTION pg_catalog.pgaadauth_sync_roles_for_group_members() IS
    'give every member of a mapped group a role of their own, now; what was changed, and what could not be';

-- Nobody reads or writes these tables by pg_read_all_data and pg_write_all_data, whoever has been given them:
-- those roles don't bypass row-level security. The worker and dumps do, being superusers.
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
-- The views are a superuser's: with their owner's rights they would show what the tables don't.
ALTER VIEW aadauth.sign_ins SET (security_invoker = true);
ALTER VIEW aadauth.revocations SET (security_invoker = true);
ALTER VIEW aadauth.group_sync_status SET (security_invoker = true);
