//! Pure. Values of `fieldRef` and `resourceFieldRef`, for variables and downward API files.
//! Source: kubelet v1.36 `fieldpath/fieldpath.go`, `api/v1/resource/helpers.go`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::container_config::ContainerConfigError;
use super::node_facts::Allocatable;
use crate::model::Pod;
use crate::model::quantity::Quantity as Amount;
use crate::model::resources;

/// What fields show beside the pod itself.
#[derive(Clone, Copy, Debug)]
pub struct FieldFacts<'a> {
    /// Primary address first.
    pub host_ips: &'a [IpAddr],
    /// Stands in for a missing limit.
    pub bounds: Allocatable,
}

impl<'a> FieldFacts<'a> {
    /// A container without a limit is bound by the pod's own limit, and without one by the node.
    pub fn of(pod: &Pod, host_ips: &'a [IpAddr], node: Allocatable) -> Self {
        let own = pod.spec().resources.as_ref().and_then(|resources| resources.limits.as_ref());
        let own = resources::read(own);
        let or_node = |limit: i64, node: u64| match u64::try_from(limit) {
            Ok(limit) if limit > 0 => limit.min(node),
            _ => node,
        };
        let bounds = Allocatable {
            cpu_milli: or_node(resources::cpu_milli(&own), node.cpu_milli),
            memory_bytes: or_node(resources::memory_bytes(&own), node.memory_bytes),
            ..node
        };
        Self { host_ips, bounds }
    }
}

/// The text a field path stands for. A label, annotation or address that is missing is empty.
pub fn pod_field(
    pod: &Pod,
    path: &str,
    pod_ips: &[IpAddr],
    facts: &FieldFacts<'_>,
) -> Result<String, ContainerConfigError> {
    let meta = &pod.object().metadata;
    let spec = pod.spec();
    if let Some(key) = subscript(path, "metadata.labels") {
        return Ok(meta.labels.as_ref().and_then(|m| m.get(key)).cloned().unwrap_or_default());
    }
    if let Some(key) = subscript(path, "metadata.annotations") {
        return Ok(meta.annotations.as_ref().and_then(|m| m.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => pod.name().to_owned(),
        "metadata.namespace" => pod.namespace().to_owned(),
        "metadata.uid" => pod.uid().as_str().to_owned(),
        "metadata.labels" => lines(meta.labels.as_ref()),
        "metadata.annotations" => lines(meta.annotations.as_ref()),
        "spec.nodeName" => spec.node_name.clone().unwrap_or_default(),
        "spec.serviceAccountName" => spec.service_account_name.clone().unwrap_or_default(),
        "status.hostIP" => first(facts.host_ips),
        "status.hostIPs" => joined(facts.host_ips),
        "status.podIP" => first(pod_ips),
        "status.podIPs" => joined(pod_ips),
        other => return Err(ContainerConfigError::UnknownField(other.to_owned())),
    })
}

/// The key in `field['key']`.
fn subscript<'a>(path: &'a str, field: &str) -> Option<&'a str> {
    path.strip_prefix(field)?.strip_prefix("['")?.strip_suffix("']")
}

fn first(ips: &[IpAddr]) -> String {
    ips.first().map(IpAddr::to_string).unwrap_or_default()
}

fn joined(ips: &[IpAddr]) -> String {
    ips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",")
}

/// One `key="value"` a line, sorted by key, the value quoted as Go's `%q` does; no newline at the
/// end.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let entries = map.into_iter().flatten();
    entries.map(|(key, value)| format!("{key}={}", quoted(value))).collect::<Vec<_>>().join("\n")
}

fn quoted(text: &str) -> String {
    let mut result = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => result.push_str("\\\""),
            '\\' => result.push_str("\\\\"),
            '\n' => result.push_str("\\n"),
            '\r' => result.push_str("\\r"),
            '\t' => result.push_str("\\t"),
            '\x07' => result.push_str("\\a"),
            '\x08' => result.push_str("\\b"),
            '\x0b' => result.push_str("\\v"),
            '\x0c' => result.push_str("\\f"),
            '\x00'..='\x1f' | '\x7f' => {
                let _ = write!(result, "\\x{:02x}", u32::from(c));
            }
            _ if c != '\'' && c.escape_debug().count() > 1 => {
                let number = u32::from(c);
                let _ = if number > 0xffff {
                    write!(result, "\\U{number:08x}")
                } else {
                    write!(result, "\\u{number:04x}")
                };
            }
            _ => result.push(c),
        }
    }
    result.push('"');
    result
}

/// What a resource field counts, before the divisor.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Milli,
    Whole,
}

/// A request or limit of `container` divided by the divisor and rounded up. A missing request is
/// 0; a missing limit of CPU, memory or local storage is what pods may use of the node.
pub fn resource_field(
    container: &api::Container,
    selector: &api::ResourceFieldSelector,
    facts: &FieldFacts<'_>,
) -> Result<String, ContainerConfigError> {
    let field = selector.resource.as_str();
    let unknown = || ContainerConfigError::UnknownResource(field.to_owned());
    let (list, resource) = field.split_once('.').ok_or_else(unknown)?;
    let (unit, fallback) = match resource {
        "cpu" => (Unit::Milli, facts.bounds.cpu_milli),
        "memory" => (Unit::Whole, facts.bounds.memory_bytes),
        "ephemeral-storage" => (Unit::Whole, facts.bounds.ephemeral_storage_bytes),
        _ if resource.starts_with("hugepages-") => (Unit::Whole, 0),
        _ => return Err(unknown()),
    };
    let resources = container.resources.as_ref();
    let (set, fallback) = match list {
        "limits" => (resources.and_then(|r| r.limits.as_ref()), fallback),
        "requests" => (resources.and_then(|r| r.requests.as_ref()), 0),
        _ => return Err(unknown()),
    };
    let stated = match set.and_then(|set| set.get(resource)) {
        Some(quantity) => amount(field, quantity, unit)?,
        None => 0,
    };
    let stated = if stated == 0 { fallback } else { stated };
    // An absent divisor and a zero one both mean 1.
    let one = if unit == Unit::Milli { 1000 } else { 1 };
    let divisor = match &selector.divisor {
        Some(quantity) => Some(amount(field, quantity, unit)?).filter(|n| *n > 0),
        None => None,
    };
    Ok(stated.div_ceil(divisor.unwrap_or(one)).to_string())
}

fn amount(field: &str, quantity: &Quantity, unit: Unit) -> Result<u64, ContainerConfigError> {
    let amount = Amount::try_from(quantity).map_err(|_| ContainerConfigError::BadQuantity {
        resource: field.to_owned(),
        text: quantity.0.clone(),
    })?;
    let number = match unit {
        Unit::Milli => amount.milli_value(),
        Unit::Whole => amount.value(),
    };
    Ok(u64::try_from(number).unwrap_or(0))
}

#[cfg(test)]
mod tests;
