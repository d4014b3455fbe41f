//! Which program the metrics are of.

use prometheus::{GaugeVec, Opts, Registry};

/// Which program the page is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildFacts {
    /// The Kubernetes version whose behaviour is shown, such as `v1.36.3`.
    pub kubernetes_version: String,
    /// The program's own version.
    pub own_version: String,
}

/// Shows `kubernetes_build_info` in this registry, which must not have it yet.
pub fn show_build(registry: &Registry, build: &BuildFacts) {
    let version = build.kubernetes_version.trim_start_matches('v');
    let mut parts = version.split('.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let names = ["major", "minor", "git_version", "compiler", "platform", "noded_version"];
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let platform = format!("linux/{architecture}");
    let values = [major, minor, &build.kubernetes_version, "rustc", &platform, &build.own_version];
    let options = Opts::new("kubernetes_build_info", "The version of this program; always 1");
    let gauge =
        GaugeVec::new(options, &names).expect("names and labels are constants of the right form");
    registry.register(Box::new(gauge.clone())).expect("each name is used once");
    gauge.with_label_values(&values).set(1.0);
}
