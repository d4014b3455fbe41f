//! The commands that show what the proxy does, and the one that removes its rules.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command};
use netproxy::input::{ObjectKey, Protocol};

use super::text;

/// Namespace of a service when none is given, as with kubectl.
const DEFAULT_NAMESPACE: &str = "default";

/// A look at the proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct SeeArguments {
    pub settings: SettingFlags,
    pub output: Output,
    pub asked: Asked,
}

/// Flags that say where the settings of the proxy are. What is not given is taken from the
/// installed service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingFlags {
    pub config: Option<PathBuf>,
    pub kubeconfig: Option<PathBuf>,
    pub proxy_config: Option<PathBuf>,
    pub proxy_kubeconfig: Option<PathBuf>,
    pub hostname_override: Option<String>,
}

/// Form of the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For scripts.
    Json,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// The planned rules, of one service or all.
    RulesShow { service: Option<ObjectKey> },
    /// What a sync would change.
    RulesDiff,
    /// To remove everything of the proxy.
    RulesCleanup,
    /// What is done for a service.
    Service { service: ObjectKey, from: Option<IpAddr> },
    /// What becomes of a packet.
    Packet {
        source: IpAddr,
        destination: SocketAddr,
        protocol: Protocol,
        interface: Option<String>,
    },
}

/// Whether `name` is one of these commands.
pub(super) fn is_one(name: &str) -> bool {
    matches!(name, "rules" | "explain")
}

/// The commands.
pub(super) fn commands() -> [Command; 2] {
    let service = |required: bool| {
        Arg::new("service")
            .value_name("SERVICE")
            .required(required)
            .help("Name of a Service, or NAMESPACE/NAME")
    };
    let namespace = || {
        text("namespace", "Namespace of the Service; default when not given")
            .short('n')
            .value_name("NAMESPACE")
    };
    let rules = Command::new("rules")
        .about("Shows, compares or removes the rules of Services")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(looking(
            Command::new("show")
                .about("Prints the planned rules, of all Services or of one")
                .arg(service(false))
                .arg(namespace()),
        ))
        .subcommand(looking(Command::new("diff").about(
            "Prints what a sync would change in the kernel; status 0 nothing, 1 something, more \
             than 1 it cannot be told",
        )))
        .subcommand(Command::new("cleanup").about(
            "Removes everything the proxy ever wrote; stop noded before, or it writes it again",
        ));
    let explain = Command::new("explain")
        .about("Explains what becomes of traffic to Services")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(looking(
            Command::new("service")
                .about("Ways in, endpoints and what becomes of traffic to a Service")
                .arg(service(true))
                .arg(namespace())
                .arg(text("from", "Only traffic from this address").value_name("IP")),
        ))
        .subcommand(looking(
            Command::new("packet")
                .about("Follows one packet through the planned and the live rules")
                .arg(Arg::new("source").value_name("SRC").required(true).help("Source address"))
                .arg(
                    Arg::new("destination")
                        .value_name("DST:PORT/PROTO")
                        .required(true)
                        .help("Destination, such as 10.96.0.10:53/udp or [fd00::1]:80/tcp"),
                )
                .arg(
                    text("interface", "Interface that the packet comes in through")
                        .short('i')
                        .value_name("NAME"),
                ),
        ));
    [rules, explain]
}

/// Adds the flags of every command that looks at the plan.
fn looking(command: Command) -> Command {
    command
        .arg(text("config", "KubeletConfiguration file, as for run"))
        .arg(text("kubeconfig", "Credential of the node, as for run"))
        .arg(text("proxy-config", "KubeProxyConfiguration file, as for run"))
        .arg(text("proxy-kubeconfig", "Credential of the proxy, as for run"))
        .arg(text("hostname-override", "Name of the Node, as for run"))
        .arg(
            text("output", "Form of the answer")
                .short('o')
                .value_parser(["text", "json"])
                .default_value("text"),
        )
}

/// What the words of a command ask. The error is one line.
pub(super) fn arguments(name: &str, matches: &ArgMatches) -> Result<SeeArguments, String> {
    let (below, matches) = matches.subcommand().ok_or("no subcommand is given")?;
    let get = |name: &str| matches.try_get_one::<String>(name).ok().flatten().cloned();
    let asked = match (name, below) {
        ("rules", "show") => Asked::RulesShow {
            service: match get("service") {
                Some(service) => Some(service_key(&service, get("namespace"))?),
                None if get("namespace").is_some() => {
                    return Err("--namespace is given without a Service".to_owned());
                }
                None => None,
            },
        },
        ("rules", "diff") => Asked::RulesDiff,
        ("rules", _) => Asked::RulesCleanup,
        (_, "service") => Asked::Service {
            service: service_key(&get("service").unwrap_or_default(), get("namespace"))?,
            from: get("from").map(|text| address(&text)).transpose()?,
        },
        _ => packet(&get)?,
    };
    let path = |name: &str| get(name).map(PathBuf::from);
    Ok(SeeArguments {
        settings: SettingFlags {
            config: path("config"),
            kubeconfig: path("kubeconfig"),
            proxy_config: path("proxy-config"),
            proxy_kubeconfig: path("proxy-kubeconfig"),
            hostname_override: get("hostname-override"),
        },
        output: match get("output").as_deref() {
            Some("json") => Output::Json,
            _ => Output::Text,
        },
        asked,
    })
}

fn service_key(text: &str, namespace: Option<String>) -> Result<ObjectKey, String> {
    let wrong = || format!("\"{text}\" is not a Service name; write NAME or NAMESPACE/NAME");
    let (own, name) = match text.split_once('/') {
        Some((own, name)) => (Some(own), name),
        None => (None, text),
    };
    if name.is_empty() || name.contains('/') || own == Some("") {
        return Err(wrong());
    }
    match (own, &namespace) {
        (Some(own), Some(given)) if own != given => {
            Err(format!("\"{text}\" and --namespace {given} name two namespaces"))
        }
        (Some(own), _) => Ok(ObjectKey::new(own, name)),
        (None, Some(given)) => Ok(ObjectKey::new(&**given, name)),
        (None, None) => Ok(ObjectKey::new(DEFAULT_NAMESPACE, name)),
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.trim_matches(['[', ']']).parse().map_err(|_| format!("\"{text}\" is not an IP address"))
}

fn packet(get: &impl Fn(&str) -> Option<String>) -> Result<Asked, String> {
    let source = address(&get("source").unwrap_or_default())?;
    let text = get("destination").unwrap_or_default();
    let wrong = || {
        format!(
            "\"{text}\" is not a destination; write DST:PORT/PROTO, such as 10.96.0.10:53/udp or \
             [fd00::1]:80/tcp"
        )
    };
    let (place, protocol) = text.rsplit_once('/').ok_or_else(wrong)?;
    let protocol = Protocol::from_name(&protocol.to_lowercase()).ok_or_else(|| {
        format!("\"{protocol}\" is not a protocol of Services; write tcp, udp or sctp")
    })?;
    let destination: SocketAddr = place.parse().map_err(|_| wrong())?;
    if source.is_ipv4() != destination.is_ipv4() {
        return Err(format!("{source} and {} are of two IP families", destination.ip()));
    }
    Ok(Asked::Packet { source, destination, protocol, interface: get("interface") })
}

#[cfg(test)]
mod tests;
