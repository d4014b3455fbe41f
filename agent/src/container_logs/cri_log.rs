//! Pure. Container logs in the format of CRI, and the text of them that a reader asked for.
//!
//! A line is `<RFC 3339 time> <stdout|stderr> <tags> <text>`, the tags separated by colons, the
//! first of them `P` for a part of a line that goes on in the next line, `F` for its last part.
//! Text is passed on as it comes, so that a line may be longer than memory. Nothing of this crate is
//! used here, because the fuzz target builds this file alone.
//! Source: Kubernetes v1.36 `k8s.io/cri-client/pkg/logs`.

use memchr::{memchr, memchr2, memrchr_iter};

#[cfg(test)]
#[path = "cri_log/tests.rs"]
mod tests;

/// Longest head of a line, everything before its text, in bytes. Today's are at most 44.
const LONGEST_HEAD: usize = 256;

/// Bytes of the longest time that is written: nine digits of a second and an offset.
const LONGEST_STAMP: usize = 35;

/// What a container wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Nanoseconds since 1970, negative before.
pub type Nanoseconds = i128;

/// Which part of a log is wanted, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// `None` is both.
    pub stream: Option<Stream>,
    /// Lines written before are left out.
    pub since: Option<Nanoseconds>,
    /// Each line begins with its time.
    pub timestamps: bool,
    /// No more bytes of text than this.
    pub limit_bytes: Option<u64>,
    /// No more lines of the file than this, whatever stream they are of; parts count as lines.
    pub lines: Option<u64>,
}

/// Everything before the text of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    stamp: Stamp<'a>,
    pub stream: Stream,
    /// The text goes on in the next line of its stream.
    pub is_partial: bool,
    /// Bytes up to the text.
    pub len: usize,
}

impl Head<'_> {
    pub fn time(&self) -> Nanoseconds {
        self.stamp.time
    }
}

/// Why there is no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHead {
    /// The bytes end within it.
    Incomplete,
    Malformed,
}

/// The head that `bytes` begin with.
pub fn parse_head(bytes: &[u8]) -> Result<Head<'_>, NoHead> {
    let near = &bytes[..bytes.len().min(LONGEST_HEAD)];
    let missing = if near.len() < LONGEST_HEAD { NoHead::Incomplete } else { NoHead::Malformed };
    let Some(stamp_end) = memchr(b' ', near) else {
        return Err(if near.contains(&b'\n') { NoHead::Malformed } else { missing });
    };
    let stamp = Stamp::parse(&near[..stamp_end]).ok_or(NoHead::Malformed)?;
    let rest = &near[stamp_end + 1..];
    let stream = match rest.get(..7) {
        Some(b"stdout ") => Stream::Stdout,
        Some(b"stderr ") => Stream::Stderr,
        None if b"stdout ".starts_with(rest) || b"stderr ".starts_with(rest) => {
            return Err(missing);
        }
        _ => return Err(NoHead::Malformed),
    };
    let rest = &rest[7..];
    let tags = match memchr2(b' ', b'\n', rest) {
        Some(end) if rest[end] == b' ' => &rest[..end],
        Some(_) => return Err(NoHead::Malformed),
        None => return Err(missing),
    };
    let is_partial = tags == b"P" || tags.starts_with(b"P:");
    Ok(Head { stamp, stream, is_partial, len: stamp_end + 1 + 7 + tags.len() + 1 })
}

/// A time as a line spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp<'a> {
    /// `2006-01-02T15:04:05`.
    seconds: &'a [u8],
    /// Digits of a second, up to nine.
    fraction: &'a [u8],
    /// `Z` or `+07:00`.
    zone: &'a [u8],
    time: Nanoseconds,
}

