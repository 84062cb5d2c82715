//! Reads the text format for tests, and refuses all that the writer has no reason to write.

use std::collections::BTreeMap;

/// Names of labels with their values, in the order of the text.
pub(crate) type Labels = Vec<(String, String)>;

/// The value one, in the parts that values are read in.
pub(crate) const ONE: u128 = 1_000_000_000;

/// A metric as it was read; its values in billionths, so that they are exact. Of a histogram its
/// counts, its buckets by their label `le`, and its sums by a label without a name.
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
/// it comes once, counters and no others are called `_total`, and no value is below zero. The
/// buckets of a histogram never fall, end with all and are followed by its sum and its count.
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
            .filter(|kind| ["counter", "gauge", "histogram"].contains(kind))
            .ok_or_else(|| format!("no TYPE of {name}: {type_line:?}"))?;
        if !is_name(name) || (kind == "counter") != name.ends_with("_total") {
            return Err(format!("no name of a {kind}: {name:?}"));
        }
        let mut help_left = help;
        let help = unescape(&mut help_left, None)?;
        let mut samples = BTreeMap::new();
        let mut below = None;
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let rest = line.strip_prefix(name).ok_or_else(|| format!("not of {name}: {line:?}"))?;
            let read = if kind == "histogram" { part(rest, &mut below) } else { sample(rest) };
            let (labels, value) = read.map_err(|why| format!("{why}: {line:?}"))?;
            if samples.insert(labels, value).is_some() {
                return Err(format!("twice: {line:?}"));
            }
        }
        if below.is_some() {
            return Err(format!("no end of {name}"));
        }
        let metric = Metric { help, kind: kind.to_owned(), samples };
        if metrics.insert(name.to_owned(), metric).is_some() {
            return Err(format!("twice: {name}"));
        }
    }
    Ok(metrics)
}

/// How far the buckets of one histogram have been read.
struct Below {
    labels: Labels,
    /// The last bound.
    bound: u128,
    /// How many are below it.
    count: u128,
    has_sum: bool,
}

/// A line of a histogram, of whose buckets `below` are read.
fn part(rest: &str, below: &mut Option<Below>) -> Result<(Labels, u128), String> {
    if let Some(rest) = rest.strip_prefix("_bucket") {
        let (mut labels, value) = sample(rest)?;
        let (name, bound) = labels.pop().ok_or("no label le")?;
        let end = if bound == "+Inf" { u128::MAX } else { number(&bound)? };
        let (floor, least) = match &*below {
            None => (None, 0),
            Some(below) if below.labels == labels => (Some(below.bound), below.count),
            Some(_) => return Err("no end of the one before".to_owned()),
        };
        if name != "le" || floor.is_some_and(|floor| end <= floor) || value < least {
            return Err("no further bucket".to_owned());
        }
        *below = Some(Below { labels: labels.clone(), bound: end, count: value, has_sum: false });
        labels.push((name, bound));
        return Ok((labels, value));
    }
    let read = below.as_mut().filter(|below| below.bound == u128::MAX).ok_or("no last bucket")?;
    if let Some(rest) = rest.strip_prefix("_sum") {
        let (mut labels, value) = sample(rest)?;
        read.has_sum = read.labels == labels;
        labels.push((String::new(), "sum".to_owned()));
        return Ok((labels, value));
    }
    let (labels, value) = sample(rest.strip_prefix("_count").ok_or("not of a histogram")?)?;
    if !read.has_sum || (&read.labels, read.count) != (&labels, value) {
        return Err("not the count of the buckets".to_owned());
    }
    *below = None;
    Ok((labels, value))
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
    Ok((labels, number(rest.strip_prefix(' ').ok_or("no space before the value")?)?))
}

/// A decimal number, in billionths.
fn number(number: &str) -> Result<u128, String> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_plain = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit());
    if !is_plain(whole) || !is_plain(fraction) || fraction.len() > 9 {
        return Err("no number".to_owned());
    }
    let billionths = format!("{fraction:0<9}");
    let parts = |digits: &str| digits.parse::<u128>().map_err(|error| error.to_string());
    Ok(parts(whole)? * ONE + parts(&billionths)?)
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
