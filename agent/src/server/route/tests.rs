use super::*;

const LIMITS: Limits = Limits { body_bytes: 0, at_once: 1, deadline: Duration::from_secs(1) };

fn route(methods: &[Method], path: &'static str) -> Route {
    Route::new((methods, path), Offer::Secure, Access::PROXY, LIMITS, |_| async {
        Response::new(Body::empty())
    })
}

#[test]
fn paths_are_matched_part_by_part() {
    let table = RouteTable::new(vec![
        route(&[Method::GET], "/pods"),
        route(&[Method::GET, Method::POST], "/exec/{namespace}/{pod}/{container}"),
        route(&[Method::GET], "/logs/{*rest}"),
    ]);
    let look = |method: Method, path: &str| match table.find(&method, path) {
        Found::Route(route, values) => format!("{} {:?}", route.path, values.0),
        Found::OtherMethod(route) => format!("other method of {}", route.path),
        Found::Nothing => "nothing".to_owned(),
    };
    for (method, path, wanted) in [
        (Method::GET, "/pods", "/pods []"),
        (Method::GET, "/pods/", "/pods []"),
        (Method::PUT, "/pods", "other method of /pods"),
        (Method::GET, "/pods/x", "nothing"),
        (Method::GET, "/", "nothing"),
        (
            Method::POST,
            "/exec/a/b%2Fc/d",
            r#"/exec/{namespace}/{pod}/{container} [("namespace", "a"), ("pod", "b/c"), ("container", "d")]"#,
        ),
        (Method::POST, "/exec/a//d", "nothing"),
        (Method::POST, "/exec/a/%ff/d", "nothing"),
        (Method::GET, "/logs", r#"/logs/{*rest} [("rest", "")]"#),
        (Method::GET, "/logs/a/b", r#"/logs/{*rest} [("rest", "a/b")]"#),
    ] {
        assert_eq!(look(method, path), wanted, "{path}");
    }
}
