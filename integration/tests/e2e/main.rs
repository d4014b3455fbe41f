//! All end-to-end tests: one binary, one shared control plane.

mod admission;
mod certificates;
mod cgroups;
mod changes;
mod claims;
mod content;
mod cut_streams;
mod debian;
mod empty_dirs;
mod endpoints;
mod env;
mod ephemeral_containers;
mod exec;
mod explain;
mod faults;
mod garbage;
mod ground;
mod hooks;
mod image_access;
mod images;
mod init_containers;
mod inside;
mod join;
mod kube_api;
mod logs;
mod mounts;
mod node_object;
mod outages;
mod ownership;
mod pod_events;
mod pod_life;
mod pod_status;
mod port_forward;
mod probes;
mod proxy_compare;
mod proxy_outside;
mod proxy_rights;
mod restart_rules;
mod restarts;
mod runtime_class;
mod security_context;
mod server_access;
mod server_pages;
mod services;
mod sidecars;
mod static_pods;
mod stats;
mod stuck_pods;
mod sub_paths;
mod termination;
mod tokens;
mod user_namespaces;
mod volume_kills;
mod volume_safety;

use std::process::ExitCode;
use std::time::Duration;

/// How long the world may take to become as a test wants it, unless the test has a reason for
/// another limit. Ample: several tests share two cores.
const LIMIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let tests = [
        admission::tests(),
        cgroups::tests(),
        certificates::tests(),
        changes::tests(),
        claims::tests(),
        content::tests(),
        cut_streams::tests(),
        debian::tests(),
        empty_dirs::tests(),
        endpoints::tests(),
        env::tests(),
        ephemeral_containers::tests(),
        exec::tests(),
        explain::tests(),
        faults::tests(),
        garbage::tests(),
        ground::tests(),
        hooks::tests(),
        image_access::tests(),
        images::tests(),
        init_containers::tests(),
        inside::tests(),
        join::tests(),
        kube_api::tests(),
        logs::tests(),
        mounts::tests(),
        node_object::tests(),
        outages::tests(),
        ownership::tests(),
        pod_events::tests(),
        pod_life::tests(),
        port_forward::tests(),
        probes::tests(),
        pod_status::tests(),
        proxy_compare::tests(),
        proxy_outside::tests(),
        proxy_rights::tests(),
        restart_rules::tests(),
        restarts::tests(),
        runtime_class::tests(),
        security_context::tests(),
        server_access::tests(),
        server_pages::tests(),
        services::tests(),
        sidecars::tests(),
        static_pods::tests(),
        stats::tests(),
        stuck_pods::tests(),
        sub_paths::tests(),
        termination::tests(),
        tokens::tests(),
        user_namespaces::tests(),
        volume_kills::tests(),
        volume_safety::tests(),
    ];
    integration::runner::run(tests.concat())
}
