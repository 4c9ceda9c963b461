use super::*;

const OID: &str = "0a1b2c3d-1111-4222-8333-444455556666";
const TID: &str = "6f1c2d3e-4a5b-4c6d-8e7f-a0b1c2d3e4f5";

fn public(label: &str) -> Result<PublicLabel, LabelError> {
    label.parse()
}

fn internal(label: &str) -> Result<InternalLabel, LabelError> {
    label.parse()
}

#[test]
fn public_labels_are_read_and_written() {
    let object_id = OID.parse().unwrap();
    for (text, label) in [
        (
            "aadauth".to_owned(),
            PublicLabel::ByName {
                admin: false,
                mfa: false,
            },
        ),
        (
            "aadauth,admin".to_owned(),
            PublicLabel::ByName {
                admin: true,
                mfa: false,
            },
        ),
        (
            "aadauth,mfa".to_owned(),
            PublicLabel::ByName {
                admin: false,
                mfa: true,
            },
        ),
        (
            "aadauth,admin,mfa".to_owned(),
            PublicLabel::ByName {
                admin: true,
                mfa: true,
            },
        ),
        (
            format!("aadauth,oid={OID},type=service"),
            PublicLabel::Principal {
                kind: PrincipalKind::Service,
                object_id,
                admin: false,
                mfa: false,
            },
        ),
        (
            format!("aadauth,oid={OID},type=group,admin,mfa"),
            PublicLabel::Principal {
                kind: PrincipalKind::Group,
                object_id,
                admin: true,
                mfa: true,
            },
        ),
    ] {
        assert_eq!(public(&text), Ok(label.clone()), "{text}");
        assert_eq!(label.to_string(), text);
    }
    let canonical = public(&format!("aadauth,oid={OID},type=user,admin"));
    assert!(canonical.is_ok());
    assert_eq!(
        public(&format!("aadauth,admin,type=user,oid={OID}")),
        canonical
    );
    assert_eq!(
        public(&format!(
            "aadauth,oid={},type=user,admin",
            OID.to_uppercase()
        )),
        canonical
    );
}

#[test]
fn internal_labels_are_read_and_written() {
    let text = format!("type=user,oid={OID},tenant_id={TID},admin");
    let label = internal(&text).unwrap();
    assert_eq!(
        label,
        InternalLabel {
            kind: PrincipalKind::User,
            object_id: OID.parse().unwrap(),
            tenant: TID.parse().unwrap(),
            admin: true,
        }
    );
    assert_eq!(label.to_string(), text);
    assert_eq!(
        internal(&format!("admin,tenant_id={TID},oid={OID},type=user")),
        Ok(label)
    );
}

#[test]
fn public_labels_are_read_strictly() {
    use LabelError::*;
    let nil = "00000000-0000-0000-0000-000000000000";
    for (text, error) in [
        (String::new(), NotAadauth),
        ("Aadauth".to_owned(), NotAadauth),
        ("aadauthx".to_owned(), NotAadauth),
        ("admin".to_owned(), NotAadauth),
        ("aadauth admin".to_owned(), UnexpectedCharacter),
        ("aadauth, admin".to_owned(), UnexpectedCharacter),
        ("aadauth\n".to_owned(), UnexpectedCharacter),
        ("aadauth,\u{e4}dmin".to_owned(), UnexpectedCharacter),
        ("aadauth,".to_owned(), EmptyMember),
        ("aadauth,,admin".to_owned(), EmptyMember),
        ("aadauth,admin,".to_owned(), EmptyMember),
        ("aadauth,admin,admin".to_owned(), Repeated("admin")),
        (
            format!("aadauth,oid={OID},oid={OID},type=user"),
            Repeated("oid"),
        ),
        (format!("aadauth,oid={OID}"), Missing("type")),
        ("aadauth,type=user".to_owned(), Missing("oid")),
        (format!("aadauth,oid={OID},type=User"), UnknownType),
        (format!("aadauth,oid={OID},type=users"), UnknownType),
        (format!("aadauth,oid={OID},type="), UnknownType),
        (format!("aadauth,oid={OID},type"), UnknownType),
        (format!("aadauth,oid={{{OID}}},type=user"), NotAGuid("oid")),
        (format!("aadauth,oid={nil},type=user"), NotAGuid("oid")),
        ("aadauth,oid=,type=user".to_owned(), NotAGuid("oid")),
        ("aadauth,oid,type=user".to_owned(), NotAGuid("oid")),
        ("aadauth,admin=true".to_owned(), FlagWithValue("admin")),
        ("aadauth,mfa=".to_owned(), FlagWithValue("mfa")),
    ] {
        assert_eq!(public(&text), Err(error), "{text:?}");
    }
    for text in [
        "aadauth,database=x",
        "aadauth,ADMIN",
        "aadauth,aadauth",
        "aadauth,tenant_id=x",
    ] {
        assert!(matches!(public(text), Err(UnknownMember { .. })), "{text}");
    }
}

