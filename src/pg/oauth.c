/*
 * oauth.c
 *	  The library as a validator module for OAUTHBEARER, which PostgreSQL has since 18.
 *
 * Core parses the client's message (auth-oauth.c) and calls the module with the token only.
 * No decision is made here.
 */
#include "oauth.h"

#include "utils/elog.h"

#if PG_VERSION_NUM >= 180000
#include "libpq/oauth.h"
#endif

static emit_log_hook_type next_hook;
static bool asked;
static bool malformed;

#if PG_VERSION_NUM >= 180000
/*
 * The identity is returned for an accepted token only: core records it as authenticated (set_authn_id)
 * before it checks whether the token was authorized.
 */
static bool
validate(const ValidatorModuleState *state, const char *token, const char *role,
		 ValidatorModuleResult *result)
{
	char		identity[AAD_IDENTITY_SIZE];

	switch (aad_judge_token(token, strlen(token), identity))
	{
		case AAD_ACCEPTED:
			result->authn_id = pstrdup(identity);
			result->authorized = true;
			return true;
		case AAD_REFUSED:
			return true;
		case AAD_NOT_JUDGED:
			break;
	}
	return false;
}

static const OAuthValidatorCallbacks callbacks = {
	.magic = PG_OAUTH_VALIDATOR_MAGIC,
	.validate_cb = validate,
};
#endif

/* A broken TLS connection is a protocol violation, too, but not of the mechanism. */
static bool
is_about_sasl(ErrorData *edata)
{
	return edata->filename != NULL &&
		(strcmp(edata->filename, "auth-oauth.c") == 0 ||
		 strcmp(edata->filename, "auth-sasl.c") == 0);
}

/*
 * A message that core cannot parse never reaches the validator; only core's log message tells it from a
 * discovery request.  (If log_min_messages keeps that message out of the log, the hook is not called, and
 * the attempt counts as a discovery.)
 */
static void
watch(ErrorData *edata)
{
	if ((edata->sqlerrcode == ERRCODE_PROTOCOL_VIOLATION ||
		 edata->sqlerrcode == ERRCODE_FEATURE_NOT_SUPPORTED) &&
		is_about_sasl(edata))
		malformed = true;
	if (next_hook)
		next_hook(edata);
}

/*
 * Core asks for the callbacks once in a backend, when the client has chosen OAUTHBEARER and before
 * its first message is parsed (oauth_init).  Older versions never do.
 */
const void *
aad_oauth_validator(void)
{
	if (!asked)
	{
		next_hook = emit_log_hook;
		emit_log_hook = watch;
		asked = true;
	}
#if PG_VERSION_NUM >= 180000
	return &callbacks;
#else
	return NULL;
#endif
}

bool
aad_oauth_asked(void)
{
	return asked;
}

bool
aad_oauth_malformed(void)
{
	return malformed;
}
