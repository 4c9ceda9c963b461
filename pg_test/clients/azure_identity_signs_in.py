"""Gets a token with azure-identity, as an application or a managed identity, and signs in with it."""

import os

import psycopg
from azure.identity import ClientSecretCredential, ManagedIdentityCredential

if "AZURE_CLIENT_SECRET" in os.environ:
    credential = ClientSecretCredential(
        os.environ["AZURE_TENANT_ID"],
        os.environ["AZURE_CLIENT_ID"],
        os.environ["AZURE_CLIENT_SECRET"],
        authority=os.environ["AZURE_AUTHORITY_HOST"],
        # Elsewhere than at Microsoft's own hosts, there is nobody to ask.
        disable_instance_discovery=True,
    )
else:
    credential = ManagedIdentityCredential()

token = credential.get_token(os.environ["SCOPE"]).token
with psycopg.connect(password=token) as connection:
    (who, ssl) = connection.execute(
        "SELECT session_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    ).fetchone()
    print(who, str(ssl).lower())
