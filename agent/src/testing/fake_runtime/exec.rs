//! Commands in the containers of the runtime in memory.
//!
//! A command succeeds at once with no output unless a test says otherwise for its container. Streams
//! are at the address that a test gave; nothing serves them here.

use std::time::Duration;

use async_trait::async_trait;

use super::{FakeRuntime, refused};
use crate::boundary::{ContainerStreams, ExecOutput, RuntimeError, Streaming};
use crate::model::{ContainerId, SandboxId};

/// How commands in a container come out.
#[derive(Clone, Debug, Default)]
pub(super) struct ExecScript {
    output: ExecOutput,
    takes: Duration,
}

impl FakeRuntime {
    /// From now on commands in containers of this name end so.
    pub fn set_exec(&self, name: &str, exit_code: i32, output: &str) {
        let output = ExecOutput { exit_code, output: output.as_bytes().to_vec() };
        self.state().execs.entry(name.to_owned()).or_default().output = output;
    }

    /// From now on commands in containers of this name take this long.
    pub fn set_exec_time(&self, name: &str, takes: Duration) {
        self.state().execs.entry(name.to_owned()).or_default().takes = takes;
    }

    /// From now on streams are served below this URL.
    pub fn set_stream_url(&self, url: &str) {
        url.clone_into(&mut self.state().stream_url);
    }
}

#[async_trait]
impl Streaming for FakeRuntime {
    /// Logged as `exec_sync`, the container's name and the command.
    async fn exec_sync(
        &self,
        id: &ContainerId,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecOutput, RuntimeError> {
        let found = self.state().containers.iter().find(|c| c.id == *id).cloned();
        let name = found.as_ref().map_or_else(|| id.to_string(), |c| c.name.clone());
        self.begin("exec_sync", &format!("{name} {}", command.join(" ")))?;
        let container = found.ok_or_else(|| RuntimeError::NotFound(format!("container {id}")))?;
        if !container.is_running() {
            return Err(refused("container is not in running state"));
        }
        let script = self.state().execs.get(&name).cloned().unwrap_or_default();
        let work = async {
            tokio::time::sleep(script.takes).await;
            self.answer("exec_sync").await;
        };
        if timeout.is_zero() {
            work.await;
        } else if tokio::time::timeout(timeout, work).await.is_err() {
            return Err(RuntimeError::DeadlineExceeded(format!("exec in {name}")));
        }
        Ok(script.output)
    }

    /// Logged as `exec_url`, the container's id, the streams and the command.
    async fn exec_url(
        &self,
        id: &ContainerId,
        command: &[String],
        streams: ContainerStreams,
    ) -> Result<String, RuntimeError> {
        let about = format!("{id} {} {}", letters(streams), command.join(" "));
        self.begin("exec_url", &about)?;
        self.answer("exec_url").await;
        Ok(format!("{}/exec/token", self.state().stream_url))
    }

    /// Logged as `attach_url`, the container's id and the streams.
    async fn attach_url(
        &self,
        id: &ContainerId,
        streams: ContainerStreams,
    ) -> Result<String, RuntimeError> {
        self.begin("attach_url", &format!("{id} {}", letters(streams)))?;
        self.answer("attach_url").await;
        Ok(format!("{}/attach/token", self.state().stream_url))
    }

    /// Logged as `port_forward_url`, the sandbox's id and the ports.
    async fn port_forward_url(
        &self,
        id: &SandboxId,
        ports: &[u16],
    ) -> Result<String, RuntimeError> {
        self.begin("port_forward_url", &format!("{id} {ports:?}"))?;
        self.answer("port_forward_url").await;
        Ok(format!("{}/portforward/token", self.state().stream_url))
    }
}

/// `iot` for stdin, stdout and a terminal.
fn letters(streams: ContainerStreams) -> String {
    let all =
        [(streams.stdin, 'i'), (streams.stdout, 'o'), (streams.stderr, 'e'), (streams.tty, 't')];
    all.into_iter().filter(|(wanted, _)| *wanted).map(|(_, letter)| letter).collect()
}
