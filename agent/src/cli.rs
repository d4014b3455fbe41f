//! The command line: which flag sets what.
//!
//! Flags keep the kubelet's names. A flag that has a field in KubeletConfiguration is laid over the
//! file as that field, so that there is one road from a value to its use and flag, drop-in, file,
//! default is the only precedence there can be.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Map, Value, json};

mod seeing;
mod serving;
mod shown;
#[cfg(test)]
mod tests;

use crate::config::resolve::KUBELET_VERSION;

pub use seeing::{Asked, Output, SeeArguments, SettingFlags};

/// How the text of a flag becomes the value of its field.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Number,
    Bool,
    /// Comma separated.
    List,
    /// `key=value:effect`, comma separated.
    Taints,
    /// `key=value`, comma separated.
    Map,
    /// `key:value`, comma separated; a key may come again, and the flag too.
    Headers,
}

/// Flag, field of KubeletConfiguration v1beta1 (`outer.inner` for one inside another), form, help.
type FieldFlag = (&'static str, &'static str, Form, &'static str);

const FIELD_FLAGS: [FieldFlag; 36] = [
    (
        "allowed-unsafe-sysctls",
        "allowedUnsafeSysctls",
        Form::List,
        "Sysctls that pods may set beside the safe ones; a trailing * stands for the rest",
    ),
    (
        "cgroup-driver",
        "cgroupDriver",
        Form::Text,
        "cgroupfs or systemd, for runtimes that do not tell",
    ),
    ("cgroup-root", "cgroupRoot", Form::Text, "Cgroup that the pods' cgroups stand in"),
    ("cluster-dns", "clusterDNS", Form::List, "Addresses of the cluster's DNS servers"),
    ("cluster-domain", "clusterDomain", Form::Text, "Domain of the cluster"),
    (
        "container-log-max-files",
        "containerLogMaxFiles",
        Form::Number,
        "Most files of a container's log, 2 or more",
    ),
    (
        "container-log-max-size",
        "containerLogMaxSize",
        Form::Text,
        "Size from which a container's log is rotated",
    ),
    (
        "container-runtime-endpoint",
        "containerRuntimeEndpoint",
        Form::Text,
        "Socket of the container runtime",
    ),
    ("cpu-cfs-quota", "cpuCFSQuota", Form::Bool, "Enforce CPU limits"),
    ("event-burst", "eventBurst", Form::Number, "Most events at once"),
    ("event-qps", "eventRecordQPS", Form::Number, "Events per second"),
    ("eviction-hard", "evictionHard", Form::Map, "Thresholds kept free, signal=quantity"),
    ("fail-cgroupv1", "failCgroupV1", Form::Bool, "Refuse to run on cgroup v1"),
    ("fail-swap-on", "failSwapOn", Form::Bool, "Refuse to run while swap is on"),
    (
        "file-check-frequency",
        "fileCheckFrequency",
        Form::Text,
        "How often manifests are looked for, beside when the directory changes",
    ),
    ("healthz-bind-address", "healthzBindAddress", Form::Text, "Address of the health endpoint"),
    ("healthz-port", "healthzPort", Form::Number, "Port of the health endpoint, 0 for none"),
    (
        "http-check-frequency",
        "httpCheckFrequency",
        Form::Text,
        "How often the URL of static pods is asked",
    ),
    ("image-service-endpoint", "imageServiceEndpoint", Form::Text, "Socket of the image service"),
    ("kube-reserved", "kubeReserved", Form::Map, "Resources kept for Kubernetes daemons"),
    ("manifest-url", "staticPodURL", Form::Text, "URL of static pods"),
    (
        "manifest-url-header",
        "staticPodURLHeader",
        Form::Headers,
        "Headers sent to that URL, key:value",
    ),
    ("max-pods", "maxPods", Form::Number, "Most pods on this node"),
    (
        "node-status-update-frequency",
        "nodeStatusUpdateFrequency",
        Form::Text,
        "How often the Node status is computed",
    ),
    ("pod-manifest-path", "staticPodPath", Form::Text, "Directory of static pod manifests"),
    ("pod-max-pids", "podPidsLimit", Form::Number, "Most processes in a pod"),
    ("port", "port", Form::Number, "Port of the kubelet server"),
    ("provider-id", "providerID", Form::Text, "Cloud provider's id of this machine"),
    ("register-node", "registerNode", Form::Bool, "Create the Node object"),
    ("register-with-taints", "registerWithTaints", Form::Taints, "Taints of a newly created Node"),
    ("resolv-conf", "resolvConf", Form::Text, "resolv.conf that pods inherit from"),
    (
        "rotate-certificates",
        "rotateCertificates",
        Form::Bool,
        "Renew the client certificate before it ends",
    ),
    (
        "rotate-server-certificates",
        "serverTLSBootstrap",
        Form::Bool,
        "Ask the cluster for the serving certificate, and renew it",
    ),
    ("serialize-image-pulls", "serializeImagePulls", Form::Bool, "Pull one image at a time"),
    ("system-reserved", "systemReserved", Form::Map, "Resources kept for the system"),
    (
        "volume-stats-agg-period",
        "volumeStatsAggPeriod",
        Form::Text,
        "Volumes are looked at no more often; a negative one is never",
    ),
];

/// How many dead containers are kept; these have no field in KubeletConfiguration.
const DEAD_CONTAINER_FLAGS: [(&str, &str); 3] = [
    ("minimum-container-ttl-duration", "Age up to which a dead container is kept"),
    ("maximum-dead-containers-per-container", "Dead containers kept of each, -1 for all"),
    ("maximum-dead-containers", "Dead containers kept of all pods, -1 for all"),
];

/// What the command line says.
#[derive(Debug, Default, PartialEq)]
pub struct RunArguments {
    pub config: Option<PathBuf>,
    pub config_dir: Option<PathBuf>,
    pub kubeconfig: Option<PathBuf>,
    pub bootstrap_kubeconfig: Option<PathBuf>,
    /// Where the credential obtained with it is kept; `pki` below the root directory by default.
    pub cert_dir: Option<PathBuf>,
    pub proxy_config: Option<PathBuf>,
    pub proxy_kubeconfig: Option<PathBuf>,
    pub hostname_override: Option<String>,
    pub node_ips: Vec<String>,
    pub root_dir: Option<PathBuf>,
    pub node_labels: BTreeMap<String, String>,
    pub cloud_provider: Option<String>,
    pub kubelet_version: Option<String>,
    pub container_logs_dir: Option<PathBuf>,
    /// Texts of the three flags that limit dead containers, in the order of `--help`.
    pub dead_containers: [Option<String>; 3],
    pub image_credential_provider_config: Option<PathBuf>,
    pub image_credential_provider_bin_dir: Option<PathBuf>,
    /// Log verbosity as the kubelet counts it, 0 to 10.
    pub verbosity: u8,
    pub parts: Parts,
    /// Fields that flags lay over the configuration file.
    pub overlay: Map<String, Value>,
}

/// Which of the daemon's two parts run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parts {
    #[default]
    Both,
    KubeletOnly,
    ProxyOnly,
}

