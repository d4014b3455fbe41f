//! A SPDY connection inside a WebSocket: port-forwards of clients that speak no SPDY to servers.

use std::pin::pin;

use futures::future::{Either, select};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::copy::BUFFER;
use super::inbound::{ClientError, Inbound, REPLIES, farewell};
use super::websocket::{MessageKind, Opcode, push_head};
use crate::boundary::Duplex;

/// Copies until either side ends: the client's binary messages as plain bytes to the runtime, and
/// what the runtime sends as binary messages.
pub(super) async fn tunnel(client: impl Duplex, runtime: impl Duplex) {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (from_runtime, to_runtime) = tokio::io::split(runtime);
    let (replies, waiting) = mpsc::channel(REPLIES);
    let runtime_ended = {
        let up = pin!(unwrap(&mut from_client, to_runtime, Inbound::new(replies)));
        let down = pin!(wrap(from_runtime, &mut to_client, waiting));
        match select(up, down).await {
            Either::Left(_) => false,
            Either::Right((ended, _)) => ended.is_ok(),
        }
    };
    if runtime_ended {
        farewell(Vec::new(), &mut from_client, &mut to_client).await;
    }
}

/// Until the client ends or breaks, or the runtime takes nothing more.
async fn unwrap(
    from_client: &mut (impl AsyncRead + Unpin),
    mut to_runtime: impl AsyncWrite + Unpin,
    mut inbound: Inbound,
) {
    let mut buffer = vec![0; BUFFER];
    let mut out = Vec::new();
    loop {
        let Ok(read) = from_client.read(&mut buffer).await else { return };
        out.clear();
        let going_on = inbound.read(&mut buffer[..read], |(kind, bytes, _)| {
            if kind == MessageKind::Text {
                return Err(ClientError::Text);
            }
            out.extend_from_slice(bytes);
            Ok(())
        });
        let written = to_runtime.write_all(&out).await;
        match going_on {
            Ok(true) if read > 0 && written.is_ok() => {}
            Ok(_) => return,
            Err(error) => {
                tracing::debug!(%error, "a port-forward over WebSocket ended");
                return;
            }
        }
    }
}

/// Until the runtime ends; an error means that the client takes nothing more.
async fn wrap(
    mut from_runtime: impl AsyncRead + Unpin,
    to_client: &mut (impl AsyncWrite + Unpin),
    mut replies: mpsc::Receiver<Vec<u8>>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut out = Vec::new();
    loop {
        out.clear();
        // Neither loses what it has when the other is ready first.
        tokio::select! {
            read = from_runtime.read(&mut buffer) => match read {
                Ok(read) if read > 0 => {
                    push_head(&mut out, Opcode::Binary, read);
                    out.extend_from_slice(&buffer[..read]);
                }
                _ => return Ok(()),
            },
            Some(reply) = replies.recv() => out = reply,
        }
        to_client.write_all(&out).await?;
        to_client.flush().await?;
    }
}
