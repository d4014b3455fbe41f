//! Copies the logs that a query names into an answer.

use std::io;
use std::path::Path;
use std::time::Duration;

use axum::body::{Body, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::query::{NodeLogQuery, Options};
use super::{CHUNK, blocking};
use crate::adapters::linux::{Found, Journal, SystemLogs};

/// How long one query may take (kubelet v1.36).
const DEADLINE: Duration = Duration::from_secs(30);
/// Chunks on their way to the caller, who is waited for.
const CHUNKS: usize = 2;

type Line = mpsc::Sender<Bytes>;

/// The logs of the services of `query`. The work ends with the body: nobody reads on for a caller
/// who has left.
pub(super) fn services(query: NodeLogQuery, files: SystemLogs, journal: Journal) -> Body {
    let (line, chunks) = mpsc::channel(CHUNKS);
    tokio::spawn(async move {
        let gone = line.clone();
        // The work may be dropped anywhere; that kills the program, too.
        tokio::select! {
            _ = tokio::time::timeout(DEADLINE, copy(&query, &files, journal, &line)) => {}
            () = gone.closed() => {}
        }
    });
    Body::from_stream(ReceiverStream::new(chunks).map(Ok::<_, io::Error>))
}

async fn copy(query: &NodeLogQuery, files: &SystemLogs, journal: Journal, line: &Line) {
    let units = journal.units().await.unwrap_or_default();
    let is_unit = |service: &&String| units.contains(&format!("{service}.service"));
    let (native, other): (Vec<&String>, Vec<&String>) = query.services.iter().partition(is_unit);
    if !native.is_empty() {
        let native: Vec<String> = native.into_iter().cloned().collect();
        copy_journal(&query.journal_arguments(&native), journal, line).await;
    }
    if !other.is_empty() && query.options != Options::default() {
        let names = other.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ");
        let words = format!(
            "\noptions present and query resolved to log files for [{names}]\n\
             try without specifying options\n"
        );
        return say(line, words).await;
    }
    for service in other {
        copy_file_of(service, files, line).await;
    }
}

/// What the program says, on both of its outputs, as it comes.
async fn copy_journal(arguments: &[String], journal: Journal, line: &Line) {
    let Ok(mut child) = journal.start(arguments) else {
        return say(line, "\nerror: journal output not available\n".to_owned()).await;
    };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    tokio::join!(copy_all(stdout, line), copy_all(stderr, line));
    // Whether it found anything, it has said itself.
    let _ = child.wait().await;
}

async fn copy_all(source: Option<impl AsyncRead + Unpin>, line: &Line) {
    let Some(mut source) = source else { return };
    loop {
        let mut chunk = vec![0; CHUNK];
        let Ok(read @ 1..) = source.read(&mut chunk).await else { return };
        chunk.truncate(read);
        if line.send(chunk.into()).await.is_err() {
            return;
        }
    }
}

/// The file that a service most likely logs to.
async fn copy_file_of(service: &str, files: &SystemLogs, line: &Line) {
    for name in [service.to_owned(), format!("{service}.log"), format!("{service}/{service}.log")] {
        let files = files.clone();
        match blocking(move || files.open(Path::new(&name))).await {
            Ok(Found::File(found)) => {
                let file = tokio::fs::File::from_std(found.file).take(found.size);
                return copy_all(Some(file), line).await;
            }
            // The log of a service may be in a directory of its name.
            Ok(Found::Directory(_)) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return say(line, format!("\nerror getting log for {service}: {error}\n")).await;
            }
        }
    }
    say(line, format!("\nlog not found for {service}\n")).await;
}

async fn say(line: &Line, words: String) {
    // The receiver is gone only when the caller is.
    let _ = line.send(words.into()).await;
}