/// What the user asked for.
#[derive(Debug, PartialEq)]
pub enum Invocation {
    Run(Box<RunArguments>),
    /// Look at the proxy's rules, or remove them.
    See(Box<SeeArguments>),
    /// Text to print; help or version.
    Print(String),
}

/// Parses a command line without its program name. Called as `kubelet` the run subcommand is
/// implied. The error is one text to print, with the usage.
pub fn parse(program: &str, arguments: &[String]) -> Result<Invocation, String> {
    let as_kubelet = program.rsplit('/').next() == Some("kubelet");
    let command = if as_kubelet { kubelet_command() } else { noded_command() };
    let name = if as_kubelet { "kubelet" } else { "noded" };
    let line = std::iter::once(name.to_owned()).chain(arguments.iter().map(|text| go_style(text)));
    match command.try_get_matches_from(line) {
        Ok(matches) if as_kubelet => run_arguments(&matches).map(Box::new).map(Invocation::Run),
        Ok(matches) => match matches.subcommand() {
            Some(("run", matches)) => run_arguments(matches).map(Box::new).map(Invocation::Run),
            Some((name, matches)) if seeing::is_one(name) => {
                seeing::arguments(name, matches).map(Box::new).map(Invocation::See)
            }
            _ => Ok(Invocation::Print(noded_command().render_help().to_string())),
        },
        Err(error) if !error.use_stderr() => Ok(Invocation::Print(error.to_string())),
        Err(error) => Err(error.to_string().trim_end().to_owned()),
    }
}

