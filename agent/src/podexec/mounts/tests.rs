use super::*;
use crate::podexec::fixtures::container;
use crate::volumes::MountedVolume;
use serde_json::{Value, json};

fn volumes() -> MountedVolumes {
    let volume = |name: &str, read_only, selinux_relabel| {
        let host_path = format!("/pods/u/{name}").into();
        (name.to_owned(), MountedVolume { host_path, read_only, selinux_relabel })
    };
    [volume("data", false, true), volume("token", true, true), volume("host", false, false)]
        .into_iter()
        .collect()
}

fn mounts(parts: Value, recursive: bool) -> Result<Vec<Mount>, ContainerConfigError> {
    let mut json = json!({"name": "main", "image": "img"});
    for (key, value) in parts.as_object().unwrap() {
        json[key] = value.clone();
    }
    let files = PodFiles {
        hosts: Some(Path::new("/pods/u/etc-hosts")),
        termination_log: Some(Path::new("/pods/u/containers/main/0a")),
    };
    let tool = VolumeImage { reference: "sha256:tool".into(), named: "tool:1".into() };
    let images = BTreeMap::from([("tool".to_owned(), tool)]);
    let mounted = volumes();
    let volumes = VolumeSources { mounted: &mounted, images: &images };
    container_mounts(&container(json), volumes, files, recursive)
}

fn lines(mounts: &[Mount]) -> Vec<String> {
    let line = |mount: &Mount| {
        format!(
            "{} {} {}{}{} {}",
            mount.host_path,
            mount.container_path,
            if mount.readonly { "ro" } else { "rw" },
            if mount.recursive_read_only { "r" } else { "" },
            if mount.selinux_relabel { "z" } else { "" },
            mount.propagation,
        )
    };
    mounts.iter().map(line).collect()
}

#[test]
fn volumes_then_hosts_then_termination_log() {
    let mounts = mounts(
        json!({
            "terminationMessagePath": "/dev/termination-log",
            "volumeMounts": [
                {"name": "data", "mountPath": "/data"},
                {"name": "data", "mountPath": "rel", "readOnly": true},
                {"name": "token", "mountPath": "/var/run/t"},
                {"name": "host", "mountPath": "/h", "mountPropagation": "Bidirectional"},
                {"name": "host", "mountPath": "/i", "mountPropagation": "HostToContainer"},
            ],
        }),
        false,
    )
    .unwrap();
    assert_eq!(
        lines(&mounts),
        [
            "/pods/u/data /data rwz 0",
            "/pods/u/data /rel roz 0",
            "/pods/u/token /var/run/t roz 0",
            "/pods/u/host /h rw 2",
            "/pods/u/host /i rw 1",
            "/pods/u/etc-hosts /etc/hosts rwz 0",
            "/pods/u/containers/main/0a /dev/termination-log rwz 0",
        ]
    );
}

#[test]
fn own_mount_on_the_hosts_file_wins() {
    let mounts =
        mounts(json!({"volumeMounts": [{"name": "data", "mountPath": "/etc/hosts"}]}), false);
    assert_eq!(lines(&mounts.unwrap()), ["/pods/u/data /etc/hosts rwz 0"]);
}

#[test]
fn recursive_read_only_follows_the_runtime() {
    // asked, runtime can, expected
    for (asked, can, expected) in [
        ("Disabled", true, Ok(false)),
        ("IfPossible", true, Ok(true)),
        ("IfPossible", false, Ok(false)),
        ("Enabled", true, Ok(true)),
        ("Enabled", false, Err(())),
    ] {
        let mount = json!({"name": "data", "mountPath": "/d", "readOnly": true,
            "recursiveReadOnly": asked});
        let got = mounts(json!({"volumeMounts": [mount]}), can);
        assert_eq!(
            got.map(|m| m[0].recursive_read_only).map_err(|_| ()),
            expected,
            "{asked} {can}"
        );
    }
}

#[test]
fn unknown_volume_is_an_error() {
    let error = mounts(json!({"volumeMounts": [{"name": "x", "mountPath": "/x"}]}), false);
    assert_eq!(
        error.unwrap_err().to_string(),
        "cannot find volume \"x\" to mount into container \"main\""
    );
}

#[test]
fn image_volumes_are_the_runtimes_and_read_only() {
    let mounts = mounts(
        json!({"volumeMounts": [{"name": "tool", "mountPath": "/tool", "subPath": "bin"}]}),
        false,
    )
    .unwrap();
    let image = mounts[0].image.as_ref().unwrap();
    assert_eq!(
        (image.image.as_str(), image.user_specified_image.as_str()),
        ("sha256:tool", "tool:1")
    );
    assert_eq!((mounts[0].host_path.as_str(), mounts[0].image_sub_path.as_str()), ("", "bin"));
    assert!(mounts[0].readonly && mounts[0].container_path == "/tool");
}
