//! Commands in containers over CRI, and the URLs of streams to them.

use std::time::Duration;

use async_trait::async_trait;
use cri_proto::runtime::v1 as cri;

use super::client::{CriClient, within};
use crate::boundary::{ContainerStreams, ExecOutput, RuntimeError, Streaming};
use crate::model::{ContainerId, SandboxId};

#[async_trait]
impl Streaming for CriClient {
    async fn exec_sync(
        &self,
        id: &ContainerId,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecOutput, RuntimeError> {
        // The wire knows whole seconds.
        let seconds = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
        let request = cri::ExecSyncRequest {
            container_id: id.to_string(),
            cmd: command.to_vec(),
            timeout: i64::try_from(seconds).unwrap_or(i64::MAX),
        };
        let mut call = self.runtime.clone();
        let answer = if timeout.is_zero() {
            call.exec_sync(request).await
        } else {
            // The runtime keeps to the timeout. One that does not answer long after it hangs, which
            // says nothing about the command.
            let deadline = timeout.saturating_add(self.plain);
            tokio::time::timeout(deadline, call.exec_sync(request)).await.map_err(|_| {
                RuntimeError::Unavailable(format!("no answer to ExecSync in {deadline:?}"))
            })?
        };
        let answer = answer.map_err(|status| super::error::runtime_error("ExecSync", &status))?;
        let answer = answer.into_inner();
        let mut output = answer.stdout;
        output.extend_from_slice(&answer.stderr);
        Ok(ExecOutput { exit_code: answer.exit_code, output })
    }

    async fn exec_url(
        &self,
        id: &ContainerId,
        command: &[String],
        streams: ContainerStreams,
    ) -> Result<String, RuntimeError> {
        let request = cri::ExecRequest {
            container_id: id.to_string(),
            cmd: command.to_vec(),
            tty: streams.tty,
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
        };
        let mut call = self.runtime.clone();
        Ok(within("Exec", self.plain, call.exec(request)).await?.url)
    }

    async fn attach_url(
        &self,
        id: &ContainerId,
        streams: ContainerStreams,
    ) -> Result<String, RuntimeError> {
        let request = cri::AttachRequest {
            container_id: id.to_string(),
            tty: streams.tty,
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
        };
        let mut call = self.runtime.clone();
        Ok(within("Attach", self.plain, call.attach(request)).await?.url)
    }

    async fn port_forward_url(
        &self,
        id: &SandboxId,
        ports: &[u16],
    ) -> Result<String, RuntimeError> {
        let request = cri::PortForwardRequest {
            pod_sandbox_id: id.to_string(),
            port: ports.iter().copied().map(i32::from).collect(),
        };
        let mut call = self.runtime.clone();
        Ok(within("PortForward", self.plain, call.port_forward(request)).await?.url)
    }
}
