use super::*;
use crate::config::resolve::Surroundings;

/// The number, or the problems.
fn ids(text: &str) -> Result<u32, Vec<String>> {
    let wire: KubeletConfiguration = serde_json::from_str(text).unwrap();
    let around = Surroundings { hostname: "node-1".to_owned(), ..Surroundings::default() };
    crate::config::resolve::resolve(wire, around).map(|config| config.ids_per_pod)
}

#[test]
fn ids_per_pod_are_a_multiple_of_the_unit() {
    assert_eq!(ids("{}"), Ok(65_536));
    assert_eq!(ids(r#"{"userNamespaces": {}}"#), Ok(65_536));
    for (number, expected) in [
        ("65536", Ok(65_536)),
        ("131072", Ok(131_072)),
        ("0", Err("must not be less than 65536")),
        ("1", Err("must not be less than 65536")),
        ("100000", Err("must be a multiple of 65536")),
        ("4294967296", Err("must not be more than 4294967295")),
    ] {
        let got = ids(&format!(r#"{{"userNamespaces": {{"idsPerPod": {number}}}}}"#));
        let problem = |what| vec![format!("userNamespaces.idsPerPod: {what}")];
        assert_eq!(got, expected.map_err(problem), "{number}");
    }
}
