//! `/flagz` and `/statusz`: which flags are set and which program this is. Text for people, as all
//! Kubernetes components have it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::response::Response;
use http::StatusCode;
use http::header::ACCEPT;
use jiff::{SignedDuration, Timestamp};

use super::reply;
use super::route::{Access, Call, Limits, Offer, Route};
use crate::podworker::WallClock;

#[cfg(test)]
mod tests;

/// Flags are configuration, and so is the right to see them (v1.36).
const FLAGZ_ACCESS: Access = Access(&["configz"]);
const STATUSZ_ACCESS: Access = Access(&["statusz"]);
const LIMITS: Limits = Limits { body_bytes: 0, at_once: 4, deadline: Duration::from_secs(10) };

/// Upstream's warning under both titles.
const WARNING: &str = "Warning: This endpoint is not meant to be machine parseable, has no \
                       formatting compatibility guarantees and is for debugging purposes only.";

/// What the pages show.
#[derive(Clone)]
pub struct Program {
    /// Flags with their values.
    pub flags: BTreeMap<String, String>,
    pub started: Timestamp,
    /// The Kubernetes version whose behaviour is shown, such as `v1.36.3`.
    pub kubernetes_version: String,
    pub own_version: &'static str,
    pub clock: WallClock,
}

/// Both pages; `routes` are all others, whose paths are shown.
pub fn routes(program: Program, routes: &[Route]) -> Vec<Route> {
    let own = ["/flagz", "/statusz"];
    let paths = roots(routes.iter().map(|route| route.path).chain(own));
    let flags = flagz(&program.flags);
    let flagz = move |call: Call| {
        let answer = as_text(&call, || flags.clone());
        async move { answer }
    };
    let statusz = move |call: Call| {
        let answer = as_text(&call, || statusz(&program, &paths, (program.clock)()));
        async move { answer }
    };
    let offer = Offer::Debugging;
    vec![
        Route::new((&[], own[0]), offer, FLAGZ_ACCESS, LIMITS, flagz),
        Route::new((&[], own[1]), offer, STATUSZ_ACCESS, LIMITS, statusz),
    ]
}

/// First parts of the paths, each once, in order.
fn roots<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<String> {
    let first = paths.filter_map(|path| path.split('/').nth(1)).filter(|part| !part.is_empty());
    let roots: BTreeSet<String> = first.map(|part| format!("/{part}")).collect();
    roots.into_iter().collect()
}

/// The page, if the caller takes text.
fn as_text(call: &Call, page: impl FnOnce() -> String) -> Response {
    let accept = call.request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    if takes_text(accept.unwrap_or_default()) {
        return reply::text(StatusCode::OK, page());
    }
    let words = "only the following media types are accepted: text/plain";
    reply::error(StatusCode::NOT_ACCEPTABLE, words)
}

/// Whether plain text is among the media types; nothing means that anything is.
fn takes_text(accept: &str) -> bool {
    let mut kinds = accept.split(',').map(|part| part.split(';').next().unwrap_or_default().trim());
    accept.trim().is_empty() || kinds.any(|kind| matches!(kind, "text/plain" | "text/*" | "*/*"))
}

fn flagz(flags: &BTreeMap<String, String>) -> String {
    let lines = flags.iter().map(|(name, value)| format!("{name}={value}\n"));
    format!("\nkubelet flagz\n{WARNING}\n{}", lines.collect::<String>())
}

fn statusz(program: &Program, paths: &[String], now: Timestamp) -> String {
    let up = now.duration_since(program.started).max(SignedDuration::ZERO).as_secs();
    let started = program.started.strftime("%a %b %e %H:%M:%S UTC %Y");
    let version = program.kubernetes_version.trim_start_matches('v');
    let minor = version.rsplit_once('.').map_or(version, |(minor, _)| minor);
    format!(
        "\nkubelet statusz\n{WARNING}\n\nStarted: {started}\n\
         Up: {} hr {:02} min {:02} sec\nnoded version: {}\nBinary version: {version}\n\
         Emulation version: {minor}\nPaths: {}\n",
        up / 3600,
        up / 60 % 60,
        up % 60,
        program.own_version,
        paths.join(" "),
    )
}
