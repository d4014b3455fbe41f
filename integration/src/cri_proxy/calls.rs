//! Pure. The log of calls, and whom each is about.
//!
//! Most calls name a sandbox or a container by an id alone. Which pod an id belongs to is learned
//! from the answers that give it out and from lists.

use std::collections::HashMap;
use std::fmt;

use cri_proto::runtime::v1 as cri;
use prost::Message;

/// Label with a pod's UID on everything made for the pod, which agents also list by.
const POD_UID: &str = "io.kubernetes.pod.uid";

/// One call.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its name without the service, such as `StartContainer`.
    pub method: String,
    /// Whom it is about.
    pub subject: Subject,
    /// What became of it.
    pub outcome: Outcome,
    /// The fault it met, in a word.
    pub fault: Option<&'static str>,
}

/// Whom a call is about, as far as the request tells or was learned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// `NAMESPACE/NAME` of the pod.
    pub pod: Option<String>,
    /// Name and attempt of the container.
    pub container: Option<(String, u32)>,
    /// Name of the image.
    pub image: Option<String>,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Not known: it is under way, or its caller or the runtime went away during it.
    Open,
    /// The runtime never saw it.
    Withheld,
    /// The runtime has answered with this gRPC code, whether the caller saw it or not.
    Answered(i32),
}

impl Outcome {
    /// Whether the runtime carried the call out.
    #[must_use]
    pub fn is_done(self) -> bool {
        self == Self::Answered(0)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.method)?;
        let Subject { pod, container, image } = &self.subject;
        if let Some(pod) = pod {
            write!(f, " {pod}")?;
        }
        if let Some((name, attempt)) = container {
            write!(f, " {name}:{attempt}")?;
        }
        if let Some(image) = image {
            write!(f, " {image}")?;
        }
        write!(f, " {:?}", self.outcome)?;
        self.fault.map_or(Ok(()), |fault| write!(f, " ({fault})"))
    }
}

/// All calls, and what is known about ids.
#[derive(Debug, Default)]
pub(super) struct Calls {
    log: Vec<Call>,
    /// By id of a sandbox or a container, or UID of a pod.
    known: HashMap<String, Subject>,
}

impl Calls {
    /// Notes a call that has come; returns its number.
    pub fn begin(&mut self, method: &str, subject: Subject) -> usize {
        let call = Call { method: method.to_owned(), subject, outcome: Outcome::Open, fault: None };
        self.log.push(call);
        self.log.len() - 1
    }

    pub fn end(&mut self, number: usize, outcome: Outcome) {
        self.log[number].outcome = outcome;
    }

    pub fn meet(&mut self, number: usize, fault: &'static str) {
        self.log[number].fault = Some(fault);
    }

    pub fn log(&self) -> Vec<Call> {
        self.log.clone()
    }

    /// Whom a request is about. `body` is as it came: one gRPC message with its frame.
    pub fn subject(&mut self, method: &str, body: &[u8]) -> Subject {
        let body = payload(body);
        match method {
            "RunPodSandbox" => decode::<cri::RunPodSandboxRequest>(body)
                .and_then(|request| request.config?.metadata)
                .map(|metadata| self.pod(&metadata))
                .unwrap_or_default(),
            "CreateContainer" => {
                let request = decode::<cri::CreateContainerRequest>(body).unwrap_or_default();
                let pod = request.sandbox_config.and_then(|config| config.metadata);
                let subject = pod.map(|metadata| self.pod(&metadata)).unwrap_or_default();
                let container = request.config.and_then(|config| config.metadata);
                Subject { container: container.map(|made| (made.name, made.attempt)), ..subject }
            }
            "ImageStatus" | "PullImage" | "RemoveImage" => {
                let request = decode::<cri::RemoveImageRequest>(body).unwrap_or_default();
                Subject { image: request.image.map(|spec| spec.image), ..Subject::default() }
            }
            "ListPodSandbox" => {
                let request = decode::<cri::ListPodSandboxRequest>(body).unwrap_or_default();
                let filter = request.filter.unwrap_or_default();
                self.listed(&filter.label_selector)
            }
            "ListContainers" => {
                let request = decode::<cri::ListContainersRequest>(body).unwrap_or_default();
                let filter = request.filter.unwrap_or_default();
                self.listed(&filter.label_selector)
            }
            // Every other call about one thing has its id in the same first field.
            _ => decode::<cri::RemoveContainerRequest>(body)
                .and_then(|request| self.known.get(&request.container_id).cloned())
                .unwrap_or_default(),
        }
    }

    fn listed(&self, labels: &HashMap<String, String>) -> Subject {
        labels.get(POD_UID).and_then(|uid| self.known.get(uid)).cloned().unwrap_or_default()
    }

    fn pod(&mut self, metadata: &cri::PodSandboxMetadata) -> Subject {
        let pod = format!("{}/{}", metadata.namespace, metadata.name);
        let subject = Subject { pod: Some(pod), ..Subject::default() };
        self.known.insert(metadata.uid.clone(), subject.clone());
        subject
    }

    /// Learns from a good answer to a call about `subject`.
    pub fn learn(&mut self, method: &str, subject: &Subject, body: &[u8]) {
        let body = payload(body);
        match method {
            // Both have the new id in the same field.
            "RunPodSandbox" | "CreateContainer" => {
                let answer = decode::<cri::CreateContainerResponse>(body).unwrap_or_default();
                self.known.insert(answer.container_id, subject.clone());
            }
            "ListPodSandbox" => {
                let answer = decode::<cri::ListPodSandboxResponse>(body).unwrap_or_default();
                for sandbox in answer.items {
                    if let Some(metadata) = &sandbox.metadata {
                        let subject = self.pod(metadata);
                        self.known.insert(sandbox.id, subject);
                    }
                }
            }
            "ListContainers" => {
                let answer = decode::<cri::ListContainersResponse>(body).unwrap_or_default();
                for container in answer.containers {
                    let pod = self.known.get(&container.pod_sandbox_id).cloned();
                    let made = container.metadata.map(|made| (made.name, made.attempt));
                    let subject = Subject { container: made, ..pod.unwrap_or_default() };
                    self.known.insert(container.id, subject);
                }
            }
            _ => {}
        }
    }
}

/// A message without its gRPC frame: one byte that says whether it is compressed, which nobody here
/// asks for, and four with the length.
fn payload(body: &[u8]) -> &[u8] {
    body.get(5..).unwrap_or_default()
}

fn decode<M: Message + Default>(body: &[u8]) -> Option<M> {
    M::decode(body).ok()
}

#[cfg(test)]
mod tests;