#[test]
fn internal_labels_are_read_strictly() {
    use LabelError::*;
    for (text, error) in [
        (String::new(), EmptyMember),
        (format!("type=user,oid={OID}"), Missing("tenant_id")),
        (format!("type=user,tenant_id={TID}"), Missing("oid")),
        (format!("oid={OID},tenant_id={TID}"), Missing("type")),
        ("admin".to_owned(), Missing("type")),
        (
            format!("type=user,oid={OID},tenant_id=common"),
            NotAGuid("tenant_id"),
        ),
        (
            format!("type=user, oid={OID},tenant_id={TID}"),
            UnexpectedCharacter,
        ),
        (
            format!("type=user,oid={OID},tenant_id={TID},tenant_id={TID}"),
            Repeated("tenant_id"),
        ),
        (
            format!("type=user,type=user,oid={OID},tenant_id={TID}"),
            Repeated("type"),
        ),
        (
            format!("type=device,oid={OID},tenant_id={TID}"),
            UnknownType,
        ),
    ] {
        assert_eq!(internal(&text), Err(error), "{text:?}");
    }
    for text in ["aadauth", "mfa", "TYPE=user"] {
        assert!(
            matches!(internal(text), Err(UnknownMember { .. })),
            "{text}"
        );
    }
}

#[test]
fn labels_have_a_longest_length() {
    // No well-formed label comes near the limit, so what is asserted is which error it is.
    let at = format!("aadauth,{}", "x".repeat(MAX_LABEL - 8));
    assert!(
        matches!(public(&at), Err(LabelError::UnknownMember { member, .. }) if member.len() == 64)
    );
    assert_eq!(public(&format!("{at}x")), Err(LabelError::TooLong));
    assert_eq!(
        internal(&"x".repeat(MAX_LABEL + 1)),
        Err(LabelError::TooLong)
    );
}

#[test]
fn errors_say_what_is_accepted() {
    assert_eq!(
        public("aadauth,database=app").unwrap_err().to_string(),
        "unknown member \"database\": accepted are oid, type, admin and mfa"
    );
    assert_eq!(
        internal("mfa").unwrap_err().to_string(),
        "unknown member \"mfa\": accepted are type, oid, tenant_id and admin"
    );
    assert_eq!(
        "robot".parse::<PrincipalKind>().unwrap_err().to_string(),
        "unknown principal type: accepted are user, group and service"
    );
}

#[test]
fn a_mapping_needs_both_labels_to_agree() {
    let full = format!("aadauth,oid={OID},type=user");
    let int = format!("type=user,oid={OID},tenant_id={TID}");
    let int_admin = format!("{int},admin");
    let mapping = Mapping {
        kind: PrincipalKind::User,
        object_id: OID.parse().unwrap(),
        tenant: TID.parse().unwrap(),
        admin: false,
        mfa: false,
    };
    let other = OID.replace('0', "1");
    let accepted = |mapping: &Mapping| Ok(Some(mapping.clone()));
    for (public, internal, expected) in [
        (None, None, Ok(None)),
        (Some(full.as_str()), Some(int.as_str()), accepted(&mapping)),
        (Some("aadauth"), Some(&int), accepted(&mapping)),
        (
            Some("aadauth,mfa"),
            Some(&int),
            accepted(&Mapping {
                mfa: true,
                ..mapping.clone()
            }),
        ),
        (
            Some("aadauth,admin"),
            Some(&int_admin),
            accepted(&Mapping {
                admin: true,
                ..mapping.clone()
            }),
        ),
        // One missing.
        (Some(&full), None, Err(Reason::LabelConflict)),
        (Some("aadauth"), None, Err(Reason::LabelConflict)),
        (None, Some(&int), Err(Reason::LabelConflict)),
        // Disagreeing in each member.
        (Some(&full), Some(&int_admin), Err(Reason::LabelConflict)),
        (
            Some("aadauth,admin"),
            Some(&int),
            Err(Reason::LabelConflict),
        ),
        (
            Some(&full.replace("user", "service")),
            Some(&int),
            Err(Reason::LabelConflict),
        ),
        (
            Some(&full.replace(OID, &other)),
            Some(&int),
            Err(Reason::LabelConflict),
        ),
        // Unreadable.
        (Some(""), Some(&int), Err(Reason::LabelInvalid)),
        (Some("aadauth,x"), None, Err(Reason::LabelInvalid)),
        (Some(&full), Some(""), Err(Reason::LabelInvalid)),
        (None, Some("x"), Err(Reason::LabelInvalid)),
        (None, Some(""), Err(Reason::LabelInvalid)),
    ] {
        assert_eq!(
            Mapping::from_labels(public, internal),
            expected,
            "{public:?} {internal:?}"
        );
    }
}
