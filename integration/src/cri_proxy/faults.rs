//! Which calls meet which fault.

use std::time::Duration;

use anyhow::Result;
use tokio::sync::watch;
use tonic::Code;

use super::Subject;
use crate::wait;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The runtime does not see it; the caller gets this code.
    Refuse(Code),
    /// The runtime carries it out; the caller hears that the connection broke.
    Cut,
    /// The runtime does not see it and the caller gets no answer.
    Hang,
    /// It is forwarded after this time.
    Delay(Duration),
}

impl Fault {
    /// The fault in a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Refuse(_) => "refused",
            Self::Cut => "cut",
            Self::Hang => "hung",
            Self::Delay(_) => "delayed",
        }
    }
}

/// Which calls are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    method: &'static str,
    scope: Scope,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    All,
    Pod(String),
    Image(String),
}

impl Target {
    /// Every call of this name.
    #[must_use]
    pub fn any(method: &'static str) -> Self {
        Self { method, scope: Scope::All }
    }

    /// Calls of this name about one pod, `NAMESPACE/NAME`.
    #[must_use]
    pub fn pod(method: &'static str, pod: &str) -> Self {
        Self { method, scope: Scope::Pod(pod.to_owned()) }
    }

    /// Calls of this name about one image.
    #[must_use]
    pub fn image(method: &'static str, image: &str) -> Self {
        Self { method, scope: Scope::Image(image.to_owned()) }
    }

    fn fits(&self, method: &str, subject: &Subject) -> bool {
        self.method == method
            && match &self.scope {
                Scope::All => true,
                Scope::Pod(pod) => subject.pod.as_ref() == Some(pod),
                Scope::Image(image) => subject.image.as_ref() == Some(image),
            }
    }

    fn describe(&self) -> String {
        match &self.scope {
            Scope::All => self.method.to_owned(),
            Scope::Pod(subject) | Scope::Image(subject) => format!("{} {subject}", self.method),
        }
    }
}

/// Where a call is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The runtime has not seen it.
    Before,
    /// The runtime has answered and the caller does not know.
    After,
}

/// What becomes of a held call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Pending,
    Release,
    Discard,
}

/// A call that is held, or will be. Dropping it lets the call go on.
#[derive(Debug)]
pub struct Hold {
    what: String,
    reached: watch::Receiver<bool>,
    verdict: watch::Sender<Verdict>,
}

impl Hold {
    /// Waits until a call is held; errors after `limit`.
    pub async fn reached(&self, limit: Duration) -> Result<()> {
        let reached = || async { Ok(*self.reached.borrow()) };
        let what = format!("call of {}", self.what);
        wait::until_value(&what, limit, reached, |reached| *reached).await.map(drop)
    }

    /// Lets the call, or its answer, go on.
    pub fn release(self) {
        self.verdict.send_replace(Verdict::Release);
    }

    /// Ends the call, or loses its answer.
    pub fn discard(self) {
        self.verdict.send_replace(Verdict::Discard);
    }
}

/// The proxy's end of a hold.
#[derive(Debug)]
pub(super) struct Gate {
    pub moment: Moment,
    reached: watch::Sender<bool>,
    verdict: watch::Receiver<Verdict>,
}

impl Gate {
    /// Says that the call is here and waits for what becomes of it; whether it goes on.
    pub async fn pass(&mut self) -> bool {
        self.reached.send_replace(true);
        match self.verdict.wait_for(|verdict| *verdict != Verdict::Pending).await {
            Ok(verdict) => *verdict == Verdict::Release,
            Err(_) => true,
        }
    }
}

/// What waits for its call.
#[derive(Debug, Default)]
pub(super) struct Faults {
    armed: Vec<(Target, Fault, usize)>,
    gates: Vec<(Target, Gate)>,
}

impl Faults {
    pub fn inject(&mut self, target: Target, fault: Fault, times: usize) {
        self.armed.push((target, fault, times));
    }

    pub fn hold(&mut self, target: Target, moment: Moment) -> Hold {
        let (reached, reader) = watch::channel(false);
        let (verdict, decision) = watch::channel(Verdict::Pending);
        let hold = Hold { what: target.describe(), reached: reader, verdict };
        self.gates.push((target, Gate { moment, reached, verdict: decision }));
        hold
    }

    /// The gate that a call comes to, if any; it is used up.
    pub fn gate(&mut self, method: &str, subject: &Subject) -> Option<Gate> {
        // One whose hold is gone holds nothing any more.
        self.gates.retain(|(_, gate)| gate.verdict.has_changed().is_ok());
        let found = self.gates.iter().position(|(target, _)| target.fits(method, subject))?;
        Some(self.gates.remove(found).1)
    }

    /// The fault that a call meets, if any; it is used up once.
    pub fn fault(&mut self, method: &str, subject: &Subject) -> Option<Fault> {
        let found = self.armed.iter().position(|(target, ..)| target.fits(method, subject))?;
        let (_, fault, left) = &mut self.armed[found];
        let fault = *fault;
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.armed.remove(found);
        }
        Some(fault)
    }

    pub fn take_unused(&mut self) -> Vec<String> {
        let armed = std::mem::take(&mut self.armed);
        armed.iter().map(|(target, fault, _)| format!("{} {fault:?}", target.describe())).collect()
    }
}
