use std::sync::{Arc, Mutex};

use axum::body::Body;
use http::Request;

use super::*;
use crate::server::fixtures::ask;

async fn send(offered: Offered, method: &str, body: &str) -> (String, Vec<u32>) {
    let set = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&set);
    let verbosity = LogVerbosity::new(move |level| {
        seen.lock().unwrap().push(level);
        Ok(())
    });
    let request = Request::builder().method(method).uri("/debug/flags/v");
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let (code, _, body) = ask(routes(offered, verbosity), request).await;
    let set = set.lock().unwrap().clone();
    (format!("{code} {}", String::from_utf8_lossy(&body)), set)
}

#[tokio::test]
async fn put_changes_what_is_logged() {
    let (answer, set) = send(Offered::Yes, "PUT", "6").await;
    assert_eq!(answer, "200 successfully set klog.logging.verbosity to 6");
    assert_eq!(set, [6]);
}

#[tokio::test]
async fn anything_else_changes_nothing() {
    for (offered, method, body, expected) in [
        (Offered::Yes, "GET", "", "406 unsupported http method"),
        (Offered::Yes, "PUT", "loud", "400 strconv.ParseUint: parsing \"loud\": invalid syntax"),
        (Offered::Yes, "PUT", "-1", "400 strconv.ParseUint: parsing \"-1\": invalid syntax"),
        (Offered::No, "PUT", "6", "405 flags endpoint is disabled.\n"),
    ] {
        let (answer, set) = send(offered, method, body).await;
        assert_eq!(answer, expected);
        assert!(set.is_empty());
    }
}
