"""Signs in with asyncpg, which takes a function for the password and calls it for each connection."""

import asyncio
import os
import ssl


async def main():
    import asyncpg

    connection = await asyncpg.connect(
        host=os.environ["PGHOST"],
        port=int(os.environ["PGPORT"]),
        user=os.environ["PGUSER"],
        database=os.environ["PGDATABASE"],
        password=lambda: os.environ["TOKEN"],
        ssl=ssl.create_default_context(cafile=os.environ["PGSSLROOTCERT"]),
    )
    row = await connection.fetchrow(
        "SELECT session_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    )
    print(row["session_user"], str(row["ssl"]).lower())
    await connection.close()


asyncio.run(main())
