//! Reading container logs: opened beneath the directory of all logs, which is where pods have
//! nothing to say, and without following a link below it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use super::beneath::Beneath;

#[cfg(test)]
mod tests;

/// How much of a compressed log is read at once: its size says nothing of its content.
const COMPRESSED_READ: usize = 64 * 1024;

/// The directory of one container's logs.
#[derive(Debug)]
pub struct LogDir {
    dir: Beneath,
}

impl LogDir {
    /// Opens the directory of the log at `path`, which lies below `root`; answers with the log's
    /// name in it. The root itself may be a link. Blocks.
    pub fn open(root: &Path, path: &Path) -> io::Result<(Self, String)> {
        let outside = || io::Error::new(io::ErrorKind::InvalidInput, "not below podLogsDir");
        let inside = path.strip_prefix(root).map_err(|_| outside())?;
        let (Some(parent), Some(name)) = (inside.parent(), inside.file_name()) else {
            return Err(outside());
        };
        let root = Beneath::open(&std::fs::canonicalize(root)?)?;
        let dir = if parent.as_os_str().is_empty() { root } else { root.directory(parent)? };
        Ok((Self { dir }, name.to_string_lossy().into_owned()))
    }

    /// The log of that name, to be read from its beginning; decompressed when its name ends with
    /// `.gz`. Blocks.
    pub fn log(&self, name: &str) -> io::Result<LogFile> {
        let file = self.dir.open_file(Path::new(name))?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file"));
        }
        let identity = (found.dev(), found.ino());
        let content = match name.ends_with(".gz") {
            true => Content::Compressed(Box::new(GzDecoder::new(file))),
            false => Content::Plain { file, at: 0 },
        };
        Ok(LogFile { identity, content })
    }

    /// Names in the directory. Blocks.
    pub fn names(&self) -> io::Result<Vec<String>> {
        self.dir.names()
    }

    pub(super) fn beneath(&self) -> &Beneath {
        &self.dir
    }
}

#[derive(Debug)]
enum Content {
    Plain { file: File, at: u64 },
    Compressed(Box<GzDecoder<File>>),
}

/// One open log file. Its methods block.
#[derive(Debug)]
pub struct LogFile {
    identity: (u64, u64),
    content: Content,
}

impl LogFile {
    /// Whether both are the same file, whatever they are called.
    pub fn is_same(&self, other: &LogFile) -> bool {
        self.identity == other.identity
    }

    /// Goes to where the text begins that `is_start` finds in the blocks of the file, which it is
    /// handed from the last one backwards; to the beginning when it finds none. Of a compressed
    /// file always the beginning.
    pub fn seek_back(
        &mut self,
        block: usize,
        mut is_start: impl FnMut(&[u8]) -> Option<usize>,
    ) -> io::Result<()> {
        let Content::Plain { file, at } = &mut self.content else { return Ok(()) };
        let mut end = file.metadata()?.len();
        let mut buffer = vec![0; block.min(usize::try_from(end).unwrap_or(block))];
        *at = 0;
        while end > 0 {
            let len = buffer.len().min(usize::try_from(end).unwrap_or(usize::MAX));
            let begin = end - len as u64;
            file.read_exact_at(&mut buffer[..len], begin)?;
            if let Some(found) = is_start(&buffer[..len]) {
                *at = begin + found as u64;
                break;
            }
            end = begin;
        }
        file.seek(SeekFrom::Start(*at))?;
        Ok(())
    }

    /// Reads what comes next into `buffer`, which is emptied before: at most `most` bytes, as many
    /// as there are. Empty at the end of the file. A file that has become shorter is read from its
    /// beginning.
    pub fn read(&mut self, buffer: &mut Vec<u8>, most: usize) -> io::Result<()> {
        buffer.clear();
        match &mut self.content {
            Content::Plain { file, at } => {
                let size = file.metadata()?.len();
                if size < *at {
                    *at = file.seek(SeekFrom::Start(0))?;
                }
                let left = usize::try_from(size - *at).unwrap_or(usize::MAX);
                let len = left.min(most);
                buffer.reserve_exact(len);
                let read = file.take(len as u64).read_to_end(buffer)?;
                *at += read as u64;
            }
            Content::Compressed(content) => {
                content.take(most.min(COMPRESSED_READ) as u64).read_to_end(buffer)?;
            }
        }
        Ok(())
    }

    /// The path under which this process has the file open, also when it has lost its name; `None`
    /// of a compressed file, which nobody writes.
    pub(super) fn open_path(&self) -> Option<PathBuf> {
        use std::os::fd::AsRawFd;
        match &self.content {
            Content::Plain { file, .. } => {
                Some(PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())))
            }
            Content::Compressed(_) => None,
        }
    }
}
