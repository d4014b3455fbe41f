//! Renaming, compressing and removing the files of a container's log.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::log_reader::LogDir;

#[cfg(test)]
mod tests;

/// Names are those of files in the directory. All of these block.
impl LogDir {
    /// Bytes of the file; `None` when there is none.
    pub fn size(&self, name: &str) -> io::Result<Option<u64>> {
        match self.beneath().open_file(Path::new(name)) {
            Ok(file) => Ok(Some(file.metadata()?.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives a file another name; errors when something has that name.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.beneath().rename_new(from, to)
    }

    /// A missing file is success.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.beneath().remove(name)
    }

    /// Makes `to` the gzip form of `from`, with its owner and permissions, and removes `from`. It
    /// is written as `temporary`, so `to` is always whole; on an error nothing of it stays.
    pub fn compress(&self, from: &str, temporary: &str, to: &str) -> io::Result<()> {
        let written = self.write_compressed(from, temporary);
        let done = written.and_then(|()| self.beneath().rename(temporary, to));
        match done {
            Ok(()) => self.remove(from),
            Err(error) => {
                // The next rotation cleans what this cannot.
                let _ = self.remove(temporary);
                Err(error)
            }
        }
    }

    fn write_compressed(&self, from: &str, to: &str) -> io::Result<()> {
        let mut source = self.beneath().open_file(Path::new(from))?;
        let access = source.metadata()?;
        let target = self.beneath().create_file(to)?;
        let mut encoder = GzEncoder::new(target, Compression::default());
        io::copy(&mut source, &mut encoder)?;
        let mut target = encoder.finish()?;
        target.flush()?;
        fchown(&target, Some(access.uid()), Some(access.gid()))?;
        target.set_permissions(Permissions::from_mode(access.mode() & 0o7777))
    }
}
