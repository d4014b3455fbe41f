//! Sandboxes, containers and the runtime's facts over CRI.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use cri_proto::runtime::v1 as cri;

use super::client::{CriClient, SHORT, within};
use super::{convert, termination_message};
use crate::boundary::{
    CgroupDriver, Containers, ListedContainer, ListedSandbox, RuntimeError, RuntimeFacts,
    RuntimeStatus, RuntimeVersion, Sandboxes,
};
use crate::model::{Container, ContainerId, ContainerState, PodUid, Sandbox, SandboxId};

fn uid_selector(pod: Option<&PodUid>) -> HashMap<String, String> {
    pod.map(|uid| (convert::POD_UID.to_owned(), uid.as_str().to_owned())).into_iter().collect()
}

/// A gone object is as good as stopped or removed.
fn gone_is_done(result: Result<(), RuntimeError>) -> Result<(), RuntimeError> {
    match result {
        Err(RuntimeError::NotFound(_)) => Ok(()),
        other => other,
    }
}

#[async_trait]
impl Sandboxes for CriClient {
    async fn run_sandbox(
        &self,
        config: cri::PodSandboxConfig,
        runtime_handler: &str,
    ) -> Result<SandboxId, RuntimeError> {
        let request = cri::RunPodSandboxRequest {
            config: Some(config),
            runtime_handler: runtime_handler.to_owned(),
        };
        // Twice the plain deadline, as the kubelet (v1.36): the network plugin runs inside.
        let mut call = self.runtime.clone();
        let response =
            within("RunPodSandbox", self.plain * 2, call.run_pod_sandbox(request)).await?;
        Ok(SandboxId::from(response.pod_sandbox_id))
    }

    async fn stop_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        let request = cri::StopPodSandboxRequest { pod_sandbox_id: id.to_string() };
        let mut call = self.runtime.clone();
        let answer = within("StopPodSandbox", self.plain, call.stop_pod_sandbox(request)).await;
        gone_is_done(answer.map(|_| ()))
    }

    async fn remove_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id.to_string() };
        let mut call = self.runtime.clone();
        let answer = within("RemovePodSandbox", self.plain, call.remove_pod_sandbox(request)).await;
        gone_is_done(answer.map(|_| ()))
    }

    async fn list_sandboxes(
        &self,
        pod: Option<&PodUid>,
    ) -> Result<Vec<ListedSandbox>, RuntimeError> {
        let filter = cri::PodSandboxFilter {
            label_selector: uid_selector(pod),
            ..cri::PodSandboxFilter::default()
        };
        let request = cri::ListPodSandboxRequest { filter: Some(filter) };
        let mut call = self.runtime.clone();
        let answer = within("ListPodSandbox", self.plain, call.list_pod_sandbox(request)).await?;
        Ok(answer.items.into_iter().filter_map(convert::listed_sandbox).collect())
    }

    async fn sandbox_status(&self, id: &SandboxId) -> Result<Sandbox, RuntimeError> {
        let request =
            cri::PodSandboxStatusRequest { pod_sandbox_id: id.to_string(), verbose: false };
        let mut call = self.runtime.clone();
        let answer =
            within("PodSandboxStatus", self.plain, call.pod_sandbox_status(request)).await?;
        let status =
            answer.status.ok_or_else(|| RuntimeError::NotFound(format!("sandbox {id}")))?;
        Ok(convert::sandbox(status))
    }
}

