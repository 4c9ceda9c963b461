// Signs in with node-postgres, which takes a function for the password and calls it for each
// connection, and which speaks TLS only when told to.
const fs = require('fs');
const { Client } = require('pg');

async function main() {
  const client = new Client({
    host: process.env.PGHOST,
    port: Number(process.env.PGPORT),
    user: process.env.PGUSER,
    database: process.env.PGDATABASE,
    password: async () => process.env.TOKEN,
    ssl: { ca: fs.readFileSync(process.env.PGSSLROOTCERT) },
  });
  await client.connect();
  const { rows } = await client.query(
    'SELECT session_user AS who, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()',
  );
  console.log(rows[0].who, rows[0].ssl);
  await client.end();
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
