//! Gathers what the files of a pod's volumes are: from objects, tokens and the pod itself.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{join, join_all};
use jiff::Timestamp;

use super::atomic_writer;
use super::handle::{VolumesDeps, blocking};
use super::layout::PodLayout;
use super::nested::nested_mount_points;
use super::pod_tokens::{PodTokens, Settled};
use super::projected::{self, SourceContent};
use super::setup::PreparedVolume;
use super::token::{Token, TokenError, TokenKey, read_token, token_request};
use super::types::{SetUpCause, SetUpFailure};
use super::wanted::{FileSource, FilesVolume, VolumeKind, WantedVolume};
use crate::model::Pod;
use crate::objects::References;
use crate::podexec::field_ref::FieldFacts;
use crate::telemetry::Causes;

type Answers = BTreeMap<TokenKey, Result<Token, TokenError>>;

/// Whose volumes, and when.
#[derive(Clone, Copy)]
pub(super) struct Gathering<'a> {
    pub deps: &'a VolumesDeps,
    pub layout: &'a PodLayout,
    pub pod: &'a Pod,
    pub now: Timestamp,
}

impl Gathering<'_> {
    /// The volumes with their files, and those whose files cannot be had. Each token is asked for
    /// once, however many volumes show it, and kept in `tokens` whatever becomes of the volumes.
    pub async fn gather(
        self,
        wanted: Vec<WantedVolume>,
        tokens: &mut PodTokens,
    ) -> (Vec<PreparedVolume>, Vec<SetUpFailure>) {
        self.adopt_written_tokens(&wanted, tokens).await;
        let (mut prepared, mut failures) = (Vec::new(), Vec::new());
        let objects = join_all(wanted.iter().map(async |volume| match files(volume) {
            Some(files) => {
                let references = references(files);
                let fetched = self.deps.objects.fetch(self.pod.namespace(), &references);
                Some(fetched.await)
            }
            None => None,
        }));
        let (objects, answers) = join(objects, self.tokens(&wanted, tokens)).await;
        let node = &self.deps.node;
        let fields = FieldFacts::of(self.pod, &node.host_ips, node.allocatable);
        for (volume, objects) in wanted.into_iter().zip(objects) {
            let payload = match (files(&volume), objects) {
                (Some(files), Some(objects)) => objects
                    .map_err(SetUpCause::from)
                    .and_then(|objects| {
                        let content =
                            SourceContent { objects: &objects, tokens: &answers, fields: &fields };
                        let owner = projected::ownership(self.pod);
                        projected::files_payload(self.pod, files, content, owner)
                    })
                    .map(Some),
                _ => Ok(None),
            };
            match payload {
                Ok(None) => {
                    let mount_points = BTreeSet::new();
                    let wanted = volume;
                    prepared.push(PreparedVolume {
                        wanted,
                        payload: None,
                        mount_points,
                        bound: None,
                    });
                }
                Ok(payload) => {
                    let mount_points = nested_mount_points(self.pod, &volume.name);
                    let wanted = volume;
                    prepared.push(PreparedVolume { wanted, payload, mount_points, bound: None });
                }
                Err(cause) => failures.push(SetUpFailure { volume: volume.name, cause }),
            }
        }
        (prepared, failures)
    }

    /// The tokens of the volumes: those that still serve, and new ones in place of the others.
    /// While a renewal fails the old one serves as long as it holds.
    async fn tokens(self, wanted: &[WantedVolume], tokens: &mut PodTokens) -> Answers {
        let keys: BTreeSet<TokenKey> =
            wanted.iter().filter_map(files).flat_map(token_sources).map(|(key, _)| key).collect();
        let is_due = |key: &&TokenKey| tokens.serving(key, self.pod, self.now).is_none();
        let requests = keys.iter().filter(is_due).map(async |key| (key, self.request(key).await));
        let mut failed = BTreeMap::new();
        for (key, answer) in join_all(requests).await {
            match tokens.settle(key, answer, self.pod, self.now) {
                Settled::Kept { error, first: true } => {
                    let error = Causes(&error).to_string();
                    tracing::warn!(pod = %self.pod.full_name(), error, "cannot renew token");
                }
                Settled::Renewed | Settled::Kept { .. } => {}
                Settled::Failed(error) => drop(failed.insert(key.clone(), error)),
            }
        }
        let answer = |key: TokenKey| {
            let answer = match failed.remove(&key) {
                Some(error) => Err(error),
                None => tokens.get(&key).cloned().ok_or(TokenError::Empty),
            };
            (key, answer)
        };
        keys.into_iter().map(answer).collect()
    }

    async fn request(self, key: &TokenKey) -> Result<Token, TokenError> {
        let account = self.pod.spec().service_account_name.as_deref().unwrap_or("default");
        let request = token_request(self.pod, key);
        let answer = self.deps.api.request_token(self.pod.namespace(), account, &request).await;
        read_token(answer.map_err(TokenError::Request)?, key)
    }

    /// Takes over what an earlier noded wrote.
    async fn adopt_written_tokens(self, wanted: &[WantedVolume], tokens: &mut PodTokens) {
        let mut written = Vec::new();
        for volume in wanted {
            let Some(files) = files(volume) else { continue };
            let Ok(dir) = self.layout.volume(files.plugin, &volume.name) else { continue };
            let missing = token_sources(files).filter(|(key, _)| tokens.get(key).is_none());
            written.extend(missing.map(|(key, path)| (key, dir.clone(), path.to_owned())));
        }
        if written.is_empty() {
            return;
        }
        let read = blocking(move || {
            let text = |bytes| String::from_utf8(bytes).ok();
            let found = written.into_iter().filter_map(|(key, dir, path)| {
                Some((key, atomic_writer::published(&dir, &path).and_then(text)?))
            });
            Ok(found.collect::<Vec<_>>())
        });
        for (key, text) in read.await.unwrap_or_default() {
            if let Some(token) = Token::read_back(&text, self.pod) {
                tokens.adopt(key, token);
            }
        }
    }
}

/// The volume's files, when noded writes them.
fn files(volume: &WantedVolume) -> Option<&FilesVolume> {
    match &volume.kind {
        VolumeKind::Files(files) => Some(files),
        _ => None,
    }
}

fn references(files: &FilesVolume) -> References {
    let mut references = References::default();
    for source in &files.sources {
        match source {
            FileSource::ConfigMap { name, .. } => {
                references.config_maps.insert(name.clone());
            }
            FileSource::Secret { name, .. } => {
                references.secrets.insert(name.clone());
            }
            FileSource::DownwardApi(_) | FileSource::Token { .. } | FileSource::Unsupported => {}
        }
    }
    references
}

/// The tokens in a volume, each with its path.
fn token_sources(files: &FilesVolume) -> impl Iterator<Item = (TokenKey, &str)> {
    files.sources.iter().filter_map(|source| match source {
        FileSource::Token { audience, expiration_seconds, path } => {
            let (audience, expiration_seconds) = (audience.clone(), *expiration_seconds);
            Some((TokenKey { audience, expiration_seconds }, path.as_str()))
        }
        _ => None,
    })
}
