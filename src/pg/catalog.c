/*
 * catalog.c
 *	  What the shared catalogs say of roles: their labels, memberships and privileges.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_auth_members.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_parameter_acl.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_shdepend.h"
#include "catalog/pg_shseclabel.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog.h"

static bool has_privileged_grant(Oid role);
static bool reaches_files(Oid function);

/*
 * All labels of our two providers on roles, palloc'd.
 *
 * A catalog scan sees what is committed now, whatever the isolation level of
 * the transaction.
 */
AadLabel *
aad_role_labels(int *count)
{
	Relation	rel = table_open(SharedSecLabelRelationId, AccessShareLock);
	AadLabel   *labels = palloc(8 * sizeof(AadLabel));
	int			room = 8;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	*count = 0;
	ScanKeyInit(&key, Anum_pg_shseclabel_classoid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(AuthIdRelationId));
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		TupleDesc	desc = RelationGetDescr(rel);
		bool		isnull;
		char	   *provider;
		bool		internal;

		provider = TextDatumGetCString(heap_getattr(tuple, Anum_pg_shseclabel_provider,
													desc, &isnull));
		internal = strcmp(provider, "pgaadauth-int") == 0;
		if (!internal && strcmp(provider, "pgaadauth") != 0)
			continue;

		if (*count == room)
			labels = repalloc(labels, (room *= 2) * sizeof(AadLabel));
		labels[*count].role = ((Form_pg_shseclabel) GETSTRUCT(tuple))->objoid;
		labels[*count].internal = internal;
		labels[*count].text =
			TextDatumGetCString(heap_getattr(tuple, Anum_pg_shseclabel_label, desc, &isnull));
		(*count)++;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return labels;
}

/*
 * Locks an object of a shared catalog until the transaction ends; false when
 * another transaction holds a lock that conflicts.
 */
bool
aad_try_lock(Oid catalog, Oid object, int mode)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, InvalidOid, catalog, object, 0);
	if (LockAcquire(&tag, mode, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	/* As LockSharedObject does: the next scan must see what others have committed. */
	AcceptInvalidationMessages();
	return true;
}

/* The same, waiting, that many milliseconds at most unless it is 0, as with lock_timeout. */
void
aad_wait_for_lock(Oid catalog, Oid object, int mode, int timeout)
{
	int			before = LockTimeout;

	PG_TRY();
	{
		if (timeout > 0 && (before == 0 || before > timeout))
			LockTimeout = timeout;
		LockSharedObject(catalog, object, 0, mode);
	}
	PG_FINALLY();
	{
		LockTimeout = before;
	}
	PG_END_TRY();
}

/* The memberships in the role, as they are now, palloc'd. */
AadMembership *
aad_members(Oid role, int *count)
{
	CatCList   *list = SearchSysCacheList1(AUTHMEMROLEMEM, ObjectIdGetDatum(role));
	AadMembership *members = palloc0(Max(list->n_members, 1) * sizeof(AadMembership));

	*count = list->n_members;
	for (int i = 0; i < list->n_members; i++)
	{
		Form_pg_auth_members form = (Form_pg_auth_members) GETSTRUCT(&list->members[i]->tuple);

		members[i].member = form->member;
		members[i].grantor = form->grantor;
		members[i].administers = form->admin_option;
		members[i].is_used = true;
#if PG_VERSION_NUM >= 160000
		members[i].is_used = form->inherit_option || form->set_option;
#endif
	}
	ReleaseSysCacheList(list);
	return members;
}

/*
 * The role and all roles that it is a direct or indirect member of, palloc'd.
 *
 * What a membership allows (INHERIT, SET, ADMIN) makes no difference: with any
 * of them a member can use the role's privileges, or grant them to itself.
 */
Oid *
aad_roles_behind(Oid role, int *count)
{
	List	   *roles = list_make1_oid(role);
	ListCell   *cell;
	Oid		   *found;

	foreach(cell, roles)
	{
		CatCList   *memberships = SearchSysCacheList1(AUTHMEMMEMROLE,
													  ObjectIdGetDatum(lfirst_oid(cell)));

		for (int i = 0; i < memberships->n_members; i++)
		{
			HeapTuple	tuple = &memberships->members[i]->tuple;

			roles = list_append_unique_oid(roles, ((Form_pg_auth_members) GETSTRUCT(tuple))->roleid);
		}
		ReleaseSysCacheList(memberships);
	}
	found = palloc(list_length(roles) * sizeof(Oid));
	*count = 0;
	foreach(cell, roles)
		found[(*count)++] = lfirst_oid(cell);
	list_free(roles);
	return found;
}

/*
 * What the role has by itself beyond privileges on databases and their
 * objects; zero for most.
 */
int
aad_own_privileges(Oid role)
{
	int			privileges = aad_privileges_without_grants(role);

	if (has_privileged_grant(role))
		privileges |= AAD_OTHERS;
	return privileges;
}

/*
 * The same without what was granted to it: pg_authid and pg_auth_members can be
 * read before a database is chosen (relcache.c, RelationCacheInitializePhase2).
 */
int
aad_privileges_without_grants(Oid role)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	Form_pg_authid form;
	int			privileges = 0;

	if (!HeapTupleIsValid(tuple))
		return 0;
	form = (Form_pg_authid) GETSTRUCT(tuple);
	if (form->rolreplication)
		privileges |= AAD_REPLICATION;
	if (form->rolbypassrls)
		privileges |= AAD_BYPASSRLS;
	if (form->rolsuper ||
		role == ROLE_PG_READ_ALL_DATA || role == ROLE_PG_WRITE_ALL_DATA ||
		role == ROLE_PG_READ_SERVER_FILES || role == ROLE_PG_WRITE_SERVER_FILES ||
		role == ROLE_PG_EXECUTE_SERVER_PROGRAM ||
#ifdef ROLE_PG_MAINTAIN
		/* It may lock every table, also those that the workers write to. */
		role == ROLE_PG_MAINTAIN ||
#endif
		strcmp(NameStr(form->rolname), "aadauth_auditor") == 0 ||
		strcmp(NameStr(form->rolname), "aadauth_monitor") == 0 ||
		strcmp(NameStr(form->rolname), "aadauth_pooler") == 0 ||
		strcmp(NameStr(form->rolname), "azure_pg_admin") == 0)
		privileges |= AAD_OTHERS;
	ReleaseSysCache(tuple);
	return privileges;
}