impl<'a> Stamp<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        let (seconds, rest) = text.split_at_checked(19)?;
        for (at, mark) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')] {
            if seconds[at] != mark {
                return None;
            }
        }
        let field = |from: usize, to: usize| number(&seconds[from..to]);
        let (year, month, day) = (field(0, 4)?, field(5, 7)?, field(8, 10)?);
        let (hour, minute, second) = (field(11, 13)?, field(14, 16)?, field(17, 19)?);
        let is_date = (1..=12).contains(&month) && day >= 1 && day <= days_in(year, month);
        if !is_date || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let (fraction, zone) = match rest.split_first() {
            Some((b'.', digits)) => {
                let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
                if end == 0 {
                    return None;
                }
                digits.split_at(end)
            }
            _ => (&rest[..0], rest),
        };
        let fraction = &fraction[..fraction.len().min(9)];
        let offset = offset_seconds(zone)?;
        let in_day = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
        let seconds_since = days_since_1970(year, month, day) * 86_400 + in_day - offset;
        let nanos = number(fraction)? * 10_u32.pow(9 - u32::try_from(fraction.len()).ok()?);
        let time = i128::from(seconds_since) * 1_000_000_000 + i128::from(nanos);
        Some(Self { seconds, fraction, zone, time })
    }

    /// The time with nine digits of a second and a blank.
    fn prefix(&self) -> Prefix {
        let mut text = Prefix { bytes: [b'0'; LONGEST_STAMP + 1], len: 0 };
        text.put(self.seconds);
        text.put(b".");
        text.put(self.fraction);
        text.len += 9 - self.fraction.len();
        text.put(if self.zone[1..].iter().any(|byte| matches!(byte, b'1'..=b'9')) {
            self.zone
        } else {
            b"Z"
        });
        text.put(b" ");
        text
    }
}

/// A short text of its own.
struct Prefix {
    bytes: [u8; LONGEST_STAMP + 1],
    len: usize,
}

impl Prefix {
    fn put(&mut self, text: &[u8]) {
        self.bytes[self.len..self.len + text.len()].copy_from_slice(text);
        self.len += text.len();
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The number of at most nine digits; 0 for none.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |number, byte| {
        byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0'))
    })
}

