use super::*;

#[test]
fn file_has_the_kubelets_form() {
    let block = IdBlock { first: 131_072, length: 65_536 };
    let text = render(block);
    assert_eq!(
        text,
        r#"{"uidMappings":[{"hostId":131072,"containerId":0,"length":65536}],"gidMappings":[{"hostId":131072,"containerId":0,"length":65536}]}"#
    );
    assert_eq!(parse(text.as_bytes()), Ok(Some(block)));
    assert_eq!(parse(b""), Ok(None));
}

#[test]
fn foreign_mappings_are_refused() {
    let mapping = |host: u32, container: u32| {
        format!(r#"{{"hostId":{host},"containerId":{container},"length":65536}}"#)
    };
    let file =
        |uids: &str, gids: &str| format!(r#"{{"uidMappings":[{uids}],"gidMappings":[{gids}]}}"#);
    let one = mapping(65_536, 0);
    let two = format!("{one},{}", mapping(131_072, 65_536));
    let other = mapping(131_072, 0);
    let rootless = mapping(65_536, 1);
    for (text, expected) in [
        (file("", ""), MappingsError::Count),
        (file(&two, &two), MappingsError::Count),
        (file(&one, &two), MappingsError::Differ),
        (file(&one, &other), MappingsError::Differ),
        (file(&rootless, &rootless), MappingsError::NoRoot),
    ] {
        assert_eq!(parse(text.as_bytes()), Err(expected), "{text}");
    }
    assert!(matches!(parse(b"{"), Err(MappingsError::Malformed(_))));
}
