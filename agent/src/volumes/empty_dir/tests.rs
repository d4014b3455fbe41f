use super::*;
use crate::testing::fake_host::FakeMounter;
use std::os::unix::fs::MetadataExt;

#[test]
fn each_medium_is_mounted_once_and_shared_with_the_group() {
    let pages = Backing::HugePages { page_bytes: 2 << 20, size_bytes: Some(4 << 20) };
    let tmpfs = Backing::Tmpfs { size_bytes: None };
    for (backing, call) in
        [(Backing::Disk, None), (tmpfs, Some("mount_tmpfs")), (pages, Some("mount_huge_pages"))]
    {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("plugin/v");
        let mounter = FakeMounter::default();
        for _ in 0..2 {
            ensure_volume_dir(&mounter, &path, backing, Some(77)).unwrap();
            let meta = std::fs::metadata(&path).unwrap();
            assert_eq!(meta.gid(), 77, "{backing:?}");
            assert_eq!(meta.mode() & 0o2770, 0o2770, "{backing:?}");
        }
        let calls = mounter.take_calls();
        let mounts: Vec<&String> = calls.iter().filter(|call| call.starts_with("mount_")).collect();
        let expected: Vec<String> =
            call.iter().map(|call| format!("{call} {}", path.display())).collect();
        assert_eq!(mounts, expected.iter().collect::<Vec<_>>(), "{backing:?}");
    }
}
