/*
 * catalog.h
 *	  What the Rust side reads of pg_shseclabel and pg_authid.
 *
 * The Rust declarations are in label.rs and privileges.rs; keep them together.
 */
#ifndef AADAUTH_CATALOG_H
#define AADAUTH_CATALOG_H

#include "postgres.h"

/* A security label of one of our two providers. */
typedef struct AadLabel
{
	Oid			role;
	bool		internal;
	char	   *text;
} AadLabel;

extern AadLabel *aad_role_labels(int *count);
extern void aad_lock_labels(void);
extern Oid	aad_privilege_behind(Oid role);
extern bool aad_lock_role(Oid role);

#endif							/* AADAUTH_CATALOG_H */
