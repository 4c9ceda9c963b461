/*
 * termination.h
 *	  What the Rust side calls in termination.c; its declarations are in termination.rs and
 *	  hooks/termination.rs.
 */
#ifndef AADAUTH_TERMINATION_H
#define AADAUTH_TERMINATION_H

#include "postgres.h"

/* Replaces core's error text; the strings are constants. */
typedef struct AadErrorText
{
	const char *sqlstate;		/* five characters */
	const char *message;
	const char *hint;
} AadErrorText;

/* False if we are not terminating this backend.  Takes no lock and raises nothing. */
typedef bool (*AadTerminationText) (AadErrorText *text);

extern void aad_watch_terminations(AadTerminationText look);
extern bool aad_terminate(int pid);

#endif							/* AADAUTH_TERMINATION_H */
