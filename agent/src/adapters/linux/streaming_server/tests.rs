use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A server that reads one request's head and answers with these bytes, then echoes one byte.
async fn server(answer: &'static [u8]) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(answer).await.unwrap();
        if let Ok(byte) = stream.read_u8().await {
            stream.write_u8(byte).await.unwrap();
        }
        String::from_utf8(head).unwrap()
    });
    (url, task)
}

fn call(url: String) -> UpgradeCall {
    let mut headers = http::HeaderMap::new();
    headers.insert("connection", HeaderValue::from_static("Upgrade"));
    headers.insert("upgrade", HeaderValue::from_static("SPDY/3.1"));
    UpgradeCall { method: http::Method::POST, url, headers }
}

#[tokio::test]
async fn an_upgraded_connection_is_handed_over_with_what_came_after_the_head() {
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
        Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\nearly";
    let (url, server) = server(answer).await;
    let answer = LocalStreamingServer.upgrade(call(format!("{url}/exec/t?a=b"))).await.unwrap();
    let UpgradeAnswer::Upgraded { headers, mut connection } = answer else {
        panic!("it is not upgraded")
    };
    assert_eq!(headers["x-stream-protocol-version"], "v4.channel.k8s.io");
    let mut early = [0; 5];
    connection.read_exact(&mut early).await.unwrap();
    assert_eq!(&early, b"early");
    connection.write_u8(7).await.unwrap();
    assert_eq!(connection.read_u8().await.unwrap(), 7);
    drop(connection);
    let head = server.await.unwrap();
    assert!(head.starts_with("POST /exec/t?a=b HTTP/1.1\r\n"), "{head}");
    let host = url.strip_prefix("http://").unwrap();
    assert!(head.contains(&format!("host: {host}\r\n")), "{head}");
    assert!(head.contains("upgrade: SPDY/3.1\r\n"), "{head}");
}

#[tokio::test]
async fn a_refusal_comes_back_with_its_status_and_text() {
    let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 19\r\n\
        Connection: close\r\n\r\n404 page not found\n";
    let (url, _server) = server(answer).await;
    let answer = LocalStreamingServer.upgrade(call(url)).await.unwrap();
    let UpgradeAnswer::Refused { status, body, .. } = answer else { panic!("it is upgraded") };
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(body, "404 page not found\n");
}

#[tokio::test]
async fn a_connection_that_ends_within_the_answer_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 101 Swit").await.unwrap();
    };
    let (answer, ()) = tokio::join!(LocalStreamingServer.upgrade(call(url)), server);
    let error = answer.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.starts_with("error sending request: "), "{error}");
}

#[tokio::test]
async fn nobody_listening_is_told_as_the_kubelet_tells_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = LocalStreamingServer.upgrade(call(format!("http://{address}/"))).await.err();
    assert_eq!(
        error.map(|error| error.to_string()),
        Some(format!("error dialing backend: dial tcp {address}: connect: connection refused"))
    );
}

#[tokio::test]
async fn what_is_not_on_this_machine_is_not_connected_to() {
    for (url, cause) in [
        ("", "not a URL"),
        ("/exec/t", "the streaming server must speak plain HTTP"),
        ("https://127.0.0.1:1/exec/t", "the streaming server must speak plain HTTP"),
        ("http://example.com/exec/t", "its host is no address of this machine"),
        ("http://127.0.0.1.example.com:1/", "its host is no address of this machine"),
    ] {
        let error = LocalStreamingServer.upgrade(call(url.to_owned())).await.err().unwrap();
        assert_eq!(error.to_string(), format!("error dialing backend: {url}: {cause}"));
    }
    // An address of the documentation range, which no machine has.
    let error = LocalStreamingServer.upgrade(call("http://192.0.2.1:80/".to_owned())).await.err();
    let error = error.map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("cannot assign requested address"), "{error}");
}
