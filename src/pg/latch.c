/*
 * latch.c
 *	  Processes that wake each other, and the signal handlers of our background workers.
 *
 * Only what is a macro, or differs between versions of the server, is here.
 */
#include "postgres.h"

#include <signal.h>

#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"

#include "latch.h"

/* This process's place in the shared array of processes; -1 when it has none. */
int
aad_process_number(void)
{
	if (MyProc == NULL)
		return -1;
#if PG_VERSION_NUM >= 170000
	return GetNumberFromPGProc(MyProc);
#else
	return MyProc->pgprocno;
#endif
}

/*
 * Sets the latch of the process in that place.  The place may have changed hands
 * since its number was noted: every loop around a latch tolerates spurious wakeups
 * (latch.h).
 */
void
aad_wake(int process_number)
{
	if (ProcGlobal == NULL || process_number < 0 ||
		process_number >= (int) ProcGlobal->allProcCount)
		return;
	SetLatch(&GetPGProcByNumber(process_number)->procLatch);
}

/*
 * A worker that runs SQL handles SIGTERM as a backend does, so that a shutdown ends
 * a wait for a lock; the network worker only notes it.
 */
void
aad_worker_signals(bool has_database)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, has_database ? die : SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
}
