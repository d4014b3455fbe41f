//! The settings that `noded run` has on this machine.

#![allow(clippy::disallowed_methods, reason = "read once, before there is anything to adapt")]

use std::path::{Path, PathBuf};

use crate::cli::{Invocation, RunArguments, SettingFlags, parse};
use crate::exit::{ExitReason, Fatal};

/// The file with the command line of the installed service, and the variable in it.
const SERVICE_DEFAULTS: &str = "/etc/default/noded";
const OPTIONS_VARIABLE: &str = "NODED_OPTIONS";

/// Arguments of `noded run`: those of the installed service, overridden by the flags given here.
pub(super) fn run_arguments(flags: &SettingFlags) -> Result<RunArguments, Fatal> {
    let installed = match std::fs::read_to_string(SERVICE_DEFAULTS) {
        Ok(text) => installed(&text)?,
        Err(_) => standard_files(|path| path.exists()),
    };
    Ok(overridden(installed, flags))
}

/// The arguments in the text of the service's defaults.
fn installed(text: &str) -> Result<RunArguments, Fatal> {
    let words = options(text).into_iter();
    let words: Vec<String> = std::iter::once("run".to_owned()).chain(words).collect();
    match parse("noded", &words) {
        Ok(Invocation::Run(arguments)) => Ok(*arguments),
        Ok(_) => Ok(RunArguments::default()),
        Err(problem) => {
            let problem = problem.lines().next().unwrap_or_default().to_owned();
            let message = format!("{OPTIONS_VARIABLE} in {SERVICE_DEFAULTS}: {problem}");
            Err(Fatal::new(ExitReason::Configuration, message))
        }
    }
}

/// The words of the variable, as systemd splits it: quotes around all of it go, blanks part.
fn options(text: &str) -> Vec<String> {
    let value = text.lines().rev().find_map(|line| {
        line.trim().strip_prefix(OPTIONS_VARIABLE)?.trim_start().strip_prefix('=')
    });
    let value = value.unwrap_or_default().trim();
    let unquoted = ['"', '\'']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote))
        .unwrap_or(value);
    unquoted.split_whitespace().map(str::to_owned).collect()
}

/// Where an installation keeps its files: noded's own, then those of a kubeadm node.
fn standard_files(exists: impl Fn(&Path) -> bool) -> RunArguments {
    let first = |candidates: &[&str]| -> Option<PathBuf> {
        candidates.iter().map(PathBuf::from).find(|path| exists(path))
    };
    RunArguments {
        config: first(&["/etc/noded/kubelet.yaml", "/var/lib/kubelet/config.yaml"]),
        kubeconfig: first(&["/etc/noded/kubeconfig", "/etc/kubernetes/kubelet.conf"]),
        proxy_config: first(&["/etc/noded/kube-proxy.yaml"]),
        proxy_kubeconfig: first(&["/etc/noded/proxy-kubeconfig"]),
        ..RunArguments::default()
    }
}

/// A credential given here replaces both installed ones, lest the other one win.
fn overridden(mut arguments: RunArguments, flags: &SettingFlags) -> RunArguments {
    if flags.kubeconfig.is_some() || flags.proxy_kubeconfig.is_some() {
        arguments.kubeconfig.clone_from(&flags.kubeconfig);
        arguments.proxy_kubeconfig.clone_from(&flags.proxy_kubeconfig);
    }
    if flags.config.is_some() {
        arguments.config.clone_from(&flags.config);
        arguments.config_dir = None;
    }
    if flags.proxy_config.is_some() {
        arguments.proxy_config.clone_from(&flags.proxy_config);
    }
    if flags.hostname_override.is_some() {
        arguments.hostname_override.clone_from(&flags.hostname_override);
    }
    arguments
}

#[cfg(test)]
mod tests;
