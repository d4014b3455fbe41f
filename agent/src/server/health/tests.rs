use super::*;

#[test]
fn one_failing_check_fails_the_whole_and_is_named() {
    let ok = report([("pleg", None)].into_iter(), false);
    assert_eq!(ok, (StatusCode::OK, "ok".to_owned()));
    let (code, text) =
        report([("pleg", Some("too old".to_owned())), ("x", None)].into_iter(), false);
    assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(text, "[+]ping ok\n[-]pleg failed: too old\n[+]x ok\nhealthz check failed\n");
}

#[test]
fn a_verbose_report_lists_what_is_well() {
    let (code, text) = report([("log", None)].into_iter(), true);
    assert_eq!((code, &*text), (StatusCode::OK, "[+]ping ok\n[+]log ok\nhealthz check passed\n"));
}
