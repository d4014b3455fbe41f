//! Pure. What `systemctl status` says beside the state of the unit.

use crate::node::NodeView;

/// What the line is made of.
pub struct Shown<'a> {
    pub view: &'a NodeView,
    /// Whether there is an API server to register with.
    pub registers: bool,
    /// How many pods the runtime holds; `None` until it was listed.
    pub pods: Option<usize>,
}

/// One line: what the node waits for, else that it is ready and how many pods it holds.
pub fn status_line(shown: &Shown<'_>) -> String {
    let view = shown.view;
    if shown.registers && view.node.is_none() {
        return "Waiting for the API server to register the node".to_owned();
    }
    let Some(pods) = shown.pods else { return "Reading what the runtime holds".to_owned() };
    let noun = if pods == 1 { "pod" } else { "pods" };
    match view.runtime_problem.as_ref().or(view.network_problem.as_ref()) {
        Some(problem) => format!("Not ready: {problem}; {pods} {noun}"),
        None => format!("Ready; {pods} {noun}"),
    }
}

#[cfg(test)]
mod tests;
