use super::*;

#[test]
fn each_error_has_its_code_and_words() {
    let refused = |code: &str, message: &str| {
        StreamError::Runtime(RuntimeError::Refused {
            code: code.to_owned(),
            message: message.to_owned(),
        })
    };
    for (error, status, text) in [
        (QueryError::NoStream.into(), 400, "you must specify at least 1 of stdin, stdout, stderr"),
        (StreamError::NoPod, 404, "pod does not exist"),
        (StreamError::OtherPod, 404, "pod not found"),
        (StreamError::NotRunning("a".into()), 500, "container not found (\"a\")"),
        (
            StreamError::NotInPod { container: "a".into(), pod: "p_ns".into() },
            500,
            "container a not found in pod p_ns",
        ),
        (StreamError::NoSandbox("p_ns".into()), 500, "pod not found (\"p_ns\")"),
        (StreamError::NoUpgrade, 500, "Upgrade request required"),
        (
            RuntimeError::NotFound("no container".into()).into(),
            404,
            "rpc error: code = NotFound desc = no container",
        ),
        (
            RuntimeError::DeadlineExceeded("Exec after 120 s".into()).into(),
            500,
            "rpc error: code = DeadlineExceeded desc = context deadline exceeded",
        ),
        (
            RuntimeError::Unimplemented("Attach".into()).into(),
            500,
            "rpc error: code = Unimplemented desc = unknown method Attach for service \
             runtime.v1.RuntimeService",
        ),
        (
            refused("ResourceExhausted", "maximum number of in-flight requests exceeded"),
            429,
            "rpc error: code = ResourceExhausted desc = maximum number of in-flight requests \
             exceeded",
        ),
        (
            refused("Unknown", "container is in CONTAINER_EXITED state"),
            500,
            "rpc error: code = Unknown desc = container is in CONTAINER_EXITED state",
        ),
        (StreamError::NoSwitch(302), 500, "invalid upgrade response: status code 302"),
    ] {
        let answer = error.answer();
        assert_eq!((answer.status().as_u16(), error.to_string().as_str()), (status, text));
        assert_eq!(answer.headers().contains_key("retry-after"), status == 429);
    }
}
