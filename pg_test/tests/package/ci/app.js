// An application for Azure Database for PostgreSQL, which finds server, role and credential in the environment.
"use strict";

const { DefaultAzureCredential } = require("@azure/identity");
const { entraTokenProvider } = require("@azure/postgresql-auth");
const { Client } = require("pg");

async function main() {
  const client = new Client({
    password: entraTokenProvider(new DefaultAzureCredential()),
    ssl: true,
  });
  await client.connect();
  const { rows } = await client.query("SELECT session_user AS who");
  console.log(rows[0].who);
  await client.end();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
