//! The node's own registry credentials: docker configuration files.
//! Source: Kubernetes v1.36 `pkg/credentialprovider/config.go`.

use std::io;
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// Files looked for, the first one that can be read counts.
#[derive(Clone, Debug, Default)]
pub struct DockerConfigFiles {
    json: Vec<PathBuf>,
    legacy: Vec<PathBuf>,
}

/// What was found.
#[derive(Clone, PartialEq, Eq)]
pub enum DockerConfigText {
    /// A `config.json`.
    Json(PathBuf, Vec<u8>),
    /// A `.dockercfg`.
    Legacy(PathBuf, Vec<u8>),
}

impl DockerConfigFiles {
    /// `config.json` in the root directory, `$HOME/.docker` and `/.docker`; then `.dockercfg` in
    /// the root directory, `$HOME` and `/`.
    pub fn of_node(root_dir: &Path) -> Self {
        let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
        Self::below(root_dir, home.as_deref(), Path::new("/"))
    }

    fn below(root_dir: &Path, home: Option<&Path>, top: &Path) -> Self {
        let homes: Vec<&Path> = home.into_iter().chain([top]).collect();
        let own = |name: &str| root_dir.join(name);
        Self {
            json: std::iter::once(own("config.json"))
                .chain(homes.iter().map(|dir| dir.join(".docker/config.json")))
                .collect(),
            legacy: std::iter::once(own(".dockercfg"))
                .chain(homes.iter().map(|dir| dir.join(".dockercfg")))
                .collect(),
        }
    }

    /// The first file that is there; `None` when there is none. One that cannot be read is logged
    /// and passed over.
    pub async fn read(&self) -> Option<DockerConfigText> {
        for path in &self.json {
            if let Some(bytes) = read(path).await {
                return Some(DockerConfigText::Json(path.clone(), bytes));
            }
        }
        for path in &self.legacy {
            if let Some(bytes) = read(path).await {
                return Some(DockerConfigText::Legacy(path.clone(), bytes));
            }
        }
        None
    }
}

async fn read(path: &Path) -> Option<Vec<u8>> {
    match tokio::fs::read(path).await {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            let absent = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
            if !absent.contains(&error.kind()) {
                tracing::warn!(path = %path.display(), %error, "cannot read registry credentials");
            }
            None
        }
    }
}
