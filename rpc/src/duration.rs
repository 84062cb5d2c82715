//! Durations as Go writes them (`time.ParseDuration`), which geth's options have. Pure.

use std::time::Duration;

/// Reads `1m30s`, `500ms` and the like; none if it is no such duration, is negative or cannot be
/// kept.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut seconds = 0.0;
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let (number, unit) = rest.split_at(rest.find(|c| !is_number(c))?);
        let unit_end = unit.find(is_number).unwrap_or(unit.len());
        let (unit, next) = unit.split_at(unit_end);
        let unit = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * unit;
        rest = next;
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_go_are_read() {
        for (text, millis) in [("5s", 5_000), ("1m30s", 90_000), ("1.5h", 5_400_000), ("2ms", 2)] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse("0"), Some(Duration::ZERO));
        for text in ["", "5", "s", "-1s", "1x", "1s2", "1..2s", "1e9s", "99999999999999999999999h"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
