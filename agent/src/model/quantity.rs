//! Pure. Kubernetes quantities: exact reading, exact arithmetic, canonical text.
//!
//! A quantity is kept as a whole number of nano units, which is the finest unit the text form has.
//! Source: apimachinery `pkg/api/resource/quantity.go`, v1.36.

use std::fmt;
use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

/// Nano units in one unit.
const NANO: i128 = 1_000_000_000;

/// The largest value a quantity can hold, 2^63 - 1 units; greater texts are cut down to it.
const MAX_NANO: i128 = (i64::MAX as i128) * NANO;

/// Powers of ten that have a suffix, from great to small.
const DECIMAL_SUFFIXES: [(i32, &str); 10] = [
    (18, "E"),
    (15, "P"),
    (12, "T"),
    (9, "G"),
    (6, "M"),
    (3, "k"),
    (0, ""),
    (-3, "m"),
    (-6, "u"),
    (-9, "n"),
];

/// Powers of 1024 that have a suffix, from great to small.
const BINARY_SUFFIXES: [(u32, &str); 6] =
    [(6, "Ei"), (5, "Pi"), (4, "Ti"), (3, "Gi"), (2, "Mi"), (1, "Ki")];

/// Why a text is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    #[error("quantity is empty")]
    Empty,
    #[error("{0:?} does not begin with a decimal number")]
    Number(String),
    #[error("{0:?} has an unknown suffix")]
    Suffix(String),
}

/// The family of suffixes a quantity was written with; its canonical text stays in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Decimal,
    Binary,
    Exponent,
}

/// An exact amount. Compares by amount, whatever the spelling.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nano: i128,
    format: Format,
}

impl Quantity {
    pub const ZERO: Self = Self { nano: 0, format: Format::Decimal };

    /// Reads text such as `100m`, `1.5Gi`, `2e3` or `-4`. Fractions finer than a nano unit are
    /// rounded away from zero, amounts above 2^63 - 1 are cut down to that.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        if text.is_empty() {
            return Err(QuantityError::Empty);
        }
        let (negative, rest) = match text.as_bytes()[0] {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let scale = Scale::of(suffix).ok_or_else(|| QuantityError::Suffix(text.to_owned()))?;
        let nano =
            magnitude(number, scale).ok_or_else(|| QuantityError::Number(text.to_owned()))?;
        // Below one unit a binary suffix cannot show the amount any more.
        let format = match scale.format() {
            Format::Binary if nano > 0 && nano < NANO => Format::Decimal,
            format => format,
        };
        Ok(Self { nano: if negative { -nano } else { nano }, format })
    }

    /// So many whole units; printed with decimal suffixes.
    pub fn from_units(units: i64) -> Self {
        Self { nano: i128::from(units) * NANO, format: Format::Decimal }
    }

    /// So many bytes; printed with binary suffixes.
    pub fn from_bytes(bytes: u64) -> Self {
        let nano = (i128::from(bytes) * NANO).min(MAX_NANO);
        Self { nano, format: Format::Binary }
    }

    /// So many thousandths, as for CPU time.
    pub fn from_milli(milli: i64) -> Self {
        Self { nano: i128::from(milli) * (NANO / 1000), format: Format::Decimal }
    }

    /// Whole units, a fraction rounded away from zero.
    pub fn value(self) -> i64 {
        self.scaled(NANO)
    }

    /// Thousandths, a finer fraction rounded away from zero; cut at the ends of `i64`.
    pub fn milli_value(self) -> i64 {
        self.scaled(NANO / 1000)
    }

    pub fn is_zero(self) -> bool {
        self.nano == 0
    }

    /// The sum; keeps the spelling of `self` unless that is zero.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let format = if self.nano == 0 { other.format } else { self.format };
        Self { nano: (self.nano + other.nano).clamp(-MAX_NANO, MAX_NANO), format }
    }

    /// The difference, which may be negative; keeps the spelling of `self` unless that is zero.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        let format = if self.nano == 0 { other.format } else { self.format };
        Self { nano: (self.nano - other.nano).clamp(-MAX_NANO, MAX_NANO), format }
    }

    /// The amount, or zero in the same spelling when it is negative.
    #[must_use]
    pub fn not_below_zero(self) -> Self {
        Self { nano: self.nano.max(0), format: self.format }
    }

    fn scaled(self, unit: i128) -> i64 {
        let whole = self.nano / unit;
        let rounded = if self.nano % unit == 0 { whole } else { whole + self.nano.signum() };
        i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN } else { i64::MAX })
    }
}

/// What a suffix multiplies by.
#[derive(Clone, Copy)]
enum Scale {
    Decimal(i32),
    Exponent(i32),
    Binary(u32),
}

impl Scale {
    fn of(suffix: &str) -> Option<Self> {
        if let Some((power, _)) = DECIMAL_SUFFIXES.iter().find(|(_, name)| *name == suffix) {
            return Some(Self::Decimal(*power));
        }
        if let Some((power, _)) = BINARY_SUFFIXES.iter().find(|(_, name)| *name == suffix) {
            return Some(Self::Binary(*power));
        }
        let digits = suffix.strip_prefix(['e', 'E'])?;
        let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(digits);
        if unsigned.is_empty() || !unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        // An exponent beyond i32 is out of range in either direction all the same.
        let extreme = if digits.starts_with('-') { i32::MIN / 2 } else { i32::MAX / 2 };
        Some(Self::Exponent(digits.parse().unwrap_or(extreme)))
    }

