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
    let variables = Variables::from([("POD".to_owned(), b"web-0".to_vec())]);
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
    let sub_paths = BoundSubPaths::from([(1, "/pods/u/volume-subpaths/data/main/1".into())]);
    let volumes = VolumeSources { mounted: &mounted, images: &images, sub_paths: &sub_paths };
    container_mounts(&container(json), volumes, files, &variables, recursive)
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
fn own_mount_on_the_termination_log_wins() {
    for path in ["/dev/termination-log", "dev//termination-log/", "/dev/./termination-log"] {
        let mounts = mounts(
            json!({
                "terminationMessagePath": "/dev/termination-log",
                "volumeMounts": [{"name": "host", "mountPath": path}],
            }),
            false,
        );
        let lines = lines(&mounts.unwrap());
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("/pods/u/host ") && lines[1].contains(" /etc/hosts "));
    }
}

#[test]
fn mount_of_a_directory_above_hides_neither() {
    let mounts = mounts(
        json!({
            "terminationMessagePath": "/etc/log",
            "volumeMounts": [{"name": "data", "mountPath": "/etc"}],
        }),
        false,
    );
    let paths: Vec<String> = mounts.unwrap().into_iter().map(|m| m.container_path).collect();
    assert_eq!(paths, ["/etc", "/etc/hosts", "/etc/log"]);
}

#[test]
fn order_is_the_containers_own() {
    let mounts = mounts(
        json!({"volumeMounts": [
            {"name": "data", "mountPath": "/a/b"},
            {"name": "host", "mountPath": "/a"},
            {"name": "token", "mountPath": "/a/b/c"},
        ]}),
        false,
    );
    let paths: Vec<String> = mounts.unwrap().into_iter().map(|m| m.container_path).collect();
    assert_eq!(paths, ["/a/b", "/a", "/a/b/c", "/etc/hosts"]);
}

#[test]
fn part_of_a_volume_is_shown_where_it_was_bound() {
    let part = json!({"volumeMounts": [
        {"name": "data", "mountPath": "/all"},
        {"name": "data", "mountPath": "/part", "subPathExpr": "$(POD)", "readOnly": true},
    ]});
    let lines = lines(&mounts(part, false).unwrap());
    assert_eq!(lines[0], "/pods/u/data /all rwz 0");
    assert_eq!(lines[1], "/pods/u/volume-subpaths/data/main/1 /part roz 0");
    // A part that was not bound is never replaced by the whole.
    let unbound = json!({"volumeMounts": [{"name": "data", "mountPath": "/p", "subPath": "a"}]});
    assert!(mounts(unbound, false).is_err());
    let escape = json!({"volumeMounts": [{"name": "data", "mountPath": "/p", "subPath": "../a"}]});
    assert_eq!(
        mounts(escape, false).unwrap_err().to_string(),
        "unable to provision SubPath `../a`: must not contain '..'"
    );
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
fn recursive_read_only_is_refused_in_the_kubelets_words() {
    let before = "failed to resolve recursive read-only mode: ";
    let asks = "volume \"data\" requested recursive read-only mode, but it is not ";
    for (fields, expected) in [
        (json!({"recursiveReadOnly": "Enabled", "readOnly": true}), "supported by the runtime"),
        (json!({"recursiveReadOnly": "Enabled"}), "read-only"),
        (json!({"recursiveReadOnly": "IfPossible"}), "read-only"),
        (
            json!({"recursiveReadOnly": "IfPossible", "readOnly": true,
                "mountPropagation": "HostToContainer"}),
            "compatible with propagation \"HostToContainer\"",
        ),
    ] {
        let mut mount = fields.clone();
        mount["name"] = "data".into();
        mount["mountPath"] = "/d".into();
        let error = mounts(json!({"volumeMounts": [mount]}), false).unwrap_err().to_string();
        assert_eq!(error, format!("{before}{asks}{expected}"), "{fields}");
    }
    let odd = json!({"name": "data", "mountPath": "/d", "readOnly": true,
        "recursiveReadOnly": "Sometimes"});
    let error = mounts(json!({"volumeMounts": [odd]}), true).unwrap_err().to_string();
    assert_eq!(error, format!("{before}unknown recursive read-only mode \"Sometimes\""));
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
