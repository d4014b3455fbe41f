use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

use super::*;

async fn served(router: Router) -> reqwest::Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/").parse().unwrap()
}

fn wanted(url: reqwest::Url, headers: &[(&'static str, &'static str)]) -> StaticPodUrl {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().unwrap());
    }
    StaticPodUrl { url, headers: map }
}

#[tokio::test]
async fn headers_are_sent_and_the_body_comes_back() {
    let echo = |headers: HeaderMap| async move {
        let values: Vec<_> =
            headers.get_all("x-key").iter().map(|value| value.to_str().unwrap()).collect();
        values.join(" ")
    };
    let url = served(Router::new().route("/", get(echo))).await;
    let client = HttpManifestUrl::new(&wanted(url, &[("x-key", "a"), ("x-key", "b")])).unwrap();
    assert_eq!(client.fetch().await.unwrap(), b"a b");
}

#[tokio::test]
async fn other_answers_than_200_are_errors() {
    let url = served(Router::new().route("/", get(async || StatusCode::FORBIDDEN))).await;
    let client = HttpManifestUrl::new(&wanted(url, &[])).unwrap();
    assert_eq!(
        client.fetch().await.unwrap_err(),
        ManifestUrlError::Status("403 Forbidden".to_owned())
    );
    let nobody = wanted("http://127.0.0.1:1/".parse().unwrap(), &[]);
    let error = HttpManifestUrl::new(&nobody).unwrap().fetch().await.unwrap_err();
    assert!(matches!(error, ManifestUrlError::Unreachable(_)), "{error}");
}

#[tokio::test]
async fn answer_without_an_end_is_cut() {
    let endless = async || {
        let parts = futures::stream::repeat_with(|| {
            Ok::<_, std::convert::Infallible>(bytes::Bytes::from_static(&[b'x'; 65536]))
        });
        axum::body::Body::from_stream(parts)
    };
    let url = served(Router::new().route("/", get(endless))).await;
    let client = HttpManifestUrl::new(&wanted(url, &[])).unwrap();
    assert_eq!(client.fetch().await.unwrap_err(), ManifestUrlError::TooLong(LONGEST));
}

#[test]
fn name_holds_no_password() {
    let url = wanted("http://user:secret@pods.test/list?x=1".parse().unwrap(), &[]);
    assert_eq!(HttpManifestUrl::new(&url).unwrap().name(), "http://pods.test/list?x=1");
    assert!(!format!("{url:?}").contains("secret"));
}
