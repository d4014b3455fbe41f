//! The fake's pods.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1 as api;
use tokio::sync::mpsc;

use super::{FakeApi, find_pod, name_of};
use crate::boundary::{ApiError, PodWatchEvent, PodsApi};
use crate::model::PodUid;

#[async_trait]
impl PodsApi for FakeApi {
    fn watch_pods(&self) -> mpsc::Receiver<PodWatchEvent> {
        let (sender, receiver) = mpsc::channel(32);
        let node_name = self.node_name.clone();
        let mut known: HashMap<PodUid, Option<String>> = HashMap::new();
        self.spawn_watch(sender, move |state, restart| {
            let mut events = Vec::new();
            if restart {
                known.clear();
                events.push(PodWatchEvent::Restarted);
            }
            let ours = |pod: &api::Pod| {
                pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(&node_name)
            };
            for (uid, pod) in state.pods.iter().filter(|(_, pod)| ours(pod)) {
                let version = pod.metadata.resource_version.clone();
                if known.insert(uid.clone(), version.clone()) != Some(version) {
                    events.push(PodWatchEvent::Applied(Arc::clone(pod)));
                }
            }
            let gone: HashSet<_> =
                known.keys().filter(|uid| !state.pods.contains_key(*uid)).cloned().collect();
            known.retain(|uid, _| !gone.contains(uid));
            events.extend(gone.into_iter().map(PodWatchEvent::Deleted));
            if restart {
                events.push(PodWatchEvent::Synced);
            }
            events
        });
        receiver
    }

    async fn patch_status(
        &self,
        namespace: &str,
        name: &str,
        patch: serde_json::Value,
    ) -> Result<api::Pod, ApiError> {
        self.called("patch_status", &format!("{namespace}/{name}"))?;
        self.patch_pod_status(namespace, name, &patch)
    }

    async fn delete_finished(
        &self,
        namespace: &str,
        name: &str,
        uid: &PodUid,
    ) -> Result<(), ApiError> {
        self.called("delete_finished", &format!("{namespace}/{name}"))?;
        let found = find_pod(&self.state(), namespace, name)?;
        if found != *uid {
            return Err(ApiError::Conflict(format!("pod {namespace}/{name}")));
        }
        self.remove_pod(uid);
        Ok(())
    }

    async fn get_pod(&self, namespace: &str, name: &str) -> Result<api::Pod, ApiError> {
        self.called("get_pod", &format!("{namespace}/{name}"))?;
        let state = self.state();
        let uid = find_pod(&state, namespace, name)?;
        Ok((*state.pods[&uid]).clone())
    }

    async fn create_pod(&self, pod: &api::Pod) -> Result<api::Pod, ApiError> {
        let (namespace, name) = name_of(&pod.metadata);
        self.called("create_pod", &format!("{namespace}/{name}"))?;
        if find_pod(&self.state(), &namespace, &name).is_ok() {
            return Err(ApiError::AlreadyExists(format!("pod {namespace}/{name}")));
        }
        let mut pod = pod.clone();
        pod.metadata.namespace = Some(namespace.clone());
        let version = self.state().version;
        pod.metadata.uid.get_or_insert_with(|| format!("uid-of-{name}-{version}"));
        self.put_pod(pod);
        let state = self.state();
        let uid = find_pod(&state, &namespace, &name)?;
        Ok((*state.pods[&uid]).clone())
    }
}
