use super::*;

const ALL: ContainerStreams =
    ContainerStreams { stdin: true, stdout: true, stderr: true, tty: false };

#[test]
fn streams_are_numbered_in_the_order_of_opening() {
    let tty = ContainerStreams { stderr: false, tty: true, ..ALL };
    let all = |streams| Lanes::new(streams).all().collect::<Vec<_>>();
    assert_eq!(all(ALL), [(1, "error"), (3, "stdin"), (5, "stdout"), (7, "stderr")]);
    assert_eq!(all(tty), [(1, "error"), (3, "stdin"), (5, "stdout"), (7, "resize")]);
    let lanes = Lanes::new(tty);
    let up: Vec<_> = (0..6).map(|channel| lanes.to_runtime(channel)).collect();
    assert_eq!(up, [Some(3), None, None, None, Some(7), None]);
    let down: Vec<_> = (0..9).map(|stream| lanes.to_client(stream)).collect();
    assert_eq!(down, [None, None, None, None, None, Some(1), None, None, None]);
    assert_eq!(Lanes::new(ALL).to_runtime(channels::RESIZE), None);
}

#[test]
fn a_command_has_ended_when_its_outputs_and_the_error_stream_have() {
    let mut ending = Ending::new(&Lanes::new(ALL), false);
    for (stream, over) in [(3, false), (5, false), (1, false), (1, false), (7, true)] {
        ending.ended(stream);
        assert_eq!(ending.is_over(), over);
    }
}

#[test]
fn the_status_is_the_runtimes_own_where_it_gave_one() {
    let failed = r#"{"status":"Failure","reason":"NonZeroExitCode"}"#;
    let internal = |cause: &str| internal_error(cause);
    for (text_errors, error, ended, wanted) in [
        (false, failed, true, failed.to_owned()),
        (false, failed, false, failed.to_owned()),
        (false, "", true, r#"{"metadata":{},"status":"Success"}"#.to_owned()),
        (false, "", false, internal("error reading from error stream: unexpected EOF")),
        (false, "oh no", true, internal("error stream protocol error: \"oh no\"")),
        (true, "oh no", true, internal("error executing remote command: oh no")),
        (true, "", true, r#"{"metadata":{},"status":"Success"}"#.to_owned()),
    ] {
        let mut ending = Ending::new(&Lanes::new(ALL), text_errors);
        ending.error_bytes(1, error.as_bytes());
        ending.error_bytes(5, b"an output");
        if ended {
            ending.ended(1);
        }
        assert_eq!(ending.status(), wanted, "{error}");
    }
    let mut ending = Ending::new(&Lanes::new(ALL), false);
    ending.broken("a SPDY frame is for stream 0");
    let status: Value = serde_json::from_str(&ending.status()).unwrap();
    assert_eq!(status["message"], "Internal error occurred: a SPDY frame is for stream 0");
    assert_eq!(status["code"], 500);
}

#[test]
fn an_endless_error_stream_is_cut() {
    let mut ending = Ending::new(&Lanes::new(ALL), false);
    for _ in 0..3 {
        ending.error_bytes(1, &[b'x'; STATUS_LIMIT]);
    }
    assert_eq!(ending.error.len(), STATUS_LIMIT);
}
