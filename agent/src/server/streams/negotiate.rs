//! Pure. Which protocol a request asks for, and what of it goes on to the runtime.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

#[cfg(test)]
mod tests;

/// Version 5 of the remote command protocol: the first that can close a single stream.
pub(super) const REMOTE_COMMAND_V5: &str = "v5.channel.k8s.io";
/// What begins the name of a WebSocket protocol that carries a SPDY connection.
const TUNNEL_PREFIX: &str = "SPDY/3.1+";
const KUBERNETES_SUFFIX: &str = ".k8s.io";

const SPDY: HeaderValue = HeaderValue::from_static("SPDY/3.1");
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const UPGRADE_TOKEN: HeaderValue = HeaderValue::from_static("Upgrade");
pub(super) const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// Appended to a WebSocket key before it is hashed (RFC 6455, 1.3).
const WEBSOCKET_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether the request asks for another protocol at all.
pub(super) fn is_upgrade(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONNECTION).iter();
    values.filter_map(|value| value.to_str().ok()).any(|value| contains(value, "upgrade"))
}

pub(super) fn is_websocket(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(UPGRADE).and_then(|value| value.to_str().ok());
    is_upgrade(headers) && upgrade.is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
}

/// Whether a remote command over WebSocket is translated here. The older versions, which the
/// runtime's streaming server speaks itself, are not.
pub(super) fn is_translated(headers: &HeaderMap) -> bool {
    is_websocket(headers) && websocket_protocols(headers).any(|name| name == REMOTE_COMMAND_V5)
}

/// The port-forward protocols that a WebSocket request offers to carry as SPDY, in its order; empty
/// when it is another request.
pub(super) fn tunnelled_protocols(headers: &HeaderMap) -> Vec<String> {
    if !is_websocket(headers) {
        return Vec::new();
    }
    let names = websocket_protocols(headers).filter(|name| name.ends_with(KUBERNETES_SUFFIX));
    names.filter_map(|name| name.strip_prefix(TUNNEL_PREFIX)).map(str::to_owned).collect()
}

/// Names of all `Sec-WebSocket-Protocol` headers.
fn websocket_protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

/// What a request that passes through brings to the runtime: the negotiation and nothing else. A
/// caller's credentials are none of the runtime's business.
pub(super) fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let wanted = |name: &HeaderName| {
        *name == CONNECTION
            || *name == UPGRADE
            || *name == STREAM_PROTOCOL
            || name.as_str().starts_with("sec-websocket-")
    };
    let kept = headers.iter().filter(|(name, _)| wanted(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The headers that ask the runtime for SPDY with one of these protocols, the preferred one first.
/// Names that cannot be sent are left out.
pub(super) fn spdy_request<'a>(protocols: impl IntoIterator<Item = &'a str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, UPGRADE_TOKEN);
    headers.insert(UPGRADE, SPDY);
    for protocol in protocols {
        if let Ok(value) = HeaderValue::from_str(protocol) {
            headers.append(STREAM_PROTOCOL, value);
        }
    }
    headers
}

/// Whether the runtime's answer switches to SPDY.
pub(super) fn switches_to_spdy(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(UPGRADE).and_then(|value| value.to_str().ok());
    is_upgrade(headers) && upgrade.is_some_and(|value| contains(value, "spdy/3.1"))
}

/// The protocol that the runtime chose; empty when it named none.
pub(super) fn chosen_protocol(headers: &HeaderMap) -> &str {
    let value = headers.get(STREAM_PROTOCOL).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().trim()
}

/// The name of the WebSocket protocol that carries this protocol over SPDY.
pub(super) fn tunnel_name(protocol: &str) -> String {
    format!("{TUNNEL_PREFIX}{protocol}")
}

/// The answer to a WebSocket request that is served here, with the protocol chosen; an empty one is
/// not named. The error is what is wrong with the request (RFC 6455, 4.2.1).
pub(super) fn websocket_answer(
    headers: &HeaderMap,
    protocol: &str,
) -> Result<HeaderMap, &'static str> {
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err("unsupported version: 13 not found in 'Sec-Websocket-Version' header");
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    if STANDARD.decode(key).ok().is_none_or(|key| key.len() != 16) {
        return Err("'Sec-WebSocket-Key' header must be Base64 encoded value of 16-byte in length");
    }
    let unsendable = |_| "the protocol cannot be named in a header";
    let mut answer = HeaderMap::new();
    answer.insert(CONNECTION, UPGRADE_TOKEN);
    answer.insert(UPGRADE, WEBSOCKET);
    answer.insert(SEC_WEBSOCKET_ACCEPT, accept(key));
    if !protocol.is_empty() {
        let protocol = HeaderValue::from_str(protocol).map_err(unsendable)?;
        answer.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Ok(answer)
}

/// The proof that the key was read.
fn accept(key: &[u8]) -> HeaderValue {
    let mut hashed = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    hashed.update(key);
    hashed.update(WEBSOCKET_GUID.as_bytes());
    HeaderValue::from_str(&STANDARD.encode(hashed.finish()))
        .expect("base64 is made of visible characters")
}

fn contains(value: &str, part: &str) -> bool {
    value.to_ascii_lowercase().contains(part)
}
