/*
 * shim.h
 *	  What the Rust side calls in C, and the structs both sides share.
 *
 * The Rust declarations are in shim.rs; keep the two together.
 */
#ifndef AADAUTH_SHIM_H
#define AADAUTH_SHIM_H

#include "postgres.h"

#include "libpq/libpq-be.h"

/* PostgreSQL 18 spells its own macro differently. */
#define AAD_NORETURN __attribute__((noreturn))

/* A connection that is being authenticated.  Strings belong to the Port. */
typedef struct AadConnection
{
	const char *user;
	const char *database;
	const char *application;	/* NULL unless the client named one */
	const char *remote_host;
	const char *remote_port;
	const char *method;			/* as pg_hba.conf spells it */
	const char *pam_service;	/* NULL unless the method is pam */
	const char *oauth_validator;	/* NULL unless the method is oauth */
	const char *hba_file;		/* NULL if unknown */
	const char *hba_line;		/* as written; NULL if unknown */
	int			hba_line_number;
	bool		tls;
	bool		local_socket;
} AadConnection;

/* A row of pg_authid, as far as a sign-in depends on it. */
typedef struct AadRole
{
	Oid			oid;
	bool		can_login;
	bool		expired;		/* VALID UNTIL has passed */
} AadRole;

/* How reading the client's password message ended. */
typedef enum AadRead
{
	AAD_READ_OK = 0,
	AAD_READ_GONE = 1,			/* the client closed the connection */
	AAD_READ_TOO_LONG = 2,
	AAD_READ_UNEXPECTED = 3,	/* not a password message, or sent before the request */
	AAD_READ_EMPTY = 4,
	AAD_READ_EMBEDDED_NUL = 5
} AadRead;

/* Whether a password is the role's. */
typedef enum AadPassword
{
	AAD_PASSWORD_ACCEPTED = 0,
	AAD_PASSWORD_REFUSED = 1,
	AAD_PASSWORD_NOT_SCRAM = 2,
	AAD_PASSWORD_TOO_EXPENSIVE = 3,
	AAD_PASSWORD_NONE = 4			/* or one that is no longer valid */
} AadPassword;

/* How the client authenticated. */
typedef enum AadProof
{
	AAD_PROOF_HBA_METHOD = 0,		/* by the method of the pg_hba.conf record */
	AAD_PROOF_SCRAM = 1,
	AAD_PROOF_CLEARTEXT = 2
} AadProof;

extern void aad_connection(Port *port, AadConnection *connection);
extern void aad_transport(Port *port, bool *tls, bool *local_socket);
extern void aad_certificate(Port *port, const char **common_name, const char **distinguished_name);
extern const char *aad_peer_user(Port *port);
extern const char *aad_own_user(void);
extern bool aad_is_authenticating(void);
extern AadRead aad_ask_password(Port *port, char *buffer, size_t size, size_t *length);
extern int	aad_scram(Port *port, const char **reason, bool *is_md5);
extern AadPassword aad_check_password(const char *user, const char *password, int max_iterations,
									  const char **reason);
extern bool aad_role_by_name(const char *name, AadRole *role);
extern void aad_set_identity(Port *port, const char *identity, AadProof proof);
extern AAD_NORETURN void aad_fatal(const char *sqlstate, const char *message,
								   const char *detail_log);
extern void aad_leave_out_refusal(void);
extern void aad_log(int level, const char *message, const char *detail, const char *hint);
extern bool aad_logs_authorization(void);
extern bool aad_logs_disconnections(void);
extern void aad_setting_refused(const char *detail);
extern bool aad_prewarm_pam(const char *service);

#endif							/* AADAUTH_SHIM_H */