/* The same, also by way of the roles that it is a member of. */
int
aad_reached_privileges(Oid role)
{
	int			count;
	Oid		   *behind = aad_roles_behind(role, &count);
	int			privileges = 0;

	for (int i = 0; i < count; i++)
		privileges |= aad_own_privileges(behind[i]);
	pfree(behind);
	return privileges;
}

/*
 * Whether a configuration parameter was granted to the role, in which case it
 * is a superuser's, or one of the functions that read and write the server's
 * files, in any database: pg_shdepend has the access control lists that name a
 * role, except for predefined roles.
 */
static bool
has_privileged_grant(Oid role)
{
	Relation	rel = table_open(SharedDependRelationId, AccessShareLock);
	bool		found = false;
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_shdepend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(AuthIdRelationId));
	ScanKeyInit(&keys[1], Anum_pg_shdepend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(role));
	scan = systable_beginscan(rel, SharedDependReferenceIndexId, true, NULL, 2, keys);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_shdepend depend = (Form_pg_shdepend) GETSTRUCT(tuple);

		if (depend->deptype == SHARED_DEPENDENCY_ACL)
			found = depend->classid == ParameterAclRelationId ||
				(depend->classid == ProcedureRelationId && reaches_files(depend->objid));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* Whether it is one of core's functions that read or write any file of the server. */
static bool
reaches_files(Oid function)
{
	char	   *name;

	/* Core's are the same in every database. */
	return function < FirstGenbkiObjectId && (name = get_func_name(function)) != NULL &&
		aad_reaches_files(name);
}

/* Whether one of core's functions of that name reads or writes any file of the server. */
bool
aad_reaches_files(const char *function)
{
	static const char *const names[] = {
		"pg_read_file", "pg_read_binary_file", "pg_ls_dir", "pg_stat_file", "lo_import", "lo_export"
	};

	for (int i = 0; i < lengthof(names); i++)
		if (strcmp(function, names[i]) == 0)
			return true;
	return false;
}

/* Takes a lock on the role that conflicts with that of DROP ROLE, until the transaction ends. */
void
aad_lock_role(Oid role)
{
	LockSharedObject(AuthIdRelationId, role, 0, AccessShareLock);
}
