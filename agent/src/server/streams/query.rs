//! Pure. What the query of a request asks for.

use percent_encoding::percent_decode_str;

use crate::boundary::ContainerStreams;

#[cfg(test)]
mod tests;

/// Why a query cannot be served; the texts are the kubelet's (v1.36).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum QueryError {
    #[error("you must specify at least 1 of stdin, stdout, stderr")]
    NoStream,
    #[error("query parameter \"port\" is required")]
    NoPort,
    #[error("query parameter \"port\" cannot be empty")]
    EmptyPort,
    #[error("unable to parse {text:?} as a port: strconv.ParseUint: parsing {part:?}: {cause}")]
    BadPort { text: String, part: String, cause: &'static str },
    #[error("port {0:?} must be > 0")]
    ZeroPort(String),
}

/// The pairs of a query string, in their order. A pair with a broken escape or a semicolon is left
/// out, as Go's `net/url` does it; bytes that are not UTF-8 stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(Vec<u8>, Vec<u8>)>);

impl Query {
    pub fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';'));
        let pairs = pairs.filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(name)?, decoded(value)?))
        });
        Self(pairs.collect())
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let named = self.0.iter().filter(move |(known, _)| known == name.as_bytes());
        named.map(|(_, value)| value.as_slice())
    }

    fn is_one(&self, name: &str) -> bool {
        self.values(name).next() == Some(b"1")
    }

    /// The streams of an exec or attach. With a terminal there is no separate standard error.
    pub fn streams(&self) -> Result<ContainerStreams, QueryError> {
        let tty = self.is_one("tty");
        let streams = ContainerStreams {
            stdin: self.is_one("input"),
            stdout: self.is_one("output"),
            stderr: self.is_one("error") && !tty,
            tty,
        };
        if !streams.stdin && !streams.stdout && !streams.stderr {
            return Err(QueryError::NoStream);
        }
        Ok(streams)
    }

    /// The words of the command of an exec; `None` when one is not UTF-8, which the CRI cannot
    /// carry.
    pub fn command(&self) -> Option<Vec<String>> {
        self.values("command").map(text).collect()
    }

    /// The command of a run: one value, its words parted by single spaces. `None` as above.
    pub fn run_command(&self) -> Option<Vec<String>> {
        let value = text(self.values("cmd").next().unwrap_or_default())?;
        Some(value.split(' ').map(str::to_owned).collect())
    }

    /// The ports of a port-forward over WebSocket channels: each value is a comma-separated list.
    pub fn ports(&self) -> Result<Vec<u16>, QueryError> {
        let mut ports = Vec::new();
        for value in self.values("port") {
            let value = String::from_utf8_lossy(value);
            if value.is_empty() {
                return Err(QueryError::EmptyPort);
            }
            for part in value.split(',') {
                ports.push(port(&value, part)?);
            }
        }
        if ports.is_empty() { Err(QueryError::NoPort) } else { Ok(ports) }
    }
}

fn port(text: &str, part: &str) -> Result<u16, QueryError> {
    let bad = |cause| QueryError::BadPort { text: text.to_owned(), part: part.to_owned(), cause };
    if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad("invalid syntax"));
    }
    match part.parse() {
        Ok(0) => Err(QueryError::ZeroPort(text.to_owned())),
        Ok(port) => Ok(port),
        Err(_) => Err(bad("value out of range")),
    }
}

fn text(value: &[u8]) -> Option<String> {
    String::from_utf8(value.to_vec()).ok()
}

/// `None` when a percent sign is not followed by two hexadecimal digits.
fn decoded(part: &str) -> Option<Vec<u8>> {
    let bytes = part.as_bytes();
    let broken = bytes.iter().enumerate().any(|(at, byte)| {
        *byte == b'%'
            && !bytes.get(at + 1..at + 3).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    });
    let spaced = part.replace('+', " ");
    (!broken).then(|| percent_decode_str(&spaced).collect())
}
