//! All end-to-end tests: one binary, one shared control plane.

mod ground;
mod join;

use std::process::ExitCode;

fn main() -> ExitCode {
    integration::runner::run([ground::tests(), join::tests()].concat())
}
