//! Runs the postStart and preStop handlers of containers.
//! Source: kubelet v1.36 `lifecycle/handlers.go`, `probe/http/request.go`.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::execute::Executor;
use crate::boundary::{DialError, HttpCall, HttpScheme};
use crate::model::{ContainerId, PodFullName, PodUid};
use crate::prober::request_path;

/// A hook has no deadline of its own; what limits it is the pod's end.
const NO_LIMIT: Duration = Duration::from_secs(365 * 24 * 3600);

/// What HTTP hooks call themselves: `kube-lifecycle/` and the Kubernetes version whose behaviour
/// we follow (kubelet v1.36).
const USER_AGENT: &str = "kube-lifecycle/1.36";

/// Most that is shown of what a command printed. The text goes into the pod's status.
const MAX_OUTPUT: usize = 4096;

/// The container a hook is about.
#[derive(Clone, Copy, Debug)]
pub struct HookTarget<'a> {
    pub id: &'a ContainerId,
    pub name: &'a str,
    pub pod: (&'a PodFullName, &'a PodUid),
    pub ports: &'a [api::ContainerPort],
    /// Where HTTP requests go that name no host; `None` while the pod has no address.
    pub ip: Option<IpAddr>,
}

/// How a hook did what it should.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookDone {
    /// Host and port of a server that was asked over HTTPS and speaks plain HTTP.
    pub fell_back: Option<String>,
}

/// Why a hook failed. The text is for the pod's status, in the kubelet's words; it may show what
/// a command printed, so it is no text for events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    #[error(
        "Exec lifecycle hook ([{command}]) for Container \"{container}\" in Pod \"{pod}\" failed - \
         error: {error}, message: {output:?}"
    )]
    Exec { command: String, container: String, pod: String, error: String, output: String },
    #[error(
        "HTTP lifecycle hook ({path}) for Container \"{container}\" in Pod \"{pod}\" failed - \
         error: {error}"
    )]
    Http { path: String, container: String, pod: String, error: String },
    /// A handler of another kind, as `tcpSocket`, which the API lets pass.
    #[error("Cannot run handler: invalid handler: it has none of exec, httpGet and sleep")]
    Invalid,
}

impl Executor {
    /// Runs one handler to its end. The future may be dropped at any time: a command is then ended
    /// by the runtime, a request closed.
    pub async fn run_hook(
        &self,
        handler: &api::LifecycleHandler,
        target: HookTarget<'_>,
    ) -> Result<HookDone, HookError> {
        if let Some(exec) = &handler.exec {
            let command = exec.command.clone().unwrap_or_default();
            return self.exec_hook(&command, target).await.map(|()| HookDone::default());
        }
        if let Some(action) = &handler.http_get {
            return self.http_hook(action, target).await.map_err(|error| HookError::Http {
                path: action.path.clone().unwrap_or_default(),
                container: target.name.to_owned(),
                pod: pod_text(target),
                error,
            });
        }
        if let Some(sleep) = &handler.sleep {
            let seconds = u64::try_from(sleep.seconds).unwrap_or(0);
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            return Ok(HookDone::default());
        }
        Err(HookError::Invalid)
    }

    async fn exec_hook(&self, command: &[String], target: HookTarget<'_>) -> Result<(), HookError> {
        let answer = self.streaming.exec_sync(target.id, command, Duration::ZERO).await;
        let failed = |error: String, output: &[u8]| HookError::Exec {
            command: command.join(" "),
            container: target.name.to_owned(),
            pod: pod_text(target),
            error,
            output: String::from_utf8_lossy(output).into_owned(),
        };
        let done = answer.map_err(|error| failed(error.to_string(), b""))?;
        if done.exit_code == 0 {
            return Ok(());
        }
        let output = &done.output[..done.output.len().min(MAX_OUTPUT)];
        let error = format!("command '{}' exited with {}", command.join(" "), done.exit_code);
        Err(failed(error, output))
    }

    /// Any answer will do.
    async fn http_hook(
        &self,
        action: &api::HTTPGetAction,
        target: HookTarget<'_>,
    ) -> Result<HookDone, String> {
        let call = http_call(action, target)?;
        let refusal = match self.dialer.http(&call, NO_LIMIT).await {
            Ok(_) => return Ok(HookDone::default()),
            Err(DialError::PlainHttp) => DialError::PlainHttp.to_string(),
            Err(error) => return Err(error.to_string()),
        };
        let server = match call.host.contains(':') {
            true => format!("[{}]:{}", call.host, call.port),
            false => format!("{}:{}", call.host, call.port),
        };
        // What was meant for an encrypted connection only does not go over a plain one.
        let headers = call.headers.into_iter().filter(|(name, _)| !is(name, "Authorization"));
        let plain = HttpCall { scheme: HttpScheme::Http, headers: headers.collect(), ..call };
        match self.dialer.http(&plain, NO_LIMIT).await {
            Ok(_) => Ok(HookDone { fell_back: Some(server) }),
            Err(_) => Err(refusal),
        }
    }
}

/// `name_namespace(uid)`.
fn pod_text(target: HookTarget<'_>) -> String {
    let (name, uid) = target.pod;
    format!("{}_{}({uid})", name.name, name.namespace)
}

fn http_call(action: &api::HTTPGetAction, target: HookTarget<'_>) -> Result<HttpCall, String> {
    let host = match action.host.as_deref().filter(|host| !host.is_empty()) {
        Some(host) => host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        None => match target.ip {
            Some(ip) => ip.to_string(),
            None => {
                return Err("failed to find networking container: the pod has no address".into());
            }
        },
    };
    let https = action.scheme.as_deref().is_some_and(|scheme| is(scheme, "HTTPS"));
    Ok(HttpCall {
        scheme: if https { HttpScheme::Https } else { HttpScheme::Http },
        host,
        port: port(&action.port, target.ports)?,
        path: request_path(action.path.as_deref().unwrap_or_default()),
        headers: headers(action),
    })
}

/// A port by its number, by the name of one of the container's ports, or by a number as text.
fn port(wanted: &IntOrString, ports: &[api::ContainerPort]) -> Result<u16, String> {
    let number = match wanted {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let named = ports.iter().find(|port| port.name.as_ref() == Some(name));
            let number = named.map(|port| port.container_port).or_else(|| name.parse().ok());
            number.ok_or_else(|| format!("couldn't find port: {name}"))?
        }
    };
    u16::try_from(number)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| format!("invalid port number: {number}"))
}

/// The handler's own headers, and the two every request has. One of these given with an empty
/// value is left out.
fn headers(action: &api::HTTPGetAction) -> Vec<(String, String)> {
    let own = action.http_headers.iter().flatten();
    let mut headers: Vec<_> =
        own.map(|header| (header.name.clone(), header.value.clone())).collect();
    for (name, value) in [("User-Agent", USER_AGENT), ("Accept", "*/*")] {
        match headers.iter().find(|(own, _)| is(own, name)).map(|(_, value)| value.is_empty()) {
            None => headers.push((name.to_owned(), value.to_owned())),
            Some(true) => headers.retain(|(own, _)| !is(own, name)),
            Some(false) => {}
        }
    }
    headers
}

fn is(name: &str, other: &str) -> bool {
    name.eq_ignore_ascii_case(other)
}

#[cfg(test)]
mod tests;
