use super::*;

const NOW: Timestamp = Timestamp::constant(1_000_000, 500);

fn parse(query: &str) -> Result<LogOptions, BadOptions> {
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    parse_options(&pairs, NOW)
}

fn selected(query: &str) -> Selection {
    parse(query).unwrap().selection
}

#[test]
fn no_query_is_the_whole_log() {
    assert_eq!(parse(""), Ok(LogOptions::default()));
    assert_eq!(parse("insecureSkipTLSVerifyBackend=true&other=1"), Ok(LogOptions::default()));
}

#[test]
fn flags_are_true_unless_they_say_otherwise() {
    for (query, wanted) in [
        ("follow=true", true),
        ("follow", true),
        ("follow=1", true),
        ("follow=yes", true),
        ("follow=0", false),
        ("follow=False", false),
        ("follow=false&follow=true", false),
    ] {
        assert_eq!(parse(query).unwrap().follow, wanted, "{query}");
    }
    assert!(parse("previous=true").unwrap().previous);
    assert!(selected("timestamps=true").timestamps);
}

#[test]
fn numbers_and_times_are_read() {
    assert_eq!(parse("tailLines=0").unwrap().tail, Some(0));
    assert_eq!(parse("tailLines=7").unwrap().tail, Some(7));
    assert_eq!(parse("tail=8&tailLines=7").unwrap().tail, Some(8));
    assert_eq!(parse("tail=all&tailLines=7").unwrap().tail, None);
    assert_eq!(selected("limitBytes=9").limit_bytes, Some(9));
    assert_eq!(selected("sinceSeconds=10").since, Some(999_990_000_000_500));
    assert_eq!(selected(&format!("sinceSeconds={}", i64::MAX)).since, {
        Some(Timestamp::MIN.as_nanosecond())
    });
    assert_eq!(selected("sinceTime=1970-01-01T00:00:01Z").since, Some(1_000_000_000));
    assert_eq!(selected("sinceTime=1970-01-01T02:00:01.5%2B02:00").since, Some(1_500_000_000));
    assert_eq!(selected("sinceTime=").since, None);
    assert_eq!(selected("sinceTime=null").since, None);
    assert_eq!(selected("stream=All").stream, None);
    assert_eq!(selected("stream=Stdout").stream, Some(Stream::Stdout));
    assert_eq!(selected("stream=Stderr").stream, Some(Stream::Stderr));
}

#[test]
fn bad_values_are_told_from_bad_forms() {
    for query in ["tailLines=x", "tail=x", "limitBytes=1k", "sinceSeconds=", "sinceTime=yesterday"]
    {
        assert_eq!(parse(query), Err(BadOptions::Undecodable), "{query}");
    }
    for query in [
        "tailLines=-1",
        "limitBytes=0",
        "sinceSeconds=0",
        "sinceSeconds=-5",
        "sinceSeconds=5&sinceTime=1970-01-01T00:00:01Z",
        "stream=stdout",
        "stream=Stdout&tailLines=5",
    ] {
        assert_eq!(parse(query), Err(BadOptions::Invalid), "{query}");
    }
}
