//! What a client sends over a WebSocket, and the end of one.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::channels::ChannelError;
use super::websocket::{
    Decoder, MessageKind, Opcode, Piece, WebSocketError, push_close, push_head,
};

/// Answers to pings that wait for the other direction. A client whose pings come faster than it
/// takes the answers gets fewer of them (RFC 6455, 5.5.3 allows that).
pub(super) const REPLIES: usize = 4;
/// For the last words to a client, and for its own end after them (v1.36: deadline for writing the
/// error of a stream, 10 s).
const FAREWELL: Duration = Duration::from_secs(10);

/// How a client breaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ClientError {
    #[error(transparent)]
    Frame(#[from] WebSocketError),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// Text where bytes are tunnelled.
    #[error("a message of text in a tunnel")]
    Text,
}

/// Part of a message: its kind, the bytes, and whether they are the last.
pub(super) type Part<'a> = (MessageKind, &'a [u8], bool);

/// Takes a client's bytes apart and has its pings answered.
pub(super) struct Inbound {
    decoder: Decoder,
    replies: mpsc::Sender<Vec<u8>>,
}

impl Inbound {
    /// `replies` are frames for the client, for whoever writes to it.
    pub fn new(replies: mpsc::Sender<Vec<u8>>) -> Self {
        Self { decoder: Decoder::default(), replies }
    }

    /// Gives each part of a message in the input to `take`. `false` when the client has said
    /// goodbye; what follows that is not looked at.
    pub fn read(
        &mut self,
        mut input: &mut [u8],
        mut take: impl FnMut(Part<'_>) -> Result<(), ClientError>,
    ) -> Result<bool, ClientError> {
        while !input.is_empty() {
            let (used, piece) = self.decoder.decode(input)?;
            match piece {
                Some(Piece::Message { kind, bytes, last }) => take((kind, bytes, last))?,
                Some(Piece::Ping(bytes)) => {
                    let mut pong = Vec::new();
                    push_head(&mut pong, Opcode::Pong, bytes.len());
                    pong.extend_from_slice(bytes);
                    // A full queue has an answer under way already.
                    let _ = self.replies.try_send(pong);
                }
                Some(Piece::Close) => return Ok(false),
                Some(Piece::Pong) | None => {}
            }
            input = &mut input[used..];
        }
        Ok(true)
    }
}

/// Sends the last frames and a goodbye, then waits for the client to end its side: closing on
/// what it still sends would take the last frames from it.
pub(super) async fn farewell(
    mut last: Vec<u8>,
    from_client: &mut (impl AsyncRead + Unpin),
    to_client: &mut (impl AsyncWrite + Unpin),
) {
    push_close(&mut last);
    let goodbye = async {
        to_client.write_all(&last).await?;
        to_client.shutdown().await
    };
    if !matches!(tokio::time::timeout(FAREWELL, goodbye).await, Ok(Ok(()))) {
        return;
    }
    let mut buffer = vec![0; 4096];
    let rest = async { while from_client.read(&mut buffer).await.is_ok_and(|read| read > 0) {} };
    // A client that does not end its side is left.
    let _ = tokio::time::timeout(FAREWELL, rest).await;
}
