/*
 * catalog.c
 *	  Scans of pg_shseclabel and pg_authid.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_shseclabel.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog.h"

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
 * Lets one transaction at a time change labels, until it ends.
 *
 * The lock is on the catalog as an object, which nothing else locks, and not
 * on the table, where it would block other label providers and VACUUM.  Having waited, LockSharedObject accepts
 * invalidations, so that the next scan sees what others have committed.
 */
void
aad_lock_labels(void)
{
	LockSharedObject(SharedSecLabelRelationId, InvalidOid, 0, ExclusiveLock);
}

/*
 * The privileged role that `role` is, or is a direct or indirect member of;
 * InvalidOid when there is none.
 *
 * Whether a membership is inherited makes no difference: a member can SET
 * ROLE.  is_member_of_role_nosuper, because otherwise a superuser counts as a
 * member of every role.
 */
Oid
aad_privilege_behind(Oid role)
{
	Relation	rel = table_open(AuthIdRelationId, AccessShareLock);
	Oid			auditor = get_role_oid("aadauth_auditor", true);
	Oid			found = InvalidOid;
	SysScanDesc scan;
	HeapTuple	tuple;

	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (found != role && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_authid candidate = (Form_pg_authid) GETSTRUCT(tuple);

		if (!candidate->rolsuper && !candidate->rolreplication && !candidate->rolbypassrls &&
			candidate->oid != ROLE_PG_READ_ALL_DATA &&
			candidate->oid != ROLE_PG_WRITE_ALL_DATA &&
			candidate->oid != ROLE_PG_READ_SERVER_FILES &&
			candidate->oid != ROLE_PG_WRITE_SERVER_FILES &&
			candidate->oid != ROLE_PG_EXECUTE_SERVER_PROGRAM &&
			candidate->oid != auditor)
			continue;
		if (is_member_of_role_nosuper(role, candidate->oid))
			found = candidate->oid;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * Keeps the role from being dropped until the transaction ends; false when
 * there is none.
 *
 * GRANT takes no lock on the member, so that it could leave a membership of a
 * role that is dropped at the same time.  DROP ROLE takes the lock that
 * conflicts with this one (DropRole, user.c).
 */
bool
aad_lock_role(Oid role)
{
	LockSharedObject(AuthIdRelationId, role, 0, AccessShareLock);
	return SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role));
}
