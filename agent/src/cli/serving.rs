//! Flags of the kubelet server.

use super::{FieldFlag, Form};

pub(super) const FLAGS: [FieldFlag; 15] = [
    ("address", "address", Form::Text, "Address of the kubelet server's ports"),
    (
        "anonymous-auth",
        "authentication.anonymous.enabled",
        Form::Bool,
        "Take callers of the kubelet server that show no credential for system:anonymous",
    ),
    (
        "authentication-token-webhook",
        "authentication.webhook.enabled",
        Form::Bool,
        "Ask the API server who a bearer token stands for",
    ),
    (
        "authentication-token-webhook-cache-ttl",
        "authentication.webhook.cacheTTL",
        Form::Text,
        "How long its answer is believed",
    ),
    (
        "authorization-mode",
        "authorization.mode",
        Form::Text,
        "Webhook, which asks the API server what a caller may do, or AlwaysAllow",
    ),
    (
        "authorization-webhook-cache-authorized-ttl",
        "authorization.webhook.cacheAuthorizedTTL",
        Form::Text,
        "How long a yes is believed",
    ),
    (
        "authorization-webhook-cache-unauthorized-ttl",
        "authorization.webhook.cacheUnauthorizedTTL",
        Form::Text,
        "How long a no is believed",
    ),
    (
        "client-ca-file",
        "authentication.x509.clientCAFile",
        Form::Text,
        "Authorities whose client certificates the kubelet server takes",
    ),
    (
        "enable-debugging-handlers",
        "enableDebuggingHandlers",
        Form::Bool,
        "Answer logs, exec, attach, port-forward and the like",
    ),
    ("enable-server", "enableServer", Form::Bool, "Open the kubelet server"),
    ("read-only-port", "readOnlyPort", Form::Number, "Port without authentication, 0 for none"),
    ("tls-cert-file", "tlsCertFile", Form::Text, "Certificate of the kubelet server"),
    ("tls-cipher-suites", "tlsCipherSuites", Form::List, "Cipher suites of TLS 1.2, by Go's names"),
    ("tls-min-version", "tlsMinVersion", Form::Text, "VersionTLS12 or VersionTLS13"),
    ("tls-private-key-file", "tlsPrivateKeyFile", Form::Text, "Key of that certificate"),
];
