use super::*;
use crate::nftables::floor::Release;

fn facts(kernel: &str, nft: Option<&str>) -> FloorFacts {
    let missing =
        || NftError::Start { command: "nft", source: std::io::ErrorKind::NotFound.into() };
    FloorFacts {
        kernel: Release::find(kernel),
        any_kernel: false,
        nft: nft.and_then(Release::find).ok_or_else(missing),
    }
}

#[test]
fn mode_is_settled_with_its_reason() {
    use ProxyMode::{Auto, Iptables, Nftables};
    let cases = [
        (Iptables, "6.18.0", Some("1.0.6"), Ok("iptables is configured")),
        (Iptables, "4.19.0", None, Ok("iptables is configured")),
        (Nftables, "6.18.0", Some("1.0.6"), Ok("nftables is configured: kernel 6.18.0, nft 1.0.6")),
        (
            Nftables,
            "5.10.0",
            Some("1.0.6"),
            Err("the kernel is 5.10.0, nftables mode needs 5.13.0 or newer"),
        ),
        (Auto, "6.18.0", Some("1.0.6"), Ok("auto chose nftables: kernel 6.18.0, nft 1.0.6")),
        (
            Auto,
            "5.10.0",
            Some("1.0.6"),
            Ok("auto chose iptables: the kernel is 5.10.0, nftables mode needs 5.13.0 or newer"),
        ),
        (
            Auto,
            "6.18.0",
            None,
            Ok("auto chose iptables: nft does not work, nftables mode needs 1.0.6 or newer: \
                cannot run nft"),
        ),
    ];
    for (wanted, kernel, nft, expected) in cases {
        let found = choose(wanted, Some(facts(kernel, nft)));
        let found = found.map(|chosen| {
            let named = chosen.kind.word();
            assert!(chosen.reason.contains(named), "{named} in {}", chosen.reason);
            chosen.reason
        });
        assert_eq!(
            found.map_err(|error| error.to_string()),
            expected.map(str::to_owned).map_err(str::to_owned),
            "{wanted:?} {kernel} {nft:?}"
        );
    }
}
