//! What the log says of a certificate in trouble: each thing once.

use jiff::Timestamp;

use super::renew::RenewError;
use super::sources::Credential;
use super::task::CertificateTask;
use crate::telemetry::Causes;

impl CertificateTask {
    /// The certificate in use is in memory only.
    pub(super) fn tell_loss(&self, troubles: &[String]) {
        let word = self.parts.purpose.word();
        let cause = match troubles {
            [] => "it was removed or replaced by one of less use".to_owned(),
            troubles => troubles.join("; "),
        };
        match self.parts.renewal {
            Some(_) => tracing::warn!(
                cause,
                "the file of the {word} certificate is lost; another certificate is asked for"
            ),
            None => tracing::warn!(
                cause,
                "the file of the {word} certificate is lost; put it back before the next start, \
                 or set rotateCertificates"
            ),
        }
    }

    /// Files that are not needed now are broken.
    pub(super) fn tell_troubles(&self, troubles: &[String]) {
        let word = self.parts.purpose.word();
        let cause = troubles.join("; ");
        tracing::warn!(cause, "a file of the {word} certificate cannot be used");
    }

    /// A failed attempt; nothing when the log has its kind already.
    pub(super) fn tell_failure(&mut self, error: &RenewError) {
        let kind = error.kind();
        let (word, fix) = (self.parts.purpose.word(), error.fix());
        let error = Causes(error);
        if self.told_failure.replace(kind) == Some(kind) {
            tracing::debug!(%error, "the {word} certificate cannot be renewed still");
        } else {
            tracing::warn!(%error, fix, "cannot renew the {word} certificate, trying again");
        }
    }

    /// A certificate that was just signed and is not valid by this machine's clock.
    pub(super) fn tell_clock(&mut self, new: &Credential, now: Timestamp) {
        let facts = &new.facts;
        if (facts.not_before..=facts.not_after).contains(&now) {
            self.clock_told = false;
        } else if !std::mem::replace(&mut self.clock_told, true) {
            tracing::warn!(
                now = %now, from = %facts.not_before, until = %facts.not_after,
                "a certificate just signed is not valid by this machine's clock; set the clock of \
                 this machine or of the signer"
            );
        }
    }
}
