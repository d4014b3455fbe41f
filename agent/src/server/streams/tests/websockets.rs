//! WebSockets that end here: remote commands of version 5, and tunnels.

use super::*;
use crate::server::streams::spdy::{self, Frame, HeaderCompressor};
use crate::server::streams::websocket::{Opcode, push_head};

const V5: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: v4.channel.k8s.io, v5.channel.k8s.io\r\n";
const TUNNEL: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: SPDY/3.1+portforward.k8s.io\r\n";
const SPDY: &[(&str, &str)] = &[
    ("connection", "Upgrade"),
    ("upgrade", "SPDY/3.1"),
    ("x-stream-protocol-version", "v4.channel.k8s.io"),
];

/// A client's frame.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_head(&mut bytes, Opcode::Binary, payload.len());
    bytes[0] = 0x80 | opcode;
    bytes[1] |= 0x80;
    bytes.extend_from_slice(&[1, 2, 3, 4]);
    bytes.extend(payload.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// The next frame for a client: its opcode and payload; `None` at the end.
async fn next(client: &mut DuplexStream) -> Option<(u8, Vec<u8>)> {
    let first = client.read_u8().await.ok()?;
    let length = match client.read_u8().await.unwrap() {
        126 => client.read_u16().await.unwrap() as usize,
        127 => client.read_u64().await.unwrap() as usize,
        short => short as usize,
    };
    let mut payload = vec![0; length];
    client.read_exact(&mut payload).await.unwrap();
    Some((first & 0x0f, payload))
}

/// The runtime's side of SPDY.
struct Runtime {
    stream: DuplexStream,
    decoder: spdy::Decoder,
    compressor: HeaderCompressor,
    seen: Vec<String>,
}

impl Runtime {
    fn new(stream: DuplexStream) -> Self {
        let (decoder, compressor) = (spdy::Decoder::default(), HeaderCompressor::new());
        Self { stream, decoder, compressor, seen: Vec::new() }
    }

    /// Reads until so many frames were seen; a word for each.
    async fn see(&mut self, count: usize) -> Vec<String> {
        let mut buffer = [0; 512];
        while self.seen.len() < count {
            let read = self.stream.read(&mut buffer).await.unwrap();
            assert!(read > 0, "it ended after {:?}", self.seen);
            let mut rest = &buffer[..read];
            while !rest.is_empty() {
                let (used, frame) = self.decoder.decode(rest).unwrap();
                rest = &rest[used..];
                let word = match frame {
                    None => continue,
                    Some(Frame::Opened { stream, headers }) => {
                        format!("{stream} opens as {}", headers[0].1)
                    }
                    Some(Frame::Bytes { stream, bytes, last }) => {
                        let text = String::from_utf8_lossy(bytes);
                        format!("{stream} {text}{}", if last { "|" } else { "" })
                    }
                    Some(other) => format!("{other:?}"),
                };
                self.seen.push(word);
            }
        }
        std::mem::take(&mut self.seen)
    }

    async fn reply(&mut self, streams: &[u32]) {
        let mut out = Vec::new();
        for stream in streams {
            spdy::push_reply(&mut out, &mut self.compressor, *stream);
        }
        self.stream.write_all(&out).await.unwrap();
    }

    async fn send(&mut self, stream: u32, bytes: &[u8], last: bool) {
        let mut out = Vec::new();
        spdy::push_bytes(&mut out, stream, bytes, last);
        self.stream.write_all(&out).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_remote_command_is_translated_between_channels_and_streams() {
    let node = Node::new().await;
    let mut runtime = Runtime::new(node.server.upgrade_next(SPDY));
    let line = "GET /exec/default/web/app?command=sh&input=1&output=1&error=1";
    let (mut client, reply) = node.ask(line, V5).await;
    assert_eq!(reply.status, 101);
    assert!(reply.head.contains("sec-websocket-protocol: v5.channel.k8s.io\r\n"));
    assert!(reply.head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    assert_eq!(next(&mut client).await, Some((2, vec![1])));
    let call = node.server.calls.lock().unwrap().remove(0);
    assert_eq!((call.method, call.url.as_str()), (Method::POST, "http://127.0.0.1:1/exec/token"));

    let opened = runtime.see(4).await;
    assert_eq!(
        opened,
        ["1 opens as error", "3 opens as stdin", "5 opens as stdout", "7 opens as stderr"]
    );
    runtime.reply(&[1, 3, 5, 7]).await;
    let sent = [
        frame(2, b"\x00hello"),
        frame(9, b"ping"),
        frame(2, b"\x04{\"Width\":1}"),
        frame(2, b"\x09nobody"),
        frame(2, b"\xff\x00"),
    ];
    client.write_all(&sent.concat()).await.unwrap();
    assert_eq!(runtime.see(2).await, ["3 hello", "3 |"]);
    assert_eq!(next(&mut client).await, Some((10, b"ping".to_vec())));

    let mut ping = Vec::new();
    spdy::push_ping(&mut ping, 2);
    runtime.stream.write_all(&ping).await.unwrap();
    assert_eq!(runtime.see(1).await, ["Ping(2)"]);
    runtime.send(5, b"out", false).await;
    runtime.send(7, b"err", true).await;
    let status = br#"{"metadata":{},"status":"Failure","reason":"NonZeroExitCode"}"#;
    runtime.send(1, status, true).await;
    runtime.send(5, b"put", true).await;
    for wanted in [&b"\x01out"[..], b"\x02err", b"\x01put", &[b"\x03", &status[..]].concat()] {
        assert_eq!(next(&mut client).await, Some((2, wanted.to_vec())));
    }
    assert_eq!(next(&mut client).await, Some((8, vec![3, 232])));
    assert_eq!(next(&mut client).await, None);
    drop(client);
    node.idle().await;
}

#[tokio::test(start_paused = true)]
async fn a_terminal_has_its_sizes_and_one_output() {
    let node = Node::new().await;
    let mut runtime = Runtime::new(node.server.upgrade_next(SPDY));
    let line = "GET /attach/default/web/shell?input=1&output=1&tty=1";
    let (mut client, _) = node.ask(line, V5).await;
    client.write_all(&frame(2, b"\x04{\"Width\":80,\"Height\":24}")).await.unwrap();
    let seen = runtime.see(5).await;
    assert_eq!(seen[3..], ["7 opens as resize", "7 {\"Width\":80,\"Height\":24}"]);
    drop(runtime);
    assert_eq!(next(&mut client).await, Some((2, vec![1])));
    let (_, status) = next(&mut client).await.unwrap();
    let status = String::from_utf8(status).unwrap();
    assert!(status.contains("error reading from error stream: unexpected EOF"), "{status}");
    drop(client);
    node.idle().await;
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_gives_no_streams_is_told_in_the_status() {
    let node = Node::new().await;
    let unreachable = "dial tcp 127.0.0.1:1: connect: connection refused".to_owned();
    for (answer, wanted) in [
        (
            Err(StreamingServerError::Unreachable(unreachable)),
            "Internal error occurred: error dialing backend: dial tcp 127.0.0.1:1: connect: \
             connection refused",
        ),
        (
            Ok(UpgradeAnswer::Refused {
                status: StatusCode::NOT_FOUND,
                headers: HeaderMap::new(),
                body: "404 page not found\n".into(),
            }),
            "Internal error occurred: unable to upgrade connection: 404 page not found",
        ),
    ] {
        node.server.answer(answer);
        let (mut client, reply) = node.ask("GET /exec/default/web/app?error=1", V5).await;
        assert_eq!(reply.status, 101);
        assert_eq!(next(&mut client).await, Some((2, vec![2])));
        let (_, status) = next(&mut client).await.unwrap();
        assert_eq!(status[0], 3);
        let status: serde_json::Value = serde_json::from_slice(&status[1..]).unwrap();
        assert_eq!(status["message"], wanted);
        assert_eq!(next(&mut client).await.map(|(opcode, _)| opcode), Some(8));
    }
    node.idle().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_or_breaks_the_protocol_ends_the_runtimes_side() {
    let node = Node::new().await;
    let line = "GET /exec/default/web/app?input=1&output=1";
    for last in [None, Some(frame(8, b"")), Some(vec![0x82, 1, 0]), Some(frame(2, b"\xff"))] {
        let mut runtime = node.server.upgrade_next(SPDY);
        let (mut client, _) = node.ask(line, V5).await;
        match last {
            None => drop(client),
            Some(last) => client.write_all(&last).await.unwrap(),
        }
        let mut rest = Vec::new();
        runtime.read_to_end(&mut rest).await.unwrap();
        node.idle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_websocket_request_that_is_none_is_refused() {
    let node = Node::new().await;
    let broken = V5.replace("Version: 13", "Version: 8");
    let line = "GET /exec/default/web/app?output=1";
    assert_eq!(node.refusal(line, &broken).await.0, 400);
    let broken = TUNNEL.replace("dGhlIHNh", "");
    assert_eq!(node.refusal("GET /portForward/default/web", &broken).await.0, 400);
    node.idle().await;
}

#[tokio::test(start_paused = true)]
async fn a_port_forward_is_tunnelled_byte_for_byte() {
    let node = Node::new().await;
    let switched = &[
        ("connection", "Upgrade"),
        ("upgrade", "SPDY/3.1"),
        ("x-stream-protocol-version", "portforward.k8s.io"),
    ];
    let mut runtime = node.server.upgrade_next(switched);
    let (mut client, reply) = node.ask("GET /portForward/default/web", TUNNEL).await;
    assert_eq!(reply.status, 101);
    let protocol = "sec-websocket-protocol: SPDY/3.1+portforward.k8s.io\r\n";
    assert!(reply.head.contains(protocol), "{}", reply.head);
    let call = node.server.calls.lock().unwrap().remove(0);
    assert_eq!((call.method, call.headers), (Method::POST, header_map(switched)));
    assert_eq!(node.runtime.calls().last().unwrap(), "port_forward_url sandbox-1 []");

    let sent = [frame(2, b"up "), frame(9, b"p"), frame(2, b""), frame(2, b"stream")];
    client.write_all(&sent.concat()).await.unwrap();
    let mut read = vec![0; 9];
    runtime.read_exact(&mut read).await.unwrap();
    assert_eq!(read, b"up stream");
    assert_eq!(next(&mut client).await, Some((10, b"p".to_vec())));
    runtime.write_all(b"down").await.unwrap();
    assert_eq!(next(&mut client).await, Some((2, b"down".to_vec())));
    drop(runtime);
    assert_eq!(next(&mut client).await, Some((8, vec![3, 232])));
    drop(client);
    node.idle().await;
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_ends_with_its_client() {
    let node = Node::new().await;
    for last in [None, Some(frame(8, b"")), Some(frame(1, b"text"))] {
        let mut runtime = node.server.upgrade_next(SPDY);
        let (mut client, _) = node.ask("GET /portForward/default/web", TUNNEL).await;
        match last {
            None => drop(client),
            Some(last) => client.write_all(&last).await.unwrap(),
        }
        assert_eq!(runtime.read(&mut [0]).await.unwrap(), 0);
        node.idle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_does_not_speak_spdy_has_no_tunnel() {
    let node = Node::new().await;
    let line = "GET /portForward/default/web";
    let _other = node.server.upgrade_next(&[("connection", "Upgrade"), ("upgrade", "h2c")]);
    assert_eq!(
        node.refusal(line, TUNNEL).await,
        (500, "unable to upgrade: missing upgrade headers in response".to_owned())
    );
    node.server.answer(Ok(UpgradeAnswer::Refused {
        status: StatusCode::FORBIDDEN,
        headers: HeaderMap::new(),
        body: "no".into(),
    }));
    assert_eq!(node.refusal(line, TUNNEL).await, (403, "no".to_owned()));
    node.idle().await;
}