fn days_in(year: u32, month: u32) -> u32 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years are counted from March, so that
/// the leap day is their last.
fn days_since_1970(year: u32, month: u32, day: u32) -> i64 {
    let shifted = i64::from(year) - i64::from(month < 3);
    let (era, of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let months = i64::from((month + 9) % 12);
    let of_year = (153 * months + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// How far a zone is ahead of UTC.
fn offset_seconds(zone: &[u8]) -> Option<i64> {
    if zone == b"Z" {
        return Some(0);
    }
    let [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] = zone else { return None };
    let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = i64::from(hours * 3600 + minutes * 60);
    Some(if *sign == b'-' { -seconds } else { seconds })
}

/// Whether more of the log is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    More,
    /// A limit is reached.
    NoMore,
}

/// Where in a line the bytes stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Head,
    Text {
        is_wanted: bool,
        is_partial: bool,
        is_empty: bool,
    },
    /// In a line without a head, to its end.
    Malformed,
}

/// Makes the wanted text of a log from its bytes, however they are cut. Lines without a head are
/// left out.
#[derive(Clone, Debug)]
pub struct TextReader {
    selection: Selection,
    place: Place,
    /// The beginning of a head whose rest has not come.
    begun: Vec<u8>,
    /// The text before ended a line, and the next begins one.
    at_line_start: bool,
    bytes_left: u64,
    lines_left: u64,
    malformed: u64,
}

impl TextReader {
    pub fn new(selection: Selection) -> Self {
        Self {
            place: Place::Head,
            begun: Vec::new(),
            at_line_start: true,
            bytes_left: selection.limit_bytes.unwrap_or(u64::MAX),
            lines_left: selection.lines.unwrap_or(u64::MAX),
            malformed: 0,
            selection,
        }
    }

    /// How many lines without a head were left out.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Takes the next bytes of the log and adds their text to `out`. After [`Wanted::NoMore`]
    /// nothing is added any more.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Wanted {
        let mut rest = bytes;
        while self.bytes_left > 0 && self.lines_left > 0 {
            if rest.is_empty() {
                return Wanted::More;
            }
            rest = match self.place {
                Place::Head => self.take_head(rest, out),
                Place::Text { is_wanted, is_partial, is_empty } => {
                    let end = memchr(b'\n', rest);
                    let text = &rest[..end.unwrap_or(rest.len())];
                    let is_empty = is_empty && text.is_empty();
                    let next = end.map_or(rest.len(), |end| end + 1);
                    if is_wanted {
                        self.put(if is_partial { text } else { &rest[..next] }, out);
                    }
                    if end.is_some() {
                        self.end_line(!is_partial || is_empty);
                    } else {
                        self.place = Place::Text { is_wanted, is_partial, is_empty };
                    }
                    &rest[next..]
                }
                Place::Malformed => match memchr(b'\n', rest) {
                    Some(end) => {
                        self.place = Place::Head;
                        &rest[end + 1..]
                    }
                    None => &[],
                },
            };
        }
        Wanted::NoMore
    }

    /// Takes a head, or what there is of it; returns what follows.
    fn take_head<'a>(&mut self, bytes: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        if self.begun.is_empty() {
            return match parse_head(bytes) {
                Ok(head) => {
                    self.begin_text(&head, out);
                    &bytes[head.len..]
                }
                Err(NoHead::Incomplete) => {
                    self.begun.extend_from_slice(bytes);
                    &[]
                }
                Err(NoHead::Malformed) => self.begin_malformed(bytes),
            };
        }
        let mut begun = std::mem::take(&mut self.begun);
        let before = begun.len();
        begun.extend_from_slice(&bytes[..bytes.len().min(LONGEST_HEAD - before)]);
        match parse_head(&begun) {
            Ok(head) => {
                self.begin_text(&head, out);
                // What was there before was no whole head.
                &bytes[head.len - before..]
            }
            Err(NoHead::Incomplete) => {
                self.begun = begun;
                &[]
            }
            // The end of the line is not in what was there before, or it had been no head.
            Err(NoHead::Malformed) => self.begin_malformed(bytes),
        }
    }

    fn begin_text(&mut self, head: &Head<'_>, out: &mut Vec<u8>) {
        let Selection { stream, since, timestamps, .. } = self.selection;
        let is_wanted = stream.is_none_or(|stream| stream == head.stream)
            && since.is_none_or(|since| head.time() >= since);
        self.place = Place::Text { is_wanted, is_partial: head.is_partial, is_empty: true };
        if is_wanted && timestamps && self.at_line_start {
            self.put(head.stamp.prefix().as_bytes(), out);
        }
    }

    fn begin_malformed<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        self.place = Place::Malformed;
        self.malformed += 1;
        bytes
    }

    fn end_line(&mut self, at_line_start: bool) {
        self.place = Place::Head;
        self.at_line_start = at_line_start;
        self.lines_left -= 1;
    }

    fn put(&mut self, text: &[u8], out: &mut Vec<u8>) {
        let room = usize::try_from(self.bytes_left).unwrap_or(usize::MAX);
        let text = &text[..text.len().min(room)];
        out.extend_from_slice(text);
        self.bytes_left -= text.len() as u64;
    }

    /// Says that the next bytes are those of another file: what was begun has no more end.
    pub fn end_file(&mut self) {
        self.begun.clear();
        if let Place::Text { is_empty, .. } = self.place {
            self.at_line_start = is_empty;
        }
        self.place = Place::Head;
    }
}

/// Looks for where the last lines of a file begin, from its end backwards.
#[derive(Clone, Debug)]
pub struct TailSearch {
    /// Ends of lines that belong to what is wanted.
    left: u64,
}

impl TailSearch {
    /// For so many lines of the file; bytes behind the last end of a line come on top.
    pub fn new(lines: u64) -> Self {
        Self { left: lines }
    }

    /// Looks at the block before the one looked at last. Returns where in it the lines begin;
    /// `None` when they begin further ahead, at the latest at the beginning of the file.
    pub fn look(&mut self, block: &[u8]) -> Option<usize> {
        for end in memrchr_iter(b'\n', block) {
            if self.left == 0 {
                return Some(end + 1);
            }
            self.left -= 1;
        }
        None
    }
}
