//! A directory of small records, one to a file. A record appears whole or not at all to readers;
//! it is not forced to the disk, for a lost record only means that a question is asked again.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

/// Owner only: records name secrets, though not what they hold (kubelet v1.36).
const DIRECTORY: u32 = 0o700;
const FILE: u32 = 0o600;
/// End of the name of a record that is being written.
const UNFINISHED: &str = ".tmp";

/// The directory is made with the first record. Names are noded's own.
#[derive(Clone, Debug)]
pub struct RecordDir {
    path: PathBuf,
}

impl RecordDir {
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// All records by name, in no order; none when there is no directory. A file that cannot be
    /// read is left out with a log line. Blocks.
    pub fn read_all(&self) -> io::Result<Vec<(String, Vec<u8>)>> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut records = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(UNFINISHED) {
                continue;
            }
            match fs::read(entry.path()) {
                Ok(bytes) => records.push((name, bytes)),
                Err(error) => tracing::warn!(name, %error, "cannot read a record"),
            }
        }
        Ok(records)
    }

    /// Writes or replaces a record; a failure is logged.
    pub async fn write(&self, name: String, bytes: Vec<u8>) {
        let path = self.path.clone();
        self.blocking("write", move || {
            let write = || -> io::Result<()> {
                let unfinished = path.join(format!("{name}{UNFINISHED}"));
                let mut file = OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .mode(FILE)
                    .open(&unfinished)?;
                file.write_all(&bytes)?;
                fs::rename(unfinished, path.join(&name))
            };
            match write() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    DirBuilder::new().recursive(true).mode(DIRECTORY).create(&path)?;
                    write()
                }
                other => other,
            }
        })
        .await;
    }

    /// Removes a record; a missing one is success, a failure is logged.
    pub async fn remove(&self, name: String) {
        let path = self.path.join(name);
        self.blocking("remove", move || match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await;
    }

    async fn blocking(&self, action: &str, work: impl FnOnce() -> io::Result<()> + Send + 'static) {
        let ended = tokio::task::spawn_blocking(work).await;
        if let Err(error) = ended.unwrap_or_else(|error| Err(io::Error::other(error))) {
            tracing::warn!(directory = %self.path.display(), action, %error, "cannot keep a record");
        }
    }
}
