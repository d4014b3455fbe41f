//! Changes of others, as a test tells them.

use async_trait::async_trait;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::interference::{RuleEvent, RuleWatch};

/// Tells what a test sends; nothing more when the sender is gone.
pub struct FakeRuleWatch(UnboundedReceiver<RuleEvent>);

impl FakeRuleWatch {
    /// A watch, and what it is told through.
    pub fn new() -> (Self, UnboundedSender<RuleEvent>) {
        let (sender, receiver) = unbounded_channel();
        (Self(receiver), sender)
    }
}

#[async_trait]
impl RuleWatch for FakeRuleWatch {
    async fn next(&mut self) -> RuleEvent {
        match self.0.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }
}
