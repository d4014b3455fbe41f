use super::*;

#[test]
fn lines_are_read_with_escapes_and_optional_fields() {
    let text = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
36 35 98:0 /mnt1 /var/lib/my\\040pods rw,noatime shared:1 master:2 - ext4 /dev/mapper/a\\011b rw
broken line
40 36 0:5 / /x rw master:7 - tmpfs none rw
";
    let mounts = parse_mountinfo(text);
    let found: Vec<_> = mounts
        .iter()
        .map(|mount| {
            (
                mount.target.to_str().unwrap(),
                mount.fs_type.as_str(),
                mount.source.as_str(),
                mount.shared,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("/sys/fs/cgroup", "tmpfs", "tmpfs", false),
            ("/var/lib/my pods", "ext4", "/dev/mapper/a\tb", true),
            ("/x", "tmpfs", "none", false),
        ]
    );
}
