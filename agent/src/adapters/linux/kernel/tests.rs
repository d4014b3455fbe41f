use std::fs;

use super::*;

fn kernel(values: &[(&str, &str)]) -> (tempfile::TempDir, Kernel) {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in values {
        let full = dir.path().join(path);
        fs::create_dir_all(full.parent().unwrap()).unwrap();
        fs::write(full, text).unwrap();
    }
    let kernel = Kernel::at(dir.path());
    (dir, kernel)
}

const STOCK: [(&str, &str); 6] = [
    ("sys/vm/overcommit_memory", "0\n"),
    ("sys/vm/panic_on_oom", "0\n"),
    ("sys/kernel/panic", "10\n"),
    ("sys/kernel/panic_on_oops", "1\n"),
    ("sys/kernel/keys/root_maxkeys", "1000000\n"),
    ("sys/kernel/keys/root_maxbytes", "1\n"),
];

#[test]
fn settings_are_brought_to_the_needed_values() {
    let (dir, kernel) = kernel(&STOCK);
    kernel.apply_tunables(false).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("sys/vm/overcommit_memory")).unwrap(), "1");
    kernel.apply_tunables(true).unwrap();
}

#[test]
fn protected_settings_are_only_checked_and_all_named() {
    let (dir, kernel) = kernel(&STOCK);
    let error = kernel.apply_tunables(true).unwrap_err().to_string();
    assert!(error.contains("vm.overcommit_memory is 0, expected 1"), "{error}");
    assert!(error.contains("kernel.keys.root_maxbytes is 1, expected 25000000"), "{error}");
    assert_eq!(fs::read_to_string(dir.path().join("sys/vm/overcommit_memory")).unwrap(), "0\n");
}

#[test]
fn missing_setting_does_not_keep_the_others_from_being_set() {
    let (dir, kernel) = kernel(&STOCK[..1]);
    assert!(kernel.apply_tunables(false).is_err());
    assert_eq!(fs::read_to_string(dir.path().join("sys/vm/overcommit_memory")).unwrap(), "1");
}

#[test]
fn own_oom_score_is_set() {
    let (dir, kernel) = kernel(&[("self/oom_score_adj", "0\n")]);
    assert_eq!(kernel.set_own_oom_score_adj(-999).unwrap(), OomScore::Set);
    assert_eq!(fs::read_to_string(dir.path().join("self/oom_score_adj")).unwrap(), "-999");
}

#[test]
fn swap_devices_are_listed_in_the_error() {
    let (_dir, on) = kernel(&[("swaps", "Filename Type\n/dev/sda2 partition\n")]);
    assert!(on.check_swap_off().unwrap_err().to_string().ends_with("swap is on /dev/sda2"));
    let (_dir, off) = kernel(&[("swaps", "Filename Type\n")]);
    off.check_swap_off().unwrap();
    let (_dir, none) = kernel(&[]);
    none.check_swap_off().unwrap();
}
