//! Reads the files that a certificate and its key may stand in, and chooses among them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::csr::Wanted;
use super::x509::CertificateFacts;
use crate::adapters::kube::{Kubeconfig, KubeconfigError};
use crate::adapters::linux::credential_files::{CredentialFileError, CredentialFiles};
use crate::telemetry::Causes;

#[cfg(test)]
mod tests;

/// A certificate with its key, and where it was read from.
#[derive(Clone, Debug)]
pub struct Credential {
    pub key: Arc<CertifiedKey>,
    pub facts: CertificateFacts,
    pub origin: PathBuf,
}

impl Credential {
    /// From certificates and key, in PEM, of the file `origin`.
    pub(super) fn from_pem(pem: &[u8], origin: &Path) -> Result<Self, SourceError> {
        let unusable = |what| SourceError::Unusable { path: origin.to_owned(), what };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| unusable("no certificate in PEM form"))?;
        let key = PrivateKeyDer::from_pem_slice(pem)
            .map_err(|_| unusable("no private key in PEM form"))?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
            .map_err(|_| unusable("a certificate and a key that do not belong together"))?;
        Self::from_key(Arc::new(key), origin)
    }

    fn from_key(key: Arc<CertifiedKey>, origin: &Path) -> Result<Self, SourceError> {
        let facts = key.cert.first().and_then(|leaf| CertificateFacts::read(leaf));
        let facts = facts.ok_or_else(|| SourceError::Unusable {
            path: origin.to_owned(),
            what: "something that is no X.509 certificate",
        })?;
        Ok(Self { key, facts, origin: origin.to_owned() })
    }

    /// Whether both are the same certificate.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }
}

/// A file holds no usable certificate. Never contains a piece of the file's text.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    #[error(transparent)]
    File(#[from] CredentialFileError),
    #[error("{path} holds {what}")]
    Unusable { path: PathBuf, what: &'static str },
}

/// Where a certificate may stand.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The files where certificates that were obtained are kept.
    pub files: Option<CredentialFiles>,
    pub kubeconfig: Option<PathBuf>,
}

/// What the sources hold.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub credentials: Vec<Credential>,
    /// One text for each file that should hold one and does not.
    pub troubles: Vec<String>,
    /// The files that were read, and those that they named.
    pub paths: Vec<PathBuf>,
}

impl Sources {
    /// The certificate that is used after a start at `now`; `None` when there is none.
    pub fn best(&self, now: Timestamp) -> Option<Credential> {
        choose(&self.read().credentials, None, now).cloned()
    }

    /// Reads all. A link to the newest that does not exist yet is no trouble; neither is a
    /// kubeconfig with another kind of credential.
    pub(super) fn read(&self) -> Found {
        let mut found = Found { paths: self.paths(), ..Found::default() };
        if let Some(files) = &self.files {
            found.add(read_files(files));
        }
        if let Some(path) = &self.kubeconfig {
            match Kubeconfig::load(path) {
                Ok(kubeconfig) => {
                    found.paths.extend_from_slice(kubeconfig.identity_files());
                    found.add(credential_of(&kubeconfig, path));
                }
                Err(error) => found.add(Err(error.into())),
            }
        }
        found
    }

    /// The files that are read in any case.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let current = self.files.as_ref().map(CredentialFiles::current);
        current.into_iter().chain(self.kubeconfig.clone()).collect()
    }
}

impl Found {
    fn add(&mut self, read: Result<Option<Credential>, SourceError>) {
        match read {
            Ok(credential) => self.credentials.extend(credential),
            Err(error) => self.troubles.push(Causes(&error).to_string()),
        }
    }
}

fn read_files(files: &CredentialFiles) -> Result<Option<Credential>, SourceError> {
    let Some(pem) = files.read_current()? else { return Ok(None) };
    Credential::from_pem(&pem, &files.current()).map(Some)
}

fn credential_of(kubeconfig: &Kubeconfig, path: &Path) -> Result<Option<Credential>, SourceError> {
    let key = kubeconfig.certified_key().map_err(|_| SourceError::Unusable {
        path: path.to_owned(),
        what: "a client certificate and a key that do not belong together",
    })?;
    key.map(|key| Credential::from_key(key, path)).transpose()
}

/// How well a certificate serves; the best is the greatest.
fn rank(credential: &Credential, wanted: Option<&Wanted>, now: Timestamp) -> (bool, bool) {
    let named = wanted.is_none_or(|wanted| wanted.is_named_by(&credential.facts));
    (named, credential.facts.not_after >= now)
}

/// The certificate to use: one that names what is wanted before others, then one that has not
/// ended, then the one signed last, then the first.
pub(super) fn choose<'a>(
    credentials: impl IntoIterator<Item = &'a Credential>,
    wanted: Option<&Wanted>,
    now: Timestamp,
) -> Option<&'a Credential> {
    let key = |it: &Credential| (rank(it, wanted, now), it.facts.not_before);
    credentials.into_iter().reduce(|best, next| if key(next) > key(best) { next } else { best })
}

/// What to use after the files were read again: a certificate that was put there since then and
/// serves as well as the one in use; when no file holds that one any more, the best of all that
/// does so. `None`: go on with the one in use.
pub(super) fn successor<'a>(
    current: Option<&Credential>,
    seen: &BTreeSet<Vec<u8>>,
    found: &'a [Credential],
    wanted: Option<&Wanted>,
    now: Timestamp,
) -> Option<&'a Credential> {
    let Some(current) = current else { return choose(found, wanted, now) };
    let held = found.iter().any(|it| it.is(current));
    let fresh = found.iter().filter(|it| !it.is(current));
    let fresh = fresh.filter(|it| !held || !seen.contains(&fingerprint(it)));
    choose(fresh, wanted, now).filter(|it| rank(it, wanted, now) >= rank(current, wanted, now))
}

/// What tells a certificate from others: its bytes.
pub(super) fn fingerprint(credential: &Credential) -> Vec<u8> {
    credential.key.cert.first().map(|leaf| leaf.to_vec()).unwrap_or_default()
}
