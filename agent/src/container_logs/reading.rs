//! Reads a log file piece by piece and takes the wanted text from it. Everything here blocks.

use std::io;

use bytes::Bytes;

use super::cri_log::{TailSearch, TextReader, Wanted};
use super::options::LogOptions;
use crate::adapters::linux::log_reader::LogFile;

#[cfg(test)]
mod tests;

/// Bytes read at once, and about the most text of a piece. Large enough that what comes with each
/// piece does not count, small enough for many readers.
const READ: usize = 256 * 1024;

/// Block in which a file is searched for its last lines, in bytes.
const TAIL_BLOCK: usize = 64 * 1024;

/// After so many bytes without enough text for a piece the reader may be told to stop.
const MOST_AT_ONCE: usize = 16 * 1024 * 1024;

/// How it goes on after a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// There is more in the file.
    More,
    /// The file has no more for now.
    EndOfFile,
    /// No more is wanted.
    NoMore,
}

/// Text of a log. Empty text is possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub text: Bytes,
    pub then: Then,
}

/// A file that is being read, and what of it is wanted.
#[derive(Debug)]
pub(super) struct Reading {
    pub file: LogFile,
    text: TextReader,
    /// Kept while there is more to read.
    buffer: Vec<u8>,
}

impl Reading {
    /// Begins where the wanted last lines do.
    pub fn begin(mut file: LogFile, options: &LogOptions) -> io::Result<Self> {
        let mut selection = options.selection;
        if let Some(lines) = options.tail {
            let mut search = TailSearch::new(lines);
            file.seek_back(TAIL_BLOCK, |block| search.look(block))?;
            // What is written from now on is wanted too when the log is followed.
            selection.lines = (!options.follow).then_some(lines);
        }
        Ok(Self { file, text: TextReader::new(selection), buffer: Vec::new() })
    }

    /// Goes on with the file that follows; hands the old one back.
    pub fn go_on_with(&mut self, file: LogFile) -> LogFile {
        self.text.end_file();
        std::mem::replace(&mut self.file, file)
    }

    /// Lines that were left out because they are not in the format of CRI.
    pub fn malformed(&self) -> u64 {
        self.text.malformed()
    }

    /// The next piece of text.
    pub fn next(&mut self) -> io::Result<Piece> {
        let (mut text, mut seen) = (Vec::new(), 0);
        let then = loop {
            self.file.read(&mut self.buffer, READ)?;
            if self.buffer.is_empty() {
                break Then::EndOfFile;
            }
            if text.is_empty() {
                text.reserve(self.buffer.len());
            }
            seen += self.buffer.len();
            if self.text.push(&self.buffer, &mut text) == Wanted::NoMore {
                break Then::NoMore;
            }
            if text.len() >= READ / 2 || seen >= MOST_AT_ONCE {
                break Then::More;
            }
        };
        if then != Then::More {
            self.buffer = Vec::new();
        }
        Ok(Piece { text: text.into(), then })
    }
}
