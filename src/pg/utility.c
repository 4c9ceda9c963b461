/*
 * utility.c
 *	  Passes statements to the guards: those that change roles (principals/guard.rs),
 *	  and those that drop this extension or take its database away (audit/guard.rs).
 *
 * The hook is in C so that PostgreSQL's own errors pass it untouched: through
 * a Rust frame, each ERROR of a utility statement would be converted to a panic
 * and back.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/syscache.h"

#include "catalog.h"
#include "utility.h"

static AadGuards guards;
static ProcessUtility_hook_type next_hook;

static void process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
							ProcessUtilityContext context, ParamListInfo params,
							QueryEnvironment *queryEnv, DestReceiver *dest,
							QueryCompletion *qc);
static List *made_privileged(Node *statement);
static void others_statement(Node *statement);
static void check_label(SecLabelStmt *label);
static void check_drop(DropStmt *statement);
static void check_drop_owned(DropOwnedStmt *statement);
static bool is_about_roles(Node *statement);
static bool may_take_database(Node *statement);
static bool renames_database(Node *statement, const char *name);
static const char *used_database(void);
static bool belongs_to_superuser(const char *database);
static void check_name(void (*check) (Oid role), const char *name);
static void check_spec(void (*check) (Oid role), RoleSpec *spec);
static Oid	role_of(RoleSpec *spec);
static List *members_option(List *options);
static List *ordinary(List *specs);
static bool grants_privileged(GrantRoleStmt *statement);
static bool gives_privileges(GrantStmt *grant);
static bool gives_attributes(List *options);
static Oid	given_password(Node *statement);

/* Installs the hook. */
void
aad_guard_statements(AadGuards all)
{
	guards = all;
	next_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}

static void
process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	Node	   *statement = pstmt->utilityStmt;
	List	   *candidates = NIL;
	List	   *privileges = NIL;
	ListCell   *cell;
	ListCell   *before;
	const char *database = NULL;
	Oid			role;

	if (IsA(statement, DropStmt))
		check_drop((DropStmt *) statement);
	else if (IsA(statement, DropOwnedStmt))
		check_drop_owned((DropOwnedStmt *) statement);
	/* Others may run in an aborted transaction, where no catalog can be read. */
	else if (is_about_roles(statement) && !RecoveryInProgress() && !IsBinaryUpgrade)
	{
		if (!superuser())
			others_statement(statement);
		candidates = made_privileged(statement);
		foreach(cell, candidates)
			privileges = lappend_int(privileges, aad_reached_privileges(lfirst_oid(cell)));
	}
	if (may_take_database(statement) && !RecoveryInProgress() && !IsBinaryUpgrade)
	{
		database = used_database();
		if (!belongs_to_superuser(database))
			database = NULL;
		/* PostgreSQL would wait for the workers to leave it, and then complain of them. */
		else if (superuser() && renames_database(statement, database))
			guards.losing_database();
	}
	if (next_hook)
		next_hook(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv,
								dest, qc);
	if (candidates != NIL || database)
		CommandCounterIncrement();
	if (database && !belongs_to_superuser(database))
		guards.losing_database();
	/* Anybody may grant functions of their own, which makes nobody more privileged. */
	forboth(cell, candidates, before, privileges)
		if ((aad_reached_privileges(lfirst_oid(cell)) & ~lfirst_int(before)) != 0)
			guards.changed(lfirst_oid(cell));
	role = RecoveryInProgress() || IsBinaryUpgrade ? InvalidOid : given_password(statement);
	if (OidIsValid(role))
		guards.password_given(role);
}

static bool
is_about_roles(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_GrantRoleStmt:
		case T_GrantStmt:
		case T_CreateRoleStmt:
		case T_AlterRoleStmt:
		case T_AlterRoleSetStmt:
		case T_DropRoleStmt:
			return true;
		case T_RenameStmt:
			return ((RenameStmt *) statement)->renameType == OBJECT_ROLE;
		case T_SecLabelStmt:
			return ((SecLabelStmt *) statement)->objtype == OBJECT_ROLE;
		default:
			return false;
	}
}

/*
 * The roles that the statement may make privileged, also further than they
 * are. Others than superusers may pass on what a superuser has granted them;
 * the attributes that they give are their own.
 */
