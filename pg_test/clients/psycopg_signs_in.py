"""Signs in with psycopg; the connection's particulars come from PG* variables."""

import os

import psycopg

with psycopg.connect(password=os.environ["TOKEN"]) as connection:
    (who, ssl) = connection.execute(
        "SELECT session_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    ).fetchone()
    print(who, str(ssl).lower())
