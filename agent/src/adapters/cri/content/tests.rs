use super::*;

#[test]
fn only_image_manifests_have_layers() {
    let manifest = br#"{"schemaVersion": 2, "config": {"digest": "sha256:c", "size": 3},
        "layers": [{"mediaType": "m", "digest": "sha256:a", "size": 7}]}"#;
    let layer = Layer { digest: "sha256:a".to_owned(), size_bytes: 7 };
    assert_eq!(layers(manifest), Some(vec![layer]));
    for other in [&b"{\"manifests\": []}"[..], b"{\"rootfs\": {}}", b"\x1f\x8b", b""] {
        assert_eq!(layers(other), None);
    }
}

#[test]
fn label_names_the_registry_without_its_port() {
    for (registry, host) in
        [("docker.io", "docker.io"), ("10.0.0.1:5000", "10.0.0.1"), ("[fd00::1]:5000", "fd00::1")]
    {
        assert_eq!(source_label(registry), format!("containerd.io/distribution.source.{host}"));
    }
}
