use k8s_openapi::api::core::v1 as api;

use super::*;
use crate::boundary::FsUsage;
use crate::model::Pod;
use crate::testing::build::pod;
use crate::testing::clock::paused_clock;
use crate::testing::fake_usage::FakeUsage;

/// A pod with two volumes on disk, `a` and `b`.
fn with_volumes() -> Pod {
    let mount = |name: &str| api::VolumeMount { name: name.to_owned(), ..Default::default() };
    let built = pod("shop/web").uid("u1").container("app").changed("app", |container| {
        container.volume_mounts = Some(vec![mount("a"), mount("b")]);
    });
    let built = built.build();
    let mut object = built.object().as_ref().clone();
    let volume = |name: &str| api::Volume {
        name: name.to_owned(),
        empty_dir: Some(api::EmptyDirVolumeSource::default()),
        ..Default::default()
    };
    object.spec.as_mut().unwrap().volumes = Some(vec![volume("a"), volume("b")]);
    Pod::new(object.into(), built.source()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_cannot_be_read_leaves_the_others_alone() {
    let clock = paused_clock();
    let usage = FakeUsage::new(clock.clone());
    let path = Path::new("/root/pods/u1/volumes/kubernetes.io~empty-dir/b");
    let fs = FsUsage { capacity: 100, ..FsUsage::default() };
    usage.state().file_systems.insert(path.to_owned(), fs.clone());
    usage.state().trees.insert(path.to_owned(), DiskUsage { bytes: 7, inodes: 1 });
    let pods = [with_volumes()];
    let pods = (pods.as_slice(), &MountedClaims::new());
    let seen = look_at_volumes(&usage, Path::new("/root"), pods, clock.as_ref());
    let samples: Vec<_> = seen.into_values().collect();
    assert_eq!(
        **samples[0],
        [VolumeSample {
            name: "b".to_owned(),
            at: Some(clock()),
            used: DiskUsage { bytes: 7, inodes: 1 },
            fs,
            ephemeral: true,
            claim: None,
        }]
    );
}

#[tokio::test(start_paused = true)]
async fn pods_without_volumes_take_no_room() {
    let clock = paused_clock();
    let usage = FakeUsage::new(clock.clone());
    let pods = [pod("shop/bare").container("app").build(), with_volumes()];
    let pods = (pods.as_slice(), &MountedClaims::new());
    assert!(look_at_volumes(&usage, Path::new("/root"), pods, clock.as_ref()).is_empty());
}
