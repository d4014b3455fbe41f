//! Pure. What can be wrong with a file.

use crate::config::ConfigProblem;

/// One thing in the file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileProblem {
    /// Not the API version and kind that are understood.
    #[error(
        "unsupported {api_version:?} {kind:?}: want kubeproxy.config.k8s.io/v1alpha1 KubeProxyConfiguration"
    )]
    Kind {
        /// Found version.
        api_version: String,
        /// Found kind.
        kind: String,
    },
    /// No such field.
    #[error("unknown field {field:?}; remove it or correct its spelling")]
    Unknown {
        /// Path of the field.
        field: String,
    },
    /// A value of another type than the field's.
    #[error("{field}: {text}")]
    Type {
        /// Path of the field.
        field: String,
        /// What serde says.
        text: String,
    },
    /// A value that cannot be read or is not supported.
    #[error("{field}: invalid value {value:?}: {want}")]
    Value {
        /// Path of the field.
        field: &'static str,
        /// Found value.
        value: String,
        /// What would be right.
        want: &'static str,
    },
    /// Values that are readable but make no usable configuration.
    #[error("configuration cannot be used")]
    Config(#[source] ConfigProblem),
}

impl FileProblem {
    /// What serde's error about one field says.
    pub(super) fn of(path: &str, name: &str, error: &serde_json::Error) -> Self {
        let field = format!("{path}{name}");
        let text = error.to_string();
        if text.starts_with("unknown field") {
            Self::Unknown { field }
        } else {
            Self::Type { field, text }
        }
    }

    pub(super) fn value(
        field: &'static str,
        value: impl std::fmt::Display,
        want: &'static str,
    ) -> Self {
        Self::Value { field, value: value.to_string(), want }
    }
}
