//! Runs credential provider plugins: programs of the administrator's, started without a shell.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::boundary::{CredentialPlugins, PluginCall, PluginError};

#[cfg(test)]
mod tests;

/// How long a plugin may take (kubelet v1.36).
const DEADLINE: Duration = Duration::from_secs(60);
/// Longest answer that is read; a handful of credentials is a few kilobytes.
const ANSWER_LIMIT: u64 = 1024 * 1024;
/// How much of what a failing plugin says is kept.
const STDERR_LIMIT: usize = 1024;

/// Plugins as processes of this machine. One that is late is killed.
#[derive(Clone, Copy, Debug)]
pub struct ExecPlugins {
    deadline: Duration,
}

impl Default for ExecPlugins {
    fn default() -> Self {
        Self { deadline: DEADLINE }
    }
}

#[async_trait]
impl CredentialPlugins for ExecPlugins {
    async fn run(&self, call: PluginCall) -> Result<Vec<u8>, PluginError> {
        let program = call.program.clone();
        match tokio::time::timeout(self.deadline, run(call)).await {
            Ok(answer) => answer,
            Err(_) => Err(PluginError::Late { program, seconds: self.deadline.as_secs() }),
        }
    }
}

async fn run(call: PluginCall) -> Result<Vec<u8>, PluginError> {
    let program = call.program;
    let failed = |source| PluginError::Start { program: program.clone(), source };
    let mut child = Command::new(&program)
        .args(&call.args)
        .envs(call.env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let (answer, errors) = talk(&mut child, &call.input).await.map_err(failed)?;
    if answer.len() as u64 > ANSWER_LIMIT {
        return Err(PluginError::TooLong { program, limit: ANSWER_LIMIT });
    }
    let status = child.wait().await.map_err(failed)?;
    if status.success() {
        return Ok(answer);
    }
    let stderr = String::from_utf8_lossy(&errors[..errors.len().min(STDERR_LIMIT)]);
    Err(PluginError::Failed {
        program,
        status: status.to_string(),
        stderr: stderr.trim().to_owned(),
    })
}

/// Writes the request and reads both outputs side by side, so that nobody waits for a full pipe.
async fn talk(child: &mut Child, input: &[u8]) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let missing = || io::Error::other("a pipe to the plugin is missing");
    let mut stdin = child.stdin.take().ok_or_else(missing)?;
    let mut stdout = child.stdout.take().ok_or_else(missing)?.take(ANSWER_LIMIT + 1);
    let mut stderr = child.stderr.take().ok_or_else(missing)?.take(ANSWER_LIMIT);
    let write = async move {
        match stdin.write_all(input).await {
            // A plugin need not read its request.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    };
    let (mut answer, mut errors) = (Vec::new(), Vec::new());
    let (written, read, heard) =
        tokio::join!(write, stdout.read_to_end(&mut answer), stderr.read_to_end(&mut errors));
    written?;
    read?;
    heard?;
    Ok((answer, errors))
}
