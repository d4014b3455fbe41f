use std::path::Path;

use expect_test::expect;
use serde_json::{Map, Value, json};

use super::{effective, name_own_certificate};
use crate::config::wire::{KubeletConfiguration, UNUSED_FIELDS};

fn given(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn from_files(value: Value) -> Value {
    effective(&given(value), 0)
}

#[test]
#[expect(clippy::too_many_lines, reason = "one whole document")]
fn without_a_setting_all_defaults_show() {
    expect![[r#"
        {
          "address": "0.0.0.0",
          "apiVersion": "kubelet.config.k8s.io/v1beta1",
          "authentication": {
            "anonymous": {
              "enabled": false
            },
            "webhook": {
              "cacheTTL": "2m0s",
              "enabled": true
            },
            "x509": {}
          },
          "authorization": {
            "mode": "Webhook",
            "webhook": {
              "cacheAuthorizedTTL": "5m0s",
              "cacheUnauthorizedTTL": "30s"
            }
          },
          "cgroupDriver": "cgroupfs",
          "cgroupsPerQOS": true,
          "configMapAndSecretChangeDetectionStrategy": "Watch",
          "containerLogMaxFiles": 5,
          "containerLogMaxSize": "10Mi",
          "containerLogMaxWorkers": 1,
          "containerLogMonitorInterval": "10s",
          "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
          "contentType": "application/vnd.kubernetes.protobuf",
          "cpuCFSQuota": true,
          "cpuCFSQuotaPeriod": "100ms",
          "cpuManagerPolicy": "none",
          "cpuManagerReconcilePeriod": "10s",
          "crashLoopBackOff": {
            "maxContainerRestartPeriod": "5m0s"
          },
          "enableControllerAttachDetach": true,
          "enableDebugFlagsHandler": true,
          "enableDebuggingHandlers": true,
          "enableProfilingHandler": true,
          "enableServer": true,
          "enableSystemLogHandler": true,
          "enableSystemLogQuery": false,
          "enforceNodeAllocatable": [
            "pods"
          ],
          "eventBurst": 100,
          "eventRecordQPS": 50,
          "evictionHard": {
            "imagefs.available": "15%",
            "imagefs.inodesFree": "5%",
            "memory.available": "100Mi",
            "nodefs.available": "10%",
            "nodefs.inodesFree": "5%"
          },
          "evictionPressureTransitionPeriod": "5m0s",
          "failCgroupV1": true,
          "failSwapOn": true,
          "fileCheckFrequency": "20s",
          "hairpinMode": "promiscuous-bridge",
          "healthzBindAddress": "127.0.0.1",
          "healthzPort": 10248,
          "httpCheckFrequency": "20s",
          "imageGCHighThresholdPercent": 85,
          "imageGCLowThresholdPercent": 80,
          "imageMaximumGCAge": "0s",
          "imageMinimumGCAge": "2m0s",
          "imagePullCredentialsVerificationPolicy": "NeverVerifyPreloadedImages",
          "iptablesDropBit": 15,
          "iptablesMasqueradeBit": 14,
          "kind": "KubeletConfiguration",
          "kubeAPIBurst": 100,
          "kubeAPIQPS": 50,
          "localStorageCapacityIsolation": true,
          "logging": {
            "flushFrequency": "5s",
            "format": "text",
            "options": {
              "json": {
                "infoBufferSize": "0"
              },
              "text": {
                "infoBufferSize": "0"
              }
            },
            "verbosity": 0
          },
          "makeIPTablesUtilChains": true,
          "maxOpenFiles": 1000000,
          "maxPods": 110,
          "memoryManagerPolicy": "None",
          "memoryReservationPolicy": "None",
          "memorySwap": {},
          "memoryThrottlingFactor": 0.9,
          "mergeDefaultEvictionSettings": false,
          "nodeLeaseDurationSeconds": 40,
          "nodeStatusMaxImages": 50,
          "nodeStatusReportFrequency": "5m0s",
          "nodeStatusUpdateFrequency": "10s",
          "oomScoreAdj": -999,
          "podLogsDir": "/var/log/pods",
          "podPidsLimit": -1,
          "port": 10250,
          "registerNode": true,
          "registryBurst": 10,
          "registryPullQPS": 5,
          "resolvConf": "/etc/resolv.conf",
          "runtimeRequestTimeout": "2m0s",
          "seccompDefault": false,
          "serializeImagePulls": true,
          "shutdownGracePeriod": "0s",
          "shutdownGracePeriodCriticalPods": "0s",
          "streamingConnectionIdleTimeout": "4h0m0s",
          "syncFrequency": "1m0s",
          "topologyManagerPolicy": "none",
          "topologyManagerScope": "container",
          "volumePluginDir": "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/",
          "volumeStatsAggPeriod": "1m0s"
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&from_files(json!({}))).unwrap());
}

#[test]
fn what_shows_can_be_read_back() {
    let shown = from_files(json!({"clusterDNS": ["10.96.0.10"], "evictionSoft": {"a": "1"}}));
    let wire: KubeletConfiguration = serde_json::from_value(shown).unwrap();
    let unknown: Vec<_> =
        wire.unused.keys().filter(|name| !UNUSED_FIELDS.contains(&name.as_str())).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn settings_win_and_durations_are_written_as_go_does() {
    let shown = from_files(json!({
        "maxPods": 20,
        "syncFrequency": "90s",
        "cpuCFSQuotaPeriod": "1500us",
        "nodeStatusUpdateFrequency": "4s",
        "streamingConnectionIdleTimeout": "1h0.5s",
        "authentication": {"x509": {"clientCAFile": "/ca.crt"}, "webhook": {"cacheTTL": "90s"}},
        "maxParallelImagePulls": 3,
        "podPidsLimit": -7,
        "imageGCLowThresholdPercent": 0,
        "eventBurst": 0,
        "resolvConf": "",
        "staticPodURLHeader": {"Authorization": ["secret"]},
    }));
    for (pointer, expected) in [
        ("/maxPods", json!(20)),
        ("/syncFrequency", json!("1m30s")),
        ("/cpuCFSQuotaPeriod", json!("1.5ms")),
        ("/nodeStatusReportFrequency", json!("4s")),
        ("/streamingConnectionIdleTimeout", json!("1h0m0.5s")),
        ("/authentication/x509/clientCAFile", json!("/ca.crt")),
        ("/authentication/webhook/cacheTTL", json!("1m30s")),
        ("/authentication/webhook/enabled", json!(true)),
        ("/serializeImagePulls", json!(false)),
        ("/podPidsLimit", json!(-1)),
        ("/imageGCLowThresholdPercent", json!(0)),
        ("/eventBurst", json!(100)),
        ("/resolvConf", json!("")),
        ("/staticPodURLHeader/Authorization", json!(["<masked>"])),
    ] {
        assert_eq!(shown.pointer(pointer), Some(&expected), "{pointer}");
    }
}

#[test]
fn a_set_threshold_replaces_the_default_ones_unless_they_are_merged() {
    let set = json!({"nodefs.available": "5%"});
    assert_eq!(from_files(json!({"evictionHard": set}))["evictionHard"], set);
    let merged = from_files(json!({"evictionHard": set, "mergeDefaultEvictionSettings": true}));
    assert_eq!(merged["evictionHard"]["nodefs.available"], "5%");
    assert_eq!(merged["evictionHard"]["memory.available"], "100Mi");
}

#[test]
fn what_is_given_stands_over_the_defaults() {
    let shown = effective(&given(json!({"port": 1})), 4);
    assert_eq!(shown["logging"]["verbosity"], 4);
    assert_eq!(shown["port"], 1);
}

#[test]
fn the_servers_own_certificate_is_named_unless_there_is_another() {
    let shown = |given| {
        let mut all = from_files(given);
        name_own_certificate(&mut all, Path::new("/pki"));
        (all["tlsCertFile"].clone(), all["tlsPrivateKeyFile"].clone())
    };
    assert_eq!(shown(json!({})), (json!("/pki/kubelet.crt"), json!("/pki/kubelet.key")));
    let own = json!({"tlsCertFile": "/a", "tlsPrivateKeyFile": "/b"});
    assert_eq!(shown(own), (json!("/a"), json!("/b")));
    assert_eq!(shown(json!({"serverTLSBootstrap": true})), (Value::Null, Value::Null));
}
