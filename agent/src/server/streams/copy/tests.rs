use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::*;

/// A copy between two pipes: the far ends of the caller and of the runtime.
fn running() -> (DuplexStream, DuplexStream, JoinHandle<()>) {
    let (caller, client) = duplex(64);
    let (server, runtime) = duplex(64);
    (caller, server, tokio::spawn(copy_both(client, runtime)))
}

#[tokio::test(start_paused = true)]
async fn bytes_go_both_ways_and_an_end_follows_them() {
    let (mut caller, mut server, copy) = running();
    caller.write_all(b"in").await.unwrap();
    server.write_all(b"out").await.unwrap();
    caller.shutdown().await.unwrap();
    let mut read = String::new();
    server.read_to_string(&mut read).await.unwrap();
    assert_eq!(read, "in");
    // The other half stays open as long as something moves.
    for _ in 0..5 {
        tokio::time::advance(SILENCE - Duration::from_secs(1)).await;
        server.write_all(b".").await.unwrap();
        tokio::task::yield_now().await;
    }
    drop(server);
    read.clear();
    caller.read_to_string(&mut read).await.unwrap();
    assert_eq!(read, "out.....");
    copy.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_half_that_stays_silent_after_the_others_end_is_closed() {
    for runtime_ends in [false, true] {
        let (mut caller, mut server, copy) = running();
        if runtime_ends {
            server.shutdown().await.unwrap();
        } else {
            caller.shutdown().await.unwrap();
        }
        copy.await.unwrap();
        assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(caller.read(&mut [0]).await.unwrap(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_end_ends_the_other_at_once() {
    let (caller, mut server, copy) = running();
    drop(caller);
    server.write_all(b"nobody reads this").await.unwrap();
    let began = tokio::time::Instant::now();
    copy.await.unwrap();
    assert!(began.elapsed() < SILENCE);
    assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_end_is_waited_for() {
    let (mut caller, mut server, copy) = running();
    let sent = vec![7; 8 * BUFFER];
    let writer = tokio::spawn(async move {
        caller.write_all(&sent).await.unwrap();
        caller
    });
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert!(!writer.is_finished());
    let mut read = vec![0; 8 * BUFFER];
    server.read_exact(&mut read).await.unwrap();
    assert!(read.iter().all(|byte| *byte == 7));
    drop((writer.await.unwrap(), server));
    copy.await.unwrap();
}
