use super::*;

fn streams(query: &str) -> Result<String, String> {
    let streams = Query::parse(query).streams().map_err(|error| error.to_string())?;
    let all =
        [(streams.stdin, 'i'), (streams.stdout, 'o'), (streams.stderr, 'e'), (streams.tty, 't')];
    Ok(all.into_iter().filter(|(wanted, _)| *wanted).map(|(_, letter)| letter).collect())
}

#[test]
fn streams_are_those_that_are_one() {
    let none = Err("you must specify at least 1 of stdin, stdout, stderr".to_owned());
    for (query, wanted) in [
        ("input=1&output=1&error=1", Ok("ioe".to_owned())),
        ("output=1&error=1&tty=1", Ok("ot".to_owned())),
        ("error=1&tty=1", none.clone()),
        ("input=true&output=yes", none.clone()),
        ("output=0&output=1", none.clone()),
        ("tty=1", none.clone()),
        ("", none.clone()),
        ("%zz&;=&&output=1;&=", none),
        ("output=1&%zz=1", Ok("o".to_owned())),
    ] {
        assert_eq!(streams(query), wanted, "{query}");
    }
}

#[test]
fn command_words_come_in_their_order_and_broken_ones_are_left_out() {
    for (query, wanted) in [
        ("command=a&output=1&command=b+c&command=%25%20", Some(vec!["a", "b c", "% "])),
        ("command=a&command=%zz&command=%f&command=b", Some(vec!["a", "b"])),
        ("command=a;b&command=c", Some(vec!["c"])),
        ("command=", Some(vec![""])),
        ("command", Some(vec![""])),
        ("", Some(vec![])),
        ("command=%ff", None),
    ] {
        let wanted = wanted.map(|words| words.into_iter().map(str::to_owned).collect());
        assert_eq!(Query::parse(query).command(), wanted, "{query}");
    }
}

#[test]
fn a_run_has_its_words_in_one_value() {
    for (query, wanted) in [
        ("cmd=ls+-l%20/", vec!["ls", "-l", "/"]),
        ("cmd=a++b", vec!["a", "", "b"]),
        ("cmd=a&cmd=b", vec!["a"]),
        ("", vec![""]),
    ] {
        let words = Query::parse(query).run_command().unwrap();
        assert_eq!(words, wanted, "{query}");
    }
}

#[test]
fn ports_are_numbers_above_zero() {
    for (query, wanted) in [
        ("port=80", Ok(vec![80])),
        ("port=80,81&port=65535", Ok(vec![80, 81, 65535])),
        ("", Err(r#"query parameter "port" is required"#)),
        ("port=", Err(r#"query parameter "port" cannot be empty"#)),
        (
            "port=x",
            Err(r#"unable to parse "x" as a port: strconv.ParseUint: parsing "x": invalid syntax"#),
        ),
        (
            "port=1,",
            Err(r#"unable to parse "1," as a port: strconv.ParseUint: parsing "": invalid syntax"#),
        ),
        (
            "port=%2B1",
            Err(
                r#"unable to parse "+1" as a port: strconv.ParseUint: parsing "+1": invalid syntax"#,
            ),
        ),
        (
            "port=65536",
            Err(
                r#"unable to parse "65536" as a port: strconv.ParseUint: parsing "65536": value out of range"#,
            ),
        ),
        ("port=0", Err(r#"port "0" must be > 0"#)),
    ] {
        let ports = Query::parse(query).ports().map_err(|error| error.to_string());
        assert_eq!(ports, wanted.map_err(str::to_owned), "{query}");
    }
}
