//! Keeps one certificate: reads its files, renews it in time, and hands it out.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use super::csr::{Purpose, Wanted};
use super::plan::{Situation, Step, Why, pause_after, plan};
use super::renew::{RenewError, Signed, renew};
use super::sources::{Credential, Found, Sources, fingerprint, successor};
use crate::adapters::linux::FileWatch;
use crate::adapters::linux::credential_files::CredentialFiles;
use crate::boundary::CsrApi;
use crate::metrics::CertificateMetrics;
use crate::podworker::WallClock;

#[cfg(test)]
mod tests;

/// How often files and clock are looked at although nothing was told: the clock may have been set,
/// and what was told may have been lost.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

/// What the task works with.
pub struct CertificateParts {
    pub purpose: Purpose,
    pub sources: Sources,
    /// `None`: the certificate is renewed by others, and only their files are followed.
    pub renewal: Option<Renewal>,
    /// Whom it is to name; `None` in it while that is unknown.
    pub wanted: watch::Receiver<Option<Wanted>>,
    /// Where the certificate in use goes, with its key; only this task writes there.
    pub publication: watch::Sender<Option<Arc<CertifiedKey>>>,
    pub clock: WallClock,
    /// A random number between 0 and 1.
    pub random: fn() -> f64,
}

/// How a certificate is renewed.
pub struct Renewal {
    /// Where new ones are kept.
    pub files: CredentialFiles,
    pub api: Arc<dyn CsrApi>,
    /// Connects with the bootstrap credential, for when the node's own has ended. The error is the
    /// text of what is wrong with it.
    pub bootstrap: Option<ConnectBootstrap>,
    pub metrics: CertificateMetrics,
}

/// Makes a connection under the bootstrap credential.
pub type ConnectBootstrap = Box<dyn Fn() -> Result<Arc<dyn CsrApi>, String> + Send + Sync>;

/// Only writer of one certificate's files and publication.
///
/// ```text
/// files ───┬──> look ──> plan ──┬──> wait: a file, the wanted names, the time
/// wanted ──╯      │             ╰──> ask ──> renew ──> files ──> look
///                 ╰──> publication
/// ```
pub struct CertificateTask {
    pub(super) parts: CertificateParts,
    changes: FileWatch,
    /// Files that were read at the last look.
    paths: Vec<PathBuf>,
    pub(super) current: Option<Credential>,
    /// Certificates that the files held at the last look.
    seen: BTreeSet<Vec<u8>>,
    obtained: Option<Timestamp>,
    lost_since: Option<Timestamp>,
    started: Timestamp,
    jitter: f64,
    failures: u32,
    retry_at: Option<Timestamp>,
    /// Kind of the failure last told; `None` while all is well.
    pub(super) told_failure: Option<&'static str>,
    /// Troubles with files last told.
    told_troubles: Vec<String>,
    /// Whether the log says that clocks differ.
    pub(super) clock_told: bool,
}

impl CertificateTask {
    /// Reads the files and publishes what they hold. Must be called inside a Tokio runtime.
    pub fn new(parts: CertificateParts) -> Self {
        let mut task = Self {
            jitter: (parts.random)(),
            started: (parts.clock)(),
            paths: parts.sources.paths(),
            parts,
            changes: FileWatch::default(),
            current: None,
            seen: BTreeSet::new(),
            obtained: None,
            lost_since: None,
            failures: 0,
            retry_at: None,
            told_failure: None,
            told_troubles: Vec::new(),
            clock_told: false,
        };
        task.look();
        task.show_end();
        task
    }

    /// Works for ever, or until only a new start can help, which the text returned explains.
    pub async fn run(mut self) -> String {
        loop {
            let now = (self.parts.clock)();
            match self.step(now) {
                Step::Wait(until) => self.wait(until, now).await,
                Step::Ask(why) => self.ask(why).await,
                Step::GiveUp(ended) => {
                    return format!(
                        "the node's client certificate ended at {ended} and the API server \
                         refuses to renew it; give a new kubeconfig, or a bootstrap kubeconfig \
                         with a token that is still good"
                    );
                }
            }
            self.look();
        }
    }

    fn step(&self, now: Timestamp) -> Step {
        if self.parts.renewal.is_none() {
            return Step::Wait(None);
        }
        let wanted = self.parts.wanted.borrow().clone();
        let situation = Situation {
            current: self.current.as_ref().map(|current| &current.facts),
            wanted: wanted.as_ref(),
            obtained: self.obtained,
            lost_since: self.lost_since,
            jitter: self.jitter,
            retry_at: self.retry_at,
            started: self.started,
            hopeless: self.parts.purpose == Purpose::Client
                && self.told_failure == Some(RenewError::REFUSED),
        };
        plan(&situation, now)
    }

