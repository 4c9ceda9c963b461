"""Has the unmodified msal and azure-identity packages sign a user in by an authorization code, for which they open a
browser; this program does what that would do. main.rs beside it says where the emulator is. Exits 0 when all is as it
should be.
"""

import html.parser
import os
import pathlib
import sys
import threading
import time
import types
import urllib.parse
import webbrowser

import msal
import requests
from azure.core.credentials import AccessToken
from azure.identity import InteractiveBrowserCredential
from credentials import (
    ALICE,
    ALICE_OID,
    AUDIENCE,
    AUDIENCE_V2,
    AUTHORITY,
    AZURE_CLI,
    PLACE,
    RUNNING,
    SIGNER,
    TENANT,
    check,
    expect,
)

SCOPES = [f"{AUDIENCE}/.default"]


class Page(html.parser.HTMLParser):
    """The form of a page, and its fields."""

    def __init__(self, text):
        super().__init__()
        self.fields = {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag == "form":
            self.action = found["action"]
        elif tag == "input":
            self.fields[found["name"]] = found["value"]


class Browser(webbrowser.BaseBrowser):
    """Sends the form that the emulator answers with, while the program that opened it waits."""

    def open(self, url, new=0, autoraise=True):
        threading.Thread(target=self.visit, args=(url,)).start()
        return True

    def visit(self, url):
        page = Page(requests.get(url, timeout=30).text)
        requests.post(page.action, page.fields, timeout=30)


def got(found):
    """What msal returned, as a credential of azure-identity."""
    if "access_token" not in found:
        sys.exit(f"{found}")
    token = AccessToken(found["access_token"], int(time.time()) + found["expires_in"])
    return types.SimpleNamespace(get_token=lambda scope: token)


def sent_back(flow):
    """What the redirect carries back to the client."""
    response = requests.get(flow["auth_uri"], allow_redirects=False, timeout=30)
    sent = urllib.parse.urlsplit(response.headers["Location"])
    expect("redirect", sent.scheme + "://" + sent.hostname, "http://localhost")
    return dict(urllib.parse.parse_qsl(sent.query))


def public():
    app = msal.PublicClientApplication(
        AZURE_CLI, authority=f"{AUTHORITY}/{TENANT}", instance_discovery=False
    )

    def begin():
        flow = app.initiate_auth_code_flow(
            SCOPES, redirect_uri="http://localhost:8400", login_hint=ALICE
        )
        return flow, sent_back(flow)

    flow, answer = begin()
    first = app.acquire_token_by_auth_code_flow(flow, answer)
    check("msal, code", got(first), ALICE_OID, appid=AZURE_CLI, amr=["pwd", "mfa"])
    expect("msal, user", first["id_token_claims"]["preferred_username"], ALICE)
    [account] = app.get_accounts()
    again = app.acquire_token_silent(SCOPES, account, force_refresh=True)
    check("msal, refreshed", got(again), ALICE_OID, appid=AZURE_CLI)
    expect("msal, refreshed", again["access_token"] == first["access_token"], False)

    def refused(code, flow, answer):
        found = app.acquire_token_by_auth_code_flow(flow, answer)
        expect("msal, refused", (found["error"], found["error_codes"]), ("invalid_grant", [code]))
        print(f"msal, refused: {code}")

    refused(54005, flow, answer)
    flow, answer = begin()
    refused(501481, flow | {"code_verifier": "x" * 43}, answer)

    interactive = app.acquire_token_interactive(SCOPES, login_hint=ALICE, timeout=30)
    check("msal, interactive", got(interactive), ALICE_OID, appid=AZURE_CLI)


def confidential():
    pem = pathlib.Path(os.environ["EMULATOR_CERTIFICATE"]).read_text()
    at = pem.index("-----BEGIN CERTIFICATE")
    app = msal.ConfidentialClientApplication(
        SIGNER,
        authority=f"{AUTHORITY}/{TENANT}",
        instance_discovery=False,
        client_credential={"private_key": pem, "public_certificate": pem[at:]},
    )
    flow = app.initiate_auth_code_flow(
        SCOPES, redirect_uri="http://localhost/signed-in", login_hint=ALICE
    )
    found = app.acquire_token_by_auth_code_flow(flow, sent_back(flow))
    check("msal, confidential", got(found), ALICE_OID, appid=SIGNER)


def azure_identity():
    credential = InteractiveBrowserCredential(
        tenant_id=TENANT, login_hint=ALICE, timeout=30, **PLACE
    )
    check("interactive browser", credential, ALICE_OID, appid=AZURE_CLI, amr=["pwd", "mfa"])
    # By the refresh token of the first.
    check("interactive browser, v2", credential, ALICE_OID, AUDIENCE_V2, azp=AZURE_CLI)


def main():
    os.environ["REQUESTS_CA_BUNDLE"] = RUNNING["ca_file"]
    webbrowser.register("emulated", None, Browser(), preferred=True)
    public()
    confidential()
    azure_identity()


if __name__ == "__main__":
    main()
