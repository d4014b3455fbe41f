//! Tests in a booted virtual machine with systemd and cgroup v2, one machine at a time.
//!
//! `scripts/package` makes what is installed there, and `NODED_PACKAGES` says where it is.

mod joined;

use std::process::ExitCode;
use std::time::Duration;

/// How long the world may take to become as a test wants it. Everything inside is emulated, ten
/// times slower than outside, and others may want the same cores.
const LIMIT: Duration = Duration::from_secs(600);

/// A story of a machine with two boots.
const STORY_LIMIT: Duration = Duration::from_secs(3600);

fn main() -> ExitCode {
    integration::runner::run_within(joined::tests(), STORY_LIMIT)
}
