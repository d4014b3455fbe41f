//! `/healthz`: whether the daemon does its work. kubeadm and load balancers poll it on loopback,
//! monitoring on the kubelet server.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::route::{Access, Call, Limits, Offer, Route};
use crate::metrics::HealthMetrics;

#[cfg(test)]
mod tests;

const ACCESS: Access = Access(&["healthz", "proxy"]);
const LIMITS: Limits = Limits { body_bytes: 0, at_once: 64, deadline: Duration::from_secs(10) };

/// One thing that must be well. The value is what is wrong, `None` when nothing is.
#[derive(Clone)]
pub struct Check {
    pub name: &'static str,
    pub trouble: watch::Receiver<Option<String>>,
}

/// Serves until the listener fails. 200 `ok` when every check is well, else 500 with a line for
/// each check, as the kubelet words it.
pub async fn serve(listener: TcpListener, checks: Vec<Check>) -> std::io::Result<()> {
    let router = Router::new().route("/healthz", get(answer)).with_state(Arc::new(checks));
    axum::serve(listener, router).await
}

async fn answer(State(checks): State<Arc<Vec<Check>>>) -> (StatusCode, String) {
    report(checks.iter().map(|check| (check.name, check.trouble.borrow().clone())), false)
}

/// `/healthz` of the kubelet server and its parts. `pods_turn` is what hinders the loop that turns
/// what the runtime holds into work on pods. Logging is not a thing that can hang here: each line
/// is written before the next step.
pub fn routes(pods_turn: watch::Receiver<Option<String>>, metrics: HealthMetrics) -> Vec<Route> {
    let trouble = pods_turn.clone();
    let all = move |call: Call| {
        let verbose = call.query().iter().any(|(name, _)| name == "verbose");
        let checks = [("log", None), ("syncloop", trouble.borrow().clone())];
        metrics.checked("ping", true);
        checks.iter().for_each(|(name, trouble)| metrics.checked(name, trouble.is_none()));
        ready(report(checks.into_iter(), verbose).into_response())
    };
    let well = |_: Call| ready((StatusCode::OK, "ok").into_response());
    let turn = move |_: Call| ready(part(pods_turn.borrow().as_deref()));
    let offer = Offer::SecureAndReadOnly;
    vec![
        Route::new((&[], "/healthz"), offer, ACCESS, LIMITS, all),
        Route::new((&[], "/healthz/ping"), offer, ACCESS, LIMITS, well),
        Route::new((&[], "/healthz/log"), offer, ACCESS, LIMITS, well),
        Route::new((&[], "/healthz/syncloop"), offer, ACCESS, LIMITS, turn),
    ]
}

/// The answer about one check alone.
fn part(trouble: Option<&str>) -> Response {
    match trouble {
        None => (StatusCode::OK, "ok".to_owned()).into_response(),
        Some(trouble) => {
            let words = format!("internal server error: {trouble}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, words).into_response()
        }
    }
}

fn report(
    checks: impl Iterator<Item = (&'static str, Option<String>)>,
    verbose: bool,
) -> (StatusCode, String) {
    let mut lines = String::from("[+]ping ok\n");
    let mut failed = false;
    for (name, trouble) in checks {
        match trouble {
            None => lines.push_str(&format!("[+]{name} ok\n")),
            Some(trouble) => {
                failed = true;
                lines.push_str(&format!("[-]{name} failed: {trouble}\n"));
            }
        }
    }
    if failed {
        lines.push_str("healthz check failed\n");
        (StatusCode::INTERNAL_SERVER_ERROR, lines)
    } else if verbose {
        lines.push_str("healthz check passed\n");
        (StatusCode::OK, lines)
    } else {
        (StatusCode::OK, "ok".to_owned())
    }
}
