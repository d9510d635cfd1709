//! Numbers as people read them.

/// A configuration value: the shortest text that reads back the same, powers of ten for the very
/// small and large.
pub fn value(v: f64) -> String {
    let magnitude = v.abs();
    if v == 0.0 {
        "0".to_owned()
    } else if !(1e-2..1e7).contains(&magnitude) {
        format!("{v:e}")
    } else {
        format!("{v}")
    }
}

/// A loss or perplexity: four significant digits, at least three decimals below 100.
pub fn loss(v: f64) -> String {
    decimals(
        v,
        if v.abs() < 0.1 {
            4
        } else if v.abs() < 100.0 {
            3
        } else {
            1
        },
    )
}

/// A difference with its sign, as precise as its uncertainty allows.
pub fn signed(v: f64, precision: usize) -> String {
    let text = decimals(v.abs(), precision);
    let is_zero = !text.bytes().any(|b| (b'1'..=b'9').contains(&b));
    match (is_zero, v < 0.0) {
        (true, _) => text,
        (false, true) => format!("−{text}"),
        (false, false) => format!("+{text}"),
    }
}

/// Decimals that show two digits of `margin`, between 3 and 6; 3 without one.
pub fn precision(margin: Option<f64>) -> usize {
    match margin {
        Some(m) if m > 0.0 && m.is_finite() => (1.0 - m.log10().floor()).clamp(3.0, 6.0) as usize,
        _ => 3,
    }
}

/// One number of decimals for a column of figures with these margins: that of the middle one.
pub fn common_precision(margins: impl IntoIterator<Item = f64>) -> usize {
    let mut digits: Vec<usize> =
        margins.into_iter().filter(|m| *m > 0.0).map(|m| precision(Some(m)).min(4)).collect();
    digits.sort_unstable();
    digits.get(digits.len() / 2).copied().unwrap_or(3)
}

/// `mean ± margin`, both to the digits that the margin allows; the mean alone without a margin.
pub fn with_margin(mean: f64, margin: Option<f64>) -> String {
    match margin {
        Some(m) => {
            let digits = precision(margin).min(4);
            format!("{} ± {}", decimals(mean, digits), decimals(m, digits))
        }
        None => loss(mean),
    }
}

/// A fixed number of decimals, with a real minus sign.
pub fn decimals(v: f64, digits: usize) -> String {
    let text = format!("{v:.digits$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.bytes().any(|b| (b'1'..=b'9').contains(&b)) => format!("−{rest}"),
        Some(rest) => rest.to_owned(),
        None => text,
    }
}

/// A fraction as a percentage; no line ends before its sign.
pub fn percent(fraction: f64) -> String {
    format!("{}\u{a0}%", decimals(fraction * 100.0, 1))
}

/// A count with a unit prefix: `6.10 M`.
pub fn count(v: f64) -> String {
    for (limit, unit) in [(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")] {
        if v.abs() >= limit {
            return format!("{}{unit}", three_digits(v / limit));
        }
    }
    if v.fract() == 0.0 { format!("{v}") } else { three_digits(v) }
}

/// The same without trailing zeros: `1.5 M`, for ticks.
pub fn short_count(v: f64) -> String {
    let text = count(v);
    let (number, unit) = text.split_once(' ').map_or((text.as_str(), ""), |(n, u)| (n, u));
    let number =
        if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    if unit.is_empty() { number.to_owned() } else { format!("{number} {unit}") }
}

fn three_digits(v: f64) -> String {
    decimals(
        v,
        if v.abs() < 10.0 {
            2
        } else if v.abs() < 100.0 {
            1
        } else {
            0
        },
    )
}

/// A duration: `3.2 s`, `4 min 05 s`, `2 h 07 min`.
pub fn seconds(v: f64) -> String {
    let whole = v.round() as u64;
    match whole {
        0..60 => format!("{} s", decimals(v, 1)),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Bytes: `512 MiB`.
pub fn bytes(v: f64) -> String {
    for (limit, unit) in [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if v >= limit as f64 {
            return format!("{} {unit}", three_digits(v / limit as f64));
        }
    }
    format!("{v} B")
}

/// A time in RFC 3339 and UTC, to the minute: `2026-03-01 10:15 UTC`. Anything else as it is.
pub fn time(text: &str) -> String {
    match (humantime::parse_rfc3339(text), text.get(..10), text.get(11..16)) {
        (Ok(_), Some(day), Some(minute)) => format!("{day} {minute} UTC"),
        _ => text.to_owned(),
    }
}

/// `1 run`, `2 runs`.
pub fn plural(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// The beginning of a sentence. Names from the configuration, as `forward_kl`, stay as they are.
pub fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) if !text.contains('_') => first.to_uppercase().chain(letters).collect(),
        _ => text.to_owned(),
    }
}

/// `a`, `a and b`, `a, b and c`.
pub fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}

/// At most `length` characters, the middle replaced by `…`.
pub fn shorten(text: &str, length: usize) -> String {
    let n = text.chars().count();
    if n <= length {
        return text.to_owned();
    }
    let tail = length.saturating_sub(1) / 2;
    let head = length.saturating_sub(1) - tail;
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(n - tail).collect();
    format!("{start}…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [value(2.0), value(0.5), value(5e-4), value(0.0), value(1e9)],
            ["2", "0.5", "5e-4", "0", "1e9"]
        );
        assert_eq!([loss(1.23456), loss(0.012345), loss(431.26)], ["1.235", "0.0123", "431.3"]);
        assert_eq!([count(6_096_384.0), count(980.0), count(17_305_344.0)], ["6.10 M", "980", "17.3 M"]);
        assert_eq!([seconds(3.21), seconds(245.0), seconds(7625.0)], ["3.2 s", "4 min 05 s", "2 h 07 min"]);
        assert_eq!(time("2026-03-01T10:15:42.123Z"), "2026-03-01 10:15 UTC");
        assert_eq!(time("yesterday"), "yesterday");
        assert_eq!([bytes(536_870_912.0), bytes(12.0)], ["512 MiB", "12 B"]);
        assert_eq!(percent(0.8127), "81.3\u{a0}%");
        assert_eq!([short_count(1.5e6), short_count(1e6), short_count(640.0)], ["1.5 M", "1 M", "640"]);
    }

    #[test]
    fn differences_show_their_sign_and_never_a_negative_zero() {
        assert_eq!([signed(-0.12, 2), signed(0.12, 2), signed(-0.0001, 2)], ["−0.12", "+0.12", "0.00"]);
        assert_eq!(decimals(-0.0004, 3), "0.000");
    }

    #[test]
    fn a_margin_sets_the_digits() {
        assert_eq!(with_margin(1.23456, Some(0.0312)), "1.235 ± 0.031");
        assert_eq!(with_margin(1.23456, Some(0.5)), "1.235 ± 0.500");
        assert_eq!(with_margin(1.23456, None), "1.235");
        assert_eq!(precision(Some(0.0)), 3);
    }

    #[test]
    fn long_text_keeps_both_ends() {
        assert_eq!(shorten("/data/teachers/large", 11), "/data…large");
        assert_eq!(shorten("short", 11), "short");
    }

    #[test]
    fn lists_are_sentences() {
        let items = ["a", "b", "c"].map(str::to_owned);
        assert_eq!([list(&items[..1]), list(&items[..2]), list(&items)], ["a", "a and b", "a, b and c"]);
    }
}
