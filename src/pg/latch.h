/*
 * latch.h
 *	  What the Rust side calls in latch.c; its declarations are in latch.rs and
 *	  hooks/workers.rs.
 */
#ifndef AADAUTH_LATCH_H
#define AADAUTH_LATCH_H

#include "postgres.h"

extern int	aad_process_number(void);
extern void aad_wake(int process_number);
extern void aad_worker_signals(bool has_database);

#endif							/* AADAUTH_LATCH_H */
