use std::sync::Arc;

use axum::body::Body;
use expect_test::expect;
use http::Request;

use super::*;
use crate::server::fixtures::{ask, get};
use crate::testing::build::at;

fn pages() -> Vec<Route> {
    let program = Program {
        flags: [("v".to_owned(), "2".to_owned()), ("config".to_owned(), "/c".to_owned())].into(),
        started: at(0),
        kubernetes_version: "v1.36.3".to_owned(),
        own_version: "0.1.0",
        clock: Arc::new(|| at(3725)),
    };
    let others = crate::server::configz::routes(&serde_json::json!({}));
    routes(program, &others)
}

#[tokio::test]
async fn flags_and_program_show_as_text() {
    expect![[r#"

        kubelet flagz
        Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.
        config=/c
        v=2
    "#]].assert_eq(&get(pages(), "/flagz").await.2);
    expect![[r#"

        kubelet statusz
        Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.

        Started: Fri Jan  2 00:00:00 UTC 2026
        Up: 1 hr 02 min 05 sec
        noded version: 0.1.0
        Binary version: 1.36.3
        Emulation version: 1.36
        Paths: /configz /flagz /statusz
    "#]].assert_eq(&get(pages(), "/statusz").await.2);
}

#[tokio::test]
async fn who_takes_no_text_gets_none() {
    for (accept, code) in [
        ("application/json, */*", 200),
        ("text/plain;charset=utf-8", 200),
        ("application/json;as=Flagz", 406),
    ] {
        let request = Request::get("/flagz").header("accept", accept).body(Body::empty()).unwrap();
        assert_eq!(ask(pages(), request).await.0, code, "{accept}");
    }
}
