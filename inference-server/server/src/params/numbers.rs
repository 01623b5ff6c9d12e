//! Numbers as clients write them.

use serde_json::value::RawValue;

/// A whole number from 0 to 2^64 - 1. `20.0` and `2e1` are whole too: some languages have no integers.
pub(super) fn whole(raw: &RawValue) -> Result<u64, String> {
    let text = raw.get();
    if let Ok(number) = text.parse::<u64>() {
        return Ok(number);
    }
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53: above it a float is no longer one whole number
    match number(raw) {
        Some(x) if x < 0.0 => {
            Err(format!("expected a whole number from 0 to {}, got {}", u64::MAX, short(text)))
        }
        Some(x) if x > EXACT => {
            Err(format!("{} is above the largest possible value, {}", short(text), u64::MAX))
        }
        Some(x) if x.fract() == 0.0 => Ok(x as u64),
        Some(_) => Err(format!("expected a whole number, got {}", short(text))),
        None => Err(format!("expected a whole number, got {}", kind(text))),
    }
}

/// A finite number.
pub(super) fn finite(raw: &RawValue) -> Result<f64, String> {
    match number(raw) {
        Some(x) if x.is_finite() => Ok(x),
        Some(_) => Err(format!("{} is too large for a number", short(raw.get()))),
        None => Err(format!("expected a number, got {}", kind(raw.get()))),
    }
}

/// JSON has no infinity, but `1e999` is a number that becomes one.
fn number(raw: &RawValue) -> Option<f64> {
    let text = raw.get();
    let starts = text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    if starts { text.parse().ok() } else { None }
}

/// What a JSON value is, for people.
pub(super) fn kind(text: &str) -> String {
    match text.as_bytes().first() {
        Some(b'"') => format!("the string {}", short(text)),
        Some(b'{') => "an object".into(),
        Some(b'[') => "a list".into(),
        Some(b't' | b'f') => format!("the boolean {text}"),
        Some(b'n') => "null".into(),
        _ => format!("the number {}", short(text)),
    }
}

/// At most 40 characters of a client's text, so that an answer does not grow with the question.
pub(super) fn short(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn whole_numbers() {
        for (text, want) in [
            ("0", 0),
            ("18446744073709551615", u64::MAX),
            ("20.0", 20),
            ("2e1", 20),
            ("-0", 0),
            ("9007199254740992.0", 1 << 53),
        ] {
            assert_eq!(whole(&raw(text)), Ok(want), "{text}");
        }
        for (text, word) in [
            ("-1", "from 0 to 18446744073709551615, got -1"),
            ("18446744073709551616", "above the largest"),
            ("1e999", "above the largest"),
            ("-1e999", "got -1e999"),
            ("1.5", "whole number, got 1.5"),
            ("\"7\"", "got the string \"7\""),
            ("[]", "got a list"),
            ("{}", "got an object"),
            ("true", "got the boolean true"),
        ] {
            let error = whole(&raw(text)).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn finite_numbers() {
        assert_eq!(finite(&raw("7.5")), Ok(7.5));
        assert_eq!(finite(&raw("-3")), Ok(-3.0));
        assert_eq!(finite(&raw("1e-999")), Ok(0.0));
        for text in ["1e999", "-1e999"] {
            assert!(finite(&raw(text)).unwrap_err().contains("too large"), "{text}");
        }
        let long = format!("\"{}\"", "x".repeat(1000));
        assert!(finite(&raw(&long)).unwrap_err().len() < 100);
    }
}
