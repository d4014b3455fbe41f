use super::*;
use crate::cli::{Invocation, parse};

fn see(line: &str) -> Result<SeeArguments, String> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    match parse("noded", &words)? {
        Invocation::See(see) => Ok(*see),
        other => panic!("{line}: {other:?}"),
    }
}

fn asked(line: &str) -> Asked {
    see(line).unwrap().asked
}

#[test]
fn service_may_be_named_in_three_ways() {
    for line in ["explain service a/b", "explain service b -n a", "explain service a/b -n a"] {
        let expected = Asked::Service { service: ObjectKey::new("a", "b"), from: None };
        assert_eq!(asked(line), expected, "{line}");
    }
    let expected = Some(ObjectKey::new("default", "b"));
    assert_eq!(asked("rules show b"), Asked::RulesShow { service: expected });
    assert_eq!(asked("rules show"), Asked::RulesShow { service: None });
}

#[test]
fn packet_is_read_in_both_families() {
    for (line, destination) in [
        ("explain packet 10.0.0.1 10.96.0.10:53/udp", "10.96.0.10:53"),
        ("explain packet fd00::5 [fd00::1]:53/UDP", "[fd00::1]:53"),
    ] {
        let Asked::Packet { destination: found, protocol, .. } = asked(line) else {
            panic!("{line}")
        };
        assert_eq!((found.to_string(), protocol), (destination.to_owned(), Protocol::Udp));
    }
}

#[test]
fn flags_of_run_say_where_the_settings_are() {
    let found =
        see("rules diff --config=/c --kubeconfig /k --proxy-config=/p --proxy-kubeconfig=/q \
         --hostname_override=node -o json")
        .unwrap();
    assert_eq!(found.output, Output::Json);
    assert_eq!(
        found.settings,
        SettingFlags {
            config: Some("/c".into()),
            kubeconfig: Some("/k".into()),
            proxy_config: Some("/p".into()),
            proxy_kubeconfig: Some("/q".into()),
            hostname_override: Some("node".to_owned()),
        }
    );
}

#[test]
fn mistakes_are_told_in_one_line_with_the_fix() {
    for (line, expected) in [
        ("explain packet here 10.0.0.1:80/tcp", "\"here\" is not an IP address"),
        ("explain packet 10.0.0.1 10.0.0.2/tcp", "write DST:PORT/PROTO"),
        ("explain packet 10.0.0.1 10.0.0.2:80", "write DST:PORT/PROTO"),
        ("explain packet 10.0.0.1 10.0.0.2:80/icmp", "write tcp, udp or sctp"),
        ("explain packet 10.0.0.1 [fd00::1]:80/tcp", "two IP families"),
        ("explain service a/b -n c", "two namespaces"),
        ("explain service /b", "NAMESPACE/NAME"),
        ("explain service b --from nowhere", "\"nowhere\" is not an IP address"),
        ("rules show -n c", "without a Service"),
    ] {
        let error = see(line).unwrap_err();
        assert!(error.contains(expected), "{line}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    for line in ["rules", "explain", "rules dance", "explain service", "rules diff -o yaml"] {
        assert!(see(line).is_err(), "{line}");
    }
}
