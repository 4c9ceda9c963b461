"""An application for Azure Database for PostgreSQL, which finds server, role and credential in the environment."""

from azure.identity import DefaultAzureCredential
from azure_postgresql_auth.psycopg3 import EntraConnection

with EntraConnection.connect(credential=DefaultAzureCredential()) as connection:
    (who,) = connection.execute("SELECT session_user").fetchone()
    print(who)
