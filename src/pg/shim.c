/*
 * shim.c
 *	  What Rust cannot access: Port, HbaLine, the authentication routines and ereport's fields.
 *
 * It is compiled with the headers of the server that the library is built for, because the
 * layouts differ between versions and pgrx does not bind them.  No decision is made here.
 */
#include "shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <pwd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "common/ip.h"
#include "common/sha2.h"
#include "libpq/auth.h"
#include "libpq/crypt.h"
#include "libpq/hba.h"
#include "libpq/libpq.h"
#include "libpq/pqcomm.h"
#include "libpq/sasl.h"
#include "libpq/scram.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "postmaster/postmaster.h"
#if PG_VERSION_NUM >= 180000
#include "tcop/backend_startup.h"
#endif
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/*
 * The numeric address.  With log_hostname, port->remote_host is a name, which the owner of the address
 * has chosen.
 */
static void
remote_address(Port *port, AadConnection *connection)
{
	static char host[NI_MAXHOST];
	static char service[NI_MAXSERV];
	char	   *zone;

	connection->remote_host = port->remote_host;
	connection->remote_port = port->remote_port;
	if (port->raddr.addr.ss_family == AF_UNIX)
		return;
	if (pg_getnameinfo_all(&port->raddr.addr, port->raddr.salen, host, sizeof(host),
						   service, sizeof(service), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return;
	zone = strchr(host, '%');
	if (zone)
		*zone = '\0';
	connection->remote_host = host;
	connection->remote_port = service;
}

void
aad_connection(Port *port, AadConnection *connection)
{
	memset(connection, 0, sizeof(*connection));
	connection->user = port->user_name;
	connection->database = port->database_name;
	connection->application = port->application_name;
	remote_address(port, connection);
	aad_transport(port, &connection->tls, &connection->local_socket);
	if (port->hba)
	{
		connection->method = hba_authname(port->hba->auth_method);
		connection->hba_line = port->hba->rawline;
		connection->hba_line_number = port->hba->linenumber;
#if PG_VERSION_NUM >= 160000
		connection->hba_file = port->hba->sourcefile;
#endif
		if (port->hba->auth_method == uaPAM)
			connection->pam_service = port->hba->pamservice ? port->hba->pamservice : "postgresql";
#if PG_VERSION_NUM >= 180000
		if (port->hba->auth_method == uaOAuth)
			connection->oauth_validator = port->hba->oauth_validator;
#endif
	}
}

/* What the session's bytes travel over, also when it is no longer authenticating. */
void
aad_transport(Port *port, bool *tls, bool *local_socket)
{
	*tls = port->ssl_in_use;
	*local_socket = port->raddr.addr.ss_family == AF_UNIX;
}

/* The names in the client's certificate, if it has one that ssl_ca_file's authorities have issued; else NULL. */
void
aad_certificate(Port *port, const char **common_name, const char **distinguished_name)
{
	bool		valid = port->ssl_in_use && port->peer_cert_valid;

	*common_name = valid ? port->peer_cn : NULL;
	*distinguished_name = valid ? port->peer_dn : NULL;
}

/*
 * The operating system's user at the other end of a local socket, as for the peer method (auth.c, auth_peer); NULL
 * when there is none.  Valid until the next call.
 */
const char *
aad_peer_user(Port *port)
{
	uid_t		uid;
	gid_t		gid;
	struct passwd *account;

	if (port->raddr.addr.ss_family != AF_UNIX || getpeereid(port->sock, &uid, &gid) != 0)
		return NULL;
	account = getpwuid(uid);
	return account ? account->pw_name : NULL;
}

/* The operating system's user that the server runs as, likewise. */
const char *
aad_own_user(void)
{
	struct passwd *account = getpwuid(geteuid());

	return account ? account->pw_name : NULL;
}

bool
aad_is_authenticating(void)
{
	return MyProcPort != NULL && ClientAuthInProgress;
}

/*
 * Have OpenSSL wipe decrypted records: its record buffer would keep the token until the next
 * records arrive.  SSL_OP_CLEANSE_PLAINTEXT exists since OpenSSL 3; older ones ignore the bit.
 */
static void
cleanse_tls_records(Port *port)
{
#ifdef USE_OPENSSL
	const uint64 cleanse_plaintext = UINT64CONST(1) << 1;
	uint64		(*set_options) (void *ssl, uint64 options);

	if (!port->ssl_in_use || port->ssl == NULL)
		return;
	*(void **) &set_options = dlsym(RTLD_DEFAULT, "SSL_set_options");
	if (set_options)
		set_options(port->ssl, cleanse_plaintext);
#endif
}

static bool
input_is_pending(void)
{
#if PG_VERSION_NUM >= 170000
	return pq_buffer_remaining_data() > 0;
#else
	return pq_buffer_has_data();
#endif
}

/* Read exactly that many bytes; false when the client is gone. */
static bool
read_exactly(Port *port, char *into, size_t count)
{
	while (count > 0)
	{
		ssize_t		got = secure_read(port, into, count);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		into += got;
		count -= got;
	}
	return true;
}

/*
 * Ask for a cleartext password and read the answer straight into the caller's buffer.
 *
 * Core's own readers (recv_password_packet in auth.c, pam_passwd_conv_proc) keep copies of the
 * password that only core could wipe; this one reads below pqcomm's buffer.  A message that does not fit
 * is drained up to the longest password that core accepts, so that the client can read our answer.
 */
AadRead
aad_ask_password(Port *port, char *buffer, size_t size, size_t *length)
{
	char		header[5];
	uint32		announced;
	size_t		body;

	*length = 0;
	cleanse_tls_records(port);
	sendAuthRequest(port, AUTH_REQ_PASSWORD, NULL, 0);
	if (input_is_pending())
		return AAD_READ_UNEXPECTED;

	port->noblock = false;
	if (!read_exactly(port, header, sizeof(header)))
		return AAD_READ_GONE;
	if (header[0] != 'p')
		return AAD_READ_UNEXPECTED;
	memcpy(&announced, header + 1, sizeof(announced));
	announced = pg_ntoh32(announced);
	if (announced < 5)
		return announced == 4 ? AAD_READ_EMPTY : AAD_READ_UNEXPECTED;
	body = announced - sizeof(announced);
	if (body > size)
	{
		/* PG_MAX_AUTH_TOKEN_LENGTH of auth.c: what core itself would read. */
		if (body <= 65535)
			while (body > 0)
			{
				size_t		part = Min(body, size);

				if (!read_exactly(port, buffer, part))
					return AAD_READ_GONE;
				body -= part;
			}
		explicit_bzero(buffer, size);
		return AAD_READ_TOO_LONG;
	}
	if (!read_exactly(port, buffer, body))
		return AAD_READ_GONE;
	if (buffer[body - 1] != '\0')
		return AAD_READ_UNEXPECTED;
	*length = body - 1;
	if (*length == 0)
		return AAD_READ_EMPTY;
	if (memchr(buffer, '\0', *length))
		return AAD_READ_EMBEDDED_NUL;
	return AAD_READ_OK;
}

/*
 * Run SCRAM-SHA-256 for the role in the startup packet, as CheckPWChallengeAuth of auth.c does: a
 * role that does not exist goes through the same exchange with a mock secret.
 */
int
aad_scram(Port *port, const char **reason, bool *is_md5)
{
	char	   *secret;
	int			status;

	*reason = NULL;
	secret = get_role_password(port->user_name, reason);
	*is_md5 = secret != NULL && get_password_type(secret) == PASSWORD_TYPE_MD5;
	status = CheckSASLAuth(&pg_be_scram_mech, port, secret, reason);
	if (secret == NULL && status == STATUS_OK)
		status = STATUS_ERROR;
	return status;
}

/*
 * Compare a password with the role's SCRAM verifier, unless that has more than so many iterations.  In contrast to
 * the exchange above, the server computes what a client would.
 */
AadPassword
aad_check_password(const char *user, const char *password, int max_iterations, const char **reason)
{
	char	   *secret;
	char	   *salt;
	int			iterations;
	uint8		stored_key[PG_SHA256_DIGEST_LENGTH];
	uint8		server_key[PG_SHA256_DIGEST_LENGTH];
#if PG_VERSION_NUM >= 160000
	pg_cryptohash_type hash;
	int			key_length;
#endif

	*reason = NULL;
	secret = get_role_password(user, reason);
	if (secret == NULL)
		return AAD_PASSWORD_NONE;
#if PG_VERSION_NUM >= 160000
	if (!parse_scram_secret(secret, &iterations, &hash, &key_length, &salt, stored_key, server_key))
#else
	if (!parse_scram_secret(secret, &iterations, &salt, stored_key, server_key))
#endif
		return AAD_PASSWORD_NOT_SCRAM;
	if (iterations > max_iterations)
		return AAD_PASSWORD_TOO_EXPENSIVE;
	return plain_crypt_verify(user, secret, password, reason) == STATUS_OK ?
		AAD_PASSWORD_ACCEPTED : AAD_PASSWORD_REFUSED;
}

/* The role of that name, from pg_authid's syscache; false when there is none. */
bool
aad_role_by_name(const char *name, AadRole *role)
{
	HeapTuple	tuple = SearchSysCache1(AUTHNAME, PointerGetDatum(name));
	Form_pg_authid form;
	Datum		valid_until;
	bool		forever;

	memset(role, 0, sizeof(*role));
	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_authid) GETSTRUCT(tuple);
	role->oid = form->oid;
	role->can_login = form->rolcanlogin;
	valid_until = SysCacheGetAttr(AUTHNAME, tuple, Anum_pg_authid_rolvaliduntil, &forever);
	role->expired = !forever && DatumGetTimestampTz(valid_until) < GetCurrentTimestamp();
	ReleaseSysCache(tuple);
	return true;
}

/*
 * Set the authenticated identity.  By assignment: core may have called set_authn_id already (by PAM with the
 * role's name, by a trust record with that of a client certificate), and a second call is FATAL.
 */
void
aad_set_identity(Port *port, const char *identity, AadProof proof)
{
	char	   *copy = MemoryContextStrdup(TopMemoryContext, identity);

#if PG_VERSION_NUM >= 160000
	MyClientConnectionInfo.authn_id = copy;
	if (proof == AAD_PROOF_SCRAM)
		MyClientConnectionInfo.auth_method = uaSCRAM;
	else if (proof == AAD_PROOF_CLEARTEXT)
		MyClientConnectionInfo.auth_method = uaPassword;
#else
	port->authn_id = copy;
#endif
}

static int
sqlstate_code(const char *sqlstate)
{
	return MAKE_SQLSTATE(sqlstate[0], sqlstate[1], sqlstate[2], sqlstate[3], sqlstate[4]);
}

/* detail_log goes to the server log only. */
void
aad_fatal(const char *sqlstate, const char *message, const char *detail_log)
{
	ereport(FATAL,
			(errcode(sqlstate_code(sqlstate)),
			 errmsg_internal("%s", message),
			 detail_log ? errdetail_log("%s", detail_log) : 0));
	pg_unreachable();
}

static emit_log_hook_type next_log_hook;

/*
 * The FATAL above, and core's message before it that the method has failed (CheckPAMAuth in auth.c, validate in
 * auth-oauth.c).
 */
static bool
is_about_refusal(const ErrorData *edata)
{
	if (edata->elevel == FATAL)
		return edata->funcname != NULL && strcmp(edata->funcname, "aad_fatal") == 0;
	return edata->elevel == LOG && edata->filename != NULL &&
		(strcmp(edata->filename, "auth.c") == 0 ||
		 strcmp(edata->filename, "auth-oauth.c") == 0);
}

/* What is not logged is not shown to other libraries' hooks on the log either, as with log_min_messages. */
static void
leave_out(ErrorData *edata)
{
	if (is_about_refusal(edata))
		edata->output_to_server = false;
	else if (next_log_hook)
		next_log_hook(edata);
}

void
aad_leave_out_refusal(void)
{
	next_log_hook = emit_log_hook;
	emit_log_hook = leave_out;
}

/*
 * Interrupts are held: ereport ends with CHECK_FOR_INTERRUPTS, and a cancel that is served there would
 * jump over the calling Rust frames.
 */
void
aad_log(int level, const char *message, const char *detail, const char *hint)
{
	ErrorContextCallback *context = error_context_stack;

	Assert(level < ERROR);
	HOLD_INTERRUPTS();
	/*
	 * The statement may have a password. A function's statement is in the
	 * context, which clients get as well.
	 */
	error_context_stack = NULL;
	ereport(level,
			(errmsg_internal("%s", message),
			 detail ? errdetail_internal("%s", detail) : 0,
			 hint ? errhint("%s", hint) : 0,
			 errhidestmt(true)));
	error_context_stack = context;
	RESUME_INTERRUPTS();
}

/* Whether log_connections logs who has been authorized. */
bool
aad_logs_authorization(void)
{
#if PG_VERSION_NUM >= 180000
	return (log_connections & LOG_CONNECTION_AUTHORIZATION) != 0;
#else
	return Log_connections;
#endif
}

/* log_disconnections.  Up to 17, no header declares its variable. */
bool
aad_logs_disconnections(void)
{
	return strcmp(GetConfigOption("log_disconnections", false, false), "on") == 0;
}

/* For a check hook that is about to return false. */
void
aad_setting_refused(const char *detail)
{
	GUC_check_errdetail("%s", detail);
}

struct pam_handle;
struct pam_conv
{
	int			(*conv) (int count, const void **messages, void **answers, void *data);
	void	   *data;
};

static int
refuse_conversation(int count, const void **messages, void **answers, void *data)
{
	return 19;					/* PAM_CONV_ERR */
}

/*
 * Load into the postmaster every module that libpam will name at each sign-in: those of our service
 * file and those of /etc/pam.d/other.  Backends inherit them by fork and open no file.  The handle is
 * kept on purpose: pam_end would unload them.  libpam's functions are looked up at run time, because
 * the library must load where there is no libpam.
 */
bool
aad_prewarm_pam(const char *service)
{
	static struct pam_handle *kept;
	static const struct pam_conv conversation = {refuse_conversation, NULL};
	int			(*start) (const char *, const char *, const struct pam_conv *, struct pam_handle **);
	int			(*account) (struct pam_handle *, int);

	*(void **) &start = dlsym(RTLD_DEFAULT, "pam_start");
	*(void **) &account = dlsym(RTLD_DEFAULT, "pam_acct_mgmt");
	if (!start || !account)
		return false;
	/* A name that no account can have: NSS must not find one. */
	if (start(service, ":aadauth:", &conversation, &kept) != 0)
		return false;
	(void) account(kept, 0x8000 /* PAM_SILENT */ );
	return true;
}
