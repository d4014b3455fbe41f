use super::{Access, Reply, RouteTable};

#[tokio::test]
async fn path_is_looked_up_exactly() {
    let table = RouteTable::new().with("/healthz", Access::Open, || Reply::text("ok")).with(
        "/livez",
        Access::Open,
        || Reply::text("alive"),
    );
    let cases = [
        ("/healthz", 200, "ok"),
        ("/livez", 200, "alive"),
        ("/", 404, "404 page not found\n"),
        ("/healthz/", 404, "404 page not found\n"),
        ("/health", 404, "404 page not found\n"),
    ];
    for (path, status, body) in cases {
        let reply = table.answer(path).await;
        assert_eq!((reply.status.as_u16(), &*reply.body), (status, body.as_bytes()), "{path}");
    }
    let everything = RouteTable::new().with("", Access::Open, || Reply::text("any"));
    assert_eq!(&*everything.answer("/what/ever").await.body, b"any");
}
