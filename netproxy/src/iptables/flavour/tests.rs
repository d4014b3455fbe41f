use super::{Sighting, chain, choose};
use crate::iptables::Flavour::{self, Legacy, Nft};

fn seen(mangle: &str) -> Sighting {
    let mut sighting = Sighting::default();
    sighting.add(mangle);
    sighting
}

#[test]
fn hint_of_the_kubelet_comes_before_rules_and_rules_before_the_default() {
    let none = Sighting::default;
    let hint = || seen("*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n");
    let kubelet = || seen("*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n");
    let canary = || seen("*mangle\n:KUBE-PROXY-CANARY - [0:0]\nCOMMIT\n");
    let rules = || Sighting { chains: 1, ..Sighting::default() };
    let cases: [(Flavour, Sighting, Sighting, Flavour); 9] = [
        (Nft, none(), none(), Nft),
        (Legacy, none(), none(), Legacy),
        (Legacy, hint(), kubelet(), Nft),
        (Nft, none(), kubelet(), Legacy),
        (Nft, canary(), hint(), Legacy),
        (Legacy, canary(), none(), Nft),
        (Nft, none(), canary(), Legacy),
        (Nft, none(), rules(), Legacy),
        (Legacy, rules(), none(), Nft),
    ];
    for (default, nft, legacy, expected) in cases {
        let chosen = choose(default, &[(Nft, nft), (Legacy, legacy)]);
        assert_eq!(chosen, expected, "{default} {nft:?} {legacy:?}");
    }
}

#[test]
fn default_without_binaries_of_its_own_is_not_chosen() {
    assert_eq!(choose(Legacy, &[(Nft, Sighting::default())]), Nft);
}

#[test]
fn chains_are_told_by_the_lines_that_declare_them() {
    let cases = [
        (":KUBE-SVC-A - [0:0]", Some("KUBE-SVC-A")),
        (":INPUT ACCEPT [0:0]", Some("INPUT")),
        ("-A MINE -j KUBE-SVC-A", None),
        ("# :KUBE-SVC-A", None),
        (":", None),
    ];
    for (line, expected) in cases {
        assert_eq!(chain(line), expected, "{line}");
    }
}
