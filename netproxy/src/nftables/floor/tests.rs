use super::*;

fn facts(kernel: &str, nft: &str) -> FloorFacts {
    let nft = Release::find(nft).ok_or_else(|| NftError::Start {
        command: "nft",
        source: std::io::ErrorKind::NotFound.into(),
    });
    FloorFacts { kernel: Release::find(kernel), any_kernel: false, nft }
}

#[test]
fn release_is_found_in_what_is_printed() {
    let cases = [
        ("6.1.0-13-amd64", Some((6, 1, 0))),
        ("6.18-rc2", Some((6, 18, 0))),
        ("5.13", Some((5, 13, 0))),
        ("5.15.167.4-microsoft-standard-WSL2", Some((5, 15, 167))),
        ("nftables v1.0.6 (Lester Gooch #5)", Some((1, 0, 6))),
        ("nftables v1.1 (Commodore Bullmoose)", Some((1, 1, 0))),
        ("nftables", None),
        ("6", None),
        ("99999999.1", None),
        ("", None),
    ];
    for (text, expected) in cases {
        let found = Release::find(text).map(|found| (found.major, found.minor, found.patch));
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn floor_names_what_was_found_and_what_is_needed() {
    let cases = [
        ("6.18.5", "v1.0.6", Ok("kernel 6.18.5, nft 1.0.6")),
        ("5.13.0", "v1.0.9", Ok("kernel 5.13.0, nft 1.0.9")),
        ("5.12.9", "v1.0.6", Err("the kernel is 5.12.9, nftables mode needs 5.13.0 or newer")),
        (
            "unknown",
            "v1.0.6",
            Err("the release of the kernel is not known, nftables mode needs 5.13.0 or newer"),
        ),
        ("6.1.0", "v1.0.5", Err("nft is 1.0.5, nftables mode needs 1.0.6 or newer")),
        ("6.1.0", "v0.9.8", Err("nft is 0.9.8, nftables mode needs 1.0.6 or newer")),
        ("6.1.0", "", Err("nft does not work, nftables mode needs 1.0.6 or newer")),
    ];
    for (kernel, nft, expected) in cases {
        let found = facts(kernel, nft).check();
        let found = found.map(|fit| fit.to_string()).map_err(|error| error.to_string());
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(found, expected, "{kernel} {nft}");
    }
}

#[test]
fn old_kernel_passes_when_its_check_is_skipped() {
    let skipped = |kernel, nft| FloorFacts { any_kernel: true, ..facts(kernel, nft) };
    assert_eq!(
        skipped("4.19.0", "v1.0.6").check().unwrap().to_string(),
        "kernel 4.19.0, nft 1.0.6"
    );
    assert_eq!(skipped("", "v1.0.6").check().unwrap().to_string(), "nft 1.0.6");
    assert!(skipped("6.1.0", "v0.9.0").check().is_err());
}
