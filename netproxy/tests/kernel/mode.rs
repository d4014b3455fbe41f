//! The back ends under test.

use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::{MsFlags, mount};

use super::network::{in_namespace, private_mounts};

/// A back end, and for iptables the flavour of its binaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// iptables as the machine has it.
    Iptables,
    /// iptables with its legacy binaries.
    LegacyIptables,
    /// A table of nftables.
    Nftables,
}

/// Where the machine says which flavour `iptables` is.
const ALTERNATIVES: &str = "/etc/alternatives";
/// A private copy of it.
const CHOSEN: &str = "/run/alternatives";

impl Mode {
    /// Why the machine cannot run this mode, if so.
    pub fn missing(self) -> Option<String> {
        let needed: &[&str] = match self {
            Self::Iptables => &[],
            Self::LegacyIptables => &["/usr/sbin/iptables-legacy", ALTERNATIVES],
            Self::Nftables => &["/usr/sbin/nft"],
        };
        let missing = needed.iter().find(|path| !Path::new(path).exists())?;
        Some(format!("{self:?} needs {missing}"))
    }

    /// The mode that is called so in the words of `Debug`.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Iptables, Self::LegacyIptables, Self::Nftables]
            .into_iter()
            .find(|mode| format!("{mode:?}") == name)
    }

    /// Makes `iptables` mean the flavour of this mode, for the mount namespace of the thread.
    pub fn choose_flavour(self) {
        if self != Self::LegacyIptables {
            return;
        }
        std::fs::create_dir(CHOSEN).unwrap();
        for entry in std::fs::read_dir(ALTERNATIVES).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let of_iptables = ["iptables", "ip6tables"].iter().find_map(|family| {
                let rest = name.strip_prefix(family)?;
                matches!(rest, "" | "-save" | "-restore")
                    .then(|| format!("/usr/sbin/{family}-legacy{rest}").into())
            });
            // A README is no link.
            let target =
                of_iptables.or_else(|| std::fs::read_link(format!("{ALTERNATIVES}/{name}")).ok());
            if let Some(target) = target {
                symlink(target, format!("{CHOSEN}/{name}")).unwrap();
            }
        }
        let nothing = None::<&Path>;
        mount(Some(CHOSEN), ALTERNATIVES, nothing, MsFlags::MS_BIND, nothing).unwrap();
    }
}

/// Runs a test of a mode in namespaces of its own, unless the machine does not have the mode.
pub fn on_a_node(mode: Mode, test: impl AsyncFnOnce(Mode) + Send + 'static) {
    if let Some(reason) = mode.missing() {
        eprintln!("skipped: {reason}");
        return;
    }
    in_namespace(async move || {
        private_mounts();
        mode.choose_flavour();
        test(mode).await;
    });
}

/// Makes a test of each function for each mode.
macro_rules! in_every_mode {
    ($($name:ident),+ $(,)?) => {
        mod iptables {
            $(#[test]
            fn $name() {
                crate::mode::on_a_node(crate::mode::Mode::Iptables, super::$name);
            })+
        }
        mod legacy_iptables {
            $(#[test]
            fn $name() {
                crate::mode::on_a_node(crate::mode::Mode::LegacyIptables, super::$name);
            })+
        }
        mod nftables {
            $(#[test]
            fn $name() {
                crate::mode::on_a_node(crate::mode::Mode::Nftables, super::$name);
            })+
        }
    };
}

/// The same for what only iptables has.
macro_rules! in_modes_of_iptables {
    ($($name:ident),+ $(,)?) => {
        mod with_iptables {
            $(#[test]
            fn $name() {
                crate::mode::on_a_node(crate::mode::Mode::Iptables, super::$name);
            })+
        }
        mod with_legacy_iptables {
            $(#[test]
            fn $name() {
                crate::mode::on_a_node(crate::mode::Mode::LegacyIptables, super::$name);
            })+
        }
    };
}
pub(crate) use {in_every_mode, in_modes_of_iptables};
