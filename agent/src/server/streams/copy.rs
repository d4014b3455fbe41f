//! Bytes in both directions between a caller and the runtime.

use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::{Either, select};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::boundary::Duplex;

#[cfg(test)]
mod tests;

/// What is held of each direction at most; a slow end is waited for (size of Go's `io.Copy`).
pub(super) const BUFFER: usize = 32 * 1024;
/// How long one direction may be silent after the other has ended. The protocols that flow here
/// close their streams inside the connection, so whoever ends its side is usually gone, and a
/// runtime may keep its own side open for as long as the command runs.
const SILENCE: Duration = Duration::from_secs(10);

/// Copies until both sides have ended, or one breaks, or one stays silent after the other's end.
/// The end of a side reaches the other one after all bytes before it.
pub(super) async fn copy_both(client: impl Duplex, runtime: impl Duplex) {
    let (from_client, to_client) = tokio::io::split(client);
    let (from_runtime, to_runtime) = tokio::io::split(runtime);
    let moved = AtomicU64::new(0);
    let up = pin!(copy(from_client, to_runtime, &moved));
    let down = pin!(copy(from_runtime, to_client, &moved));
    match select(up, down).await {
        Either::Left((Ok(()), down)) => outlast(down, &moved).await,
        Either::Right((Ok(()), up)) => outlast(up, &moved).await,
        // A broken side ends both: nothing can come of the other any more.
        Either::Left((Err(_), _)) | Either::Right((Err(_), _)) => {}
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        // TLS may have kept the end of a write.
        to.flush().await?;
        moved.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits for the direction that is left until it ends or is silent.
async fn outlast(left: impl Future<Output = io::Result<()>> + Unpin, moved: &AtomicU64) {
    let mut left = left;
    loop {
        let before = moved.load(Ordering::Relaxed);
        match select(left, pin!(tokio::time::sleep(SILENCE))).await {
            Either::Left(_) => return,
            Either::Right(((), waiting)) => left = waiting,
        }
        if moved.load(Ordering::Relaxed) == before {
            return;
        }
    }
}
