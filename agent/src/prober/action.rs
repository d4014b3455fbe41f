//! Pure. What a probe does, from its spec.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::ProbeKind;
use super::settings::probe_of;
use crate::boundary::{HttpCall, HttpScheme};
use crate::podexec::env::expand_text;

#[cfg(test)]
mod tests;

/// What probes call themselves (kubelet v1.36, `kube-probe/` and the minor version).
pub const USER_AGENT: &str = "kube-probe/1.36";

/// One probe, ready to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Exec(Vec<String>),
    Http(HttpCall),
    Tcp { host: String, port: u16 },
    Grpc { host: String, port: u16, service: String },
}

/// A spec that cannot be followed, named by its field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ActionError {
    #[error("{field}: container {container:?} has no port named {name:?}")]
    NoSuchPort { field: String, container: String, name: String },
    #[error("{field}: {number} is not a port number")]
    NotAPort { field: String, number: i64 },
    #[error("{field}: scheme {scheme:?} is neither HTTP nor HTTPS")]
    NotAScheme { field: String, scheme: String },
    #[error("{field}: none of exec, httpGet, tcpSocket and grpc is set")]
    Nothing { field: String },
}

/// Whether the probe needs the pod's address.
pub(super) fn needs_address(container: &api::Container, kind: ProbeKind) -> bool {
    probe_of(container, kind).is_some_and(|probe| {
        let set = |host: &Option<String>| host.as_ref().is_some_and(|host| !host.is_empty());
        let http = probe.http_get.as_ref().is_some_and(|get| !set(&get.host));
        let tcp = probe.tcp_socket.as_ref().is_some_and(|tcp| !set(&tcp.host));
        probe.exec.is_none() && (http || tcp || probe.grpc.is_some())
    })
}

/// What the container's probe of that kind does. `address` is the pod's; where a probe names no
/// host and there is no address, the host is empty and cannot be reached.
pub(super) fn action(
    container: &api::Container,
    kind: ProbeKind,
    address: Option<IpAddr>,
) -> Result<Action, ActionError> {
    let field = format!("{}Probe", kind.as_str().to_lowercase());
    let nothing = || ActionError::Nothing { field: field.clone() };
    let probe = probe_of(container, kind).ok_or_else(nothing)?;
    let own = address.map_or_else(String::new, |address| address.to_string());
    let host = |asked: &Option<String>| {
        asked.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| own.clone())
    };
    if let Some(exec) = &probe.exec {
        let command = exec.command.as_deref().unwrap_or_default();
        return Ok(Action::Exec(expand_command(container, command)));
    }
    if let Some(get) = &probe.http_get {
        let field = format!("{field}.httpGet");
        return Ok(Action::Http(HttpCall {
            scheme: scheme(get.scheme.as_deref(), &field)?,
            host: host(&get.host),
            port: port(container, &get.port, &field)?,
            path: request_path(get.path.as_deref().unwrap_or_default()),
            headers: headers(get),
        }));
    }
    if let Some(tcp) = &probe.tcp_socket {
        let port = port(container, &tcp.port, &format!("{field}.tcpSocket"))?;
        return Ok(Action::Tcp { host: host(&tcp.host), port });
    }
    let grpc = probe.grpc.as_ref().ok_or_else(nothing)?;
    Ok(Action::Grpc {
        host: own,
        port: number(i64::from(grpc.port), &format!("{field}.grpc"))?,
        service: grpc.service.clone().unwrap_or_default(),
    })
}

/// The command with every `$(NAME)` replaced that the container's `env` declares with a value of
/// its own; a variable that is taken from elsewhere is empty here (kubelet v1.36).
fn expand_command(container: &api::Container, command: &[String]) -> Vec<String> {
    let declared = container.env.iter().flatten();
    let known: BTreeMap<String, Vec<u8>> = declared
        .map(|variable| {
            (variable.name.clone(), variable.value.clone().unwrap_or_default().into_bytes())
        })
        .collect();
    command.iter().map(|part| expand_text(part, &known)).collect()
}

fn scheme(asked: Option<&str>, field: &str) -> Result<HttpScheme, ActionError> {
    match asked.unwrap_or_default().to_ascii_uppercase().as_str() {
        "" | "HTTP" => Ok(HttpScheme::Http),
        "HTTPS" => Ok(HttpScheme::Https),
        other => Err(ActionError::NotAScheme {
            field: format!("{field}.scheme"),
            scheme: other.to_owned(),
        }),
    }
}

/// A port by number, or by the name of one of the container's ports.
fn port(container: &api::Container, asked: &IntOrString, field: &str) -> Result<u16, ActionError> {
    match asked {
        IntOrString::Int(asked) => number(i64::from(*asked), field),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            match ports.find(|port| port.name.as_deref() == Some(name)) {
                Some(port) => number(i64::from(port.container_port), field),
                None => match name.parse() {
                    Ok(asked) => number(asked, field),
                    Err(_) => Err(ActionError::NoSuchPort {
                        field: format!("{field}.port"),
                        container: container.name.clone(),
                        name: name.clone(),
                    }),
                },
            }
        }
    }
}

fn number(asked: i64, field: &str) -> Result<u16, ActionError> {
    let fits = u16::try_from(asked).ok().filter(|port| *port > 0);
    fits.ok_or_else(|| ActionError::NotAPort { field: format!("{field}.port"), number: asked })
}

/// The path as it goes on the wire: with a leading slash, without a fragment, and with everything
/// escaped that a request line cannot hold.
pub fn request_path(path: &str) -> String {
    let path = path.split('#').next().unwrap_or_default();
    let mut wire = String::with_capacity(path.len() + 1);
    if !path.starts_with('/') {
        wire.push('/');
    }
    let bytes = path.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let is_escape = *byte == b'%'
            && bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let is_plain = byte.is_ascii_graphic() && !br#""%<>\^`{|}"#.contains(byte);
        if is_escape || is_plain {
            wire.push(char::from(*byte));
        } else {
            wire.push_str(&format!("%{byte:02X}"));
        }
    }
    wire
}

/// The probe's own headers, and the usual two unless it has them. One that is set to nothing is
/// not sent.
fn headers(get: &api::HTTPGetAction) -> Vec<(String, String)> {
    let own = get.http_headers.iter().flatten();
    let mut headers: Vec<(String, String)> =
        own.map(|header| (header.name.clone(), header.value.clone())).collect();
    for (name, value) in [("User-Agent", USER_AGENT), ("Accept", "*/*")] {
        let is_it = |header: &(String, String)| header.0.eq_ignore_ascii_case(name);
        if !headers.iter().any(is_it) {
            headers.push((name.to_owned(), value.to_owned()));
        }
        headers.retain(|header| !is_it(header) || !header.1.is_empty());
    }
    headers
}
