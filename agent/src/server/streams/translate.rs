//! Remote commands of version 5 over WebSocket, as SPDY to the runtime.
//!
//! ```text
//! client: messages of channels                      runtime: a stream each
//!   0 ───> stdin   255,0 ends it                      1 error   3 .. stdin, stdout, stderr,
//!   1, 2 <─── stdout, stderr                                    resize, as far as wanted
//!   3 <─── Status, the last message
//!   4 ───> sizes of the terminal
//! ```

use std::pin::pin;
use std::sync::Arc;

use futures::future::{Either, select};
use http::Method;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::channels::{self, Channels, Event};
use super::copy::BUFFER;
use super::inbound::{Inbound, REPLIES, farewell};
use super::lanes::{Ending, Lanes};
use super::negotiate;
use super::spdy::{self, HeaderCompressor};
use super::websocket::{Opcode, push_head};
use crate::boundary::{
    ContainerStreams, Duplex, StreamingServer, StreamingServerError, UpgradeAnswer, UpgradeCall,
};

/// Versions of the remote command protocol over SPDY, the best first. All of them open the same
/// streams; before version 4 the error stream is plain text.
const PROTOCOLS: [&str; 4] =
    ["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io"];

/// Why there are no streams; the texts are those of Kubernetes' SPDY client (v0.36).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Server(#[from] StreamingServerError),
    #[error("unable to upgrade connection: {0}")]
    NotSwitched(String),
    #[error("error sending request: {0}")]
    Broken(String),
}

/// A command whose streams are about to be opened.
pub(super) struct Translation {
    pub server: Arc<dyn StreamingServer>,
    pub url: String,
    pub streams: ContainerStreams,
}

impl Translation {
    /// Serves the client until the command or the client ends.
    pub async fn run(self, client: impl Duplex) {
        let (mut from_client, mut to_client) = tokio::io::split(client);
        let mut greeting = Vec::new();
        push_message(&mut greeting, self.first_output(), &[]);
        if write(&mut to_client, &greeting).await.is_err() {
            return;
        }
        let lanes = Lanes::new(self.streams);
        let status = match self.open(&lanes).await {
            Err(error) => Some(super::lanes::internal_error(&error.to_string())),
            Ok((runtime, text_errors)) => {
                let ending = Ending::new(&lanes, text_errors);
                relay(&mut from_client, &mut to_client, runtime, &lanes, ending).await
            }
        };
        if let Some(status) = status {
            let mut last = Vec::new();
            push_message(&mut last, channels::ERROR, status.as_bytes());
            farewell(last, &mut from_client, &mut to_client).await;
        }
    }

    /// Clients wait for an empty message there before they begin.
    fn first_output(&self) -> u8 {
        match self.streams {
            ContainerStreams { stdout: true, .. } => channels::STDOUT,
            ContainerStreams { stderr: true, .. } => channels::STDERR,
            _ => channels::ERROR,
        }
    }

    /// The runtime's side with its streams asked for, and whether errors come as plain text.
    async fn open(&self, lanes: &Lanes) -> Result<(Box<dyn Duplex>, bool), OpenError> {
        let headers = negotiate::spdy_request(PROTOCOLS);
        let call = UpgradeCall { method: Method::POST, url: self.url.clone(), headers };
        let (headers, mut connection) = match self.server.upgrade(call).await? {
            UpgradeAnswer::Upgraded { headers, connection } => (headers, connection),
            UpgradeAnswer::Refused { body, .. } => {
                let text = String::from_utf8_lossy(&body);
                return Err(OpenError::NotSwitched(text.trim().to_owned()));
            }
        };
        if !negotiate::switches_to_spdy(&headers) {
            return Err(OpenError::NotSwitched(String::new()));
        }
        let text_errors = !PROTOCOLS[..2].contains(&negotiate::chosen_protocol(&headers));
        let mut compressor = HeaderCompressor::new();
        let mut opening = Vec::new();
        for (stream, kind) in lanes.all() {
            spdy::push_open(&mut opening, &mut compressor, stream, &[("streamtype", kind)]);
        }
        let broken = |error: std::io::Error| OpenError::Broken(error.to_string());
        connection.write_all(&opening).await.map_err(broken)?;
        connection.flush().await.map_err(broken)?;
        Ok((connection, text_errors))
    }
}

/// Copies until the command or the client ends. The Status for the client; `None` when it is gone.
async fn relay(
    from_client: &mut (impl AsyncRead + Unpin),
    to_client: &mut (impl AsyncWrite + Unpin),
    runtime: Box<dyn Duplex>,
    lanes: &Lanes,
    ending: Ending,
) -> Option<String> {
    let (from_runtime, to_runtime) = tokio::io::split(runtime);
    let (pongs, waiting_pongs) = mpsc::channel(REPLIES);
    let (pings, waiting_pings) = mpsc::channel(REPLIES);
    let up = Upward { lanes, inbound: Inbound::new(pongs), channels: Channels::default() };
    let down = Downward { lanes, ending, decoder: spdy::Decoder::default(), replies: pings };
    let up = pin!(up.run(from_client, to_runtime, waiting_pings));
    let down = pin!(down.run(from_runtime, to_client, waiting_pongs));
    match select(up, down).await {
        Either::Left(_) => None,
        Either::Right((status, _)) => status,
    }
}

