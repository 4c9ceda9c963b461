"""Has the unmodified azure-identity package get tokens from a running emulator, by every credential
that needs no browser, and checks what the tokens say.

main.rs beside this file starts the emulator and says where everything is:

  EMULATOR_STATE        the state directory of the running emulator
  EMULATOR_CERTIFICATE  a PEM file, the key and the certificate of the application "signer"
  EMULATOR_FEDERATED    a file with a token of an issuer whom the application "aadauth-server" trusts

and has put the replacement for the Azure CLI on the PATH. Exits 0 when all is as it should be.
"""

import base64
import json
import os
import pathlib
import sys
import time
import urllib.request

TENANT = "6b1f0c7e-2a3d-4e58-9b41-0c5d7e8f9a01"
AUDIENCE = "api://aada0000-0000-4000-8000-000000000050"
AUDIENCE_V2 = "api://aada0000-0000-4000-8000-000000000051"
AUDIENCE_V2_ID = "aada0000-0000-4000-8000-000000000051"
AZURE_CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
REPORTING = "4e904700-0000-4000-8000-000000000020"
REPORTING_OID = "4e904700-0000-4000-8000-000000000021"
SIGNER = "51640000-0000-4000-8000-000000000090"
SIGNER_OID = "51640000-0000-4000-8000-000000000091"
SERVER = "aada5e4e-0000-4000-8000-000000000070"
SERVER_OID = "aada5e4e-0000-4000-8000-000000000071"
MACHINE_OID = "0a7b0000-0000-4000-8000-000000000031"
BATCH = "ba7c0000-0000-4000-8000-000000000040"
BATCH_OID = "ba7c0000-0000-4000-8000-000000000041"
BATCH_PATH = (
    "/subscriptions/5ab5c100-0000-4000-8000-0000000000aa/resourcegroups/emulator/providers/"
    "Microsoft.ManagedIdentity/userAssignedIdentities/batch"
)
ALICE = "alice@contoso.com"
ALICE_OID = "a11ce000-0000-4000-8000-000000000001"
PASSWORD = "correct horse battery staple"

STATE = pathlib.Path(os.environ["EMULATOR_STATE"])
RUNNING = json.loads((STATE / "emulator.json").read_text())
AUTHORITY = RUNNING["authority"]
# What every credential that goes to the authority is told.
PLACE = {"authority": AUTHORITY, "disable_instance_discovery": True}


def expect(what, found, wanted):
    if found != wanted:
        sys.exit(f"{what}: {found!r} instead of {wanted!r}")


def check(name, credential, oid, audience=AUDIENCE, **claims):
    """Gets a token and checks its claims; `claims` are further ones, as they must be."""
    token = credential.get_token(f"{audience}/.default")
    payload = token.token.split(".")[1]
    found = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    version = "2.0" if audience == AUDIENCE_V2 else "1.0"
    expect(f"{name}: oid", found["oid"], oid)
    expect(f"{name}: aud", found["aud"], AUDIENCE_V2_ID if version == "2.0" else audience)
    expect(f"{name}: ver", found["ver"], version)
    expect(f"{name}: tid", found["tid"], TENANT)
    expect(f"{name}: idtyp", found["idtyp"], "user" if "scp" in found else "app")
    suffix = "/" if version == "1.0" else "/v2.0"
    expect(f"{name}: iss", found["iss"], f"{AUTHORITY}/{TENANT}{suffix}")
    for claim, wanted in claims.items():
        expect(f"{name}: {claim}", found.get(claim), wanted)
    if abs(found["exp"] - token.expires_on) > 2:
        sys.exit(f"{name}: expires_on {token.expires_on} is not exp {found['exp']}")
    lifetime = 86400 if "xms_mirid" in found else 3599
    if token.expires_on - time.time() < lifetime - 60:
        sys.exit(f"{name}: {token.expires_on - time.time()} seconds left instead of {lifetime}")
    print(f"{name}: {found['oid']}")


