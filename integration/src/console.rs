//! What the programs of this crate print for people.

use std::io::Write;

/// Writes to standard output at once; a closed pipe there is no reason to stop.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
