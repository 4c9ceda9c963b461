/*
 * ending.c
 *	  Ends sessions as pg_terminate_backend does, and says why in words of ours.
 *
 * SIGTERM leaves it to core where a backend may die, which is never in the middle of a commit.  Core's
 * message says "administrator command" and has the SQLSTATE of a shutdown; both are replaced on their
 * way to the log and to the client.  (elog.c means the hook for the log alone; but there is no other way to
 * have both a message of one's own and core's rules about where a backend dies.  Where log_min_messages
 * keeps FATAL out of the log the hook is not called, and the client gets core's words.)
 */
#include "postgres.h"

#include <signal.h>

#include "utils/elog.h"

#include "ending.h"

static AadOwnEnding own_ending;
static emit_log_hook_type next_hook;

static void use_own_words(ErrorData *edata);

void
aad_watch_endings(AadOwnEnding look)
{
	own_ending = look;
	next_hook = emit_log_hook;
	emit_log_hook = use_own_words;
}

/*
 * The strings must be palloc'd where errfinish frees them; EmitErrorReport has switched to that
 * context.  ProcessInterrupts calls it a cancelled authentication when the client is still being
 * authenticated (postgres.c).
 */
static void
use_own_words(ErrorData *edata)
{
	AadWords	words;

	if (edata->elevel == FATAL &&
		(edata->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN ||
		 edata->sqlerrcode == ERRCODE_QUERY_CANCELED) &&
		own_ending(&words))
	{
		edata->sqlerrcode = MAKE_SQLSTATE(words.sqlstate[0], words.sqlstate[1], words.sqlstate[2],
										  words.sqlstate[3], words.sqlstate[4]);
		edata->message = pstrdup(words.message);
		edata->hint = pstrdup(words.hint);
	}
	if (next_hook)
		next_hook(edata);
}

/* Every backend leads a process group of its own (InitPostmasterChild, miscinit.c). */
bool
aad_terminate(int pid)
{
	return pid > 1 && kill(-pid, SIGTERM) == 0;
}