/// Underscores in flag names and a single dash before `v` are Go habits that units rely on.
fn go_style(argument: &str) -> String {
    let Some(rest) = argument.strip_prefix("--") else { return argument.to_owned() };
    let (name, value) = rest.split_once('=').map_or((rest, None), |(n, v)| (n, Some(v)));
    let name = name.replace('_', "-");
    value.map_or_else(|| format!("--{name}"), |value| format!("--{name}={value}"))
}

/// The whole command line, for the manual page and the completion of shells.
#[must_use]
pub fn noded_command() -> Command {
    Command::new("noded")
        .about("Makes this machine a Kubernetes node: pods through containerd, Services through iptables")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand(run_command("run"))
        .subcommands(seeing::commands())
}

/// The daemon under the kubelet's name. kubeadm reads the version from a line in the kubelet's
/// words (Kubernetes v1.36, `cmd/kubeadm/app/preflight/utils.go`).
fn kubelet_command() -> Command {
    run_command("kubelet").display_name("Kubernetes").version(KUBELET_VERSION)
}

fn run_command(name: &'static str) -> Command {
    let mut command = Command::new(name)
        .about("Runs the node daemon")
        .args_override_self(true)
        .arg(text("config", "KubeletConfiguration file"))
        .arg(text("config-dir", "Directory of *.conf files merged over the configuration file"))
        .arg(text("kubeconfig", "Credential of the node; without one only static pods run"))
        .arg(text("bootstrap-kubeconfig", "Credential used to obtain the node's own"))
        .arg(text("cert-dir", "Directory of the certificates obtained for the node"))
        .arg(text("proxy-config", "KubeProxyConfiguration file"))
        .arg(text("proxy-kubeconfig", "Credential of the proxy; the node's own when not given"))
        .arg(text("hostname-override", "Name of the Node instead of the host name"))
        .arg(text("node-ip", "Address of the Node, or two of a dual-stack pair"))
        .arg(text("root-dir", "Directory of the daemon's files"))
        .arg(text("node-labels", "Labels of the Node, key=value"))
        .arg(text("cloud-provider", "external, or empty"))
        .arg(text("kubelet-version", "Kubernetes version to publish"))
        .arg(text("container-logs-dir", "Directory of links to container logs"))
        .arg(text(
            "image-credential-provider-config",
            "CredentialProviderConfig file, or a directory of them",
        ))
        .arg(text("image-credential-provider-bin-dir", "Directory of credential provider plugins"))
        .arg(text("verbosity", "Log verbosity, 0 to 10").short('v').visible_alias("v"))
        .arg(switch("no-proxy", "Leave the proxy part out"))
        .arg(switch("no-kubelet", "Leave the kubelet part out").conflicts_with("no-proxy"));
    for (flag, help) in DEAD_CONTAINER_FLAGS {
        command = command.arg(text(flag, help).allow_hyphen_values(true));
    }
    for (flag, _, form, help) in field_flags() {
        let argument = text(flag, help);
        command = command.arg(match form {
            Form::Bool => {
                argument.num_args(0..=1).require_equals(true).default_missing_value("true")
            }
            Form::Headers => argument.action(ArgAction::Append),
            _ => argument,
        });
    }
    command
}

fn text(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).help(help).num_args(1).action(ArgAction::Set)
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).help(help).action(ArgAction::SetTrue)
}

