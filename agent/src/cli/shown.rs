//! Pure. The flags with their values, for those who ask a running noded.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::{DEAD_CONTAINER_FLAGS, FIELD_FLAGS, RunArguments};

#[cfg(test)]
mod tests;

impl RunArguments {
    /// Every flag with the value in force: those of fields as `effective`, the configuration with
    /// its defaults, has them; others as they were given, or nothing.
    pub fn shown(&self, effective: &Value) -> BTreeMap<String, String> {
        let path = |path: &Option<_>| {
            path.as_deref().map(|path: &Path| path.display().to_string()).unwrap_or_default()
        };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let labels = self.node_labels.iter().map(|(name, value)| format!("{name}={value}"));
        let own = [
            ("bootstrap-kubeconfig", path(&self.bootstrap_kubeconfig)),
            ("cert-dir", path(&self.cert_dir)),
            ("cloud-provider", text(&self.cloud_provider)),
            ("config", path(&self.config)),
            ("config-dir", path(&self.config_dir)),
            ("container-logs-dir", path(&self.container_logs_dir)),
            ("hostname-override", text(&self.hostname_override)),
            ("image-credential-provider-bin-dir", path(&self.image_credential_provider_bin_dir)),
            ("image-credential-provider-config", path(&self.image_credential_provider_config)),
            ("kubeconfig", path(&self.kubeconfig)),
            ("kubelet-version", text(&self.kubelet_version)),
            ("node-ip", self.node_ips.join(",")),
            ("node-labels", labels.collect::<Vec<_>>().join(",")),
            ("proxy-config", path(&self.proxy_config)),
            ("proxy-kubeconfig", path(&self.proxy_kubeconfig)),
            ("root-dir", path(&self.root_dir)),
            ("v", self.verbosity.to_string()),
        ];
        let fields = FIELD_FLAGS.iter().map(|(flag, field, ..)| (*flag, value(&effective[*field])));
        let dead = DEAD_CONTAINER_FLAGS.iter().zip(&self.dead_containers);
        let dead = dead.map(|((flag, _), given)| (*flag, text(given)));
        let all = own.into_iter().chain(fields).chain(dead);
        all.map(|(flag, value)| (flag.to_owned(), value)).collect()
    }
}

/// The value as one would give it on a command line.
fn value(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(self::value).collect::<Vec<_>>().join(","),
        Value::Object(fields) => {
            let pair = |(name, value)| format!("{name}={}", self::value(value));
            fields.iter().map(pair).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}
