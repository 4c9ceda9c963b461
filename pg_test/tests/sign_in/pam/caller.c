/*
 * caller.c
 *	  Lets a session call what libpam would call, whenever it likes.
 */
#include "postgres.h"

#include <dlfcn.h>

#include "fmgr.h"
#include "utils/builtins.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(call_pam);

Datum
call_pam(PG_FUNCTION_ARGS)
{
	const char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int			(*entry) (void *handle, int flags, int count, const char **arguments);

	*(void **) &entry = dlsym(RTLD_DEFAULT, name);
	if (entry == NULL)
		ereport(ERROR, (errmsg_internal("there is no %s", name)));
	PG_RETURN_INT32(entry(NULL, 0, 0, NULL));
}
