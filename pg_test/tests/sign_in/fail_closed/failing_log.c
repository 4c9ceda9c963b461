/*
 * failing_log.c
 *	  A library that raises an ERROR when the server writes of what an injected fault did, while
 *	  there is a file BROKEN.
 */
#include "postgres.h"

#include <unistd.h>

#include "fmgr.h"
#include "utils/elog.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

static void
fail(ErrorData *report)
{
	if (report->message && strstr(report->message, "on request") && access(BROKEN, F_OK) == 0)
		ereport(ERROR, (errmsg_internal("nothing can be written")));
}

void
_PG_init(void)
{
	emit_log_hook = fail;
}
