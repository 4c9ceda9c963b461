use super::*;

const TENANT: Uuid = Uuid::from_u128(0x6F1C2D3E_4A5B_4C6D_8E7F_A0B1C2D3E4F5);

#[test]
fn each_cloud_has_its_own_addresses() {
    let tid = "6f1c2d3e-4a5b-4c6d-8e7f-a0b1c2d3e4f5";
    for (cloud, v1, login) in [
        (
            Cloud::Public,
            "https://sts.windows.net",
            "https://login.microsoftonline.com",
        ),
        (
            Cloud::UsGov,
            "https://sts.windows.net",
            "https://login.microsoftonline.us",
        ),
        (
            Cloud::China,
            "https://sts.chinacloudapi.cn",
            "https://login.partner.microsoftonline.cn",
        ),
    ] {
        let authority = Authority { cloud, host: None };
        assert_eq!(authority.login(), login);
        assert_eq!(
            authority.issuer(TokenVersion::V1, TENANT),
            format!("{v1}/{tid}/")
        );
        assert_eq!(
            authority.issuer(TokenVersion::V2, TENANT),
            format!("{login}/{tid}/v2.0")
        );
        assert_eq!(
            authority.metadata_url(TokenVersion::V1, TENANT),
            format!("{login}/{tid}/.well-known/openid-configuration")
        );
        assert_eq!(
            authority.metadata_url(TokenVersion::V2, TENANT),
            format!("{login}/{tid}/v2.0/.well-known/openid-configuration")
        );
        assert_eq!(cloud.to_string().parse(), Ok(cloud));
        assert!(!cloud.ossrdbms().is_empty());
    }
    for bad in ["", "Public", "germany", "us gov", "AzureCloud"] {
        assert_eq!(bad.parse::<Cloud>(), Err(AuthorityError::UnknownCloud));
    }
}

#[test]
fn an_own_host_displaces_microsoft_s_issuers() {
    let host = "https://127.0.0.1:8443";
    let authority = Authority::new(Cloud::China, Some(host)).unwrap();
    for version in TokenVersion::ALL {
        assert!(
            authority
                .issuer(version, TENANT)
                .starts_with("https://127.0.0.1:8443/")
        );
        assert!(
            authority
                .metadata_url(version, TENANT)
                .starts_with("https://127.0.0.1:8443/")
        );
    }
    assert!(
        authority
            .issuer(TokenVersion::V1, TENANT)
            .ends_with("e4f5/")
    );
    assert!(
        authority
            .issuer(TokenVersion::V2, TENANT)
            .ends_with("e4f5/v2.0")
    );
}

#[test]
fn hosts_are_origins() {
    for good in [
        "https://login.example.com",
        "https://localhost:8443",
        "https://127.0.0.1:1",
        "https://[::1]",
        "https://[::1]:65535",
        "https://a-b.c",
    ] {
        assert_eq!(Authority::check_host(good), Ok(()), "{good}");
    }
    for bad in [
        "",
        "http://login.example.com",
        "HTTPS://login.example.com",
        "login.example.com",
        "https://",
        "https://.",
        "https://login.example.com/",
        "https://login.example.com/x",
        "https://Login.example.com",
        "https://user@login.example.com",
        "https://login.example.com?x",
        "https://login.example.com#x",
        "https://login.example.com:",
        "https://login.example.com:0",
        "https://login.example.com:0443",
        "https://login.example.com:+443",
        "https://login.example.com:65536",
        "https://login.example.com:443:443",
        "https://login..example.com",
        "https://-login.example.com",
        "https://login example.com",
        "https://login.example.com ",
        "https://[::1",
        "https://[::1]8443",
        "https://[::1]:",
        "https://[login]",
        "https://logín.example.com",
    ] {
        assert!(Authority::check_host(bad).is_err(), "{bad}");
        assert!(Authority::new(Cloud::Public, Some(bad)).is_err(), "{bad}");
    }
}

#[test]
fn only_urls_on_the_own_origin_are_owned() {
    let authority = Authority::default();
    let login = "https://login.microsoftonline.com";
    assert!(authority.owns(&format!("{login}/common/discovery/keys")));
    for bad in [
        login.to_owned(),
        "http://login.microsoftonline.com/keys".to_owned(),
        format!("{login}.evil.example/keys"),
        format!("{login}@evil.example/keys"),
        format!("{login}:444/keys"),
        format!("{login}/a b"),
        format!("{login}/a\\b"),
        format!("{login}/a\nb"),
        format!("{login}/{}", "a".repeat(2048)),
        "https://sts.windows.net/keys".to_owned(),
    ] {
        assert!(!authority.owns(&bad), "{bad}");
    }
}

#[test]
fn versions_are_told_by_their_claim() {
    assert_eq!(TokenVersion::from_claim("1.0"), Some(TokenVersion::V1));
    assert_eq!(TokenVersion::from_claim("2.0"), Some(TokenVersion::V2));
    for bad in ["", "1", "2", "1.00", "3.0", "v1", "1.0 "] {
        assert_eq!(TokenVersion::from_claim(bad), None);
    }
}
