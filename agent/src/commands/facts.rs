//! What the commands look at: settings, objects, kernel.

use netproxy::config::{IpFamily, ProxyConfig};
use netproxy::explain::{FamilyPlan, Kernel, LiveState, ReadError};
use netproxy::input::ObjectKey;
use netproxy::model::changes::ServiceMap;

use super::settings::run_arguments;
use crate::adapters::kube::PROXY_PERMISSION;
use crate::boundary::ApiError;
use crate::cli::SettingFlags;
use crate::config::load::{ConfigError, load_agent, load_proxy};
use crate::exit::{ExitReason, Fatal};
use crate::startup::{connect, kubelet::hostname};
use crate::telemetry::Causes;

/// Everything the commands look at.
pub(super) struct Facts {
    pub config: ProxyConfig,
    pub map: ServiceMap,
    pub kernel: Kernel,
}

impl Facts {
    /// Reads the settings, lists the objects, reads the kernel. Kernel state that cannot be read
    /// is no failure here.
    pub async fn gather(flags: &SettingFlags) -> Result<Self, Fatal> {
        let arguments = run_arguments(flags)?;
        let unusable =
            |error: ConfigError| Fatal::new(ExitReason::Configuration, Causes(&error).to_string());
        let (agent, _) = load_agent(&arguments, hostname(&arguments)?).map_err(unusable)?;
        let settings = load_proxy(&arguments, &agent.node_name).map_err(unusable)?;
        let mut config = settings.config;
        if config.node_ips.is_empty() {
            config.node_ips = agent.node_ips;
        }
        let path = settings.kubeconfig.as_deref();
        let api = connect(path, "--kubeconfig", &config.node_name).map_err(as_root)?;
        let changes = api.list_for_proxy().await.map_err(|error| refused(&error))?;
        let mut map = ServiceMap::default();
        for change in changes {
            let _ = map.apply(change);
        }
        let kernel = Kernel::of_this_machine(config.mode).await;
        Ok(Self { config, map, kernel })
    }

    /// The plan of a family.
    pub fn plan(&self, family: IpFamily) -> FamilyPlan {
        self.kernel.plan(&self.config, &self.map, family)
    }

    /// Families that the proxy programs here: those whose live rules can be read, or all when
    /// none can.
    pub fn families(&self) -> Vec<IpFamily> {
        let usable: Vec<IpFamily> = self.kernel.usable().map(|(family, _)| family).collect();
        if usable.is_empty() { vec![IpFamily::V4, IpFamily::V6] } else { usable }
    }

    /// The live rules of a family, or why there are none to look at.
    pub fn live(&self, family: IpFamily) -> Result<&LiveState, String> {
        match self.kernel.families.get(&family).map(|known| &known.live) {
            Some(Ok(live)) => Ok(live),
            Some(Err(error)) => Err(why_unread(error)),
            None => Err(match &self.kernel.unusable {
                Some(error) => why_unread(error),
                None => format!("{family} is not programmed here"),
            }),
        }
    }

    /// Why no live rules could be read; nothing when some could.
    pub fn unread(&self) -> Option<Fatal> {
        let error = self.kernel.failure()?;
        let message = format!("the kernel's rules were not read: {}", why_unread(error));
        Some(Fatal::new(ExitReason::Machine, message))
    }

    /// A service that was asked for and is not there.
    pub fn missing(&self, key: &ObjectKey) -> Fatal {
        let elsewhere: Vec<String> = self
            .map
            .services()
            .filter(|(known, _)| known.name == key.name)
            .map(|(known, _)| known.to_string())
            .collect();
        let hint = match elsewhere.as_slice() {
            [] => "check the name and --namespace; a headless Service and one labelled for \
                   another proxy have no rules"
                .to_owned(),
            names => format!("did you mean {}?", names.join(" or ")),
        };
        Fatal::new(ExitReason::NotFound, format!("there is no Service {key}; {hint}"))
    }

    /// What makes the answer doubtful, in one line; nothing when all is well.
    pub fn doubt(&self) -> Option<String> {
        let node = self.map.node();
        node.name.is_empty().then(|| {
            format!(
                "there is no Node {}: its zone and addresses are unknown; give the right name with \
                 --hostname-override",
                self.config.node_name
            )
        })
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn as_root(mut fatal: Fatal) -> Fatal {
    if !is_root() {
        fatal.message.push_str("; run this as root, or name a readable one with --kubeconfig");
    }
    fatal
}

fn why_unread(error: &ReadError) -> String {
    if is_root() { Causes(error).to_string() } else { "that needs root".to_owned() }
}

fn refused(error: &ApiError) -> Fatal {
    let fix = match error {
        ApiError::Forbidden(_) => PROXY_PERMISSION,
        _ => "check the server of the kubeconfig and the way to it",
    };
    Fatal::new(ExitReason::ApiServer, format!("{}; {fix}", Causes(error)))
}
