use super::*;
use crate::podexec::fixtures::pod;
use serde_json::{Value, json};

const GIB: u64 = 1 << 30;

fn wanted(source: Value, container: Value, memory: u64) -> Vec<WantedVolume> {
    let mut volume = json!({"name": "v"});
    for (key, value) in source.as_object().unwrap() {
        volume[key] = value.clone();
    }
    let mut main = json!({"name": "main", "volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    for (key, value) in container.as_object().unwrap() {
        main[key] = value.clone();
    }
    wanted_volumes(&pod(json!({"spec": {"volumes": [volume], "containers": [main]}})), memory)
}

fn one(source: Value) -> VolumeKind {
    wanted(source, json!({}), 0).remove(0).kind
}

#[test]
fn volumes_nobody_mounts_are_left_out() {
    let unused = wanted(json!({"emptyDir": {}}), json!({"volumeMounts": []}), 0);
    assert_eq!(unused, vec![]);
}

#[test]
fn memory_volumes_are_no_larger_than_pod_and_node() {
    let limited = json!({"resources": {"limits": {"memory": "1Gi"}}});
    for (limit, container, node, expected) in [
        (json!(null), json!({}), 0, None),
        (json!(null), json!({}), 8 * GIB, Some(8 * GIB)),
        (json!(null), limited.clone(), 8 * GIB, Some(GIB)),
        (json!("2Gi"), limited.clone(), 8 * GIB, Some(GIB)),
        (json!("512Mi"), limited.clone(), 8 * GIB, Some(GIB / 2)),
        (json!("16Gi"), json!({}), 8 * GIB, Some(8 * GIB)),
        (json!("0"), json!({}), 8 * GIB, Some(8 * GIB)),
    ] {
        let source = json!({"emptyDir": {"medium": "Memory", "sizeLimit": limit}});
        let kind = wanted(source, container.clone(), node).remove(0).kind;
        assert_eq!(kind, VolumeKind::Memory { size_bytes: expected }, "{limit} {container}");
    }
    assert_eq!(one(json!({"emptyDir": {}})), VolumeKind::Disk);
}

#[test]
fn every_host_path_type_is_known() {
    for (text, check) in [
        ("", HostPathCheck::None),
        ("DirectoryOrCreate", HostPathCheck::DirectoryOrCreate),
        ("Directory", HostPathCheck::Directory),
        ("FileOrCreate", HostPathCheck::FileOrCreate),
        ("File", HostPathCheck::File),
        ("Socket", HostPathCheck::Socket),
        ("CharDevice", HostPathCheck::CharDevice),
        ("BlockDevice", HostPathCheck::BlockDevice),
    ] {
        let kind = one(json!({"hostPath": {"path": "/x", "type": text}}));
        assert_eq!(kind, VolumeKind::HostPath { path: "/x".to_owned(), check }, "{text}");
    }
    assert_eq!(one(json!({"hostPath": {"path": "/x", "type": "New"}})), VolumeKind::Unsupported);
}

#[test]
fn file_volumes_lie_where_the_kubelet_puts_them() {
    // source; plugin, on tmpfs
    for (source, plugin, tmpfs) in [
        (json!({"configMap": {"name": "c"}}), "kubernetes.io~configmap", false),
        (json!({"secret": {"secretName": "s"}}), "kubernetes.io~secret", true),
        (json!({"downwardAPI": {}}), "kubernetes.io~downward-api", true),
        (json!({"projected": {"sources": []}}), "kubernetes.io~projected", true),
    ] {
        let VolumeKind::Files(files) = one(source) else { panic!("{plugin} has files") };
        assert_eq!((files.plugin, files.tmpfs.is_some()), (plugin, tmpfs));
        assert_eq!(files.default_mode, 0o644);
    }
}

#[test]
fn projected_sources_keep_their_order() {
    let VolumeKind::Files(files) = one(json!({"projected": {"defaultMode": 0o400, "sources": [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"serviceAccountToken": {"path": "vault", "audience": "vault"}},
        {"configMap": {"name": "kube-root-ca.crt", "optional": true}},
        {"podCertificate": {"keyType": "x", "signerName": "y"}},
    ]}})) else {
        panic!("projected volumes have files")
    };
    assert_eq!(files.default_mode, 0o400);
    let token = |path: &str, audience: Option<&str>, expiration_seconds| FileSource::Token {
        path: path.to_owned(),
        audience: audience.map(str::to_owned),
        expiration_seconds,
    };
    let map = FileSource::ConfigMap {
        name: "kube-root-ca.crt".to_owned(),
        items: vec![],
        optional: true,
    };
    let expected = [
        token("token", None, 3607),
        token("vault", Some("vault"), 3600),
        map,
        FileSource::Unsupported,
    ];
    assert_eq!(files.sources, expected);
}

#[test]
fn claims_are_named_or_made_for_the_pod() {
    let claim = |claim: &str, read_only, owned| {
        VolumeKind::Claim(ClaimVolume { claim: claim.to_owned(), read_only, owned })
    };
    for (source, expected) in [
        (json!({"persistentVolumeClaim": {"claimName": "c"}}), claim("c", false, false)),
        (
            json!({"persistentVolumeClaim": {"claimName": "c", "readOnly": true}}),
            claim("c", true, false),
        ),
        (
            json!({"ephemeral": {"volumeClaimTemplate": {"spec": {}}}}),
            claim("web-0-v", false, true),
        ),
    ] {
        assert_eq!(one(source.clone()), expected, "{source}");
    }
}

#[test]
fn huge_pages_have_the_size_the_pod_asks_for_and_a_limit_in_whole_pages() {
    let asks = json!({"resources": {"requests": {"hugepages-2Mi": "8Mi"}}});
    for (medium, limit, size_bytes) in [
        ("HugePages", json!(null), None),
        ("HugePages", json!("3Mi"), Some(4 << 20)),
        ("HugePages-2Mi", json!("8Mi"), Some(8 << 20)),
    ] {
        let source = json!({"emptyDir": {"medium": medium, "sizeLimit": limit}});
        let kind = wanted(source, asks.clone(), 0).remove(0).kind;
        let page_bytes = Ok(2 << 20);
        let medium = medium.to_owned();
        assert_eq!(kind, VolumeKind::HugePages { medium, page_bytes, size_bytes }, "{limit}");
    }
}
