//! All end-to-end tests: one binary, one shared control plane.

mod ground;
mod join;
mod kube_api;

use std::process::ExitCode;

fn main() -> ExitCode {
    integration::runner::run([ground::tests(), join::tests(), kube_api::tests()].concat())
}
