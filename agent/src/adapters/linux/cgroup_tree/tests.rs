use super::*;
use crate::boundary::Cgroups;

/// Path of a real cgroup for a test. Also clears those of test processes that were killed.
pub(in crate::adapters::linux) fn test_cgroup(cgroups: &dyn Cgroups, name: &str) -> PathBuf {
    const PREFIX: &str = "noded-test-";
    for child in cgroups.children(Path::new("/")).unwrap_or_default() {
        let Some((_, pid)) = child.strip_prefix(PREFIX).and_then(|rest| rest.rsplit_once('-'))
        else {
            continue;
        };
        if !Path::new("/proc").join(pid).exists() {
            let left = Path::new("/").join(&child);
            let _ = cgroups.kill(&left);
            let _ = cgroups.remove(&left);
        }
    }
    PathBuf::from(format!("/{PREFIX}{name}-{}", std::process::id()))
}

#[test]
fn tree_is_walked_and_removed_from_the_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("kubepods");
    std::fs::create_dir_all(root.join("burstable/pod1/c1")).unwrap();
    std::fs::create_dir_all(root.join("burstable/pod2")).unwrap();
    assert_eq!(
        child_names(&root.join("burstable")).unwrap(),
        ["pod1", "pod2"].map(String::from).into()
    );
    assert_eq!(subtree(&root).unwrap().len(), 5);
    assert_eq!(subtree(&root).unwrap().last(), Some(&root));
    remove_tree(&root).unwrap();
    assert!(!root.exists());
    remove_tree(&root).unwrap();
    assert!(child_names(&root).unwrap().is_empty());
}

#[test]
fn foreign_processes_are_left_out() {
    assert_eq!(parse_procs("0\n12\nx\n7\n").collect::<Vec<_>>(), [12, 7]);
}

#[test]
fn paths_are_joined_below_the_mount() {
    assert_eq!(directory(Path::new("/m"), Path::new("/a/b")), Path::new("/m/a/b"));
    assert_eq!(directory(Path::new("/m"), Path::new("/")), Path::new("/m"));
}

#[test]
fn own_process_is_never_killed() {
    let own = i32::try_from(std::process::id()).unwrap();
    kill_all(Path::new("/"), &[0, 1, own]).unwrap();
}
