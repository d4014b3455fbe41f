//! Pure. Image names: what is valid, and the tag a name without one means.
//!
//! The grammar is that of the distribution project's reference format:
//! `[host[:port]/]path[:tag][@digest]`.

use std::fmt;

#[cfg(test)]
mod tests;

/// Tag of a name that has neither tag nor digest.
const DEFAULT_TAG: &str = "latest";
/// Longest repository name, longest tag (distribution reference grammar).
const NAME_LIMIT: usize = 255;
const TAG_LIMIT: usize = 128;

/// Why a text is no image name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("invalid reference format")]
    Format,
    #[error("repository name must be lowercase")]
    UpperCase,
    #[error("repository name must not be more than 255 characters")]
    TooLong,
    #[error("cannot specify 64-byte hexadecimal strings as a repository name")]
    LooksLikeId,
}

/// A valid image name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageReference {
    /// Host with port as written; `None` when the name begins with a path.
    pub domain: Option<String>,
    pub path: String,
    pub tag: Option<String>,
    pub digest: Option<String>,
}

impl ImageReference {
    /// Takes a name apart, or says why it is none.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ReferenceError::LooksLikeId);
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_owned())),
            Some(_) => return Err(ReferenceError::Format),
            None => (text, None),
        };
        let (domain, remainder) = split_domain(rest);
        if domain.is_some_and(|domain| !is_domain(domain)) {
            return Err(ReferenceError::Format);
        }
        let (path, tag) = match remainder.split_once(':') {
            Some((path, tag)) if is_tag(tag) => (path, Some(tag.to_owned())),
            Some(_) => return Err(ReferenceError::Format),
            None => (remainder, None),
        };
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) && is_path(&path.to_lowercase()) {
            return Err(ReferenceError::UpperCase);
        }
        if !is_path(path) {
            return Err(ReferenceError::Format);
        }
        if domain.map_or(0, |domain| domain.len() + 1) + path.len() > NAME_LIMIT {
            return Err(ReferenceError::TooLong);
        }
        Ok(Self { domain: domain.map(str::to_owned), path: path.to_owned(), tag, digest })
    }

    /// The same image with `latest` as tag when it names neither tag nor digest.
    #[must_use]
    pub fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// The same image with registry and repository in full.
    #[must_use]
    pub fn normalized(mut self) -> Self {
        let (domain, path) = (self.registry().to_owned(), self.repository());
        self.domain = Some(domain);
        self.path = path;
        self
    }

    /// The repository in full, without tag and digest: `host[:port]/path`. A name of one part on
    /// the default registry lies below `library`.
    pub fn repository_name(&self) -> String {
        format!("{}/{}", self.registry(), self.repository())
    }

    /// The path of [`Self::repository_name`].
    pub fn repository(&self) -> String {
        match self.registry() {
            "docker.io" if !self.path.contains('/') => format!("library/{}", self.path),
            _ => self.path.clone(),
        }
    }

    /// Host that credentials are looked up for: the name's own, else the well-known default.
    pub fn registry(&self) -> &str {
        match self.domain.as_deref() {
            None | Some("index.docker.io") => "docker.io",
            Some(domain) => domain,
        }
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(domain) = &self.domain {
            write!(f, "{domain}/")?;
        }
        f.write_str(&self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// The first component is a host when it has a dot or a port, is `localhost`, or has an upper case
/// letter, which no path may have.
fn split_domain(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        _ => (None, name),
    }
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) if address.parse::<std::net::Ipv6Addr>().is_ok() => {
            return rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        }
        Some(_) => return false,
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_path(text: &str) -> bool {
    !text.is_empty() && text.split('/').all(is_path_component)
}

/// Lower case letters and digits, joined by one dot, one or two underscores, or any dashes.
fn is_path_component(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !word(*first) || !word(*last) {
        return false;
    }
    text.split(|c: char| word(u8::try_from(c).unwrap_or(0))).all(|separator| {
        matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
    })
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= TAG_LIMIT
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let word = |byte: u8| byte.is_ascii_alphanumeric();
    !algorithm.is_empty()
        && algorithm
            .split(['+', '.', '-', '_'])
            .all(|part| !part.is_empty() && part.bytes().all(word))
        && hex.len() >= 32
        && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}
