use super::*;

#[test]
fn one_failing_check_fails_the_whole_and_is_named() {
    let ok = report([("pleg", None)].into_iter());
    assert_eq!(ok, (StatusCode::OK, "ok".to_owned()));
    let (code, text) = report([("pleg", Some("too old".to_owned())), ("x", None)].into_iter());
    assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(text, "[+]ping ok\n[-]pleg failed: too old\n[+]x ok\nhealthz check failed\n");
}
