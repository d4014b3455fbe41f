//! All end-to-end tests: one binary, one shared control plane.

mod ground;

use std::process::ExitCode;

fn main() -> ExitCode {
    integration::runner::run([ground::tests()].concat())
}
