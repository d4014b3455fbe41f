use std::fs;

use axum::body::to_bytes;
use expect_test::expect;
use http::Request;

use super::*;
use crate::server::route::{Found as Match, RouteTable};

struct World {
    dir: tempfile::TempDir,
    offered: SystemLogs,
}

impl World {
    fn new(offered: SystemLogs) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("log");
        fs::create_dir_all(root.join("nginx")).unwrap();
        fs::write(root.join("nginx/nginx.log"), "hello\n").unwrap();
        fs::write(root.join("a <b>.gz"), b"\x1f\x8b\x08\x00").unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        std::os::unix::fs::symlink("../secret", root.join("out")).unwrap();
        Self { dir, offered }
    }

    async fn get(&self, uri: &str) -> String {
        let files = LogFiles::new(self.dir.path().join("log"));
        let table = RouteTable::new(routes(self.offered, files, Journal));
        let request = Request::get(uri).body(Body::empty()).unwrap();
        let path = request.uri().path().to_owned();
        let Match::Route(route, values) = table.find(&Method::GET, &path) else {
            return "no route".to_owned();
        };
        let call = Call { path: values, caller: Default::default(), request };
        let answer = route.answer(call).await;
        let head = format!("{} {:?}", answer.status().as_u16(), answer.headers().get("location"));
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        format!("{head} {kind}\n{}", String::from_utf8_lossy(&body))
    }
}

#[tokio::test]
async fn files_and_directories_are_served_as_go_does() {
    let world = World::new(SystemLogs::Files);
    expect![[r#"
        200 None text/html; charset=utf-8
        <!doctype html>
        <meta name="viewport" content="width=device-width">
        <pre>
        <a href="a%20%3Cb%3E.gz">a &lt;b&gt;.gz</a>
        <a href="nginx/">nginx/</a>
        <a href="out">out</a>
        </pre>
    "#]]
    .assert_eq(&world.get("/logs/").await);
    expect![[r#"
        301 Some("nginx/") text/plain; charset=utf-8
    "#]]
    .assert_eq(&world.get("/logs/nginx").await);
    expect![[r#"
        200 None text/plain; charset=utf-8
        hello
    "#]]
    .assert_eq(&world.get("/logs/nginx/nginx.log").await);
    let packed = world.get("/logs/a%20%3Cb%3E.gz").await;
    assert!(packed.starts_with("200 None application/octet-stream\n"), "{packed}");
}

#[tokio::test]
async fn nothing_outside_is_served() {
    let world = World::new(SystemLogs::Files);
    for path in
        ["/logs/out", "/logs/../secret", "/logs/..%2Fsecret", "/logs/%2e%2e/secret", "/logs/no"]
    {
        let answer = world.get(path).await;
        assert_eq!(answer, "404 None text/plain; charset=utf-8\n404 page not found\n", "{path}");
    }
}

#[tokio::test]
async fn queries_are_files_to_a_node_that_does_not_offer_them() {
    let world = World::new(SystemLogs::Files);
    assert!(world.get("/logs/?query=nginx").await.starts_with("200 None text/html"));
    let off = World::new(SystemLogs::Off);
    let answer = off.get("/logs/nginx/nginx.log").await;
    assert_eq!(answer, "405 None text/plain; charset=utf-8\nlogs endpoint is disabled.\n");
}

#[tokio::test]
async fn queries_are_answered_where_they_are_offered() {
    let world = World::new(SystemLogs::FilesAndQueries);
    expect![[r#"
        200 None text/plain; charset=utf-8
        hello
    "#]]
    .assert_eq(&world.get("/logs/?query=/nginx/nginx.log").await);
    expect![[r#"
        406 None text/plain; charset=utf-8
        query: Invalid value: ["/../secret"]: statat /../secret: no such file or directory
    "#]]
    .assert_eq(&world.get("/logs/?query=/../secret").await);
    expect![[r#"
        406 None text/plain; charset=utf-8
        path not allowed in query mode
    "#]]
    .assert_eq(&world.get("/logs/nginx?query=nginx").await);
    expect![[r#"
        400 None text/plain; charset=utf-8
        query: Invalid value: [""]: may not be empty
    "#]]
    .assert_eq(&world.get("/logs/?query=").await);
    // No journal knows these services, wherever the test runs.
    expect![[r#"
        200 None text/plain;charset=UTF-8
        hello
    "#]]
    .assert_eq(&world.get("/logs/?query=nginx").await);
    expect![[r#"
        200 None text/plain;charset=UTF-8

        log not found for noded-has-no-such
    "#]]
    .assert_eq(&world.get("/logs/?query=noded-has-no-such").await);
    expect![[r#"
        200 None text/plain;charset=UTF-8

        options present and query resolved to log files for [nginx]
        try without specifying options
    "#]]
    .assert_eq(&world.get("/logs/?query=nginx&tailLines=3").await);
}