static List *
made_privileged(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_GrantRoleStmt:
			if (grants_privileged((GrantRoleStmt *) statement))
				return ordinary(((GrantRoleStmt *) statement)->grantee_roles);
			return NIL;

		case T_GrantStmt:
			{
				GrantStmt  *grant = (GrantStmt *) statement;

				return gives_privileges(grant) ? ordinary(grant->grantees) : NIL;
			}

		case T_CreateRoleStmt:
			if (!superuser())
				return NIL;
			/* Nobody has anything of the new role yet, but its members are others. */
			return ordinary(members_option(((CreateRoleStmt *) statement)->options));

		case T_AlterRoleStmt:
			{
				AlterRoleStmt *alter = (AlterRoleStmt *) statement;
				List	   *members = members_option(alter->options);

				if (!superuser())
					return NIL;
				if (members != NIL)
					return alter->action > 0 ? ordinary(members) : NIL;
				return gives_attributes(alter->options) ? ordinary(list_make1(alter->role)) : NIL;
			}

		default:
			return NIL;
	}
}

/* Checks a statement of somebody without superuser. */
static void
others_statement(Node *statement)
{
	ListCell   *cell;

	switch (nodeTag(statement))
	{
		case T_GrantRoleStmt:
			if (((GrantRoleStmt *) statement)->is_grant)
				foreach(cell, ((GrantRoleStmt *) statement)->granted_roles)
					check_name(guards.granting, lfirst_node(AccessPriv, cell)->priv_name);
			break;

		case T_CreateRoleStmt:
			guards.naming(((CreateRoleStmt *) statement)->role);
			/* IN ROLE; the new role's own members get nothing by it */
			foreach(cell, ((CreateRoleStmt *) statement)->options)
			{
				DefElem    *option = lfirst_node(DefElem, cell);
				ListCell   *spec;

				if (strcmp(option->defname, "addroleto") == 0)
					foreach(spec, (List *) option->arg)
						check_spec(guards.granting, lfirst_node(RoleSpec, spec));
			}
			break;

		case T_AlterRoleStmt:
			{
				AlterRoleStmt *alter = (AlterRoleStmt *) statement;

				foreach(cell, alter->options)
				{
					/* ALTER GROUP ... ADD USER, and the undocumented ALTER ROLE ... USER */
					if (strcmp(lfirst_node(DefElem, cell)->defname, "rolemembers") != 0)
						check_spec(guards.altering, alter->role);
					else if (alter->action > 0)
						check_spec(guards.granting, alter->role);
				}
			}
			break;

		case T_AlterRoleSetStmt:
			/* ALTER ROLE ALL names none */
			if (((AlterRoleSetStmt *) statement)->role)
				check_spec(guards.altering, ((AlterRoleSetStmt *) statement)->role);
			break;

		case T_RenameStmt:
			check_name(guards.altering, ((RenameStmt *) statement)->subname);
			guards.naming(((RenameStmt *) statement)->newname);
			break;

		case T_DropRoleStmt:
			foreach(cell, ((DropRoleStmt *) statement)->roles)
				check_spec(guards.altering, lfirst_node(RoleSpec, cell));
			break;

		case T_SecLabelStmt:
			check_label((SecLabelStmt *) statement);
			break;

		default:
			break;
	}
}

static void
check_label(SecLabelStmt *label)
{
	if (label->provider && (strcmp(label->provider, "pgaadauth") == 0 ||
							strcmp(label->provider, "pgaadauth-int") == 0))
		check_name(guards.labeling, strVal(label->object));
}

static void
check_drop(DropStmt *statement)
{
	ListCell   *cell;

	if (statement->removeType != OBJECT_EXTENSION || statement->behavior == DROP_CASCADE)
		return;
	foreach(cell, statement->objects)
		if (strcmp(strVal(lfirst(cell)), "aadauth") == 0)
			guards.dropping();
}

/* It drops the extension with its members, if one of the roles owns it. */
static void
check_drop_owned(DropOwnedStmt *statement)
{
	ListCell   *cell;

	if (statement->behavior == DROP_CASCADE)
		return;
	foreach(cell, statement->roles)
	{
		Oid			role = role_of(lfirst_node(RoleSpec, cell));

		if (OidIsValid(role))
			guards.dropping_owned(role);
	}
}

/* Whether the statement may rename a database or leave it to an owner without superuser. */
static bool
may_take_database(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_AlterOwnerStmt:
			return ((AlterOwnerStmt *) statement)->objectType == OBJECT_DATABASE;
		case T_RenameStmt:
			return ((RenameStmt *) statement)->renameType == OBJECT_DATABASE;
		case T_ReassignOwnedStmt:
		case T_AlterRoleStmt:
			return true;
		default:
			return false;
	}
}

static bool
renames_database(Node *statement, const char *name)
{
	return IsA(statement, RenameStmt) && strcmp(((RenameStmt *) statement)->subname, name) == 0;
}

