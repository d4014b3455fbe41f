use super::*;

fn refused(code: &str, message: &str) -> ImageError {
    RuntimeError::Refused { code: code.to_owned(), message: message.to_owned() }.into()
}

#[test]
fn durations_read_as_go_prints_them() {
    for (millis, text) in [
        (0, "0s"),
        (17, "17ms"),
        (1000, "1s"),
        (1500, "1.5s"),
        (10_020, "10.02s"),
        (62_003, "1m2.003s"),
        (60_000, "1m0s"),
        (3_605_000, "1h0m5s"),
    ] {
        assert_eq!(go_duration(Duration::from_millis(millis)), text);
    }
}

#[test]
fn failures_carry_the_runtimes_words() {
    let not_found = ImageError::Runtime(RuntimeError::NotFound("no a:1".to_owned()));
    let unavailable = ImageError::RegistryUnavailable("RegistryUnavailable: down".to_owned());
    let unsigned = ImageError::SignatureInvalid("SignatureValidationFailed: bad".to_owned());
    for (errors, reason, message) in [
        (vec![refused("Unknown", "401")], "ErrImagePull", "401"),
        (vec![refused("Internal", "x")], "ErrImagePull", "rpc error: code = Internal desc = x"),
        (vec![not_found], "ErrImagePull", "rpc error: code = NotFound desc = no a:1"),
        (vec![ImageError::QpsExceeded], "ErrImagePull", "pull QPS exceeded"),
        (
            vec![unavailable],
            "RegistryUnavailable",
            "image pull failed for a:1 because the registry is unavailable: down",
        ),
        (
            vec![unsigned],
            "SignatureValidationFailed",
            "image pull failed for a:1 because the signature validation failed: bad",
        ),
        (vec![refused("Unknown", "401"), refused("Unknown", "401")], "ErrImagePull", "401"),
        (vec![refused("Unknown", "401"), refused("Unknown", "403")], "ErrImagePull", "[401, 403]"),
    ] {
        assert_eq!(published_failure("a:1", &errors), (reason, message.to_owned()), "{errors:?}");
    }
}

#[test]
fn wait_names_the_last_failure_and_the_next_try() {
    let at = Timestamp::from_millisecond(1_000_400).unwrap();
    assert_eq!(
        wait_text("a:1", ("ErrImagePull", "401"), at),
        "Back-off pulling image \"a:1\": ErrImagePull: 401 (next try at 1970-01-01T00:16:40Z)"
    );
}
