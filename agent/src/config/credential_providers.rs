//! Reads CredentialProviderConfig: which plugins know credentials for which images.
//! Source: Kubernetes v1.36 `pkg/credentialprovider/plugin/config.go`.

#![allow(clippy::disallowed_methods, reason = "read once, before there is anything to adapt")]

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::file::{FileError, check_kind, decode, read_object};
use super::resolve::parse_duration;
use crate::adapters::kube::kubeconfig::Secret;

#[cfg(test)]
mod tests;

const KIND: &str = "CredentialProviderConfig";
/// Versions of the file's own format; the newest comes first.
const CONFIG_VERSIONS: [&str; 3] =
    ["kubelet.config.k8s.io/v1", "kubelet.config.k8s.io/v1beta1", "kubelet.config.k8s.io/v1alpha1"];
/// Versions of what is said to a plugin; the newest comes first.
pub const PLUGIN_VERSIONS: [&str; 3] = [
    "credentialprovider.kubelet.k8s.io/v1",
    "credentialprovider.kubelet.k8s.io/v1beta1",
    "credentialprovider.kubelet.k8s.io/v1alpha1",
];

/// One plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialProvider {
    pub name: String,
    pub program: PathBuf,
    /// Images it is asked about: host with port and path, host labels may have globs.
    pub match_images: Vec<String>,
    pub default_cache_duration: Duration,
    /// `apiVersion` of requests and answers.
    pub api_version: String,
    pub args: Vec<String>,
    pub env: Vec<(String, Secret)>,
    pub token: Option<TokenAttributes>,
}

/// Which service account token a plugin gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenAttributes {
    pub audience: String,
    pub cache: TokenCache,
    /// The plugin is not asked for a pod without a service account.
    pub required: bool,
    /// Annotations of the service account that are handed on; without these it is not asked.
    pub required_annotations: Vec<String>,
    pub optional_annotations: Vec<String>,
}

/// How far credentials that were got with a token may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenCache {
    /// By all pods of the service account.
    ServiceAccount,
    /// By the pod whose token it was.
    Token,
}

