/*
 * catalog.h
 *	  What the Rust side reads of the shared catalogs.
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

/* A membership in a role. */
typedef struct AadMembership
{
	Oid			member;
	Oid			grantor;
	bool		administers;	/* ADMIN OPTION */
	bool		is_used;		/* INHERIT or SET; always before 16 */
} AadMembership;

/* What makes a role privileged. */
#define AAD_REPLICATION 1
#define AAD_BYPASSRLS 2
#define AAD_OTHERS 4

extern AadLabel *aad_role_labels(int *count);
extern bool aad_try_lock(Oid catalog, Oid object, int mode);
extern void aad_wait_for_lock(Oid catalog, Oid object, int mode, int timeout);
extern AadMembership *aad_members(Oid role, int *count);
extern Oid *aad_roles_behind(Oid role, int *count);
extern int	aad_own_privileges(Oid role);
extern int	aad_privileges_without_grants(Oid role);
extern int	aad_reached_privileges(Oid role);
extern bool aad_reaches_files(const char *function);
extern void aad_lock_role(Oid role);

#endif							/* AADAUTH_CATALOG_H */
