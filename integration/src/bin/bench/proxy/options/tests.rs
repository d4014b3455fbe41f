use std::time::Duration;

use integration::proxy_host::{Flavour, ProxyKind};

use super::{Mode, Options, Shape};

fn parse(line: &str) -> anyhow::Result<Options> {
    let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    Options::parse(&arguments)
}

#[test]
fn everything_is_measured_unless_told() {
    let options = parse("").unwrap();
    assert_eq!(options, Options::default());
    assert_eq!(options.shapes.len(), 4);
}

#[test]
fn parts_can_be_chosen() {
    let line =
        "--services 5000,1000 --mode nftables,iptables-legacy --who noded --idle 5 --no-baselines";
    let expected = Options {
        shapes: vec![Shape::Services(1000), Shape::Services(5000)],
        modes: vec![Mode::Nftables, Mode::Iptables(Flavour::Legacy)],
        kinds: vec![ProxyKind::Noded],
        idle: Duration::from_secs(5),
        baselines: false,
    };
    assert_eq!(parse(line).unwrap(), expected);
    let both = parse("--services 10 --endpoints 20").unwrap().shapes;
    assert_eq!(both, [Shape::Endpoints(20), Shape::Services(10)]);
    assert_eq!(parse("--quick").unwrap().shapes, [Shape::Services(1000)]);
}

#[test]
fn wrong_arguments_are_named() {
    for (line, word) in [
        ("--services", "--services needs a value"),
        ("--services many", "many is no number"),
        ("--mode ipvs", "ipvs is none of"),
        ("--who cilium", "cilium is neither"),
        ("--fast", "unknown argument --fast"),
    ] {
        let error = parse(line).unwrap_err().to_string();
        assert!(error.contains(word), "{line}: {error}");
    }
}