/// From the client to the runtime.
struct Upward<'a> {
    lanes: &'a Lanes,
    inbound: Inbound,
    channels: Channels,
}

impl Upward<'_> {
    /// Until the client ends or breaks. A runtime that takes nothing more has ended the command;
    /// what it came to is for the other direction to tell.
    async fn run(
        mut self,
        from_client: &mut (impl AsyncRead + Unpin),
        mut to_runtime: impl AsyncWrite + Unpin,
        mut replies: mpsc::Receiver<Vec<u8>>,
    ) {
        let mut buffer = vec![0; BUFFER];
        let mut out = Vec::new();
        let mut takes = true;
        loop {
            out.clear();
            // Neither loses what it has when the other is ready first.
            tokio::select! {
                read = from_client.read(&mut buffer) => {
                    let Ok(read @ 1..) = read else { return };
                    match self.translate(&mut buffer[..read], &mut out) {
                        Ok(true) => {}
                        Ok(false) => return,
                        Err(error) => {
                            tracing::debug!(%error, "a remote command over WebSocket ended");
                            return;
                        }
                    }
                }
                Some(reply) = replies.recv() => out = reply,
            }
            takes = takes && write(&mut to_runtime, &out).await.is_ok();
        }
    }

    /// Appends what the client sent as frames; `false` when it said goodbye.
    fn translate(
        &mut self,
        input: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<bool, super::inbound::ClientError> {
        let Self { lanes, inbound, channels } = self;
        inbound.read(input, |(_, bytes, last)| {
            let (channel, bytes, last) = match channels.take(bytes, last)? {
                None => return Ok(()),
                Some(Event::Bytes { channel, bytes }) => (channel, bytes, false),
                Some(Event::Closed(channel)) => (channel, &[][..], true),
            };
            if let Some(stream) = lanes.to_runtime(channel) {
                spdy::push_bytes(out, stream, bytes, last);
            }
            Ok(())
        })
    }
}

/// From the runtime to the client.
struct Downward<'a> {
    lanes: &'a Lanes,
    ending: Ending,
    decoder: spdy::Decoder,
    replies: mpsc::Sender<Vec<u8>>,
}

impl Downward<'_> {
    /// Until the command ends: its Status. `None` when the client takes nothing more.
    async fn run(
        mut self,
        mut from_runtime: impl AsyncRead + Unpin,
        to_client: &mut (impl AsyncWrite + Unpin),
        mut replies: mpsc::Receiver<Vec<u8>>,
    ) -> Option<String> {
        let mut buffer = vec![0; BUFFER];
        let mut out = Vec::new();
        loop {
            out.clear();
            let mut over = false;
            // Neither loses what it has when the other is ready first.
            tokio::select! {
                read = from_runtime.read(&mut buffer) => match read {
                    Ok(read @ 1..) => over = self.translate(&buffer[..read], &mut out),
                    _ => over = true,
                },
                Some(reply) = replies.recv() => out = reply,
            }
            write(to_client, &out).await.ok()?;
            if over {
                return Some(self.ending.status());
            }
        }
    }

    /// Appends what the runtime sent as messages; whether it has ended.
    fn translate(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> bool {
        while !input.is_empty() && !self.ending.is_over() {
            let (used, frame) = match self.decoder.decode(input) {
                Ok(decoded) => decoded,
                Err(error) => {
                    self.ending.broken(&error.to_string());
                    return true;
                }
            };
            input = &input[used..];
            if let Some(frame) = frame {
                self.take(frame, out);
            }
        }
        self.ending.is_over()
    }

    fn take(&mut self, frame: spdy::Frame<'_>, out: &mut Vec<u8>) {
        match frame {
            spdy::Frame::Bytes { stream, bytes, last } => {
                match self.lanes.to_client(stream) {
                    Some(channel) if !bytes.is_empty() => push_message(out, channel, bytes),
                    None => self.ending.error_bytes(stream, bytes),
                    Some(_) => {}
                }
                if last {
                    self.ending.ended(stream);
                }
            }
            spdy::Frame::Reply { stream, last } | spdy::Frame::Headers { stream, last } => {
                if last {
                    self.ending.ended(stream);
                }
            }
            spdy::Frame::Reset { stream } => self.ending.ended(stream),
            spdy::Frame::Opened { stream, .. } => {
                // It has nothing to open here.
                let mut refusal = Vec::new();
                spdy::push_refusal(&mut refusal, stream);
                let _ = self.replies.try_send(refusal);
            }
            spdy::Frame::Ping(number) => {
                let mut reply = Vec::new();
                spdy::push_ping(&mut reply, number);
                let _ = self.replies.try_send(reply);
            }
            spdy::Frame::GoAway | spdy::Frame::Other => {}
        }
    }
}

/// Appends a message of the channel.
fn push_message(out: &mut Vec<u8>, channel: u8, bytes: &[u8]) {
    push_head(out, Opcode::Binary, bytes.len() + 1);
    out.push(channel);
    out.extend_from_slice(bytes);
}

async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}
