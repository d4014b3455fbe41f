use super::*;

#[test]
fn names_are_taken_apart() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let cases = [
        ("busybox", None, "busybox", None),
        ("library/busybox:1", None, "library/busybox", Some("1")),
        ("example.test:5000/a/b:v1.2-x", Some("example.test:5000"), "a/b", Some("v1.2-x")),
        ("localhost/a", Some("localhost"), "a", None),
        ("[fd00::1]:5000/a", Some("[fd00::1]:5000"), "a", None),
        ("UPPER/a", Some("UPPER"), "a", None),
        ("a__b/c--d/e.f", None, "a__b/c--d/e.f", None),
    ];
    for (text, domain, path, tag) in cases {
        let parsed = ImageReference::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(parsed.domain.as_deref(), domain, "{text}");
        assert_eq!(parsed.path, path, "{text}");
        assert_eq!(parsed.tag.as_deref(), tag, "{text}");
        assert_eq!(parsed.to_string(), text);
    }
    let both = format!("a:1@{digest}");
    let parsed = ImageReference::parse(&both).unwrap();
    assert_eq!(parsed.digest, Some(digest));
    assert_eq!(parsed.with_default_tag().to_string(), both);
}

#[test]
fn name_without_tag_means_latest() {
    let tagged = |text| ImageReference::parse(text).unwrap().with_default_tag().to_string();
    assert_eq!(tagged("a"), "a:latest");
    assert_eq!(tagged("h:1/a"), "h:1/a:latest");
    assert_eq!(tagged("a:1"), "a:1");
}

#[test]
fn bad_names_are_refused() {
    let cases = [
        ("", ReferenceError::Format),
        (":1", ReferenceError::Format),
        ("a:", ReferenceError::Format),
        ("a b", ReferenceError::Format),
        ("a@sha256:12", ReferenceError::Format),
        ("a/", ReferenceError::Format),
        ("a//b", ReferenceError::Format),
        ("-a", ReferenceError::Format),
        ("a...b", ReferenceError::Format),
        ("host:port/a", ReferenceError::Format),
        ("Abc", ReferenceError::UpperCase),
        ("a/B:1", ReferenceError::UpperCase),
    ];
    for (text, expected) in cases {
        assert_eq!(ImageReference::parse(text), Err(expected), "{text}");
    }
    assert_eq!(ImageReference::parse(&"a".repeat(64)), Err(ReferenceError::LooksLikeId));
    assert_eq!(ImageReference::parse(&"x".repeat(256)), Err(ReferenceError::TooLong));
}
