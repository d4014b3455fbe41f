use super::*;

fn call(scheme: HttpScheme, host: &str) -> HttpCall {
    let path = "/healthz?full".to_owned();
    HttpCall { scheme, host: host.to_owned(), port: 8080, path, headers: Vec::new() }
}

fn failure(message: &str) -> Outcome {
    Outcome::Failure(message.to_owned())
}

/// | status | outcome |
#[test]
fn http_status_decides_and_the_body_of_a_failure_is_not_told() {
    let redirected = "Probe terminated redirects, Response body: secret".to_owned();
    let cases = [
        (200, Outcome::Success),
        (299, Outcome::Success),
        (302, Outcome::Warning(redirected)),
        (400, failure("HTTP probe failed with statuscode: 400")),
        (500, failure("HTTP probe failed with statuscode: 500")),
        (101, failure("HTTP probe failed with statuscode: 101")),
    ];
    for (status, expected) in cases {
        let answer = HttpAnswer { status, body: b"secret".to_vec(), left_for: None };
        assert_eq!(judge_http(&call(HttpScheme::Http, "10.0.0.7"), Ok(answer)), expected);
    }
}

#[test]
fn http_failure_names_the_url_and_the_cause() {
    let refused = "dial tcp 10.0.0.7:8080: connect: connection refused".to_owned();
    assert_eq!(
        judge_http(&call(HttpScheme::Http, "10.0.0.7"), Err(DialError::Refused(refused))),
        failure(
            "Get \"http://10.0.0.7:8080/healthz?full\": dial tcp 10.0.0.7:8080: connect: \
             connection refused"
        )
    );
    assert_eq!(
        judge_http(&call(HttpScheme::Https, "fd00::7"), Err(DialError::PlainHttp)),
        failure(
            "Get \"https://[fd00::7]:8080/healthz?full\": http: server gave HTTP response to \
             HTTPS client"
        )
    );
}

#[test]
fn a_body_that_does_not_arrive_says_nothing_about_the_container() {
    let lost = DialError::BodyLost("unexpected EOF".to_owned());
    let expected = Outcome::Errored("unexpected EOF".to_owned());
    assert_eq!(judge_http(&call(HttpScheme::Http, "10.0.0.7"), Err(lost)), expected);
}

#[test]
fn command_fails_by_exit_code_or_by_time_and_says_nothing_when_it_cannot_be_run() {
    let command = ["cat".to_owned(), "/tmp/healthy".to_owned()];
    let second = Duration::from_secs(1);
    let ended = |exit_code, output: &str| Ok(ExecOutput { exit_code, output: output.into() });
    let late = RuntimeError::DeadlineExceeded("exec".to_owned());
    let away = RuntimeError::Unavailable("socket is closed".to_owned());
    let cases = [
        (ended(0, "fine"), Outcome::Success),
        (ended(1, "no such file"), failure("no such file")),
        (Err(late), failure("command timed out: \"cat /tmp/healthy\" timed out after 1s")),
        (Err(away.clone()), Outcome::Errored(away.to_string())),
    ];
    for (result, expected) in cases {
        assert_eq!(judge_exec(&command, second, result), expected);
    }
    let much = judge_exec(&command, second, ended(1, &"x".repeat(20_000)));
    assert_eq!(much, failure(&"x".repeat(10 * 1024)));
}

#[test]
fn grpc_service_that_does_not_serve_is_named() {
    let cases = [
        (Ok(GrpcHealth::Serving), Outcome::Success),
        (Ok(GrpcHealth::Other(2)), failure("service unhealthy (responded with \"NOT_SERVING\")")),
        (
            Err(DialError::NoHealthService),
            failure(
                "error: this server does not implement the grpc health protocol \
                 (grpc.health.v1.Health)",
            ),
        ),
        (Err(DialError::TimedOut("timeout: x".to_owned())), failure("timeout: x")),
    ];
    for (result, expected) in cases {
        assert_eq!(judge_grpc(result), expected);
    }
}
