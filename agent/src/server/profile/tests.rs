use std::sync::Arc;

use super::*;
use crate::server::fixtures::get;
use crate::testing::build::at;

fn pages(offered: Offered) -> Vec<Route> {
    routes(offered, ProfileParts { threads: Threads::default(), clock: Arc::new(|| at(0)) })
}

#[tokio::test]
async fn each_name_has_its_page() {
    for (name, words) in [
        ("", "<a href=\"profile\">profile</a>"),
        ("goroutine", "workers: "),
        ("threadcreate", "threads: "),
        ("symbol", "num_symbols: 0"),
        ("heap", "\n"),
    ] {
        let (code, _, body) = get(pages(Offered::Yes), &format!("/debug/pprof/{name}")).await;
        assert_eq!(code, 200, "{name}");
        assert!(body.contains(words), "{name}: {body}");
    }
    let (code, _, body) = get(pages(Offered::Yes), "/debug/pprof/nothing").await;
    assert_eq!((code, body.as_str()), (404, "Unknown profile\n"));
}

#[tokio::test(start_paused = true)]
async fn a_profile_takes_the_seconds_that_are_asked_for() {
    for (query, seconds) in [("", 30), ("?seconds=5", 5), ("?seconds=x", 30), ("?seconds=-3", 30)] {
        let began = tokio::time::Instant::now();
        let request = http::Request::get(format!("/debug/pprof/profile{query}"));
        let request = request.body(axum::body::Body::empty()).unwrap();
        let (code, kind, _) = crate::server::fixtures::ask(pages(Offered::Yes), request).await;
        assert_eq!((code, kind.as_str()), (200, "application/octet-stream"));
        assert_eq!(began.elapsed().as_secs(), seconds, "{query}");
    }
    let (code, _, _) = get(pages(Offered::Yes), "/debug/pprof/profile?seconds=601").await;
    assert_eq!(code, 400);
}

#[tokio::test]
async fn a_disabled_page_says_so() {
    let (code, _, body) = get(pages(Offered::No), "/debug/pprof/profile").await;
    assert_eq!((code, body.as_str()), (405, "profiling endpoint is disabled.\n"));
}
