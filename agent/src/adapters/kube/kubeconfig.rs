//! Reads a kubeconfig: which server, whom to trust, who we are.
//!
//! Only what a node credential uses is understood. A field that would change who we are or whom we
//! trust, and that we do not support, is refused rather than passed over.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;

/// Why a kubeconfig cannot be used. Never contains a piece of the file's text, which may be secret.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    #[error("cannot read kubeconfig {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "kubeconfig {path} is not valid YAML of kind Config near {place}: check indentation and \
         field types there"
    )]
    Syntax { path: PathBuf, place: String },
    #[error("kubeconfig {path}: {field} is missing: {fix}")]
    Missing { path: PathBuf, field: String, fix: &'static str },
    #[error("kubeconfig {path}: {field} is not accepted: {fix}")]
    Refused { path: PathBuf, field: String, fix: &'static str },
    #[error("kubeconfig {path}: cannot read {file}, named by {field}")]
    File { path: PathBuf, field: String, file: PathBuf, source: io::Error },
    #[error("kubeconfig {path}: {field} does not hold {wanted}: {fix}")]
    Content { path: PathBuf, field: String, wanted: &'static str, fix: &'static str },
}

/// Text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that puts it on the wire or into its file.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Bearer token, if the credential is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bearer {
    Fixed(Secret),
    /// Read again from time to time, because its owner renews it.
    File(PathBuf),
}

/// Client certificate chain and its key.
pub struct ClientIdentity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientIdentity({} certificates)", self.chain.len())
    }
}

/// A kubeconfig's current context, with every file it names already read.
#[derive(Debug)]
pub struct Kubeconfig {
    /// `https://host[:port][/prefix]` without a slash at the end.
    pub(super) server: String,
    /// Name to verify the server's certificate against, when it is not the host of `server`.
    pub(super) tls_server_name: Option<String>,
    pub(super) proxy_url: Option<String>,
    /// Certificate authorities to trust; empty means those of the system.
    pub(super) authorities: Vec<CertificateDer<'static>>,
    pub(super) identity: Option<ClientIdentity>,
    pub(super) bearer: Option<Bearer>,
    /// Where client certificate and key were read from, when that was not the kubeconfig itself.
    pub(super) identity_files: Vec<PathBuf>,
}

impl Kubeconfig {
    /// Reads the file and those it names; relative names are relative to the file's folder.
    pub fn load(path: &Path) -> Result<Self, KubeconfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| KubeconfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// The same from text already read; `path` is where it came from.
    pub fn parse(text: &str, path: &Path) -> Result<Self, KubeconfigError> {
        let file: ConfigFile = serde_saphyr::from_str(text).map_err(|error| {
            let place = error
                .location()
                .map_or_else(|| "an unknown line".to_owned(), |at| format!("line {}", at.line()));
            KubeconfigError::Syntax { path: path.to_owned(), place }
        })?;
        Reader { path }.resolve(file)
    }

