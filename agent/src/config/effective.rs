//! Pure. The KubeletConfiguration in force with every default filled in, as `/configz` shows it.
//!
//! Source: `SetDefaults_KubeletConfiguration` and the JSON of
//! `k8s.io/kubelet/config/v1beta1` (v1.36): which fields are left out when they are empty, and
//! which are shown even then.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::resolve::parse_duration;

#[cfg(test)]
mod tests;

/// Durations, which are shown as Go writes them.
const DURATIONS: [&[&str]; 19] = [
    &["syncFrequency"],
    &["fileCheckFrequency"],
    &["httpCheckFrequency"],
    &["streamingConnectionIdleTimeout"],
    &["nodeStatusUpdateFrequency"],
    &["nodeStatusReportFrequency"],
    &["imageMinimumGCAge"],
    &["imageMaximumGCAge"],
    &["volumeStatsAggPeriod"],
    &["cpuManagerReconcilePeriod"],
    &["runtimeRequestTimeout"],
    &["cpuCFSQuotaPeriod"],
    &["evictionPressureTransitionPeriod"],
    &["containerLogMonitorInterval"],
    &["shutdownGracePeriod"],
    &["shutdownGracePeriodCriticalPods"],
    &["crashLoopBackOff", "maxContainerRestartPeriod"],
    &["authentication", "webhook", "cacheTTL"],
    &["authorization", "webhook", "cacheAuthorizedTTL"],
];

/// Numbers for which 0 means what it says; elsewhere it means that the field is not set.
const ZERO_COUNTS: [&str; 11] = [
    "registryPullQPS",
    "eventRecordQPS",
    "healthzPort",
    "oomScoreAdj",
    "kubeAPIQPS",
    "imageGCHighThresholdPercent",
    "imageGCLowThresholdPercent",
    "nodeStatusMaxImages",
    "iptablesMasqueradeBit",
    "iptablesDropBit",
    "podPidsLimit",
];

/// Texts for which nothing means what it says.
const EMPTY_COUNTS: [&str; 1] = ["resolvConf"];

/// The configuration in force: `given`, files and flags together, over the defaults. Header
/// values of the static pods' URL are not shown, they may be secrets.
pub fn effective(given: &Map<String, Value>, verbosity: u8) -> Value {
    let mut given = given.clone();
    given.retain(|name, value| is_set(name, value));
    let mut all = defaults(&given);
    let hard = merged_thresholds(&all, &given);
    lay_over(&mut all, Value::Object(given));
    if let Some(hard) = hard {
        all["evictionHard"] = hard;
    }
    if verbosity > 0 {
        all["logging"]["verbosity"] = verbosity.into();
    }
    if all["podPidsLimit"].as_i64().is_some_and(|limit| limit < 0) {
        all["podPidsLimit"] = (-1).into();
    }
    DURATIONS.iter().for_each(|path| normalize(&mut all, path));
    normalize(&mut all, &["authorization", "webhook", "cacheUnauthorizedTTL"]);
    normalize(&mut all, &["logging", "flushFrequency"]);
    if let Some(headers) = all.get_mut("staticPodURLHeader").and_then(Value::as_object_mut) {
        headers.values_mut().for_each(|values| *values = json!(["<masked>"]));
    }
    all
}

/// Names the files of the certificate that the server makes itself in `directory`, where nothing is
/// said of another one.
pub fn name_own_certificate(all: &mut Value, directory: &Path) {
    let bootstraps = all["serverTLSBootstrap"].as_bool() == Some(true);
    if bootstraps || all.get("tlsCertFile").is_some() || all.get("tlsPrivateKeyFile").is_some() {
        return;
    }
    for (field, file) in [("tlsCertFile", "kubelet.crt"), ("tlsPrivateKeyFile", "kubelet.key")] {
        all[field] = directory.join(file).display().to_string().into();
    }
}

/// Whether the field says anything.
fn is_set(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) if text.is_empty() => EMPTY_COUNTS.contains(&name),
        Value::String(text) => {
            let is_zero = DURATIONS.contains(&[name].as_slice())
                && parse_duration(text).is_some_and(|duration| duration.is_zero());
            !is_zero
        }
        Value::Number(number) if number.as_i64() == Some(0) => ZERO_COUNTS.contains(&name),
        _ => true,
    }
}

/// Lays `over` upon `under`: objects field by field, everything else replaces.
fn lay_over(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(below), Value::Object(above)) => {
            for (name, value) in above {
                match below.get_mut(&name) {
                    Some(known) if !is_map(&name) => lay_over(known, value),
                    _ if value.is_null() => {}
                    _ => {
                        below.insert(name, value);
                    }
                }
            }
        }
        (_, Value::Null) => {}
        (under, over) => *under = over,
    }
}

/// Fields whose keys are the user's, so that a set one replaces the default one as a whole.
fn is_map(name: &str) -> bool {
    name == "evictionHard"
}

/// The hard thresholds where the defaults are to be merged into the given ones.
fn merged_thresholds(all: &Value, given: &Map<String, Value>) -> Option<Value> {
    let merges = given.get("mergeDefaultEvictionSettings").and_then(Value::as_bool);
    let set = given.get("evictionHard")?.as_object().filter(|set| !set.is_empty())?;
    let mut hard = all["evictionHard"].as_object()?.clone();
    hard.extend(set.clone());
    (merges == Some(true)).then_some(Value::Object(hard))
}

fn normalize(all: &mut Value, path: &[&str]) {
    let field = path.iter().try_fold(all, |value, name| value.get_mut(*name));
    if let Some(field) = field
        && let Some(duration) = field.as_str().and_then(parse_duration)
    {
        *field = go_duration(duration).into();
    }
}

