//! Examples and lists that `--help` shows.

use std::fmt::Write as _;

use crate::token::Deviation;

pub(super) const EXAMPLES: &str = "\
Examples:
  entra-emulator serve --state /tmp/entra --port 8443
  entra-emulator token --state /tmp/entra --user alice@contoso.com
  entra-emulator token --state /tmp/entra --managed-identity vm-app --output json
  entra-emulator token --state /tmp/entra --user alice@contoso.com --with expired
  entra-emulator certificate --state /tmp/entra --name db.test --out-cert db.pem --out-key db.key
  entra-emulator control --state /tmp/entra rotate

Anyone who can read the state directory can sign tokens and certificates that those who trust its ca.pem
accept. The emulator is for tests; it is no identity provider.";

pub(super) const SERVE: &str = "\
Once it answers, the server writes DIR/emulator.json (authority, graph, imds, identity_endpoint,
identity_header, ca_file, control, pid), and removes it when it stops. Microsoft's libraries get
tokens from it like this:
  export AZURE_AUTHORITY_HOST=https://localhost:8443      # the authority
  export AZURE_POD_IDENTITY_AUTHORITY_HOST=http://127.0.0.1:PORT   # imds; or, as in App Service,
  export IDENTITY_ENDPOINT=... IDENTITY_HEADER=...        # identity_endpoint, identity_header
  export REQUESTS_CA_BUNDLE=DIR/ca.pem NODE_EXTRA_CA_CERTS=DIR/ca.pem
and with instance discovery switched off (disable_instance_discovery=True).";

pub(super) const TOKEN: &str = "\
Examples:
  entra-emulator token --state DIR --user alice@contoso.com
  PGPASSWORD=$(entra-emulator token --state DIR --user alice@contoso.com) psql -h localhost -U alice
  entra-emulator token --state DIR --service-principal reporting \\
      --audience https://ossrdbms-aad.database.windows.net
  entra-emulator token --state DIR --user carol@contoso.com --size 12288
  entra-emulator token --state DIR --user carol@contoso.com --claim 'groups=[]' --without amr
  entra-emulator token --state DIR --user alice@contoso.com --with bit-flipped";

pub(super) const FEDERATED_TOKEN: &str = "\
Example, for the application aadauth-server of the built-in directory:
  entra-emulator federated-token --state DIR --issuer https://kubernetes.example.com \\
      --subject system:serviceaccount:databases:postgresql >token
  AZURE_FEDERATED_TOKEN_FILE=token
The emulator plays every issuer; the directory file says what an application accepts.";

pub(super) const CERTIFICATE: &str = "\
Example, for a PostgreSQL server that its clients verify with DIR/ca.pem:
  entra-emulator certificate --state DIR --name localhost --name 127.0.0.1 \\
      --out-cert server.crt --out-key server.key";

pub(super) const CONTROL: &str = "\
Examples:
  entra-emulator control --state DIR rotate
  entra-emulator control --state DIR faults slow=5000 --on keys --times 1
  entra-emulator control --state DIR faults throttled=1 --on graph --every 3
  entra-emulator control --state DIR faults down
  entra-emulator control --state DIR faults --clear
  entra-emulator control --state DIR members dba --add mallory@contoso.com --remove alice@contoso.com
  entra-emulator control --state DIR user alice@contoso.com --disable
  entra-emulator control --state DIR delete reporting
  entra-emulator control --state DIR device BCDFGHJKL --user alice@contoso.com
  entra-emulator control --state DIR requests --reset
The same over HTTP, at the address that emulator.json calls \"control\": GET /keys, POST /keys/rotate,
POST /keys/retire {\"key_id\": ...}, GET, PUT and DELETE /faults, GET and DELETE /requests,
POST /directory {\"members\": {\"group\": ..., \"add\": [...], \"remove\": [...]}},
{\"user\": {\"user\": ..., \"enabled\": ...}} or {\"delete\": {\"name\": ...}}, and
POST /device {\"user_code\": ..., \"answer\": {\"approve\": USER} or \"decline\" or \"expire\"}.";

pub(super) fn token_long() -> String {
    format!("{TOKEN}\n\n{}", deviations())
}

/// The table of invalid-token cases: name, why aadauth refuses it, what is different.
pub(super) fn deviations() -> String {
    let mut text = String::from(
        "Invalid-token cases, the reason for which aadauth refuses each, and the kind of role that \
         the valid token is for:\n",
    );
    for deviation in Deviation::all() {
        let held = deviation.held;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  {:<26} {:<29} {held:<14} {}",
            deviation.name, deviation.expected, deviation.about
        );
    }
    text
}
