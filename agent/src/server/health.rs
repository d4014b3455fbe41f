//! `/healthz`: whether the daemon does its work. kubeadm and load balancers poll it.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

#[cfg(test)]
mod tests;

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
    report(checks.iter().map(|check| (check.name, check.trouble.borrow().clone())))
}

fn report(checks: impl Iterator<Item = (&'static str, Option<String>)>) -> (StatusCode, String) {
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
    } else {
        (StatusCode::OK, "ok".to_owned())
    }
}
