/*
 * other.c
 *	  Another library: as a validator it lets everybody in under the name that they ask for; preloaded,
 *	  or loaded for a client that asks for the database template1 or for none, it takes the
 *	  authentication hook for itself and forgets whose it was.
 */
#include "postgres.h"

#include "fmgr.h"
#include "libpq/auth.h"
#include "libpq/oauth.h"
#include "miscadmin.h"
#include "storage/ipc.h"

PG_MODULE_MAGIC;

static shmem_startup_hook_type next_startup;

static void
indifferent(Port *port, int status)
{
}

static void
take_the_hook(void)
{
	if (next_startup)
		next_startup();
	ClientAuthentication_hook = indifferent;
}

void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
	{
		const char *database = MyProcPort ? MyProcPort->database_name : "postgres";

		if (strcmp(database, "template1") == 0 || *database == '\0')
			ClientAuthentication_hook = indifferent;
		return;
	}
	next_startup = shmem_startup_hook;
	shmem_startup_hook = take_the_hook;
}

static bool
validate(const ValidatorModuleState *state, const char *token, const char *role,
		 ValidatorModuleResult *result)
{
	result->authn_id = pstrdup(role);
	result->authorized = true;
	return true;
}

const OAuthValidatorCallbacks *
_PG_oauth_validator_module_init(void)
{
	static const OAuthValidatorCallbacks callbacks = {
		.magic = PG_OAUTH_VALIDATOR_MAGIC,
		.validate_cb = validate,
	};

	return &callbacks;
}
