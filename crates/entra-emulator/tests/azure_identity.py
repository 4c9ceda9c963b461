"""Has the unmodified azure-identity package get tokens from a running emulator.

By client secret, as the machine's own managed identity and as a user-assigned one, for the
resource of v1 tokens and for that of v2 tokens; checks what the tokens say and prints their claims.

Needs the package azure-identity (1.27.0 is what it was written for). Environment:

  EMULATOR_STATE       the state directory of the running emulator (serve --state)
  EMULATOR_AUDIENCE    optional: one audience to ask for instead, whose tokens have version 1;
                       the rest is checked as for the built-in directory
  EMULATOR_TOKEN_FILE  optional: where to write the tokens, a JSON object
                       {"client-secret": ..., "managed-identity": ..., "user-assigned": ...}

Exits 0 when all is as it should be.
"""

import base64
import json
import os
import pathlib
import sys
import time

TENANT = "6b1f0c7e-2a3d-4e58-9b41-0c5d7e8f9a01"
AUDIENCE = os.environ.get("EMULATOR_AUDIENCE", "api://aadauth-demo")
AUDIENCE_V2 = "api://aadauth-demo-v2"
AUDIENCE_V2_ID = "aada0000-0000-4000-8000-000000000051"
REPORTING = "4e904700-0000-4000-8000-000000000020"
REPORTING_OID = "4e904700-0000-4000-8000-000000000021"
MACHINE_OID = "0a7b0000-0000-4000-8000-000000000031"
BATCH = "ba7c0000-0000-4000-8000-000000000040"
BATCH_OID = "ba7c0000-0000-4000-8000-000000000041"


def claims_of(token):
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def expect(what, found, wanted):
    if found != wanted:
        sys.exit(f"{what}: {found!r} instead of {wanted!r}")


def check(name, token, oid, version, audience, authority, lifetime):
    """Checks one azure.core AccessToken, prints its claims, and returns its text."""
    claims = claims_of(token.token)
    print(name, json.dumps(claims, indent=2, sort_keys=True))
    expect(f"{name}: oid", claims["oid"], oid)
    expect(f"{name}: aud", claims["aud"], audience)
    expect(f"{name}: ver", claims["ver"], version)
    expect(f"{name}: tid", claims["tid"], TENANT)
    expect(f"{name}: idtyp", claims["idtyp"], "app")
    suffix = "/" if version == "1.0" else "/v2.0"
    expect(f"{name}: iss", claims["iss"], f"{authority}/{TENANT}{suffix}")
    remaining = token.expires_on - time.time()
    if not lifetime - 60 < remaining <= lifetime + 1:
        sys.exit(f"{name}: {remaining} seconds left instead of {lifetime}")
    if abs(claims["exp"] - token.expires_on) > 2:
        sys.exit(f"{name}: expires_on {token.expires_on} is not exp {claims['exp']}")
    return token.token


def main():
    state = pathlib.Path(os.environ["EMULATOR_STATE"])
    running = json.loads((state / "emulator.json").read_text())
    authority = running["authority"]
    # Read when the package is imported, or at the first request.
    os.environ["REQUESTS_CA_BUNDLE"] = running["ca_file"]
    os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = running["imds"]
    for name in ("IDENTITY_ENDPOINT", "MSI_ENDPOINT", "https_proxy", "http_proxy", "HTTPS_PROXY", "HTTP_PROXY"):
        os.environ.pop(name, None)

    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import ClientSecretCredential, ManagedIdentityCredential

    def by_secret(secret, tenant=TENANT):
        return ClientSecretCredential(
            tenant, REPORTING, secret, authority=authority, disable_instance_discovery=True
        )

    tokens = {}
    found = by_secret("reporting-secret").get_token(f"{AUDIENCE}/.default")
    tokens["client-secret"] = check(
        "client secret", found, REPORTING_OID, "1.0", AUDIENCE, authority, 3599
    )
    found = by_secret("reporting-secret").get_token(f"{AUDIENCE_V2}/.default")
    check("client secret, v2", found, REPORTING_OID, "2.0", AUDIENCE_V2_ID, authority, 3599)
    found = by_secret("reporting-secret", "contoso.com").get_token(f"{AUDIENCE}/.default")
    check("client secret, domain", found, REPORTING_OID, "1.0", AUDIENCE, authority, 3599)

    found = ManagedIdentityCredential().get_token(f"{AUDIENCE}/.default")
    tokens["managed-identity"] = check(
        "managed identity", found, MACHINE_OID, "1.0", AUDIENCE, authority, 86400
    )
    found = ManagedIdentityCredential(client_id=BATCH).get_token(f"{AUDIENCE}/.default")
    tokens["user-assigned"] = check(
        "user-assigned identity", found, BATCH_OID, "1.0", AUDIENCE, authority, 86400
    )

    try:
        by_secret("wrong").get_token(f"{AUDIENCE}/.default")
    except ClientAuthenticationError as error:
        if "AADSTS7000215" not in str(error):
            sys.exit(f"wrong secret: {error}")
    else:
        sys.exit("wrong secret: got a token")

    if path := os.environ.get("EMULATOR_TOKEN_FILE"):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(tokens, file)
    print("azure-identity got its tokens")


if __name__ == "__main__":
    main()
