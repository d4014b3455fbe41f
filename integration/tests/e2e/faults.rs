//! Pods come and go as ever while something between them and the runtime fails.
//!
//! Every test is a table: one pod for each call of a pod's life, all on one node at the same time,
//! each with its own fault on its way up and another on its way down. Afterwards each must be as it
//! is without a fault: started once, then gone without a trace.

mod disturbed;
mod fixture;
mod single;
mod traces;

use integration::runner::Test;

pub fn tests() -> Vec<Test> {
    [single::tests(), disturbed::tests()].concat()
}

/// The calls that bring a pod up.
const UP: [&str; 9] = [
    "RunPodSandbox",
    "PodSandboxStatus",
    "ListPodSandbox",
    "ListContainers",
    "ImageStatus",
    "PullImage",
    "CreateContainer",
    "StartContainer",
    "ContainerStatus",
];

/// The calls that end one.
const DOWN: [&str; 7] = [
    "StopContainer",
    "ContainerStatus",
    "ListContainers",
    "ListPodSandbox",
    "StopPodSandbox",
    "RemoveContainer",
    "RemovePodSandbox",
];
