/*
 * termination.c
 *	  Terminates sessions as pg_terminate_backend does, with an error message of our own.
 *
 * With SIGTERM, core decides where a backend may end, which is never in the middle of a commit.  Core's
 * message says "administrator command" and has the SQLSTATE of a shutdown; both are replaced before they
 * reach the log and the client.  (elog.c intends the hook for the log only; but there is no other way to
 * have both our own message and core's rules about where a backend ends.  If log_min_messages keeps FATAL
 * out of the log, the hook is not called, and the client gets core's message.)
 */
#include "postgres.h"

#include <signal.h>

#include "utils/elog.h"

#include "termination.h"

static AadTerminationText termination_text;
static emit_log_hook_type next_hook;

static void replace_error_text(ErrorData *edata);

void
aad_watch_terminations(AadTerminationText look)
{
	termination_text = look;
	next_hook = emit_log_hook;
	emit_log_hook = replace_error_text;
}

/*
 * The strings must be palloc'd where errfinish frees them; EmitErrorReport has switched to that
 * context.  While the client is still being authenticated, ProcessInterrupts reports a canceled
 * authentication instead (postgres.c).
 */
static void
replace_error_text(ErrorData *edata)
{
	AadErrorText	text;

	if (edata->elevel == FATAL &&
		(edata->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN ||
		 edata->sqlerrcode == ERRCODE_QUERY_CANCELED) &&
		termination_text(&text))
	{
		edata->sqlerrcode = MAKE_SQLSTATE(text.sqlstate[0], text.sqlstate[1], text.sqlstate[2],
										  text.sqlstate[3], text.sqlstate[4]);
		edata->message = pstrdup(text.message);
		edata->hint = pstrdup(text.hint);
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
