//! What we publish of a pod.
