use super::*;

fn wanted(key: &str, optional: bool) -> api::FileKeySelector {
    api::FileKeySelector {
        key: key.to_owned(),
        optional: Some(optional),
        path: "p".to_owned(),
        volume_name: "v".to_owned(),
    }
}

fn value(file: Option<&str>, key: &str, optional: bool) -> Result<Option<String>, String> {
    let file = file.map(|text| text.as_bytes().to_vec());
    let files = EnvFiles(BTreeMap::from([(("v".to_owned(), "p".to_owned()), file)]));
    let value = files.value(&wanted(key, optional)).map_err(|error| error.to_string())?;
    Ok(value.map(|bytes| String::from_utf8(bytes).unwrap()))
}

#[test]
fn quoted_values_are_found_by_their_name() {
    let file = "# note\n\n  A='1'\nB='two\nlines # kept'  # note\nC=''\nA='2'\nD='x=y'";
    for (key, expected) in [
        ("A", Some("2")),
        ("B", Some("two\nlines # kept")),
        ("C", Some("")),
        ("D", Some("x=y")),
        ("E", None),
    ] {
        assert_eq!(value(Some(file), key, true), Ok(expected.map(str::to_owned)), "{key}");
    }
}

#[test]
fn missing_key_and_missing_file_are_failures_unless_optional() {
    for file in [None, Some("B='1'")] {
        assert_eq!(value(file, "A", true), Ok(None));
        assert_eq!(
            value(file, "A", false).unwrap_err(),
            "environment variable key \"A\" not found in file \"p\" of volume \"v\""
        );
    }
}

#[test]
fn broken_line_is_named() {
    for (file, line, problem) in [
        ("A='1'\nnonsense", 2, "there is no ="),
        ("A ='1'", 1, "what stands before the = is no name"),
        ("='1'", 1, "what stands before the = is no name"),
        ("A=1", 1, "the value is not in single quotes"),
        ("A= '1'", 1, "the value is not in single quotes"),
        ("A='1\n\n'\nB='2", 4, "the closing quote is missing"),
        ("A='1'2", 1, "something follows the closing quote"),
    ] {
        let expected = format!("file \"p\" of volume \"v\", line {line}: {problem}");
        assert_eq!(value(Some(file), "A", true).unwrap_err(), expected, "{file:?}");
    }
}