/* As settings::database of the Rust side. */
static const char *
used_database(void)
{
	const char *name = GetConfigOption("aadauth.database", false, false);

	return name[0] != '\0' ? name : "postgres";
}

/* Whether there is a database of that name, and its owner is a superuser. */
static bool
belongs_to_superuser(const char *database)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID,
										ObjectIdGetDatum(get_database_oid(database, true)));
	bool		belongs;

	if (!HeapTupleIsValid(tuple))
		return false;
	belongs = superuser_arg(((Form_pg_database) GETSTRUCT(tuple))->datdba);
	ReleaseSysCache(tuple);
	return belongs;
}

static void
check_name(void (*check) (Oid role), const char *name)
{
	/* PostgreSQL reports a role that does not exist, or what is not a role's name. */
	Oid			role = name ? get_role_oid(name, true) : InvalidOid;

	if (OidIsValid(role))
		check(role);
}

static void
check_spec(void (*check) (Oid role), RoleSpec *spec)
{
	Oid			role = role_of(spec);

	if (OidIsValid(role))
		check(role);
}

/* InvalidOid for PUBLIC, and for a role that does not exist. */
static Oid
role_of(RoleSpec *spec)
{
	return spec->roletype == ROLESPEC_PUBLIC ? InvalidOid : get_rolespec_oid(spec, true);
}

/* The roles that ROLE, ADMIN, USER or ADD USER names, in a statement that creates or alters one. */
static List *
members_option(List *options)
{
	List	   *members = NIL;
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, "rolemembers") == 0 ||
			strcmp(option->defname, "adminmembers") == 0)
			members = list_concat_copy(members, (List *) option->arg);
	}
	return members;
}

/* Those of the roles that are no superusers. */
static List *
ordinary(List *specs)
{
	List	   *roles = NIL;
	ListCell   *cell;

	foreach(cell, specs)
	{
		Oid			role = role_of(lfirst_node(RoleSpec, cell));

		if (OidIsValid(role) && !superuser_arg(role))
			roles = lappend_oid(roles, role);
	}
	return roles;
}

/* Whether one of the roles that the statement grants is privileged: most are not. */
static bool
grants_privileged(GrantRoleStmt *statement)
{
	ListCell   *cell;

	if (!statement->is_grant)
		return false;
	foreach(cell, statement->granted_roles)
	{
		const char *name = lfirst_node(AccessPriv, cell)->priv_name;
		Oid			role = name ? get_role_oid(name, true) : InvalidOid;

		if (OidIsValid(role) && guards.is_privileged(role))
			return true;
	}
	return false;
}

/* Whether it grants a parameter, or may grant a function that reaches the server's files. */
static bool
gives_privileges(GrantStmt *grant)
{
	ListCell   *cell;

	if (!grant->is_grant)
		return false;
	if (grant->objtype == OBJECT_PARAMETER_ACL)
		return true;
	if (grant->objtype != OBJECT_FUNCTION && grant->objtype != OBJECT_ROUTINE)
		return false;
	if (grant->targtype != ACL_TARGET_OBJECT)
		return true;
	foreach(cell, grant->objects)
	{
		List	   *name = lfirst_node(ObjectWithArgs, cell)->objname;

		if (aad_reaches_files(strVal(llast(name))))
			return true;
	}
	return false;
}

/* Whether it alters an attribute that makes a role privileged. */
static bool
gives_attributes(List *options)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		const char *name = lfirst_node(DefElem, cell)->defname;

		if (strcmp(name, "superuser") == 0 || strcmp(name, "isreplication") == 0 ||
			strcmp(name, "bypassrls") == 0)
			return true;
	}
	return false;
}

/* The role to which ALTER ROLE has given a password; none if that is NULL, or empty, which PostgreSQL stores as NULL. */
static Oid
given_password(Node *statement)
{
	ListCell   *cell;
	bool		is_set = false;
	Oid			role;
	HeapTuple	tuple;
	bool		is_null;

	if (!IsA(statement, AlterRoleStmt))
		return InvalidOid;
	foreach(cell, ((AlterRoleStmt *) statement)->options)
		if (strcmp(lfirst_node(DefElem, cell)->defname, "password") == 0)
			is_set = true;
	role = is_set ? role_of(((AlterRoleStmt *) statement)->role) : InvalidOid;
	if (!OidIsValid(role))
		return InvalidOid;
	CommandCounterIncrement();
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	SysCacheGetAttr(AUTHOID, tuple, Anum_pg_authid_rolpassword, &is_null);
	ReleaseSysCache(tuple);
	return is_null ? InvalidOid : role;
}
