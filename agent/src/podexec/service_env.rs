//! Pure. The variables by which a container finds the Services of its namespace.
//! Source: kubelet v1.36 `envvars/envvars.go`.

use std::collections::BTreeMap;

use crate::boundary::{EnvService, EnvServicePort};

/// Name of the Service every container learns of, with or without service links; it lives in
/// namespace `default`.
const API_SERVICE: &str = "kubernetes";

/// Services a container may learn of; only those with a cluster IP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvServices {
    /// Those of the pod's own namespace.
    pub own: Vec<EnvService>,
    /// Those of namespace `default`.
    pub default: Vec<EnvService>,
}

/// `<NAME>_SERVICE_HOST` and its kin for the API's own Service and, with `links`, for every
/// Service of the pod's namespace. A Service of the pod's namespace called `kubernetes` wins.
pub fn service_variables(services: &EnvServices, links: bool) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let linked: &[EnvService] = if links { &services.own } else { &[] };
    let shadowed = linked.iter().any(|service| service.name == API_SERVICE);
    let api = services.default.iter().filter(|s| s.name == API_SERVICE && !shadowed);
    let mut all: Vec<&EnvService> = linked.iter().chain(api).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    for service in all {
        add_service(&mut variables, service);
    }
    variables
}

fn add_service(variables: &mut BTreeMap<String, String>, service: &EnvService) {
    let unset = service.cluster_ip.is_empty() || service.cluster_ip == "None";
    let Some(first) = service.ports.first().filter(|_| !unset) else { return };
    let name = variable_name(&service.name);
    variables.insert(format!("{name}_SERVICE_HOST"), service.cluster_ip.clone());
    variables.insert(format!("{name}_SERVICE_PORT"), first.port.to_string());
    for port in service.ports.iter().filter(|port| !port.name.is_empty()) {
        let port_name = variable_name(&port.name);
        variables.insert(format!("{name}_SERVICE_PORT_{port_name}"), port.port.to_string());
    }
    variables.insert(format!("{name}_PORT"), link(service, first));
    for port in &service.ports {
        let prefix = format!("{name}_PORT_{}_{}", port.port, port.protocol.to_uppercase());
        variables.insert(format!("{prefix}_PROTO"), port.protocol.to_lowercase());
        variables.insert(format!("{prefix}_PORT"), port.port.to_string());
        variables.insert(format!("{prefix}_ADDR"), service.cluster_ip.clone());
        variables.insert(prefix, link(service, port));
    }
}

/// `tcp://10.0.0.1:80`; an IPv6 address stands in brackets.
fn link(service: &EnvService, port: &EnvServicePort) -> String {
    let protocol = port.protocol.to_lowercase();
    let ip = &service.cluster_ip;
    if ip.contains(':') {
        format!("{protocol}://[{ip}]:{}", port.port)
    } else {
        format!("{protocol}://{ip}:{}", port.port)
    }
}

fn variable_name(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}