    /// Address of the API server.
    pub fn server(&self) -> &str {
        &self.server
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct ConfigFile {
    current_context: Option<String>,
    clusters: Vec<NamedCluster>,
    contexts: Vec<NamedContext>,
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    #[serde(default)]
    cluster: Option<Cluster>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    #[serde(default)]
    context: Option<Context>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    #[serde(default)]
    user: Option<User>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    server: Option<String>,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: Option<bool>,
    tls_server_name: Option<String>,
    proxy_url: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Context {
    cluster: Option<String>,
    user: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    username: Option<String>,
    exec: Option<serde::de::IgnoredAny>,
    #[serde(rename = "auth-provider")]
    auth_provider: Option<serde::de::IgnoredAny>,
    #[serde(rename = "as")]
    impersonate: Option<String>,
}

/// Resolves one file's entries; holds the path only for errors and relative names.
struct Reader<'a> {
    path: &'a Path,
}

impl Reader<'_> {
    fn resolve(&self, file: ConfigFile) -> Result<Kubeconfig, KubeconfigError> {
        let context_name =
            file.current_context.filter(|name| !name.is_empty()).ok_or_else(|| {
                self.missing("current-context", "name the entry of contexts that is to be used")
            })?;
        let context = file
            .contexts
            .into_iter()
            .find(|entry| entry.name == context_name)
            .and_then(|entry| entry.context)
            .ok_or_else(|| {
                let field = format!("contexts[name={context_name}]");
                self.missing(field, "add the context that current-context names")
            })?;
        let cluster_name = context.cluster.unwrap_or_default();
        let cluster_field = format!("clusters[name={cluster_name}]");
        let cluster = file
            .clusters
            .into_iter()
            .find(|entry| entry.name == cluster_name)
            .and_then(|entry| entry.cluster)
            .ok_or_else(|| self.missing(&*cluster_field, "add the cluster the context names"))?;
        let user_name = context.user.unwrap_or_default();
        let user_field = format!("users[name={user_name}]");
        let user = file
            .users
            .into_iter()
            .find(|entry| entry.name == user_name)
            .and_then(|entry| entry.user)
            .ok_or_else(|| self.missing(&*user_field, "add the user the context names"))?;
        let server = self.server(&cluster, &cluster_field)?;
        let authorities = self.authorities(&cluster, &cluster_field)?;
        let identity_files = self.identity_files(&user);
        let (identity, bearer) = self.credential(user, &user_field)?;
        Ok(Kubeconfig {
            server,
            tls_server_name: cluster.tls_server_name.filter(|name| !name.is_empty()),
            proxy_url: cluster.proxy_url.filter(|url| !url.is_empty()),
            authorities,
            identity,
            bearer,
            identity_files,
        })
    }

    fn identity_files(&self, user: &User) -> Vec<PathBuf> {
        let pairs = [
            (&user.client_certificate_data, &user.client_certificate),
            (&user.client_key_data, &user.client_key),
        ];
        let is_inline = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let named = pairs.into_iter().filter(|(inline, _)| !is_inline(inline));
        named.filter_map(|(_, file)| file.as_deref()).map(|file| self.beside(file)).collect()
    }

    fn server(&self, cluster: &Cluster, prefix: &str) -> Result<String, KubeconfigError> {
        if cluster.insecure_skip_tls_verify == Some(true) {
            return Err(self.refused(
                format!("{prefix}.cluster.insecure-skip-tls-verify"),
                "remove it and set certificate-authority or certificate-authority-data",
            ));
        }
        let field = format!("{prefix}.cluster.server");
        let server = cluster
            .server
            .as_deref()
            .filter(|server| !server.is_empty())
            .ok_or_else(|| self.missing(&*field, "set the API server's https address"))?;
        let usable = reqwest::Url::parse(server)
            .is_ok_and(|url| url.scheme() == "https" && url.has_host() && url.query().is_none());
        if !usable {
            return Err(self.refused(field, "write it as https://host:port"));
        }
        Ok(server.trim_end_matches('/').to_owned())
    }

    fn authorities(
        &self,
        cluster: &Cluster,
        prefix: &str,
    ) -> Result<Vec<CertificateDer<'static>>, KubeconfigError> {
        let source = self.material(
            cluster.certificate_authority_data.as_deref(),
            cluster.certificate_authority.as_deref(),
            &format!("{prefix}.cluster.certificate-authority"),
        )?;
        match source {
            Some((pem, field)) => self.certificates(&pem, field),
            None => Ok(Vec::new()),
        }
    }

