//! Every published reason word, spelled once. Source: Kubernetes v1.36, `reference` is the file of
//! that release that spells it.
