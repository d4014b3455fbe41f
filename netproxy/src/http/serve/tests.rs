use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::ports::listen;
use super::super::{Access, Reply, RouteTable, Wildcard};
use super::{CONNECTIONS, serve};

async fn server() -> SocketAddr {
    let listener = listen("127.0.0.1:0".parse().unwrap(), Wildcard::OneFamily).unwrap();
    let address = listener.local_addr().unwrap();
    let table = RouteTable::new().with("/healthz", Access::Open, || Reply {
        headers: vec![("x-load-balancing-endpoint-weight", "3".to_owned())],
        ..Reply::text("ok")
    });
    tokio::spawn(serve(listener, table));
    address
}

async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A server that does not like the request may close before all of it was sent.
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    String::from_utf8(answer).unwrap().to_lowercase()
}

#[tokio::test]
async fn answers_carry_type_and_headers() {
    let address = server().await;
    let answer = exchange(address, "GET /healthz HTTP/1.0\r\n\r\n").await;
    for part in [
        "200 ok\r\n",
        "content-type: text/plain; charset=utf-8\r\n",
        "x-content-type-options: nosniff\r\n",
        "x-load-balancing-endpoint-weight: 3\r\n",
        "content-length: 2\r\n",
        "\r\n\r\nok",
    ] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
    let answer = exchange(address, "HEAD /healthz HTTP/1.0\r\n\r\n").await;
    assert!(answer.contains("content-length: 2\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    let answer = exchange(address, "GET /nothing HTTP/1.0\r\n\r\n").await;
    assert!(answer.contains(" 404 not found\r\n"), "{answer}");
}

#[tokio::test]
async fn heads_and_bodies_without_end_are_not_taken() {
    let address = server().await;
    let long = format!("GET /healthz HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(64 * 1024));
    let answer = exchange(address, &long).await;
    assert!(answer.is_empty() || answer.contains(" 431 "), "{answer}");
    let many = format!("GET /healthz HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(100));
    let answer = exchange(address, &many).await;
    assert!(answer.is_empty() || answer.contains(" 431 "), "{answer}");
    let body = "POST /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nstart";
    let answer = exchange(address, body).await;
    assert!(answer.contains(" 200 ok\r\n"), "{answer}");
}

#[tokio::test]
async fn no_more_connections_are_served_at_once_than_allowed() {
    let address = server().await;
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        open.push(TcpStream::connect(address).await.unwrap());
    }
    let mut late = TcpStream::connect(address).await.unwrap();
    late.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await.unwrap();
    for stream in &mut open {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut first = [0; 15];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200 OK");
    }
    let mut byte = [0; 1];
    assert!(late.try_read(&mut byte).is_err(), "nothing is said to the late one yet");
    open.pop();
    late.read_exact(&mut byte).await.unwrap();
    assert_eq!(&byte, b"H");
}