fn run_arguments(matches: &ArgMatches) -> Result<RunArguments, String> {
    let get = |name: &str| matches.get_one::<String>(name).filter(|text| !text.is_empty()).cloned();
    let path = |name: &str| get(name).map(PathBuf::from);
    let mut overlay = Map::new();
    for (flag, field, form, _) in field_flags() {
        if let Some(texts) = matches.get_many::<String>(flag) {
            // Only a flag that may be repeated has several.
            let text = texts.map(String::as_str).collect::<Vec<_>>().join(",");
            set_field(&mut overlay, field, field_value(flag, form, &text)?);
        }
    }
    let verbosity = match get("verbosity") {
        None => 0,
        Some(text) => text
            .parse::<u8>()
            .map_err(|_| format!("--v: \"{text}\" is not a number from 0 to 10"))?,
    };
    Ok(RunArguments {
        config: path("config"),
        config_dir: path("config-dir"),
        kubeconfig: path("kubeconfig"),
        bootstrap_kubeconfig: path("bootstrap-kubeconfig"),
        cert_dir: path("cert-dir"),
        proxy_config: path("proxy-config"),
        proxy_kubeconfig: path("proxy-kubeconfig"),
        hostname_override: get("hostname-override"),
        node_ips: get("node-ip").map(|text| list(&text)).unwrap_or_default(),
        root_dir: path("root-dir"),
        node_labels: match get("node-labels") {
            Some(text) => pairs("node-labels", &text)?.into_iter().collect(),
            None => BTreeMap::new(),
        },
        cloud_provider: get("cloud-provider"),
        kubelet_version: get("kubelet-version"),
        container_logs_dir: path("container-logs-dir"),
        dead_containers: DEAD_CONTAINER_FLAGS.map(|(flag, _)| get(flag)),
        image_credential_provider_config: path("image-credential-provider-config"),
        image_credential_provider_bin_dir: path("image-credential-provider-bin-dir"),
        verbosity,
        parts: match (matches.get_flag("no-proxy"), matches.get_flag("no-kubelet")) {
            (true, _) => Parts::KubeletOnly,
            (_, true) => Parts::ProxyOnly,
            _ => Parts::Both,
        },
        overlay,
    })
}

fn field_flags() -> impl Iterator<Item = FieldFlag> {
    FIELD_FLAGS.into_iter().chain(serving::FLAGS)
}

/// Sets the field at a dotted path.
fn set_field(object: &mut Map<String, Value>, path: &str, value: Value) {
    let Some((outer, inner)) = path.split_once('.') else {
        object.insert(path.to_owned(), value);
        return;
    };
    let below = object.entry(outer).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(below) = below {
        set_field(below, inner, value);
    }
}

fn field_value(flag: &str, form: Form, text: &str) -> Result<Value, String> {
    Ok(match form {
        Form::Text => json!(text),
        Form::Number => {
            json!(text.parse::<i64>().map_err(|_| format!("--{flag}: \"{text}\" is not a number"))?)
        }
        Form::Bool => match text {
            "true" | "1" | "t" | "T" | "TRUE" | "True" => json!(true),
            "false" | "0" | "f" | "F" | "FALSE" | "False" => json!(false),
            _ => return Err(format!("--{flag}: \"{text}\" is neither true nor false")),
        },
        Form::List => json!(list(text)),
        Form::Map => Value::Object(
            pairs(flag, text)?.into_iter().map(|(key, value)| (key, json!(value))).collect(),
        ),
        Form::Headers => {
            let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for item in list(text) {
                let (key, value) = item
                    .split_once(':')
                    // The value may be a secret.
                    .ok_or_else(|| format!("--{flag}: an item is not of the form key:value"))?;
                headers.entry(key.trim().to_owned()).or_default().push(value.to_owned());
            }
            json!(headers)
        }
        Form::Taints => {
            json!(
                list(text)
                    .iter()
                    .map(|taint| parse_taint(flag, taint))
                    .collect::<Result<Vec<_>, _>>()?
            )
        }
    })
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// `key=value` items; the thresholds' `signal<quantity` is read as well.
fn pairs(flag: &str, text: &str) -> Result<Vec<(String, String)>, String> {
    list(text)
        .iter()
        .map(|item| {
            item.split_once(['=', '<'])
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .ok_or_else(|| format!("--{flag}: \"{item}\" is not of the form key=value"))
        })
        .collect()
}

fn parse_taint(flag: &str, text: &str) -> Result<Value, String> {
    let (pair, effect) = text
        .rsplit_once(':')
        .ok_or_else(|| format!("--{flag}: \"{text}\" is not of the form key=value:effect"))?;
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    Ok(json!({ "key": key, "value": value, "effect": effect }))
}
