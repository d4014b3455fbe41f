//! Pure. What the API server would refuse in a pod with defaults, as far as a node relies on it.
//! Every problem is reported, with the field's path.
//! Source: Kubernetes v1.36 `pkg/apis/core/validation/validation.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

use super::defaults::volume_sources;
use super::manifest::Problem;
use crate::model::quantity::Quantity;

mod mounts;
mod security;
#[cfg(test)]
mod tests;

/// Longest DNS label and longest DNS subdomain (RFC 1123, API v1).
const LABEL: usize = 63;
const SUBDOMAIN: usize = 253;
/// Longest port name (IANA service name, API v1).
const PORT_NAME: usize = 15;

/// All that is wrong with the pod.
pub fn validate(pod: &api::Pod) -> Vec<Problem> {
    let mut check = Check::default();
    check.metadata(pod);
    match &pod.spec {
        Some(spec) => check.spec(spec),
        None => check.required("spec"),
    }
    check.0
}

#[derive(Default)]
struct Check(Vec<Problem>);

impl Check {
    fn say(&mut self, field: impl Into<String>, what: impl Into<String>) {
        self.0.push(Problem::new(field, what));
    }

    fn required(&mut self, field: impl Into<String>) {
        self.say(field, "is required");
    }

    fn one_of(&mut self, field: impl Into<String>, value: Option<&String>, allowed: &[&str]) {
        if let Some(value) = value.filter(|value| !allowed.contains(&value.as_str())) {
            self.say(field, format!("{value:?} is not one of {}", allowed.join(", ")));
        }
    }

    fn at_least<T: PartialOrd + Display>(&mut self, field: String, value: Option<T>, least: T) {
        if let Some(value) = value.filter(|value| *value < least) {
            self.say(field, format!("{value} is below {least}"));
        }
    }

    fn label(&mut self, field: impl Into<String>, value: &str) {
        if value.is_empty() {
            self.required(field);
        } else if !is_dns(value, LABEL, false) {
            let rule = "at most 63 lower case letters, digits and '-', no '-' at the ends";
            self.say(field, format!("{value:?} is not a DNS label: {rule}"));
        }
    }

