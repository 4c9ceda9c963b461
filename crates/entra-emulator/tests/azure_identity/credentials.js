// Has the unmodified @azure/identity package get tokens from a running emulator, by every credential
// that needs no browser, and checks what the tokens say. Environment: as for credentials.py, and
//
//   EMULATOR_PART  "all", or "app-service" for the managed identities of App Service, which the
//                  package chooses once for the whole process
//
// main.rs beside this file sets what node or the package reads when it starts.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const {
  AzureCliCredential,
  ClientAssertionCredential,
  ClientCertificateCredential,
  ClientSecretCredential,
  DefaultAzureCredential,
  DeviceCodeCredential,
  EnvironmentCredential,
  ManagedIdentityCredential,
  UsernamePasswordCredential,
  WorkloadIdentityCredential,
} = require("@azure/identity");

const TENANT = "6b1f0c7e-2a3d-4e58-9b41-0c5d7e8f9a01";
const AUDIENCE = "api://aada0000-0000-4000-8000-000000000050";
const AUDIENCE_V2 = "api://aada0000-0000-4000-8000-000000000051";
const AUDIENCE_V2_ID = "aada0000-0000-4000-8000-000000000051";
const AZURE_CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";
const REPORTING = "4e904700-0000-4000-8000-000000000020";
const REPORTING_OID = "4e904700-0000-4000-8000-000000000021";
const SIGNER = "51640000-0000-4000-8000-000000000090";
const SIGNER_OID = "51640000-0000-4000-8000-000000000091";
const SERVER = "aada5e4e-0000-4000-8000-000000000070";
const SERVER_OID = "aada5e4e-0000-4000-8000-000000000071";
const MACHINE_OID = "0a7b0000-0000-4000-8000-000000000031";
const BATCH = "ba7c0000-0000-4000-8000-000000000040";
const BATCH_OID = "ba7c0000-0000-4000-8000-000000000041";
const BATCH_PATH =
  "/subscriptions/5ab5c100-0000-4000-8000-0000000000aa/resourcegroups/emulator/providers/" +
  "Microsoft.ManagedIdentity/userAssignedIdentities/batch";
const ALICE = "alice@contoso.com";
const ALICE_OID = "a11ce000-0000-4000-8000-000000000001";
const PASSWORD = "correct horse battery staple";

const state = process.env.EMULATOR_STATE;
const running = JSON.parse(fs.readFileSync(path.join(state, "emulator.json"), "utf8"));
const place = { authorityHost: running.authority, disableInstanceDiscovery: true };

function fail(text) {
  throw new Error(text);
}

function expect(what, found, wanted) {
  const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)];
  if (a !== b) fail(`${what}: ${a} instead of ${b}`);
}

/** Gets a token and checks its claims; `claims` are further ones, as they must be. */
async function check(name, credential, oid, claims = {}, audience = AUDIENCE) {
  const token = await credential.getToken(`${audience}/.default`);
  const found = JSON.parse(Buffer.from(token.token.split(".")[1], "base64url").toString());
  const version = audience === AUDIENCE_V2 ? "2.0" : "1.0";
  expect(`${name}: oid`, found.oid, oid);
  expect(`${name}: aud`, found.aud, version === "2.0" ? AUDIENCE_V2_ID : audience);
  expect(`${name}: ver`, found.ver, version);
  expect(`${name}: tid`, found.tid, TENANT);
  expect(`${name}: idtyp`, found.idtyp, found.scp ? "user" : "app");
  const suffix = version === "1.0" ? "/" : "/v2.0";
  expect(`${name}: iss`, found.iss, `${running.authority}/${TENANT}${suffix}`);
  for (const [claim, wanted] of Object.entries(claims)) {
    expect(`${name}: ${claim}`, found[claim], wanted);
  }
  // The package counts from when it began to ask, and a device code takes it five seconds.
  if (Math.abs(found.exp - token.expiresOnTimestamp / 1000) > 10) {
    fail(`${name}: ${token.expiresOnTimestamp} is not exp ${found.exp}`);
  }
  console.log(`${name}: ${found.oid}`);
}

async function refused(name, credential, code) {
  let token;
  try {
    token = await credential.getToken(`${AUDIENCE}/.default`);
  } catch (error) {
    if (!String(error.message).includes(code)) fail(`${name}: ${error.message}`);
    console.log(`${name}: ${code}`);
    return;
  }
  fail(`${name}: got ${token ? "a token" : "nothing"}`);
}

/** Does with a device code what its user would. */
async function enter(userCode, answer) {
  const response = await fetch(`${running.control}/device`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ user_code: userCode, answer }),
  });
  if (!response.ok) fail(await response.text());
}

