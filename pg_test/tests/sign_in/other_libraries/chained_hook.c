/*
 * chained_hook.c
 *	  A library that uses ClientAuthentication_hook as auth_delay and credcheck do: it
 *	  is told how an attempt ended, and passes that on to who was there before.
 *
 * NAME is what it calls itself in the server log.  It bans the role BANNED, as libraries
 * do that count failures: with a FATAL of its own, though the attempt was a success.
 */
#include "postgres.h"

#include "fmgr.h"
#include "libpq/auth.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

static ClientAuthentication_hook_type previous;

static void
authenticate(Port *port, int status)
{
	if (previous)
		previous(port, status);
	ereport(LOG, (errmsg_internal("%s: status %d for %s", NAME, status, port->user_name)));
	if (status == STATUS_OK && strcmp(port->user_name, BANNED) == 0)
		ereport(FATAL,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("%s has banned you", NAME)));
}

void
_PG_init(void)
{
	previous = ClientAuthentication_hook;
	ClientAuthentication_hook = authenticate;
}