#[async_trait]
impl Containers for CriClient {
    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: cri::ContainerConfig,
        sandbox_config: cri::PodSandboxConfig,
    ) -> Result<ContainerId, RuntimeError> {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: sandbox.to_string(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        let mut call = self.runtime.clone();
        let answer = within("CreateContainer", self.plain, call.create_container(request)).await?;
        Ok(ContainerId::from(answer.container_id))
    }

    async fn start_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let request = cri::StartContainerRequest { container_id: id.to_string() };
        let mut call = self.runtime.clone();
        within("StartContainer", self.plain, call.start_container(request)).await.map(|_| ())
    }

    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<(), RuntimeError> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let request = cri::StopContainerRequest { container_id: id.to_string(), timeout };
        let mut call = self.runtime.clone();
        let answer =
            within("StopContainer", self.plain + grace, call.stop_container(request)).await;
        gone_is_done(answer.map(|_| ()))
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let request = cri::RemoveContainerRequest { container_id: id.to_string() };
        let mut call = self.runtime.clone();
        let answer = within("RemoveContainer", self.plain, call.remove_container(request)).await;
        gone_is_done(answer.map(|_| ()))
    }

    async fn list_containers(
        &self,
        pod: Option<&PodUid>,
    ) -> Result<Vec<ListedContainer>, RuntimeError> {
        let filter = cri::ContainerFilter {
            label_selector: uid_selector(pod),
            ..cri::ContainerFilter::default()
        };
        let request = cri::ListContainersRequest { filter: Some(filter) };
        let mut call = self.runtime.clone();
        let answer = within("ListContainers", self.plain, call.list_containers(request)).await?;
        Ok(answer.containers.into_iter().filter_map(convert::listed_container).collect())
    }

    async fn container_status(
        &self,
        id: &ContainerId,
        sandbox: &SandboxId,
    ) -> Result<Container, RuntimeError> {
        let request = cri::ContainerStatusRequest { container_id: id.to_string(), verbose: false };
        let mut call = self.runtime.clone();
        let answer = within("ContainerStatus", self.plain, call.container_status(request)).await?;
        let status =
            answer.status.ok_or_else(|| RuntimeError::NotFound(format!("container {id}")))?;
        let sources = termination_message::sources(&status);
        let mut container = convert::container(status, sandbox.clone());
        if let (ContainerState::Exited(exit), Some(sources)) = (&mut container.state, sources) {
            let read = tokio::task::spawn_blocking(move || termination_message::read(&sources));
            // Without its last words a container's end is still the truth.
            let words = read.await.unwrap_or_default();
            exit.message = termination_message::joined(&exit.message, &words);
        }
        Ok(container)
    }

    async fn reopen_log(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let request = cri::ReopenContainerLogRequest { container_id: id.to_string() };
        let mut call = self.runtime.clone();
        within("ReopenContainerLog", self.plain, call.reopen_container_log(request))
            .await
            .map(|_| ())
    }
}

#[async_trait]
impl RuntimeFacts for CriClient {
    async fn version(&self) -> Result<RuntimeVersion, RuntimeError> {
        let mut call = self.runtime.clone();
        let request = cri::VersionRequest { version: "v1".to_owned() };
        let answer = within("Version", SHORT, call.version(request)).await?;
        if answer.runtime_api_version != "v1" {
            return Err(RuntimeError::Refused {
                code: "Version".to_owned(),
                message: format!(
                    "the runtime speaks CRI {}, v1 is needed",
                    answer.runtime_api_version
                ),
            });
        }
        Ok(RuntimeVersion { name: answer.runtime_name, version: answer.runtime_version })
    }

    async fn status(&self) -> Result<RuntimeStatus, RuntimeError> {
        let mut call = self.runtime.clone();
        let request = cri::StatusRequest { verbose: false };
        within("Status", SHORT, call.status(request)).await.map(convert::runtime_status)
    }

    async fn cgroup_driver(&self) -> Result<CgroupDriver, RuntimeError> {
        let mut call = self.runtime.clone();
        let request = cri::RuntimeConfigRequest {};
        let answer = within("RuntimeConfig", SHORT, call.runtime_config(request)).await?;
        let driver = answer.linux.map_or(0, |linux| linux.cgroup_driver);
        Ok(match cri::CgroupDriver::try_from(driver) {
            Ok(cri::CgroupDriver::Cgroupfs) => CgroupDriver::Cgroupfs,
            _ => CgroupDriver::Systemd,
        })
    }

    async fn update_pod_cidr(&self, pod_cidr: &str) -> Result<(), RuntimeError> {
        let config = cri::RuntimeConfig {
            network_config: Some(cri::NetworkConfig { pod_cidr: pod_cidr.to_owned() }),
        };
        let request = cri::UpdateRuntimeConfigRequest { runtime_config: Some(config) };
        let mut call = self.runtime.clone();
        within("UpdateRuntimeConfig", self.plain, call.update_runtime_config(request))
            .await
            .map(|_| ())
    }
}