    fn format(self) -> Format {
        match self {
            Self::Decimal(_) => Format::Decimal,
            Self::Exponent(_) => Format::Exponent,
            Self::Binary(_) => Format::Binary,
        }
    }
}

/// Nano units of `number` (digits with at most one point) times `scale`, rounded up and cut to the
/// largest amount; `None` when `number` holds no digit or two points.
fn magnitude(number: &str, scale: Scale) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let digits: String = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let (power_of_ten, factor) = match scale {
        Scale::Decimal(power) | Scale::Exponent(power) => (power, 1),
        Scale::Binary(power) => (0, 1_i128 << (10 * power)),
    };
    let places = i32::try_from(fraction.len()).unwrap_or(i32::MAX / 2);
    Some(shifted(digits, power_of_ten.saturating_add(9).saturating_sub(places), factor))
}

/// `digits` x `factor` x 10^`shift`, rounded up, at most `MAX_NANO`. `digits` starts non-zero.
fn shifted(digits: &str, shift: i32, factor: i128) -> i128 {
    let length = i32::try_from(digits.len()).unwrap_or(i32::MAX / 2);
    // The factor is below 10^19 and MAX_NANO below 10^28.
    if length.saturating_add(shift) > 29 {
        return MAX_NANO;
    }
    if length.saturating_add(shift) < -19 {
        return 1;
    }
    let mut digits = digits;
    let mut shift = shift;
    let mut lost = false;
    // Digits that cannot matter beside the rounding would only overflow the arithmetic.
    while digits.len() > 29 && shift < 0 {
        let (head, tail) = digits.split_at(digits.len() - 1);
        lost |= tail != "0";
        digits = head;
        shift += 1;
    }
    let Some(mut amount) = digits.parse::<i128>().ok().and_then(|n| n.checked_mul(factor)) else {
        return wide_shifted(digits, shift, factor, lost);
    };
    while shift > 0 {
        amount = amount.saturating_mul(10);
        shift -= 1;
    }
    while shift < 0 {
        lost |= amount % 10 != 0;
        amount /= 10;
        shift += 1;
    }
    amount.saturating_add(i128::from(lost)).min(MAX_NANO)
}

/// The same for products beyond `i128`, which only long fractions with a binary suffix reach:
/// the number is divided first, in two halves, so nothing but the rounding is lost.
fn wide_shifted(digits: &str, shift: i32, factor: i128, lost: bool) -> i128 {
    if shift >= 0 {
        return MAX_NANO;
    }
    let Ok(number) = digits.parse::<i128>() else { return MAX_NANO };
    let divisor = 10_i128.checked_pow(shift.unsigned_abs()).unwrap_or(i128::MAX);
    let (whole, rest) = (number / divisor, number % divisor);
    // rest x factor may still be too wide: take the factor 1024 at a time.
    let mut result = whole;
    let mut remainder = rest;
    let mut left = factor;
    while left > 1 {
        let wide = remainder.saturating_mul(1024);
        result = result.saturating_mul(1024).saturating_add(wide / divisor);
        remainder = wide % divisor;
        left >>= 10;
    }
    result.saturating_add(i128::from(remainder != 0 || lost)).min(MAX_NANO)
}

impl fmt::Display for Quantity {
    /// The canonical text: the greatest suffix of the family that leaves no fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let small = self.nano.abs() < 1024 * NANO;
        match self.format {
            Format::Binary if !small => {
                let units = self.scaled(NANO);
                for (power, suffix) in BINARY_SUFFIXES {
                    let unit = 1_i64 << (10 * power);
                    if units % unit == 0 {
                        return write!(f, "{}{suffix}", units / unit);
                    }
                }
                write!(f, "{units}")
            }
            _ => self.fmt_decimal(f),
        }
    }
}

impl Quantity {
    fn fmt_decimal(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano == 0 {
            return f.write_str("0");
        }
        for (power, suffix) in DECIMAL_SUFFIXES {
            let unit = 10_i128.pow(u32::try_from(power + 9).unwrap_or(0));
            if self.nano % unit != 0 {
                continue;
            }
            let amount = self.nano / unit;
            return match self.format {
                Format::Exponent if power != 0 => write!(f, "{amount}e{power}"),
                _ => write!(f, "{amount}{suffix}"),
            };
        }
        Ok(())
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Self::parse(text)
    }
}

impl TryFrom<&ApiQuantity> for Quantity {
    type Error = QuantityError;

    fn try_from(quantity: &ApiQuantity) -> Result<Self, QuantityError> {
        Self::parse(&quantity.0)
    }
}

impl From<Quantity> for ApiQuantity {
    fn from(quantity: Quantity) -> Self {
        Self(quantity.to_string())
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.nano.cmp(&other.nano)
    }
}

impl Default for Quantity {
    fn default() -> Self {
        Self::ZERO
    }
}

#[cfg(test)]
mod tests;