    fn metadata(&mut self, pod: &api::Pod) {
        let meta = &pod.metadata;
        let name = meta.name.as_deref().unwrap_or_default();
        if name.is_empty() {
            self.required("metadata.name");
        } else if !is_dns(name, SUBDOMAIN, true) {
            let rule = "at most 253 lower case letters, digits, '-' and '.' with the node's name";
            self.say("metadata.name", format!("{name:?} is not a DNS subdomain: {rule}"));
        }
        self.label("metadata.namespace", meta.namespace.as_deref().unwrap_or_default());
        let uid = meta.uid.as_deref().unwrap_or_default();
        // The UID becomes part of paths and cgroup names.
        if !uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            self.say("metadata.uid", format!("{uid:?} has other characters than a-z, 0-9 and '-'"));
        }
    }

    fn spec(&mut self, spec: &api::PodSpec) {
        self.one_of(
            "spec.restartPolicy",
            spec.restart_policy.as_ref(),
            &["Always", "OnFailure", "Never"],
        );
        self.one_of(
            "spec.dnsPolicy",
            spec.dns_policy.as_ref(),
            &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        );
        let grace = "spec.terminationGracePeriodSeconds".to_owned();
        self.at_least(grace, spec.termination_grace_period_seconds, 0);
        let deadline = "spec.activeDeadlineSeconds".to_owned();
        self.at_least(deadline, spec.active_deadline_seconds, 1);
        if spec.ephemeral_containers.iter().flatten().count() > 0 {
            self.say("spec.ephemeralContainers", "static pods may not have any");
        }
        if let Some(hostname) = spec.hostname.as_deref().filter(|name| !name.is_empty()) {
            self.label("spec.hostname", hostname);
        }
        self.security(spec);
        let resources = spec.resources.as_ref();
        self.resources("spec.resources", resources);
        let volumes = self.volumes(spec);
        self.containers(spec, &volumes);
        self.host_ports(spec);
    }

    /// Checks the volumes and returns their names.
    fn volumes<'a>(&mut self, spec: &'a api::PodSpec) -> BTreeSet<&'a str> {
        let mut names = BTreeSet::new();
        for (index, volume) in spec.volumes.iter().flatten().enumerate() {
            let path = format!("spec.volumes[{index}]");
            self.label(format!("{path}.name"), &volume.name);
            if !names.insert(volume.name.as_str()) {
                self.say(format!("{path}.name"), format!("{:?} is taken", volume.name));
            }
            if volume_sources(volume) != 1 {
                self.say(&path, "must have exactly one source");
            }
            if let Some(host_path) = &volume.host_path {
                let field = format!("{path}.hostPath.path");
                if host_path.path.is_empty() {
                    self.required(field);
                } else if host_path.path.split('/').any(|part| part == "..") {
                    self.say(field, "must not contain '..'");
                }
            }
            self.items(&path, volume);
        }
        names
    }

    fn containers(&mut self, spec: &api::PodSpec, volumes: &BTreeSet<&str>) {
        if spec.containers.is_empty() {
            self.required("spec.containers");
        }
        let mut names = BTreeSet::new();
        let init = spec.init_containers.iter().flatten().enumerate();
        let init = init.map(|(index, c)| (format!("spec.initContainers[{index}]"), c));
        let regular = spec.containers.iter().enumerate();
        let regular = regular.map(|(index, c)| (format!("spec.containers[{index}]"), c));
        for (path, container) in regular.chain(init) {
            self.label(format!("{path}.name"), &container.name);
            if !names.insert(container.name.as_str()) {
                self.say(format!("{path}.name"), format!("{:?} is taken", container.name));
            }
            self.container(&path, container);
            self.container_security(&path, container, spec.host_users == Some(false));
            self.mounts(&path, container, volumes);
            let host_network = spec.host_network == Some(true);
            self.ports(&path, container, host_network);
        }
    }

    fn container(&mut self, path: &str, container: &api::Container) {
        let image = container.image.as_deref().unwrap_or_default();
        if image.is_empty() {
            self.required(format!("{path}.image"));
        } else if image.trim() != image {
            self.say(format!("{path}.image"), "must not begin or end with a space");
        }
        self.one_of(
            format!("{path}.imagePullPolicy"),
            container.image_pull_policy.as_ref(),
            &["Always", "IfNotPresent", "Never"],
        );
        self.one_of(
            format!("{path}.terminationMessagePolicy"),
            container.termination_message_policy.as_ref(),
            &["File", "FallbackToLogsOnError"],
        );
        for (index, variable) in container.env.iter().flatten().enumerate() {
            let field = format!("{path}.env[{index}]");
            if variable.name.is_empty() {
                self.required(format!("{field}.name"));
            } else if variable.name.contains('=') {
                self.say(format!("{field}.name"), "must not contain '='");
            }
            if variable.value.is_some() && variable.value_from.is_some() {
                self.say(field, "has both a value and a valueFrom");
            }
        }
        self.resources(&format!("{path}.resources"), container.resources.as_ref());
        let probes = [
            ("startupProbe", &container.startup_probe),
            ("livenessProbe", &container.liveness_probe),
            ("readinessProbe", &container.readiness_probe),
        ];
        for (kind, probe) in probes {
            if let Some(probe) = probe {
                self.probe(&format!("{path}.{kind}"), probe, kind == "readinessProbe");
            }
        }
        let hooks = container.lifecycle.as_ref();
        let post_start = hooks.and_then(|hooks| hooks.post_start.as_ref());
        let pre_stop = hooks.and_then(|hooks| hooks.pre_stop.as_ref());
        for (kind, handler) in [("postStart", post_start), ("preStop", pre_stop)] {
            let Some(handler) = handler else { continue };
            let handlers = [
                handler.exec.is_some(),
                handler.http_get.is_some(),
                handler.tcp_socket.is_some(),
                handler.sleep.is_some(),
            ];
            self.exactly_one(&format!("{path}.lifecycle.{kind}"), &handlers);
        }
    }

    fn exactly_one(&mut self, path: &str, handlers: &[bool]) {
        if handlers.iter().filter(|present| **present).count() != 1 {
            self.say(path, "must have exactly one handler");
        }
    }

    fn probe(&mut self, path: &str, probe: &api::Probe, readiness: bool) {
        let handlers = [
            probe.exec.is_some(),
            probe.http_get.is_some(),
            probe.tcp_socket.is_some(),
            probe.grpc.is_some(),
        ];
        self.exactly_one(path, &handlers);
        let numbers = [
            ("initialDelaySeconds", probe.initial_delay_seconds),
            ("timeoutSeconds", probe.timeout_seconds),
            ("periodSeconds", probe.period_seconds),
            ("successThreshold", probe.success_threshold),
            ("failureThreshold", probe.failure_threshold),
        ];
        for (name, number) in numbers {
            self.at_least(format!("{path}.{name}"), number, 0);
        }
        if !readiness && probe.success_threshold.is_some_and(|threshold| threshold > 1) {
            self.say(format!("{path}.successThreshold"), "must be 1");
        }
    }

    fn ports(&mut self, path: &str, container: &api::Container, host_network: bool) {
        let mut names = BTreeSet::new();
        for (index, port) in container.ports.iter().flatten().enumerate() {
            let field = format!("{path}.ports[{index}]");
            self.port(format!("{field}.containerPort"), port.container_port);
            if let Some(host_port) = port.host_port.filter(|number| *number != 0) {
                self.port(format!("{field}.hostPort"), host_port);
                if host_network && host_port != port.container_port {
                    let what = "must be the container port, since the pod is on the host network";
                    self.say(format!("{field}.hostPort"), what);
                }
            }
            let protocols = ["TCP", "UDP", "SCTP"];
            self.one_of(format!("{field}.protocol"), port.protocol.as_ref(), &protocols);
            let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) else { continue };
            if !is_port_name(name) {
                let rule = "at most 15 lower case letters, digits and '-', with a letter";
                self.say(format!("{field}.name"), format!("{name:?} is no port name: {rule}"));
            } else if !names.insert(name) {
                self.say(format!("{field}.name"), format!("{name:?} is taken"));
            }
        }
    }

    fn port(&mut self, field: String, number: i32) {
        if !(1..=65535).contains(&number) {
            self.say(field, format!("{number} is not between 1 and 65535"));
        }
    }

    /// No two containers that run at once may ask for the same port of the host.
    fn host_ports(&mut self, spec: &api::PodSpec) {
        let mut taken = BTreeSet::new();
        for (index, container) in spec.containers.iter().enumerate() {
            for (at, port) in container.ports.iter().flatten().enumerate() {
                let Some(number) = port.host_port.filter(|number| *number != 0) else { continue };
                let protocol = port.protocol.as_deref().unwrap_or("TCP");
                let ip = port.host_ip.as_deref().unwrap_or_default();
                if !taken.insert((number, protocol, ip)) {
                    let field = format!("spec.containers[{index}].ports[{at}].hostPort");
                    self.say(field, format!("{number} is taken by another container"));
                }
            }
        }
    }

    fn resources(&mut self, path: &str, resources: Option<&api::ResourceRequirements>) {
        let Some(resources) = resources else { return };
        let limits = self.amounts(&format!("{path}.limits"), resources.limits.as_ref());
        let requests = self.amounts(&format!("{path}.requests"), resources.requests.as_ref());
        for (name, request) in requests {
            if limits.get(name).is_some_and(|limit| request > *limit) {
                self.say(format!("{path}.requests[{name}]"), "is above the limit");
            }
        }
    }

    fn amounts<'a>(
        &mut self,
        path: &str,
        amounts: Option<&'a BTreeMap<String, ApiQuantity>>,
    ) -> BTreeMap<&'a str, i64> {
        let mut read = BTreeMap::new();
        for (name, text) in amounts.into_iter().flatten() {
            match Quantity::parse(&text.0) {
                Ok(amount) if amount.milli_value() < 0 => {
                    self.say(format!("{path}[{name}]"), format!("{:?} is negative", text.0));
                }
                // Whole units of what is too big to be counted in thousandths.
                Ok(amount) if name == "cpu" => {
                    read.insert(name.as_str(), amount.milli_value());
                }
                Ok(amount) => {
                    read.insert(name.as_str(), amount.value());
                }
                Err(_) => {
                    let what = format!("{:?} is not a quantity like 100m or 1Gi", text.0);
                    self.say(format!("{path}[{name}]"), what);
                }
            }
        }
        read
    }
}

/// Lower case letters, digits and `-`, begun and ended by none of the signs; with `dots` several
/// such parts.
fn is_dns(text: &str, longest: usize, dots: bool) -> bool {
    let is_part = |part: &str| {
        let sign_free = |byte: Option<&u8>| byte.is_some_and(|byte| *byte != b'-');
        part.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && sign_free(part.as_bytes().first())
            && sign_free(part.as_bytes().last())
    };
    let fits = text.len() <= longest;
    fits && if dots { text.split('.').all(is_part) } else { is_part(text) }
}

fn is_port_name(name: &str) -> bool {
    is_dns(name, PORT_NAME, false)
        && name.bytes().any(|byte| byte.is_ascii_lowercase())
        && !name.contains("--")
}
