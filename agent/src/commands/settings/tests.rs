use super::*;

#[test]
fn command_line_of_the_service_is_read() {
    let text = "# NODED_OPTIONS=\"--config=/no\"\nNODED_OPTIONS=\"--config=/c  --kubeconfig=/k \
                --proxy-kubeconfig=/q\"\n#NODED_LOG=info\n";
    let found = installed(text).unwrap();
    assert_eq!(found.config, Some("/c".into()));
    assert_eq!(found.kubeconfig, Some("/k".into()));
    assert_eq!(found.proxy_kubeconfig, Some("/q".into()));
    assert_eq!(installed("").unwrap(), RunArguments::default());
    assert_eq!(installed("NODED_OPTIONS=--config=/c").unwrap().config, Some("/c".into()));
}

#[test]
fn shipped_defaults_are_understood() {
    let found = installed(include_str!("../../../../systemd/noded.default")).unwrap();
    assert_eq!(found.kubeconfig, Some("/etc/noded/kubeconfig".into()));
    assert_eq!(found.proxy_config, Some("/etc/noded/kube-proxy.yaml".into()));
}

#[test]
fn wrong_defaults_are_named() {
    let error = installed("NODED_OPTIONS=--no-such-flag").unwrap_err();
    assert!(error.message.starts_with("NODED_OPTIONS in /etc/default/noded: "), "{error}");
    assert_eq!(error.reason, ExitReason::Configuration);
}

#[test]
fn files_of_noded_come_before_those_of_kubeadm() {
    let everything = standard_files(|_| true);
    assert_eq!(everything.kubeconfig, Some("/etc/noded/kubeconfig".into()));
    let kubeadm = standard_files(|path| !path.starts_with("/etc/noded"));
    assert_eq!(kubeadm.kubeconfig, Some("/etc/kubernetes/kubelet.conf".into()));
    assert_eq!(kubeadm.proxy_config, None);
    assert_eq!(standard_files(|_| false), RunArguments::default());
}

#[test]
fn credential_given_by_flag_replaces_both_installed_ones() {
    let installed = RunArguments {
        kubeconfig: Some("/a".into()),
        proxy_kubeconfig: Some("/b".into()),
        proxy_config: Some("/c".into()),
        ..RunArguments::default()
    };
    let flags = SettingFlags { kubeconfig: Some("/mine".into()), ..SettingFlags::default() };
    let found = overridden(installed, &flags);
    assert_eq!(found.kubeconfig, Some("/mine".into()));
    assert_eq!(found.proxy_kubeconfig, None);
    assert_eq!(found.proxy_config, Some("/c".into()));
}
