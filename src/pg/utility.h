/*
 * utility.h
 *	  What the Rust side calls in utility.c; its declarations are in hooks/utility.rs.
 */
#ifndef AADAUTH_UTILITY_H
#define AADAUTH_UTILITY_H

#include "postgres.h"

/* Raises an ERROR if the statement must not do this to the role. */
typedef void (*AadRoleCheck) (Oid role);

/* Raises an ERROR if the extension must not be dropped. */
typedef void (*AadDropCheck) (void);

extern void aad_guard_statements(AadRoleCheck on_grant, AadRoleCheck on_alter,
								 AadDropCheck on_drop);

#endif							/* AADAUTH_UTILITY_H */
