use std::sync::Arc;

use super::{Shown, status_line};
use crate::node::NodeView;

#[test]
fn the_line_names_what_the_node_waits_for() {
    let down = || Some("down".to_owned());
    // Registers, registered, runtime problem, network problem, pods, line.
    let cases = [
        (true, false, None, None, None, "Waiting for the API server to register the node"),
        (true, true, None, None, None, "Reading what the runtime holds"),
        (false, false, None, None, None, "Reading what the runtime holds"),
        (true, true, down(), None, Some(2), "Not ready: down; 2 pods"),
        (true, true, None, down(), Some(1), "Not ready: down; 1 pod"),
        (true, true, None, None, Some(0), "Ready; 0 pods"),
        (false, false, None, None, Some(1), "Ready; 1 pod"),
    ];
    for (registers, registered, runtime_problem, network_problem, pods, expected) in cases {
        let view = NodeView {
            node: registered.then(Arc::default),
            runtime_problem,
            network_problem,
            ..NodeView::default()
        };
        assert_eq!(status_line(&Shown { view: &view, registers, pods }), expected);
    }
}