    fn credential(
        &self,
        user: User,
        prefix: &str,
    ) -> Result<(Option<ClientIdentity>, Option<Bearer>), KubeconfigError> {
        let foreign = [
            (user.exec.is_some(), "exec"),
            (user.auth_provider.is_some(), "auth-provider"),
            (user.username.is_some(), "username"),
            (user.impersonate.is_some(), "as"),
        ];
        if let Some((_, name)) = foreign.into_iter().find(|(present, _)| *present) {
            return Err(self.refused(
                format!("{prefix}.user.{name}"),
                "a node uses client-certificate with client-key, or token, or tokenFile",
            ));
        }
        let chain = self.material(
            user.client_certificate_data.as_deref(),
            user.client_certificate.as_deref(),
            &format!("{prefix}.user.client-certificate"),
        )?;
        let key = self.material(
            user.client_key_data.as_deref(),
            user.client_key.as_deref(),
            &format!("{prefix}.user.client-key"),
        )?;
        let identity = match (chain, key) {
            (Some((chain, chain_field)), Some((key, field))) => {
                let chain = self.certificates(&chain, chain_field)?;
                let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| {
                    self.content(field, "a private key in PEM form", "renew the credential")
                })?;
                Some(ClientIdentity { chain, key })
            }
            (None, None) => None,
            (Some(_), None) => {
                let field = format!("{prefix}.user.client-key");
                return Err(self.missing(field, "a client certificate needs its key beside it"));
            }
            (None, Some(_)) => {
                let field = format!("{prefix}.user.client-certificate");
                return Err(self.missing(field, "a client key needs its certificate beside it"));
            }
        };
        let token = user.token.filter(|token| !token.is_empty());
        let bearer = match (user.token_file, token) {
            (Some(file), _) => Some(Bearer::File(self.beside(&file))),
            (None, Some(token)) => Some(Bearer::Fixed(Secret::new(token))),
            (None, None) => None,
        };
        if identity.is_none() && bearer.is_none() {
            return Err(self.missing(
                format!("{prefix}.user"),
                "set client-certificate and client-key, or token, or tokenFile",
            ));
        }
        Ok((identity, bearer))
    }

    /// Bytes of a field that may stand inline (base64) or in a file, with the field's full name;
    /// inline wins, as in client-go. `None` when neither is set.
    fn material(
        &self,
        inline: Option<&str>,
        file: Option<&Path>,
        field: &str,
    ) -> Result<Option<(Vec<u8>, String)>, KubeconfigError> {
        if let Some(encoded) = inline.filter(|encoded| !encoded.is_empty()) {
            let field = format!("{field}-data");
            let compact: Vec<u8> =
                encoded.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
            return match BASE64.decode(&compact) {
                Ok(bytes) => Ok(Some((bytes, field))),
                Err(_) => Err(self.content(field, "base64 text", "encode the PEM file anew")),
            };
        }
        let Some(file) = file.filter(|file| !file.as_os_str().is_empty()) else {
            return Ok(None);
        };
        let file = self.beside(file);
        match std::fs::read(&file) {
            Ok(bytes) => Ok(Some((bytes, field.to_owned()))),
            Err(source) => Err(KubeconfigError::File {
                path: self.path.to_owned(),
                field: field.to_owned(),
                file,
                source,
            }),
        }
    }

    fn certificates(
        &self,
        pem: &[u8],
        field: String,
    ) -> Result<Vec<CertificateDer<'static>>, KubeconfigError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        match certificates {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            _ => Err(self.content(field, "certificates in PEM form", "renew the credential")),
        }
    }

    fn beside(&self, file: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(file)
    }

    fn missing(&self, field: impl Into<String>, fix: &'static str) -> KubeconfigError {
        KubeconfigError::Missing { path: self.path.to_owned(), field: field.into(), fix }
    }

    fn refused(&self, field: impl Into<String>, fix: &'static str) -> KubeconfigError {
        KubeconfigError::Refused { path: self.path.to_owned(), field: field.into(), fix }
    }

    fn content(&self, field: String, wanted: &'static str, fix: &'static str) -> KubeconfigError {
        KubeconfigError::Content { path: self.path.to_owned(), field, wanted, fix }
    }
}

#[cfg(test)]
mod tests;