/// Why there are no plugins to use.
#[derive(Debug, thiserror::Error)]
pub enum ProvidersError {
    #[error(transparent)]
    File(#[from] FileError),
    /// Every problem found.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireConfig {
    #[serde(rename = "kind")]
    _kind: Option<String>,
    #[serde(rename = "apiVersion")]
    _api_version: Option<String>,
    #[serde(default)]
    providers: Vec<WireProvider>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct WireProvider {
    name: String,
    match_images: Vec<String>,
    default_cache_duration: Option<String>,
    api_version: String,
    args: Option<Vec<String>>,
    env: Option<Vec<WireEnv>>,
    token_attributes: Option<WireToken>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireEnv {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct WireToken {
    service_account_token_audience: String,
    cache_type: String,
    require_service_account: Option<bool>,
    required_service_account_annotation_keys: Option<Vec<String>>,
    optional_service_account_annotation_keys: Option<Vec<String>>,
}

/// The plugins of a file or of all files of a directory, in order; none without both paths. Every
/// problem names provider and field.
pub fn load(
    config: Option<&Path>,
    bin_dir: Option<&Path>,
) -> Result<Vec<CredentialProvider>, ProvidersError> {
    let (config, bin_dir) = match (config, bin_dir) {
        (None, None) => return Ok(Vec::new()),
        (Some(config), Some(bin_dir)) => (config, bin_dir),
        _ => {
            let problem = "--image-credential-provider-config and --image-credential-provider-bin-dir go together; give both or none";
            return Err(ProvidersError::Invalid(vec![problem.to_owned()]));
        }
    };
    let mut problems = Vec::new();
    if !bin_dir.is_dir() {
        problems.push(format!(
            "--image-credential-provider-bin-dir: {} is not a directory",
            bin_dir.display()
        ));
    }
    let mut wire = Vec::new();
    for path in files(config)? {
        wire.extend(read(&path)?);
    }
    if wire.is_empty() {
        problems.push(format!("{}: providers: at least one is required", config.display()));
    }
    let mut names = BTreeSet::new();
    let mut providers = Vec::new();
    for (index, wire) in wire.into_iter().enumerate() {
        if !names.insert(wire.name.clone()) {
            problems.push(format!("providers[{index}].name: \"{}\" is given twice", wire.name));
        }
        let mut reader = Reader { index, name: wire.name.clone(), problems: &mut problems };
        providers.extend(reader.provider(wire, bin_dir));
    }
    if problems.is_empty() { Ok(providers) } else { Err(ProvidersError::Invalid(problems)) }
}

/// The file itself, or the `.json`, `.yaml` and `.yml` files of a directory by name.
fn files(config: &Path) -> Result<Vec<PathBuf>, FileError> {
    if !config.is_dir() {
        return Ok(vec![config.to_owned()]);
    }
    let failed = |source| FileError::Read { path: config.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(config).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("json" | "yaml" | "yml")) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<WireProvider>, FileError> {
    let object = read_object(path)?;
    let content = |problem| FileError::Content { path: path.to_owned(), problem };
    let version = object.get("apiVersion").and_then(|version| version.as_str());
    let version = CONFIG_VERSIONS.into_iter().find(|known| Some(*known) == version);
    check_kind(&object, KIND, version.unwrap_or(CONFIG_VERSIONS[0])).map_err(content)?;
    for field in ["kind", "apiVersion"] {
        if !object.contains_key(field) {
            return Err(content(format!("{field} is missing; this is to be a {KIND}")));
        }
    }
    decode::<WireConfig>(object).map(|config| config.providers).map_err(content)
}

/// Collects the problems of one provider.
struct Reader<'a> {
    index: usize,
    name: String,
    problems: &'a mut Vec<String>,
}

impl Reader<'_> {
    fn problem(&mut self, field: &str, what: &str) {
        let Self { index, name, .. } = self;
        self.problems.push(format!("providers[{index}] \"{name}\": {field}: {what}"));
    }

    fn provider(&mut self, wire: WireProvider, bin_dir: &Path) -> Option<CredentialProvider> {
        let before = self.problems.len();
        let program = self.program(&wire.name, bin_dir);
        if wire.match_images.is_empty() {
            self.problem("matchImages", "at least one is required");
        }
        for pattern in wire.match_images.iter().filter(|pattern| !is_image_pattern(pattern)) {
            let what = format!("\"{pattern}\" is not of the form host[:port][/path]");
            self.problem("matchImages", &what);
        }
        let duration = self.duration(wire.default_cache_duration.as_deref());
        if wire.api_version.is_empty() {
            self.problem("apiVersion", "is required");
        } else if !PLUGIN_VERSIONS.contains(&wire.api_version.as_str()) {
            let what =
                format!("\"{}\" is none of {}", wire.api_version, PLUGIN_VERSIONS.join(", "));
            self.problem("apiVersion", &what);
        }
        let env = wire.env.unwrap_or_default();
        if env.iter().any(|variable| variable.name.is_empty() || variable.name.contains('=')) {
            self.problem("env", "every variable needs a name without an equals sign");
        }
        let token = wire.token_attributes.map(|token| self.token(token, &wire.api_version));
        (self.problems.len() == before).then(|| CredentialProvider {
            name: wire.name,
            program,
            match_images: wire.match_images,
            default_cache_duration: duration,
            api_version: wire.api_version,
            args: wire.args.unwrap_or_default(),
            env: env.into_iter().map(|env| (env.name, Secret::new(env.value))).collect(),
            token,
        })
    }

    /// The program of this name, which must be a file that can be run.
    fn program(&mut self, name: &str, bin_dir: &Path) -> PathBuf {
        let program = bin_dir.join(name);
        if name.is_empty() {
            self.problem("name", "is required");
        } else if matches!(name, "." | "..") || name.contains('/') {
            self.problem("name", "must be the plain name of a file");
        } else if name.contains(char::is_whitespace) {
            self.problem("name", "must not contain spaces");
        } else {
            let runs =
                |meta: std::fs::Metadata| meta.is_file() && meta.permissions().mode() & 0o111 != 0;
            if !std::fs::metadata(&program).is_ok_and(runs) {
                let what = format!("{} is not a program that can be run", program.display());
                self.problem("name", &what);
            }
        }
        program
    }

    fn duration(&mut self, text: Option<&str>) -> Duration {
        let Some(text) = text else {
            self.problem("defaultCacheDuration", "is required");
            return Duration::ZERO;
        };
        parse_duration(text).unwrap_or_else(|| {
            let what = format!("\"{text}\" is not a duration like 10s or 12h");
            self.problem("defaultCacheDuration", &what);
            Duration::ZERO
        })
    }

    fn token(&mut self, wire: WireToken, api_version: &str) -> TokenAttributes {
        if api_version != PLUGIN_VERSIONS[0] {
            let what = format!("may be set only with apiVersion {}", PLUGIN_VERSIONS[0]);
            self.problem("tokenAttributes", &what);
        }
        if wire.service_account_token_audience.is_empty() {
            self.problem("tokenAttributes.serviceAccountTokenAudience", "is required");
        }
        let cache = match wire.cache_type.as_str() {
            "ServiceAccount" => TokenCache::ServiceAccount,
            "Token" => TokenCache::Token,
            other => {
                let what = format!("\"{other}\" is neither ServiceAccount nor Token");
                self.problem("tokenAttributes.cacheType", &what);
                TokenCache::Token
            }
        };
        if wire.require_service_account.is_none() {
            self.problem("tokenAttributes.requireServiceAccount", "is required");
        }
        let required = wire.require_service_account.unwrap_or(true);
        let needed = wire.required_service_account_annotation_keys.unwrap_or_default();
        let optional = wire.optional_service_account_annotation_keys.unwrap_or_default();
        if !required && !needed.is_empty() {
            self.problem(
                "tokenAttributes.requiredServiceAccountAnnotationKeys",
                "may be set only with requireServiceAccount true",
            );
        }
        let mut seen = BTreeSet::new();
        for key in needed.iter().chain(&optional) {
            if key.is_empty() || !seen.insert(key) {
                let what = format!("\"{key}\" is empty or given twice");
                self.problem("tokenAttributes, annotation keys", &what);
            }
        }
        TokenAttributes {
            audience: wire.service_account_token_audience,
            cache,
            required,
            required_annotations: needed,
            optional_annotations: optional,
        }
    }
}

/// Whether the text can be read as a URL without a scheme.
fn is_image_pattern(text: &str) -> bool {
    let host = text.split('/').next().unwrap_or_default();
    let port = host.rsplit_once(':').map(|(_, port)| port);
    !host.is_empty()
        && !text.contains("://")
        && !text.contains(char::is_whitespace)
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}
