//! `/configz`: the configuration in force.

use std::time::Duration;

use serde_json::{Value, json};

use super::reply;
use super::route::{Access, Limits, Offer, Route};

#[cfg(test)]
mod tests;

const ACCESS: Access = Access(&["configz", "proxy"]);
const LIMITS: Limits = Limits { body_bytes: 0, at_once: 8, deadline: Duration::from_secs(10) };

/// The page with this KubeletConfiguration. Taken with any method, as upstream.
pub fn routes(effective: &Value) -> Vec<Route> {
    let page: bytes::Bytes = json!({ "kubeletconfig": effective }).to_string().into();
    let page = move |_| {
        let answer = reply::json(page.clone());
        async move { answer }
    };
    vec![Route::new((&[], "/configz"), Offer::Debugging, ACCESS, LIMITS, page)]
}
