//! `/logs/`: files below `/var/log`, and queries of the system's journal where they are enabled.
//!
//! Source: kubelet v1.36 `ServeLogs` and `kubelet_server_journal.go`, Go's `net/http` file server
//! for the form of answers. Unlike it, no link leads out of `/var/log`, and no index page or part
//! of a file is served.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::response::Response;
use futures::stream;
use http::header::{CONTENT_LENGTH, HeaderValue, LAST_MODIFIED, LOCATION};
use http::{Method, StatusCode};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::AsyncReadExt;

use super::reply;
use super::route::{Access, Call, Limits, Offer, Route};
use crate::adapters::linux::{Found, FoundFile, Journal, SystemLogs as LogFiles};
use crate::config::SystemLogs;

mod copy;
mod query;
#[cfg(test)]
mod tests;

const ACCESS: Access = Access(&["log"]);
/// Each answer reads one file or runs one program.
const LIMITS: Limits = Limits { body_bytes: 0, at_once: 8, deadline: Duration::from_secs(40) };
/// Read at a time.
const CHUNK: usize = 64 * 1024;
/// Go looks at so much of a file to tell text from other content.
const SNIFFED: usize = 512;
/// What a name in a link is not written as it is.
const ENCODED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub fn routes(offered: SystemLogs, files: LogFiles, journal: Journal) -> Vec<Route> {
    let answer = move |call: Call| {
        let files = files.clone();
        async move {
            match offered {
                SystemLogs::Off => {
                    reply::error(StatusCode::METHOD_NOT_ALLOWED, "logs endpoint is disabled.")
                }
                SystemLogs::Files => serve(files, call.path.get("rest"), call.request.uri()).await,
                SystemLogs::FilesAndQueries => ask(files, journal, call).await,
            }
        }
    };
    // A disabled page says so to every method.
    let methods: &[Method] = if offered == SystemLogs::Off { &[] } else { &[Method::GET] };
    vec![Route::new((methods, "/logs/{*rest}"), Offer::Debugging, ACCESS, LIMITS, answer)]
}

/// Answers a query, or with a file when there is none.
async fn ask(files: LogFiles, journal: Journal, call: Call) -> Response {
    let path = call.path.get("rest");
    let uri = call.request.uri();
    let query = match query::parse(&call.query()) {
        Ok(None) => return serve(files, path, uri).await,
        Ok(Some(query)) => query,
        Err(words) => return reply::error(StatusCode::BAD_REQUEST, &words),
    };
    if !path.is_empty() {
        return reply::error(StatusCode::NOT_ACCEPTABLE, "path not allowed in query mode");
    }
    let named = query.files.first().cloned();
    let found = match named.clone() {
        Some(name) if query.files.len() == 1 => {
            let files = files.clone();
            blocking(move || files.exists(&below(&name))).await.err()
        }
        _ => None,
    };
    if let Err(words) = query.validate(found.as_ref()) {
        return reply::error(StatusCode::NOT_ACCEPTABLE, &words);
    }
    match named {
        Some(name) => serve(files, &name, uri).await,
        None => reply::typed(
            StatusCode::OK,
            "text/plain;charset=UTF-8",
            copy::services(query, files, journal),
        ),
    }
}

/// The file or directory at `path`.
async fn serve(files: LogFiles, path: &str, uri: &http::Uri) -> Response {
    let at = below(path);
    match blocking(move || files.open(&at)).await {
        Ok(Found::File(found)) => match file(found).await {
            Ok(response) => response,
            Err(error) => refused(&error),
        },
        Ok(Found::Directory(names)) if uri.path().ends_with('/') => {
            reply::typed(StatusCode::OK, "text/html; charset=utf-8", listing(&names))
        }
        // Names in a listing are relative to a path that ends like that of a directory.
        Ok(Found::Directory(_)) => {
            let last = uri.path().rsplit('/').next().unwrap_or_default();
            let moved = reply::text(StatusCode::MOVED_PERMANENTLY, "");
            match HeaderValue::from_str(&format!("{last}/")) {
                Ok(to) => reply::with(moved, LOCATION, to),
                Err(_) => moved,
            }
        }
        Err(error) => refused(&error),
    }
}

/// The path as one below a directory: neither root nor steps upwards lead out of it.
fn below(path: &str) -> PathBuf {
    let mut below = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(part) => below.push(part),
            Component::ParentDir => drop(below.pop()),
            _ => {}
        }
    }
    below
}

/// Go's words for what the file system says.
fn refused(error: &io::Error) -> Response {
    match error.kind() {
        io::ErrorKind::NotFound => reply::error(StatusCode::NOT_FOUND, "404 page not found"),
        io::ErrorKind::PermissionDenied => reply::error(StatusCode::FORBIDDEN, "403 Forbidden"),
        _ => reply::error(StatusCode::INTERNAL_SERVER_ERROR, "500 Internal Server Error"),
    }
}

/// The file as it is now; what is appended while it is read is left out.
async fn file(found: FoundFile) -> io::Result<Response> {
    let size = found.size;
    let mut source = tokio::fs::File::from_std(found.file).take(size);
    let mut first = vec![0; SNIFFED];
    let mut length = 0;
    while length < first.len() {
        match source.read(&mut first[length..]).await? {
            0 => break,
            read => length += read,
        }
    }
    first.truncate(length);
    let kind =
        if is_text(&first) { "text/plain; charset=utf-8" } else { "application/octet-stream" };
    let rest = stream::try_unfold(source, |mut source| async move {
        let mut chunk = vec![0; CHUNK];
        let read = source.read(&mut chunk).await?;
        chunk.truncate(read);
        Ok::<_, io::Error>((read > 0).then_some((chunk, source)))
    });
    let head = stream::once(async move { Ok(first) });
    let body = Body::from_stream(futures::StreamExt::chain(head, rest));
    let mut response = reply::typed(StatusCode::OK, kind, body);
    response.headers_mut().insert(CONTENT_LENGTH, size.into());
    if let Some(modified) = found.modified.and_then(http_date) {
        response.headers_mut().insert(LAST_MODIFIED, modified);
    }
    Ok(response)
}

/// Text has no control characters but those of lines and terminals.
fn is_text(start: &[u8]) -> bool {
    !start.iter().any(|byte| matches!(byte, 0..=8 | 11 | 14..=26 | 28..=31))
}

fn http_date(at: SystemTime) -> Option<HeaderValue> {
    let at = Timestamp::try_from(at).ok()?;
    HeaderValue::from_str(&at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()).ok()
}

/// A directory as Go's file server lists it.
fn listing(names: &[(String, bool)]) -> String {
    let mut page = String::from(
        "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n",
    );
    for (name, is_directory) in names {
        let slash = if *is_directory { "/" } else { "" };
        let link = utf8_percent_encode(name, &ENCODED);
        page.push_str(&format!("<a href=\"{link}{slash}\">{}{slash}</a>\n", escaped(name)));
    }
    page.push_str("</pre>\n");
    page
}

fn escaped(name: &str) -> String {
    let name = name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    name.replace('"', "&#34;").replace('\'', "&#39;")
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(call).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
