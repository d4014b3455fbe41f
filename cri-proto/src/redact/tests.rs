use crate::runtime::v1::{AuthConfig, ContainerConfig, KeyValue, PullImageRequest};

const SECRET: &str = "swordfish";

#[test]
fn printed_pull_request_shows_user_but_no_credential() {
    let auth = AuthConfig {
        username: "mallory".into(),
        password: SECRET.into(),
        auth: SECRET.into(),
        server_address: "registry.example".into(),
        identity_token: SECRET.into(),
        registry_token: SECRET.into(),
    };
    let printed = format!("{:?}", PullImageRequest { auth: Some(auth), ..Default::default() });
    assert!(printed.contains("mallory") && printed.contains("registry.example"), "{printed}");
    assert!(!printed.contains(SECRET), "{printed}");
}

#[test]
fn printed_container_config_shows_variable_names_but_no_values() {
    let envs = vec![KeyValue { key: "PASSWORD".into(), value: SECRET.into() }];
    let printed = format!("{:?}", ContainerConfig { envs, ..Default::default() });
    let value_as_bytes = format!("{:?}", SECRET.as_bytes());
    assert!(printed.contains("PASSWORD"), "{printed}");
    assert!(!printed.contains(SECRET) && !printed.contains(&value_as_bytes), "{printed}");
}
