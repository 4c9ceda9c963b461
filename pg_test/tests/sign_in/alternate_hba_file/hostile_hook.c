/*
 * hostile_hook.c
 *	  A library that gets in the way of aadauth, though loaded after it.
 *
 * HBA_FILE: it puts another file of lines in force.  Otherwise it takes the place of the
 * authentication hook; CHAINED: and calls the one that was there, as it should.
 */
#include "postgres.h"

#include "fmgr.h"
#include "libpq/auth.h"
#include "storage/ipc.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

#ifdef HBA_FILE

void
_PG_init(void)
{
	SetConfigOption("hba_file", HBA_FILE, PGC_POSTMASTER, PGC_S_OVERRIDE);
}

#else

static shmem_startup_hook_type previous_startup;
static ClientAuthentication_hook_type displaced;

static void
authenticate(Port *port, int status)
{
	ereport(LOG, (errmsg_internal("hostile hook: status %d for %s", status, port->user_name)));
#ifdef CHAINED
	if (displaced)
		displaced(port, status);
#endif
}

static void
startup(void)
{
#ifndef UNCHAINED_STARTUP
	if (previous_startup)
		previous_startup();
#endif
	displaced = ClientAuthentication_hook;
	ClientAuthentication_hook = authenticate;
}

void
_PG_init(void)
{
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = startup;
}

#endif
