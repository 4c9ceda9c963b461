/*
 * utility.c
 *	  Passes statements to the guards: those that change roles (principals/guard.rs),
 *	  and those that drop this extension (audit/guard.rs).
 *
 * The hook is in C so that PostgreSQL's own errors pass it untouched: through
 * a Rust frame, each ERROR of a utility statement would be converted to a panic
 * and back.
 */
#include "postgres.h"

#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"

#include "utility.h"

static AadRoleCheck granting;
static AadRoleCheck altering;
static AadDropCheck dropping;
static ProcessUtility_hook_type next_hook;

static void process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
							ProcessUtilityContext context, ParamListInfo params,
							QueryEnvironment *queryEnv, DestReceiver *dest,
							QueryCompletion *qc);
static void check_statement(Node *statement);
static void check_drop(DropStmt *statement);
static void check_name(AadRoleCheck check, const char *name);
static void check_spec(AadRoleCheck check, RoleSpec *spec);

/*
 * Installs the hook.  `on_grant` is called with each role that is about to get
 * new members, `on_alter` with each that is about to be altered, renamed or
 * dropped, `on_drop` when this extension is about to be dropped without CASCADE;
 * all raise an ERROR to refuse.  The first two may be NULL.
 */
void
aad_guard_statements(AadRoleCheck on_grant, AadRoleCheck on_alter, AadDropCheck on_drop)
{
	granting = on_grant;
	altering = on_alter;
	dropping = on_drop;
	next_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}

static void
process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	check_statement(pstmt->utilityStmt);
	if (next_hook)
		next_hook(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv,
								dest, qc);
}

static void
check_statement(Node *statement)
{
	ListCell   *cell;

	switch (nodeTag(statement))
	{
		case T_GrantRoleStmt:
			if (((GrantRoleStmt *) statement)->is_grant)
				foreach(cell, ((GrantRoleStmt *) statement)->granted_roles)
					check_name(granting, lfirst_node(AccessPriv, cell)->priv_name);
			break;

		case T_CreateRoleStmt:
			/* IN ROLE; the new role's own members get nothing by it */
			foreach(cell, ((CreateRoleStmt *) statement)->options)
			{
				DefElem    *option = lfirst_node(DefElem, cell);
				ListCell   *spec;

				if (strcmp(option->defname, "addroleto") == 0)
					foreach(spec, (List *) option->arg)
						check_spec(granting, lfirst_node(RoleSpec, spec));
			}
			break;

		case T_AlterRoleStmt:
			{
				AlterRoleStmt *alter = (AlterRoleStmt *) statement;

				foreach(cell, alter->options)
				{
					/* ALTER GROUP ... ADD USER, and the undocumented ALTER ROLE ... USER */
					if (strcmp(lfirst_node(DefElem, cell)->defname, "rolemembers") != 0)
						check_spec(altering, alter->role);
					else if (alter->action > 0)
						check_spec(granting, alter->role);
				}
			}
			break;

		case T_AlterRoleSetStmt:
			/* ALTER ROLE ALL names none */
			if (((AlterRoleSetStmt *) statement)->role)
				check_spec(altering, ((AlterRoleSetStmt *) statement)->role);
			break;

		case T_RenameStmt:
			if (((RenameStmt *) statement)->renameType == OBJECT_ROLE)
				check_name(altering, ((RenameStmt *) statement)->subname);
			break;

		case T_DropRoleStmt:
			foreach(cell, ((DropRoleStmt *) statement)->roles)
				check_spec(altering, lfirst_node(RoleSpec, cell));
			break;

		case T_DropStmt:
			check_drop((DropStmt *) statement);
			break;

		default:
			break;
	}
}

static void
check_drop(DropStmt *statement)
{
	ListCell   *cell;

	if (statement->removeType != OBJECT_EXTENSION || statement->behavior == DROP_CASCADE)
		return;
	foreach(cell, statement->objects)
		if (strcmp(strVal(lfirst(cell)), "aadauth") == 0)
			dropping();
}

static void
check_name(AadRoleCheck check, const char *name)
{
	/* PostgreSQL reports a role that does not exist, or what is not a role's name. */
	Oid			role = check && name ? get_role_oid(name, true) : InvalidOid;

	if (OidIsValid(role))
		check(role);
}

static void
check_spec(AadRoleCheck check, RoleSpec *spec)
{
	Oid			role = InvalidOid;

	if (check && spec->roletype != ROLESPEC_PUBLIC)
		role = get_rolespec_oid(spec, true);
	if (OidIsValid(role))
		check(role);
}
