//! Pure. Readers of the text files in /proc, /sys and /etc that describe the machine.

/// Figures of /proc/meminfo in bytes; a line that is missing counts as 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemInfo {
    pub total: u64,
    pub free: u64,
    pub inactive_file: u64,
    pub swap_total: u64,
    pub swap_free: u64,
}

/// Reads /proc/meminfo. Unknown and malformed lines are skipped.
pub fn parse_meminfo(text: &str) -> MemInfo {
    let mut memory = MemInfo::default();
    for line in text.lines() {
        let Some((name, rest)) = line.split_once(':') else { continue };
        let kib = rest.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0);
        let bytes = kib.saturating_mul(1024);
        match name {
            "MemTotal" => memory.total = bytes,
            "MemFree" => memory.free = bytes,
            "Inactive(file)" => memory.inactive_file = bytes,
            "SwapTotal" => memory.swap_total = bytes,
            "SwapFree" => memory.swap_free = bytes,
            _ => {}
        }
    }
    memory
}

/// `PRETTY_NAME` of os-release without its quotes; `Linux` when there is none, as os-release(5)
/// has it.
pub fn parse_os_release(text: &str) -> String {
    let name = text.lines().find_map(|line| line.trim().strip_prefix("PRETTY_NAME="));
    let unquoted = name.map(|name| name.trim().trim_matches(['"', '\'']).trim());
    unquoted.filter(|name| !name.is_empty()).unwrap_or("Linux").to_owned()
}

/// How many CPUs a list such as `0-3,5` names; `None` when it is malformed or empty.
pub fn count_cpu_list(text: &str) -> Option<u64> {
    let mut count = 0_u64;
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

/// Names of the devices and files in /proc/swaps; empty when nothing is swapped to.
pub fn parse_swaps(text: &str) -> Vec<String> {
    text.lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .map(unescape_octal)
        .collect()
}

/// Threads that exist: the figure after the slash in /proc/loadavg; `None` when malformed.
pub fn parse_loadavg_threads(text: &str) -> Option<u64> {
    text.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
}

/// Page size in bytes of a directory name such as `hugepages-2048kB`.
pub fn parse_huge_page_dir(name: &str) -> Option<u64> {
    let kib = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse::<u64>().ok()?;
    kib.checked_mul(1024)
}

/// The text with `\040` and its like, which the kernel writes for blanks, turned back.
/// A backslash without three octal digits stays.
pub fn unescape_octal(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 4).filter(|digits| {
            bytes[at] == b'\\' && digits.iter().all(|digit| (b'0'..b'8').contains(digit))
        });
        let value =
            code.map(|digits| digits.iter().fold(0_u32, |n, d| n * 8 + u32::from(d - b'0')));
        if let Some(byte) = value.and_then(|value| u8::try_from(value).ok()) {
            out.push(byte);
            at += 4;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Go's name of an architecture that Rust calls `arch`; the same word where they agree.
pub fn go_architecture(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        "loongarch64" => "loong64",
        other => other,
    }
}

#[cfg(test)]
mod tests;
