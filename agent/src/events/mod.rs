//! Events: what `kubectl describe` shows below a pod or a node.
//!
//! **What**: client-go's event recorder: counts identical events, combines similar ones, drops
//! spam, and writes the rest.
//! **Owns**: the queue of unpublished events and the memory of recent ones.
//! **Reads**: `EventsHandle::publish` from every slice.
//! **Writes**: Events through `EventSink`.
//! **Invariants**: publishing never waits and never fails; a lost event is worth a log line, never
//! a stuck pod; at most the configured rate of writes reaches the server.
//! **Source**: client-go `tools/record` v1.36, with the kubelet's rates.

mod correlate;
mod proxy;
mod reference;
mod task;

pub use correlate::{Correlated, Correlator, KUBE_PROXY, KUBELET, Reporter, SeenKey};
pub use proxy::ProxyEventRecorder;
pub use reference::{container_field_path, node_reference, pod_reference, service_reference};
pub use task::{EventsHandle, EventsTask};