def refused(name, credential, code):
    from azure.core.exceptions import ClientAuthenticationError

    try:
        credential.get_token(f"{AUDIENCE}/.default")
    except ClientAuthenticationError as error:
        if code not in str(error):
            sys.exit(f"{name}: {error}")
        print(f"{name}: {code}")
    else:
        sys.exit(f"{name}: got a token")


def enter(user_code, answer):
    """Does with a device code what its user would."""
    order = urllib.request.Request(
        RUNNING["control"] + "/device",
        data=json.dumps({"user_code": user_code, "answer": answer}).encode(),
        headers={"Content-Type": "application/json"},
    )
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(order).close()


def applications():
    from azure.identity import (
        CertificateCredential,
        ClientAssertionCredential,
        ClientSecretCredential,
        WorkloadIdentityCredential,
    )

    def by_secret(secret, tenant=TENANT):
        return ClientSecretCredential(tenant, REPORTING, secret, **PLACE)

    good = by_secret("reporting-secret")
    check("client secret", good, REPORTING_OID, appid=REPORTING, appidacr="1")
    check("client secret, v2", good, REPORTING_OID, AUDIENCE_V2, azp=REPORTING)
    by_domain = by_secret("reporting-secret", "contoso.com")
    check("client secret, tenant by domain", by_domain, REPORTING_OID)
    refused("client secret, wrong", by_secret("wrong"), "AADSTS7000215")

    pem = os.environ["EMULATOR_CERTIFICATE"]
    for chain in (False, True):
        credential = CertificateCredential(
            TENANT, SIGNER, certificate_path=pem, send_certificate_chain=chain, **PLACE
        )
        check(f"certificate, chain {chain}", credential, SIGNER_OID, appid=SIGNER, appidacr="2")
    credential = CertificateCredential(TENANT, SERVER, certificate_path=pem, **PLACE)
    refused("certificate of another", credential, "AADSTS700026")

    file = os.environ["EMULATOR_FEDERATED"]
    credential = WorkloadIdentityCredential(
        tenant_id=TENANT, client_id=SERVER, token_file_path=file, **PLACE
    )
    check("workload identity", credential, SERVER_OID, appid=SERVER, appidacr="2")
    token = pathlib.Path(file).read_text().strip()
    credential = ClientAssertionCredential(TENANT, SERVER, lambda: token, **PLACE)
    check("client assertion", credential, SERVER_OID, appid=SERVER)
    credential = ClientAssertionCredential(TENANT, REPORTING, lambda: token, **PLACE)
    refused("client assertion, not trusted", credential, "AADSTS700211")


def users():
    from azure.identity import AzureCliCredential, DeviceCodeCredential, UsernamePasswordCredential

    def by_password(password):
        return UsernamePasswordCredential(
            AZURE_CLI, ALICE, password, tenant_id=TENANT, **PLACE
        )

    good = by_password(PASSWORD)
    check("user name and password", good, ALICE_OID, appid=AZURE_CLI, amr=["pwd"])
    # By the refresh token of the first.
    check("user name and password, v2", good, ALICE_OID, AUDIENCE_V2, azp=AZURE_CLI)
    record = by_password(PASSWORD).authenticate(scopes=[f"{AUDIENCE}/.default"])
    expect("authentication record", record.username, ALICE)
    refused("user name and password, wrong", by_password("wrong"), "AADSTS50126")

    def by_code(answer):
        return DeviceCodeCredential(
            AZURE_CLI,
            tenant_id=TENANT,
            prompt_callback=lambda uri, user_code, expires_on: enter(user_code, answer),
            **PLACE,
        )

    good = by_code({"approve": ALICE})
    check("device code", good, ALICE_OID, appid=AZURE_CLI, amr=["pwd", "mfa"])
    check("device code, v2", good, ALICE_OID, AUDIENCE_V2, azp=AZURE_CLI)
    refused("device code, declined", by_code("decline"), "authorization_declined")

    check("Azure CLI", AzureCliCredential(), ALICE_OID, appid=AZURE_CLI)
    check("Azure CLI, v2", AzureCliCredential(tenant_id=TENANT), ALICE_OID, AUDIENCE_V2)


