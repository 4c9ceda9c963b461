-- People, a group, an application and managed identities of the emulator's built-in directory.
CREATE EXTENSION aadauth;
SELECT pgaadauth_create_principal_with_oid(name, id, type, name = 'alice@contoso.com', false)
FROM (VALUES
    ('alice@contoso.com', 'a11ce000-0000-4000-8000-000000000001', 'user'),
    ('carol@contoso.com', 'ca401000-0000-4000-8000-000000000003', 'user'),
    ('bob_fabrikam.com#EXT#@contoso.onmicrosoft.com', 'b0b00000-0000-4000-8000-000000000002', 'user'),
    ('analysts', 'a4a10000-0000-4000-8000-000000000011', 'group'),
    ('reporting', '4e904700-0000-4000-8000-000000000021', 'service'),
    ('vm-app', '0a7b0000-0000-4000-8000-000000000031', 'service'),
    ('batch', 'ba7c0000-0000-4000-8000-000000000041', 'service')
) AS principal (name, id, type);
-- What an administrator has on Azure.
SELECT aadauth.grant_azure_rights();
