/*
 * utility.h
 *	  What the Rust side calls in utility.c; its declarations are in hooks/utility.rs.
 */
#ifndef AADAUTH_UTILITY_H
#define AADAUTH_UTILITY_H

#include "postgres.h"

/* The checks of statements; those that refuse raise an ERROR. */
typedef struct AadGuards
{
	/* Somebody without superuser is about to give the role a new member, */
	void		(*granting) (Oid role);
	/* to alter, rename or drop it, */
	void		(*altering) (Oid role);
	/* or to give a role that name. */
	void		(*naming) (const char *name);
	/* It is about to set one of our labels on the role, or to clear it. */
	void		(*labeling) (Oid role);
	/* Whether who is granted the role becomes privileged by that. */
	bool		(*is_privileged) (Oid role);
	/* A statement may have made the role privileged. */
	void		(*changed) (Oid role);
	/* A statement has given the role a password. */
	void		(*password_given) (Oid role);
	/* The extension is about to be dropped without CASCADE. */
	void		(*dropping) (void);
	/* What the role owns is about to be dropped without CASCADE. */
	void		(*dropping_owned) (Oid role);
	/* The database that aadauth.database names loses its name or an owner who is a superuser. */
	void		(*losing_database) (void);
} AadGuards;

extern void aad_guard_statements(AadGuards guards);

#endif							/* AADAUTH_UTILITY_H */
