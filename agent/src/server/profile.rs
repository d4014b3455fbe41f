//! `/debug/pprof/`: what noded spends its time and memory on.
//!
//! `profile` is a CPU profile in pprof's format, over the seconds that are asked for, by thread and
//! by whether the program or the kernel for it was busy, from the kernel's own counts. It says
//! nothing of functions: that takes a signal handler that unwinds stacks, which in a daemon that
//! holds other programs' containers is a risk, and symbols, which the released binary has not.
//! `perf record` on the machine finds functions without either.
//!
//! Source: kubelet v1.36 `InstallProfilingHandler`, Go's `net/http/pprof` for names and words, and
//! `proto/profile.proto` of pprof.

use std::time::Duration;

use axum::response::Response;
use http::{Method, StatusCode};

use super::reply;
use super::route::{Access, Call, Limits, Offer, Route};
use crate::adapters::linux::{Threads, allocator};
use crate::config::Offered;
use crate::podworker::WallClock;

mod pprof;
#[cfg(test)]
mod tests;

/// As long as Go takes when nothing is asked for.
const SECONDS: u64 = 30;
/// A longer profile tells nothing more, and keeps its place from others.
const MOST_SECONDS: u64 = 600;
const LIMITS: Limits =
    Limits { body_bytes: 0, at_once: 2, deadline: Duration::from_secs(MOST_SECONDS + 30) };

/// What the pages read.
#[derive(Clone)]
pub struct ProfileParts {
    pub threads: Threads,
    pub clock: WallClock,
}

pub fn routes(offered: Offered, parts: ProfileParts) -> Vec<Route> {
    let answer = move |call: Call| {
        let parts = parts.clone();
        async move {
            match offered {
                Offered::Yes => parts.answer(call).await,
                Offered::No => {
                    let words = "profiling endpoint is disabled.";
                    reply::error(StatusCode::METHOD_NOT_ALLOWED, words)
                }
            }
        }
    };
    // A disabled page says so to every method.
    let methods: &[Method] = if offered == Offered::No { &[] } else { &[Method::GET] };
    let path = "/debug/pprof/{*name}";
    vec![Route::new((methods, path), Offer::Debugging, Access::PROXY, LIMITS, answer)]
}

impl ProfileParts {
    async fn answer(&self, call: Call) -> Response {
        let made = match call.path.get("name") {
            "" => return reply::typed(StatusCode::OK, "text/html; charset=utf-8", index()),
            "profile" => return self.profile(&call.query()).await,
            "cmdline" => self.threads.command_line().map(|line| command_line(&line)),
            "threadcreate" => self.threads.list().map(|threads| pprof::listed(&threads)),
            "goroutine" => Ok(tasks()),
            "heap" => Ok(heap()),
            "symbol" => Ok("num_symbols: 0\n".to_owned()),
            _ => return reply::error(StatusCode::NOT_FOUND, "Unknown profile"),
        };
        match made {
            Ok(text) => reply::text(StatusCode::OK, text),
            Err(error) => unreadable(&error),
        }
    }

    async fn profile(&self, query: &[(String, String)]) -> Response {
        let asked = query.iter().find(|(name, _)| name == "seconds");
        // Go takes what is no number, or none, for nothing.
        let seconds = asked.and_then(|(_, text)| text.parse::<i64>().ok()).filter(|it| *it > 0);
        let seconds = seconds.map_or(SECONDS, i64::unsigned_abs);
        if seconds > MOST_SECONDS {
            let words = format!("profile duration exceeds the most of {MOST_SECONDS} s");
            return reply::error(StatusCode::BAD_REQUEST, &words);
        }
        let duration = Duration::from_secs(seconds);
        let began = (self.clock)();
        let before = self.threads.list();
        tokio::time::sleep(duration).await;
        match (before, self.threads.list()) {
            (Ok(before), Ok(after)) => {
                let profile = pprof::profile(&before, &after, began, duration);
                reply::typed(StatusCode::OK, "application/octet-stream", profile)
            }
            (Err(error), _) | (_, Err(error)) => unreadable(&error),
        }
    }
}

fn unreadable(error: &std::io::Error) -> Response {
    let words = format!("Could not read what the kernel counts: {error}");
    reply::error(StatusCode::INTERNAL_SERVER_ERROR, &words)
}

fn command_line(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end_matches('\0').to_owned()
}

/// Tasks of the asynchronous runtime, which stand where a Go program has goroutines.
fn tasks() -> String {
    let metrics = tokio::runtime::Handle::current().metrics();
    let (workers, tasks) = (metrics.num_workers(), metrics.num_alive_tasks());
    let waiting = metrics.global_queue_depth();
    format!("tasks: {tasks}\nworkers: {workers}\nwaiting for a worker: {waiting}\n")
}

/// Memory that the allocator holds, in bytes.
fn heap() -> String {
    match allocator::usage() {
        Some(usage) => format!(
            "in use: {}\nfree: {}\nmapped apart: {}\n",
            usage.in_use, usage.free, usage.mapped
        ),
        None => "the allocator of this build does not tell\n".to_owned(),
    }
}

fn index() -> String {
    let pages = [
        ("cmdline", "The arguments noded was started with"),
        ("goroutine", "Tasks of the asynchronous runtime"),
        ("heap", "Memory that the allocator holds"),
        ("profile", "Processor time by thread over ?seconds=, for go tool pprof"),
        ("threadcreate", "Threads with the processor time they have used"),
    ];
    let lines = pages.map(|(name, what)| format!("<a href=\"{name}\">{name}</a> {what}\n"));
    format!(
        "<!doctype html>\n<title>/debug/pprof/</title>\n<pre>\n/debug/pprof/\n\n{}</pre>\n",
        lines.concat()
    )
}