def machine():
    from azure.identity import ManagedIdentityCredential

    check("managed identity", ManagedIdentityCredential(), MACHINE_OID, appidacr="2")
    for name, credential in (
        ("client id", ManagedIdentityCredential(client_id=BATCH)),
        ("object id", ManagedIdentityCredential(identity_config={"object_id": BATCH_OID})),
        ("resource id", ManagedIdentityCredential(identity_config={"resource_id": BATCH_PATH})),
    ):
        check(f"managed identity by {name}", credential, BATCH_OID, appid=BATCH)


def app_service():
    """The managed identities of App Service, whose header must be right."""
    from azure.identity import ManagedIdentityCredential

    os.environ["IDENTITY_ENDPOINT"] = RUNNING["identity_endpoint"]
    os.environ["IDENTITY_HEADER"] = RUNNING["identity_header"]
    check("App Service", ManagedIdentityCredential(), MACHINE_OID)
    for name, credential in (
        ("client id", ManagedIdentityCredential(client_id=BATCH)),
        ("object id", ManagedIdentityCredential(identity_config={"object_id": BATCH_OID})),
        ("resource id", ManagedIdentityCredential(identity_config={"resource_id": BATCH_PATH})),
    ):
        check(f"App Service by {name}", credential, BATCH_OID, appid=BATCH)
    os.environ["IDENTITY_HEADER"] = "wrong"
    refused("App Service, wrong header", ManagedIdentityCredential(), "X-IDENTITY-HEADER")
    del os.environ["IDENTITY_ENDPOINT"], os.environ["IDENTITY_HEADER"]


def environment():
    """What the variables that Microsoft's documents name lead to."""
    from azure.identity import DefaultAzureCredential, EnvironmentCredential

    os.environ["AZURE_AUTHORITY_HOST"] = AUTHORITY
    os.environ["AZURE_TENANT_ID"] = TENANT
    discovery = {"disable_instance_discovery": True}

    def during(**variables):
        for name in ("CLIENT_ID", "CLIENT_SECRET", "CLIENT_CERTIFICATE_PATH", "USERNAME",
                     "PASSWORD", "FEDERATED_TOKEN_FILE"):
            os.environ.pop(f"AZURE_{name}", None)
        os.environ.update({f"AZURE_{name}": value for name, value in variables.items()})

    during(CLIENT_ID=REPORTING, CLIENT_SECRET="reporting-secret")
    check("environment, secret", EnvironmentCredential(**discovery), REPORTING_OID)
    check("default, secret", DefaultAzureCredential(**discovery), REPORTING_OID)
    during(CLIENT_ID=SIGNER, CLIENT_CERTIFICATE_PATH=os.environ["EMULATOR_CERTIFICATE"])
    check("environment, certificate", EnvironmentCredential(**discovery), SIGNER_OID)
    check("default, certificate", DefaultAzureCredential(**discovery), SIGNER_OID)
    during(CLIENT_ID=AZURE_CLI, USERNAME=ALICE, PASSWORD=PASSWORD)
    check("environment, password", EnvironmentCredential(**discovery), ALICE_OID, amr=["pwd"])
    during(CLIENT_ID=SERVER, FEDERATED_TOKEN_FILE=os.environ["EMULATOR_FEDERATED"])
    check("default, workload identity", DefaultAzureCredential(**discovery), SERVER_OID)
    during()
    check("default, managed identity", DefaultAzureCredential(**discovery), MACHINE_OID)
    without = DefaultAzureCredential(exclude_managed_identity_credential=True, **discovery)
    check("default, Azure CLI", without, ALICE_OID, appid=AZURE_CLI)


def main():
    # Read when the package is imported, or at the first request.
    os.environ["REQUESTS_CA_BUNDLE"] = RUNNING["ca_file"]
    os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = RUNNING["imds"]
    applications()
    users()
    machine()
    app_service()
    environment()


if __name__ == "__main__":
    main()
