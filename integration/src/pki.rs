//! Certificates, keys and kubeconfigs of a test cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::node::ProxyCredential;

/// A certificate and its private key, both PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS #8.
    pub key: String,
}

/// Who a client certificate says its holder is.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// User name: the common name.
    pub user: &'a str,
    /// Group: the organization.
    pub group: Option<&'a str>,
}

/// A certificate authority.
pub struct Authority {
    pair: Pair,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority with this common name.
    pub fn new(name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = parameters(name, None, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let certificate = params.self_signed(&key)?.pem();
        let pair = Pair { certificate, key: key.serialize_pem() };
        Ok(Self { pair, issuer: Issuer::new(params, key) })
    }

    /// The authority's own certificate, PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.pair.certificate
    }

    /// A client certificate, good for as long as a test may think of.
    pub fn client(&self, identity: Identity<'_>) -> Result<Pair> {
        self.sign(client_parameters(identity)?)
    }

    /// A client certificate signed so long ago and good for so long from now.
    pub fn client_around_now(
        &self,
        identity: Identity<'_>,
        (age, left): (Duration, Duration),
    ) -> Result<Pair> {
        let mut params = client_parameters(identity)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + (now - age);
        params.not_after = epoch + (now + left);
        self.sign(params)
    }

    /// A server certificate for these host names and addresses.
    pub fn server(&self, name: &str, hosts: &[&str]) -> Result<Pair> {
        let mut params = parameters(name, None, hosts)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Pair> {
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Pair { certificate, key: key.serialize_pem() })
    }
}

fn client_parameters(identity: Identity<'_>) -> Result<CertificateParams> {
    let mut params = parameters(identity.user, identity.group, &[])?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn parameters(name: &str, group: Option<&str>, hosts: &[&str]) -> Result<CertificateParams> {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.remove(DnType::CommonName);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2049, 1, 1);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// All of a cluster's certificates, as files in one directory.
pub struct Pki {
    directory: PathBuf,
    server: String,
    authority: Authority,
}

impl Pki {
    /// Makes the certificates of a control plane whose API server answers at `server`, an
    /// `https` address, under `hosts`, and writes them to `directory`.
    ///
    /// Files: `ca`, `front-proxy-ca`, `apiserver`, `apiserver-kubelet-client`,
    /// `front-proxy-client`, each `.crt` and `.key`; `sa.key` and `sa.pub`.
    pub fn create(directory: &Path, server: &str, hosts: &[&str]) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let authority = Authority::new("kubernetes")?;
        let front_proxy = Authority::new("front-proxy-ca")?;
        let masters = Some("system:masters");
        let pairs = [
            ("ca", authority.pair.clone()),
            ("front-proxy-ca", front_proxy.pair.clone()),
            ("apiserver", authority.server("kube-apiserver", hosts)?),
            (
                "apiserver-kubelet-client",
                authority
                    .client(Identity { user: "kube-apiserver-kubelet-client", group: masters })?,
            ),
            (
                "front-proxy-client",
                front_proxy.client(Identity { user: "front-proxy-client", group: None })?,
            ),
        ];
        for (name, pair) in pairs {
            fs::write(directory.join(format!("{name}.crt")), pair.certificate)?;
            fs::write(directory.join(format!("{name}.key")), pair.key)?;
        }
        let accounts = KeyPair::generate()?;
        fs::write(directory.join("sa.key"), accounts.serialize_pem())?;
        fs::write(directory.join("sa.pub"), accounts.public_key_pem())?;
        Ok(Self { directory: directory.to_owned(), server: server.to_owned(), authority })
    }

    /// Path of one of the files.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The authority that the API server and the nodes trust.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The API server's address.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Text of a kubeconfig with a client certificate of this identity.
    pub fn kubeconfig(&self, identity: Identity<'_>) -> Result<String> {
        Ok(self.kubeconfig_of(&self.authority.client(identity)?))
    }

    /// Text of a kubeconfig with this client certificate.
    #[must_use]
    pub fn kubeconfig_of(&self, pair: &Pair) -> String {
        let user = format!(
            "    client-certificate-data: {}\n    client-key-data: {}\n",
            BASE64_STANDARD.encode(&pair.certificate),
            BASE64_STANDARD.encode(&pair.key)
        );
        self.kubeconfig_with(&user)
    }

    /// Text of a kubeconfig with a bearer token, such as a bootstrap token.
    #[must_use]
    pub fn token_kubeconfig(&self, token: &str) -> String {
        self.kubeconfig_with(&format!("    token: {token}\n"))
    }

    fn kubeconfig_with(&self, user: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: test\n  cluster:\n    \
             server: {}\n    certificate-authority-data: {}\nusers:\n- name: test\n  user:\n\
             {user}contexts:\n- name: test\n  context:\n    cluster: test\n    user: test\n\
             current-context: test\n",
            self.server,
            BASE64_STANDARD.encode(self.authority.certificate())
        )
    }

    /// Writes [`Self::kubeconfig`] to a file in the directory and returns its path.
    pub fn write_kubeconfig(&self, file: &str, identity: Identity<'_>) -> Result<PathBuf> {
        let path = self.file(file);
        fs::write(&path, self.kubeconfig(identity)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Kubeconfig text of a node's credential: user `system:node:NAME`, group `system:nodes`.
    pub fn node_kubeconfig(&self, node: &str) -> Result<String> {
        let user = format!("system:node:{node}");
        self.kubeconfig(Identity { user: &user, group: Some("system:nodes") })
    }

    /// Kubeconfig text of the proxy's credential on a node.
    pub fn proxy_kubeconfig(&self, node: &str, credential: ProxyCredential) -> Result<String> {
        let (user, group) = match credential {
            ProxyCredential::Node => return self.node_kubeconfig(node),
            ProxyCredential::Proxy => ("system:kube-proxy", Some("system:node-proxier")),
            ProxyCredential::User(user) => (user, None),
        };
        self.kubeconfig(Identity { user, group })
    }
}
