//! Reads the text format for tests, and refuses all that the writer has no reason to write.

use std::collections::BTreeMap;

/// Names of labels with their values, in the order of the text.
pub(crate) type Labels = Vec<(String, String)>;

/// The value one, in the parts that values are read in.
pub(crate) const ONE: u128 = 1_000_000_000;

/// A metric as it was read; its values in billionths, so that they are exact.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) help: String,
    pub(crate) kind: String,
    pub(crate) samples: BTreeMap<Labels, u128>,
}

impl Metric {
    /// The value with one label of this value alone.
    pub(crate) fn with(&self, label: &str, value: &str) -> Option<u128> {
        self.samples.get(&vec![(label.to_owned(), value.to_owned())]).copied()
    }
}

/// All metrics by name.
///
/// Every metric has a HELP line, then a TYPE line, then samples; it comes once, each label set of
/// it comes once, counters and no others are called `_total`, and no value is below zero.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<String, Metric>, String> {
    let mut metrics = BTreeMap::<String, Metric>::new();
    let body = text.strip_suffix('\n').ok_or("the last line does not end")?;
    let mut lines = body.split('\n').peekable();
    while let Some(line) = lines.next() {
        let help = line.strip_prefix("# HELP ").ok_or_else(|| format!("no HELP: {line:?}"))?;
        let (name, help) = help.split_once(' ').ok_or_else(|| format!("no help: {line:?}"))?;
        let type_line = lines.next().unwrap_or_default();
        let kind = type_line
            .strip_prefix(&format!("# TYPE {name} "))
            .filter(|kind| ["counter", "gauge"].contains(kind))
            .ok_or_else(|| format!("no TYPE of {name}: {type_line:?}"))?;
        if !is_name(name) || (kind == "counter") != name.ends_with("_total") {
            return Err(format!("no name of a {kind}: {name:?}"));
        }
        let mut help_left = help;
        let help = unescape(&mut help_left, None)?;
        let mut samples = BTreeMap::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let rest = line.strip_prefix(name).ok_or_else(|| format!("not of {name}: {line:?}"))?;
            let (labels, value) = sample(rest).map_err(|why| format!("{why}: {line:?}"))?;
            if samples.insert(labels, value).is_some() {
                return Err(format!("twice: {line:?}"));
            }
        }
        let metric = Metric { help, kind: kind.to_owned(), samples };
        if metrics.insert(name.to_owned(), metric).is_some() {
            return Err(format!("twice: {name}"));
        }
    }
    Ok(metrics)
}

/// `{name="value",...} number` or ` number`.
fn sample(mut rest: &str) -> Result<(Labels, u128), String> {
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (name, after) = rest.split_once("=\"").ok_or("no label")?;
            if !is_name(name) || labels.iter().any(|(other, _)| other == name) {
                return Err(format!("no name of a label: {name:?}"));
            }
            rest = after;
            let value = unescape(&mut rest, Some('"'))?;
            labels.push((name.to_owned(), value));
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            rest = rest.strip_prefix(',').ok_or("no comma")?;
        }
    }
    let number = rest.strip_prefix(' ').ok_or("no space before the value")?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_plain = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit());
    if !is_plain(whole) || !is_plain(fraction) || fraction.len() > 9 {
        return Err("no number".to_owned());
    }
    let billionths = format!("{fraction:0<9}");
    let parts = |digits: &str| digits.parse::<u128>().map_err(|error| error.to_string());
    Ok((labels, parts(whole)? * ONE + parts(&billionths)?))
}

/// Takes text up to `end`, or all of it, and undoes its escapes.
fn unescape(rest: &mut &str, end: Option<char>) -> Result<String, String> {
    let mut plain = String::new();
    let mut signs = rest.chars();
    loop {
        match signs.next() {
            None if end.is_none() => break,
            None => return Err("no end of a value".to_owned()),
            sign if sign == end => break,
            Some('\\') => plain.push(match signs.next() {
                Some('\\') => '\\',
                Some('n') => '\n',
                Some('"') if end.is_some() => '"',
                other => return Err(format!("no escape: {other:?}")),
            }),
            Some(sign) => plain.push(sign),
        }
    }
    *rest = signs.as_str();
    Ok(plain)
}

fn is_name(name: &str) -> bool {
    let is_sign = |sign: char| sign.is_ascii_alphanumeric() || sign == '_';
    name.starts_with(|sign: char| sign.is_ascii_alphabetic()) && name.chars().all(is_sign)
}
