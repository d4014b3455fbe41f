use super::*;

fn noted(plugin: &'static str, is_mounted: bool) -> Noted {
    Noted { plugin, is_mounted, claim: None }
}

#[test]
fn volumes_are_counted_by_plugin_and_what_was_mounted_stays_so() {
    let ledger = Ledger::default();
    let (one, two) = (PodUid::from("u1"), PodUid::from("u2"));
    ledger.note(&one, "data", noted("local", false));
    ledger.note(&one, "scratch", noted("empty", true));
    ledger.note(&two, "scratch", noted("empty", true));
    // A refresh that fails unmounts nothing.
    ledger.note(&two, "scratch", noted("empty", false));
    let counts = ledger.counts();
    assert_eq!(counts.wanted, BTreeMap::from([("empty", 2), ("local", 1)]));
    assert_eq!(counts.mounted, BTreeMap::from([("empty", 2)]));
    assert_eq!(ledger.forget(&one), ["empty"]);
    assert_eq!(ledger.forget(&one), Vec::<&str>::new());
    assert_eq!(ledger.counts().wanted, BTreeMap::from([("empty", 1)]));
}

#[test]
fn claims_are_told_by_pod() {
    let ledger = Ledger::default();
    let uid = PodUid::from("u1");
    let claim = MountedClaim {
        volume: "data".to_owned(),
        claim: ClaimName { namespace: "ns".to_owned(), name: "c".to_owned() },
        path: "/p".into(),
    };
    ledger.note(&uid, "data", Noted { claim: Some(claim.clone()), ..noted("local", true) });
    ledger.note(&PodUid::from("u2"), "scratch", noted("empty", true));
    assert_eq!(ledger.claims(), MountedClaims::from([(uid, vec![claim])]));
}