/// As Go writes a duration: `1m0s`, `100ms`, `1.5s`.
fn go_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let decimal = |unit: u128, name: &str| {
        let whole = nanos / unit;
        let rest = format!("{:0width$}", nanos % unit, width = unit.ilog10() as usize);
        let rest = rest.trim_end_matches('0');
        if rest.is_empty() { format!("{whole}{name}") } else { format!("{whole}.{rest}{name}") }
    };
    match nanos {
        0 => return "0s".to_owned(),
        1..1_000 => return format!("{nanos}ns"),
        1_000..1_000_000 => return decimal(1_000, "µs"),
        1_000_000..1_000_000_000 => return decimal(1_000_000, "ms"),
        _ => {}
    }
    let seconds = duration.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let below = Duration::new(seconds % 60, duration.subsec_nanos());
    let rest = match below.subsec_nanos() {
        0 => below.as_secs().to_string(),
        nanos => {
            let fraction = format!("{nanos:09}");
            format!("{}.{}", below.as_secs(), fraction.trim_end_matches('0'))
        }
    };
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// The defaults, some of which depend on what is given.
fn defaults(given: &Map<String, Value>) -> Value {
    let report = match given.get("nodeStatusUpdateFrequency") {
        Some(update) => update.clone(),
        None => "5m0s".into(),
    };
    let parallel = given.get("maxParallelImagePulls").and_then(Value::as_i64);
    let mut all = server_defaults();
    lay_over(&mut all, work_defaults());
    lay_over(&mut all, machine_defaults());
    all["nodeStatusReportFrequency"] = report;
    all["serializeImagePulls"] = parallel.is_none_or(|limit| limit < 2).into();
    all
}

/// The kubelet server, and what it is asked for.
fn server_defaults() -> Value {
    json!({
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "enableServer": true,
        "address": "0.0.0.0",
        "port": 10250,
        "authentication": {
            "x509": {},
            "webhook": {"enabled": true, "cacheTTL": "2m0s"},
            "anonymous": {"enabled": false},
        },
        "authorization": {
            "mode": "Webhook",
            "webhook": {"cacheAuthorizedTTL": "5m0s", "cacheUnauthorizedTTL": "30s"},
        },
        "enableDebuggingHandlers": true,
        "healthzPort": 10248,
        "healthzBindAddress": "127.0.0.1",
        "streamingConnectionIdleTimeout": "4h0m0s",
        "enableSystemLogHandler": true,
        "enableSystemLogQuery": false,
        "enableProfilingHandler": true,
        "enableDebugFlagsHandler": true,
        "logging": {
            "format": "text",
            "flushFrequency": "5s",
            "verbosity": 0,
            "options": {"text": {"infoBufferSize": "0"}, "json": {"infoBufferSize": "0"}},
        },
    })
}

/// Pods, images, the API server.
fn work_defaults() -> Value {
    json!({
        "podLogsDir": "/var/log/pods",
        "syncFrequency": "1m0s",
        "fileCheckFrequency": "20s",
        "httpCheckFrequency": "20s",
        "registryPullQPS": 5,
        "registryBurst": 10,
        "imagePullCredentialsVerificationPolicy": "NeverVerifyPreloadedImages",
        "eventRecordQPS": 50,
        "eventBurst": 100,
        "nodeStatusUpdateFrequency": "10s",
        "nodeLeaseDurationSeconds": 40,
        "imageMinimumGCAge": "2m0s",
        "imageMaximumGCAge": "0s",
        "imageGCHighThresholdPercent": 85,
        "imageGCLowThresholdPercent": 80,
        "volumeStatsAggPeriod": "1m0s",
        "runtimeRequestTimeout": "2m0s",
        "maxPods": 110,
        "nodeStatusMaxImages": 50,
        "contentType": "application/vnd.kubernetes.protobuf",
        "kubeAPIQPS": 50,
        "kubeAPIBurst": 100,
        "containerLogMaxSize": "10Mi",
        "containerLogMaxFiles": 5,
        "containerLogMaxWorkers": 1,
        "containerLogMonitorInterval": "10s",
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        "shutdownGracePeriod": "0s",
        "shutdownGracePeriodCriticalPods": "0s",
        "crashLoopBackOff": {"maxContainerRestartPeriod": "5m0s"},
        "seccompDefault": false,
        "registerNode": true,
        "enableControllerAttachDetach": true,
        "volumePluginDir": "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/",
        "localStorageCapacityIsolation": true,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
    })
}

/// Cgroups, resources, the kernel.
fn machine_defaults() -> Value {
    json!({
        "oomScoreAdj": -999,
        "cgroupsPerQOS": true,
        "cgroupDriver": "cgroupfs",
        "cpuManagerPolicy": "none",
        "cpuManagerReconcilePeriod": "10s",
        "memoryManagerPolicy": "None",
        "topologyManagerPolicy": "none",
        "topologyManagerScope": "container",
        "hairpinMode": "promiscuous-bridge",
        "podPidsLimit": -1,
        "resolvConf": "/etc/resolv.conf",
        "cpuCFSQuota": true,
        "cpuCFSQuotaPeriod": "100ms",
        "maxOpenFiles": 1_000_000,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "10%",
            "nodefs.inodesFree": "5%",
            "imagefs.available": "15%",
            "imagefs.inodesFree": "5%",
        },
        "evictionPressureTransitionPeriod": "5m0s",
        "mergeDefaultEvictionSettings": false,
        "makeIPTablesUtilChains": true,
        "iptablesMasqueradeBit": 14,
        "iptablesDropBit": 15,
        "failSwapOn": true,
        "memorySwap": {},
        "enforceNodeAllocatable": ["pods"],
        "failCgroupV1": true,
        "memoryThrottlingFactor": 0.9,
        "memoryReservationPolicy": "None",
    })
}
