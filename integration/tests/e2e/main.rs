//! All end-to-end tests: one binary, one shared control plane.

mod admission;
mod cgroups;
mod changes;
mod debian;
mod endpoints;
mod ground;
mod images;
mod inside;
mod join;
mod kube_api;
mod node_object;
mod outages;
mod pod_life;
mod proxy_rights;
mod restarts;
mod services;
mod termination;

use std::process::ExitCode;
use std::time::Duration;

/// How long the world may take to become as a test wants it, unless the test has a reason for
/// another limit. Ample: several tests share two cores.
const LIMIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let tests = [
        admission::tests(),
        cgroups::tests(),
        changes::tests(),
        debian::tests(),
        endpoints::tests(),
        ground::tests(),
        images::tests(),
        inside::tests(),
        join::tests(),
        kube_api::tests(),
        node_object::tests(),
        outages::tests(),
        pod_life::tests(),
        proxy_rights::tests(),
        restarts::tests(),
        services::tests(),
        termination::tests(),
    ];
    integration::runner::run(tests.concat())
}
