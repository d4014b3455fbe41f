use k8s_openapi::api::core::v1 as api;

use super::*;
use crate::testing::build::pod;

fn mounting(volumes: Vec<api::Volume>) -> Pod {
    let mounts = volumes.iter().map(|volume| api::VolumeMount {
        name: volume.name.clone(),
        mount_path: format!("/{}", volume.name),
        ..Default::default()
    });
    let mounts: Vec<_> = mounts.collect();
    let built = pod("shop/web").uid("u1").container("app").changed("app", |container| {
        container.volume_mounts = Some(mounts);
    });
    let built = built.build();
    let mut object = built.object().as_ref().clone();
    object.spec.as_mut().unwrap().volumes = Some(volumes);
    Pod::new(object.into(), built.source()).unwrap()
}

fn volume(name: &str, change: impl FnOnce(&mut api::Volume)) -> api::Volume {
    let mut volume = api::Volume { name: name.to_owned(), ..Default::default() };
    change(&mut volume);
    volume
}

#[test]
fn each_kind_is_measured_in_its_way() {
    let memory =
        api::EmptyDirVolumeSource { medium: Some("Memory".to_owned()), ..Default::default() };
    let pod = mounting(vec![
        volume("disk", |volume| volume.empty_dir = Some(Default::default())),
        volume("memory", |volume| volume.empty_dir = Some(memory)),
        volume("map", |volume| volume.config_map = Some(Default::default())),
        volume("secret", |volume| volume.secret = Some(Default::default())),
        volume("host", |volume| volume.host_path = Some(Default::default())),
    ]);
    let found = measured_volumes(Path::new("/var/lib/kubelet"), &pod, &[]);
    let found: Vec<_> = found
        .iter()
        .map(|volume| (volume.path.to_str().unwrap(), volume.measure, volume.ephemeral))
        .collect();
    let dir = "/var/lib/kubelet/pods/u1/volumes";
    assert_eq!(
        found,
        [
            (&*format!("{dir}/kubernetes.io~empty-dir/disk"), VolumeMeasure::Files, true),
            (&*format!("{dir}/kubernetes.io~empty-dir/memory"), VolumeMeasure::FileSystem, false),
            (&*format!("{dir}/kubernetes.io~configmap/map"), VolumeMeasure::Files, true),
            (&*format!("{dir}/kubernetes.io~secret/secret"), VolumeMeasure::Files, false),
        ]
    );
}

#[test]
fn a_volume_that_nobody_mounts_is_not_there() {
    let built =
        mounting(vec![volume("disk", |volume| volume.empty_dir = Some(Default::default()))]);
    let mut object = built.object().as_ref().clone();
    object.spec.as_mut().unwrap().containers[0].volume_mounts = None;
    let pod = Pod::new(object.into(), built.source()).unwrap();
    assert_eq!(measured_volumes(Path::new("/root"), &pod, &[]), []);
}

#[test]
fn claims_are_measured_where_they_are_mounted() {
    let source = |claim: &str| api::PersistentVolumeClaimVolumeSource {
        claim_name: claim.to_owned(),
        ..Default::default()
    };
    let pod = mounting(vec![
        volume("late", |volume| volume.persistent_volume_claim = Some(source("late"))),
        volume("data", |volume| volume.persistent_volume_claim = Some(source("c"))),
    ]);
    let claim = ClaimName { namespace: "shop".to_owned(), name: "c".to_owned() };
    let path = PathBuf::from("/root/pods/u1/volumes/kubernetes.io~local-volume/pv");
    let mounted = MountedClaim { volume: "data".to_owned(), claim: claim.clone(), path };
    let found = measured_volumes(Path::new("/root"), &pod, std::slice::from_ref(&mounted));
    assert_eq!(
        found,
        [MeasuredVolume {
            name: "data".to_owned(),
            path: mounted.path,
            measure: VolumeMeasure::FileSystem,
            ephemeral: false,
            claim: Some(claim),
        }]
    );
}
