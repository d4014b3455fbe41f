//! containerd's own event stream, used as a wake-up only: what happened is read from CRI.
//!
//! The stream exists in every containerd from 1.6 on, on the same socket as CRI.

use std::time::Duration;

use cri_proto::containerd::events as containerd;
use cri_proto::containerd::services::events::v1::SubscribeRequest;
use cri_proto::containerd::services::events::v1::events_client::EventsClient;
use prost::Message;
use tokio::sync::mpsc;
use tonic::Code;

use super::client::lazy_channel;
use crate::boundary::RuntimeError;

/// containerd's namespace of everything made through CRI.
const NAMESPACE_FILTER: &str = "namespace==k8s.io,topic~=\"^/tasks/(start|exit|oom)$\"";
/// First and longest wait between two tries to subscribe.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_CAP: Duration = Duration::from_secs(5);
/// Wake-ups not yet taken; the reader coalesces, and a full channel only delays the stream.
const WAKES: usize = 256;

/// A reason to look at the runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuntimeWake {
    /// The main process of a sandbox or container with this id started, or met the OOM killer.
    Changed(String),
    /// The main process of a sandbox or container with this id ended. CRI may show it a little
    /// later.
    Exited(String),
    /// The stream is up; what happened before is unknown.
    Connected,
    /// The stream is away; nothing will wake the reader until `Connected`.
    Lost,
}

/// Subscribes for as long as the receiver lives, again and again.
pub fn watch_runtime_events(
    endpoint: &str,
) -> Result<(mpsc::Receiver<RuntimeWake>, impl Future<Output = ()> + use<>), RuntimeError> {
    let channel = lazy_channel(endpoint)?;
    let (wakes, receiver) = mpsc::channel(WAKES);
    let task = async move {
        let mut wait = RETRY_FIRST;
        let mut told = false;
        loop {
            let filters = vec![NAMESPACE_FILTER.to_owned()];
            let mut client = EventsClient::new(channel.clone());
            match client.subscribe(SubscribeRequest { filters }).await {
                Ok(response) => {
                    wait = RETRY_FIRST;
                    told = false;
                    if wakes.send(RuntimeWake::Connected).await.is_err() {
                        return;
                    }
                    let mut stream = response.into_inner();
                    while let Ok(Some(envelope)) = stream.message().await {
                        let Some(wake) = envelope.event.and_then(|event| wake(&event)) else {
                            continue;
                        };
                        if wakes.send(wake).await.is_err() {
                            return;
                        }
                    }
                    if wakes.send(RuntimeWake::Lost).await.is_err() {
                        return;
                    }
                }
                Err(status) if status.code() == Code::Unimplemented && !told => {
                    told = true;
                    tracing::warn!(
                        "the runtime has no containerd event stream; changes are found by listing each second"
                    );
                }
                Err(_) => {}
            }
            if wakes.is_closed() {
                return;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_CAP);
        }
    };
    Ok((receiver, task))
}

/// What a task event asks to look at. An exec's exit carries another id than its container and is
/// no change of it.
fn wake(event: &prost_types::Any) -> Option<RuntimeWake> {
    let bytes = event.value.as_slice();
    match event.type_url.rsplit('/').next()? {
        "containerd.events.TaskStart" => {
            let event = containerd::TaskStart::decode(bytes).ok()?;
            Some(RuntimeWake::Changed(event.container_id))
        }
        "containerd.events.TaskOOM" => {
            let event = containerd::TaskOom::decode(bytes).ok()?;
            Some(RuntimeWake::Changed(event.container_id))
        }
        "containerd.events.TaskExit" => {
            let event = containerd::TaskExit::decode(bytes).ok()?;
            (event.id == event.container_id).then_some(RuntimeWake::Exited(event.container_id))
        }
        _ => None,
    }
}