    async fn wait(&mut self, until: Option<Timestamp>, now: Timestamp) {
        let span = until.map(|until| until.duration_since(now).unsigned_abs());
        let timer = tokio::time::sleep(span.unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN));
        // None of the three loses anything when another wins.
        tokio::select! {
            () = timer => {}
            () = self.changes.changed() => {}
            () = changed(&mut self.parts.wanted) => self.begin_anew(),
        }
    }

    /// What failed before was about other names.
    fn begin_anew(&mut self) {
        (self.failures, self.retry_at) = (0, None);
    }

    /// Reads the files, takes what is newer there, and tells of what is wrong.
    fn look(&mut self) {
        let now = (self.parts.clock)();
        let found = self.read();
        let wanted = self.parts.wanted.borrow().clone();
        let next =
            successor(self.current.as_ref(), &self.seen, &found.credentials, wanted.as_ref(), now);
        if let Some(next) = next.cloned() {
            let word = self.parts.purpose.word();
            let (file, until) = (next.origin.display(), next.facts.not_after);
            match &self.current {
                None => tracing::info!(%file, %until, "{word} certificate found"),
                Some(_) => tracing::info!(%file, %until, "took the {word} certificate put there"),
            }
            self.adopt(next, None);
        }
        self.seen = found.credentials.iter().map(fingerprint).collect();
        let held = |current: &Credential| found.credentials.iter().any(|it| it.is(current));
        let lost = self.current.as_ref().is_some_and(|current| !held(current));
        if lost && self.lost_since.is_none() {
            self.lost_since = Some(now);
            self.tell_loss(&found.troubles);
        } else if found.troubles != self.told_troubles && !found.troubles.is_empty() {
            self.tell_troubles(&found.troubles);
        }
        self.lost_since = self.lost_since.filter(|_| lost);
        self.told_troubles = found.troubles;
    }

    /// Reads the files, which are watched from before that.
    fn read(&mut self) -> Found {
        loop {
            self.changes = FileWatch::start(&self.paths);
            let found = self.parts.sources.read();
            let known = found.paths == self.paths;
            self.paths.clone_from(&found.paths);
            // Files that a kubeconfig names for the first time are not watched yet.
            if known {
                return found;
            }
        }
    }

    /// Uses a certificate from now on.
    fn adopt(&mut self, next: Credential, obtained: Option<Timestamp>) {
        self.jitter = (self.parts.random)();
        self.obtained = obtained;
        self.lost_since = None;
        self.begin_anew();
        self.told_failure = None;
        self.parts.publication.send_replace(Some(Arc::clone(&next.key)));
        self.current = Some(next);
        self.show_end();
    }

    /// Asks for a new certificate until it is there, the attempt fails, or there is no more need.
    async fn ask(&mut self, why: Why) {
        let now = (self.parts.clock)();
        let Some(wanted) = self.parts.wanted.borrow_and_update().clone() else { return };
        let api = match self.asker(now) {
            Ok(api) => api,
            Err(error) => return self.failed(&error),
        };
        let told_before = self.told_failure.is_some_and(RenewError::needs_no_more_words);
        let attempt = renew(api, self.parts.purpose, wanted.clone(), told_before);
        tokio::pin!(attempt);
        let outcome = loop {
            // The attempt is polled on, and the others lose nothing when another wins.
            tokio::select! {
                outcome = &mut attempt => break outcome,
                () = changed(&mut self.parts.wanted) => {
                    // The request that is under way would bring a certificate of no use.
                    return self.begin_anew();
                }
                () = self.changes.changed() => {
                    self.look();
                    if !matches!(self.step((self.parts.clock)()), Step::Ask(_)) {
                        return;
                    }
                }
            }
        };
        match outcome.and_then(|signed| self.store(&signed)) {
            Ok(next) => self.obtained(next, &wanted, why),
            Err(error) => self.failed(&error),
        }
    }

    /// Whoever is to be asked: the node itself as long as its certificate is good, else with the
    /// bootstrap credential and, should that fail, in turns, since it is the server's clock that
    /// says when a certificate has ended.
    fn asker(&self, now: Timestamp) -> Result<Arc<dyn CsrApi>, RenewError> {
        let renewal = self.parts.renewal.as_ref().ok_or(RenewError::NobodyToAsk)?;
        let good = self.current.as_ref().is_some_and(|current| current.facts.not_after >= now);
        match &renewal.bootstrap {
            Some(connect) if !good && self.failures.is_multiple_of(2) => {
                connect().map_err(RenewError::Bootstrap)
            }
            _ => Ok(Arc::clone(&renewal.api)),
        }
    }

    fn store(&self, signed: &Signed) -> Result<Credential, RenewError> {
        let renewal = self.parts.renewal.as_ref().ok_or(RenewError::NobodyToAsk)?;
        let now = (self.parts.clock)();
        renewal.files.store(&signed.certificate, &signed.key, now)?;
        let pem = [&*signed.certificate, b"\n", signed.key.expose().as_bytes()].concat();
        Ok(Credential::from_pem(&pem, &renewal.files.current())?)
    }

    fn obtained(&mut self, next: Credential, wanted: &Wanted, why: Why) {
        let now = (self.parts.clock)();
        if let Some(old) = &self.current {
            let age = now.duration_since(old.facts.not_before);
            self.count_replacement(Duration::try_from(age).unwrap_or_default());
        }
        let (reason, word) = (why.text(), self.parts.purpose.word());
        let (file, until) = (next.origin.display(), next.facts.not_after);
        tracing::info!(%file, %until, reason, "obtained a new {word} certificate");
        self.tell_clock(&next, now);
        let complete = wanted.is_named_by(&next.facts);
        let told = self.told_failure;
        let failures = self.failures;
        self.adopt(next, Some(now));
        if !complete {
            // It is better than none, and asking without pause would bring no other.
            (self.failures, self.told_failure) = (failures, told);
            self.failed(&RenewError::Incomplete);
        }
    }

    fn failed(&mut self, error: &RenewError) {
        self.failures = self.failures.saturating_add(1);
        let pause = pause_after(self.failures, (self.parts.random)());
        let now = (self.parts.clock)();
        self.retry_at = Some(now.saturating_add(pause).unwrap_or(now));
        self.count_failure();
        self.tell_failure(error);
    }
}

/// Returns when the wanted names change; never when nobody can change them any more.
async fn changed(wanted: &mut watch::Receiver<Option<Wanted>>) {
    if wanted.changed().await.is_err() {
        std::future::pending().await
    }
}
