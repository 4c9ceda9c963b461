/*
 * ending.h
 *	  What the Rust side calls in ending.c; its declarations are in ending.rs.
 */
#ifndef AADAUTH_ENDING_H
#define AADAUTH_ENDING_H

#include "postgres.h"

/* What a client is told in place of core's words; the strings are constants. */
typedef struct AadWords
{
	const char *sqlstate;		/* five characters */
	const char *message;
	const char *hint;
} AadWords;

/* False when this backend is not being ended by us.  Takes no lock and raises nothing. */
typedef bool (*AadOwnEnding) (AadWords *words);

extern void aad_watch_endings(AadOwnEnding look);
extern bool aad_terminate(int pid);

#endif							/* AADAUTH_ENDING_H */