async function applications() {
  const bySecret = (secret, tenant = TENANT) =>
    new ClientSecretCredential(tenant, REPORTING, secret, place);
  const good = bySecret("reporting-secret");
  await check("client secret", good, REPORTING_OID, { appid: REPORTING, appidacr: "1" });
  await check("client secret, v2", good, REPORTING_OID, { azp: REPORTING }, AUDIENCE_V2);
  await check("client secret, tenant by domain", bySecret("reporting-secret", "contoso.com"), REPORTING_OID);
  await refused("client secret, wrong", bySecret("wrong"), "AADSTS7000215");

  const certificatePath = process.env.EMULATOR_CERTIFICATE;
  for (const sendCertificateChain of [false, true]) {
    const credential = new ClientCertificateCredential(
      TENANT,
      SIGNER,
      { certificatePath },
      { sendCertificateChain, ...place },
    );
    const claims = { appid: SIGNER, appidacr: "2" };
    await check(`certificate, chain ${sendCertificateChain}`, credential, SIGNER_OID, claims);
  }
  const other = new ClientCertificateCredential(TENANT, SERVER, { certificatePath }, place);
  await refused("certificate of another", other, "AADSTS700026");

  const tokenFilePath = process.env.EMULATOR_FEDERATED;
  const workload = new WorkloadIdentityCredential({
    tenantId: TENANT,
    clientId: SERVER,
    tokenFilePath,
    ...place,
  });
  await check("workload identity", workload, SERVER_OID, { appid: SERVER, appidacr: "2" });
  const token = fs.readFileSync(tokenFilePath, "utf8").trim();
  const assertion = (client) =>
    new ClientAssertionCredential(TENANT, client, async () => token, place);
  await check("client assertion", assertion(SERVER), SERVER_OID, { appid: SERVER });
  await refused("client assertion, not trusted", assertion(REPORTING), "AADSTS700211");
}

async function users() {
  const byPassword = (password) =>
    new UsernamePasswordCredential(TENANT, AZURE_CLI, ALICE, password, place);
  const good = byPassword(PASSWORD);
  await check("user name and password", good, ALICE_OID, { appid: AZURE_CLI, amr: ["pwd"] });
  await check("user name and password, v2", good, ALICE_OID, { azp: AZURE_CLI }, AUDIENCE_V2);
  await refused("user name and password, wrong", byPassword("wrong"), "AADSTS50126");

  const byCode = (answer) =>
    new DeviceCodeCredential({
      tenantId: TENANT,
      clientId: AZURE_CLI,
      userPromptCallback: ({ userCode }) => enter(userCode, answer),
      ...place,
    });
  const code = byCode({ approve: ALICE });
  await check("device code", code, ALICE_OID, { appid: AZURE_CLI, amr: ["pwd", "mfa"] });
  await check("device code, v2", code, ALICE_OID, { azp: AZURE_CLI }, AUDIENCE_V2);
  await refused("device code, declined", byCode("decline"), "declined");

  await check("Azure CLI", new AzureCliCredential(), ALICE_OID, { appid: AZURE_CLI });
  const ofTenant = new AzureCliCredential({ tenantId: TENANT });
  await check("Azure CLI, v2", ofTenant, ALICE_OID, {}, AUDIENCE_V2);
}

async function managedIdentities(where) {
  await check(where, new ManagedIdentityCredential(), MACHINE_OID);
  for (const [name, options] of [
    ["client id", { clientId: BATCH }],
    ["object id", { objectId: BATCH_OID }],
    ["resource id", { resourceId: BATCH_PATH }],
  ]) {
    await check(`${where} by ${name}`, new ManagedIdentityCredential(options), BATCH_OID, { appid: BATCH });
  }
}

/** What the variables that Microsoft's documents name lead to. */
async function environment() {
  const during = (variables) => {
    for (const name of [
      "CLIENT_ID",
      "CLIENT_SECRET",
      "CLIENT_CERTIFICATE_PATH",
      "USERNAME",
      "PASSWORD",
      "FEDERATED_TOKEN_FILE",
    ]) {
      delete process.env[`AZURE_${name}`];
    }
    for (const [name, value] of Object.entries(variables)) process.env[`AZURE_${name}`] = value;
  };
  process.env.AZURE_TENANT_ID = TENANT;
  during({ CLIENT_ID: REPORTING, CLIENT_SECRET: "reporting-secret" });
  await check("environment, secret", new EnvironmentCredential(place), REPORTING_OID);
  await check("default, secret", new DefaultAzureCredential(place), REPORTING_OID);
  during({ CLIENT_ID: SIGNER, CLIENT_CERTIFICATE_PATH: process.env.EMULATOR_CERTIFICATE });
  await check("environment, certificate", new EnvironmentCredential(place), SIGNER_OID);
  await check("default, certificate", new DefaultAzureCredential(place), SIGNER_OID);
  during({ CLIENT_ID: AZURE_CLI, USERNAME: ALICE, PASSWORD });
  await check("environment, password", new EnvironmentCredential(place), ALICE_OID, { amr: ["pwd"] });
  during({ CLIENT_ID: SERVER, FEDERATED_TOKEN_FILE: process.env.EMULATOR_FEDERATED });
  await check("default, workload identity", new DefaultAzureCredential(place), SERVER_OID);
  during({});
  await check("default, managed identity", new DefaultAzureCredential(place), MACHINE_OID);
  process.env.AZURE_TOKEN_CREDENTIALS = "AzureCliCredential";
  await check("default, Azure CLI", new DefaultAzureCredential(place), ALICE_OID, { appid: AZURE_CLI });
}

async function main() {
  if (process.env.EMULATOR_PART === "app-service") {
    await managedIdentities("App Service");
    return;
  }
  await applications();
  await users();
  await managedIdentities("managed identity");
  await environment();
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
