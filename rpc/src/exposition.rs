//! Writes figures as Prometheus' text format, version 0.0.4. Pure.
//!
//! Source: "Exposition formats" of the Prometheus documentation, "Text-based format".

use std::{fmt::Write as _, time::Duration};

/// The format's content type.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a metric's values do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// They only grow until the process ends. By convention its name ends with `_total`.
    Counter,
    /// They go up and down.
    Gauge,
    /// They say how many observations lie below which bounds, and only grow.
    Histogram,
}

/// A value of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// A number of things.
    Count(u64),
    /// A time, shown in seconds to the nanosecond.
    Seconds(Duration),
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<usize> for Value {
    fn from(count: usize) -> Self {
        Self::Count(count as u64)
    }
}

impl From<Duration> for Value {
    fn from(time: Duration) -> Self {
        Self::Seconds(time)
    }
}

/// A text that grows by one metric after another.
#[derive(Debug, Default)]
pub(crate) struct Exposition(String);

/// A metric to which samples are added; the label sets of all its samples differ.
pub(crate) struct Metric<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Exposition {
    /// Begins a metric. Its name may begin only once.
    pub(crate) fn metric(
        &mut self,
        kind: Kind,
        name: &'static str,
        help: &'static str,
    ) -> Metric<'_> {
        let text = &mut self.0;
        text.push_str("# HELP ");
        text.push_str(name);
        text.push(' ');
        escape(text, help, Quoted::No);
        text.push_str("\n# TYPE ");
        text.push_str(name);
        text.push_str(match kind {
            Kind::Counter => " counter\n",
            Kind::Gauge => " gauge\n",
            Kind::Histogram => " histogram\n",
        });
        Metric { text, name }
    }

    /// The whole text.
    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

impl Metric<'_> {
    /// The sample of a metric that has no labels.
    pub(crate) fn value(&mut self, value: impl Into<Value>) {
        self.sample(&[], value);
    }

    /// One sample; `labels` are names with their values.
    pub(crate) fn sample(&mut self, labels: &[(&str, &str)], value: impl Into<Value>) {
        self.line("", labels, value.into());
    }

    /// One histogram of times: `buckets` are upper bounds that grow, and how many times are in each
    /// bucket; `beyond` are longer than all of them.
    pub(crate) fn histogram(
        &mut self,
        labels: &[(&str, &str)],
        buckets: impl IntoIterator<Item = (Duration, u64)>,
        beyond: u64,
        sum: Duration,
    ) {
        let mut below = 0;
        let mut bucket = |metric: &mut Self, bound: &str, count| {
            below += count;
            let labels: Vec<_> = labels.iter().copied().chain([("le", bound)]).collect();
            metric.line("_bucket", &labels, Value::Count(below));
            below
        };
        for (bound, count) in buckets {
            bucket(self, &seconds(bound), count);
        }
        let count = bucket(self, "+Inf", beyond);
        self.line("_sum", labels, Value::Seconds(sum));
        self.line("_count", labels, Value::Count(count));
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: Value) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        for (index, (name, value)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(self.text, value, Quoted::Yes);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let written = match value {
            Value::Count(count) => writeln!(self.text, " {count}"),
            Value::Seconds(time) => writeln!(self.text, " {}", seconds(time)),
        };
        written.expect("writing to a String cannot fail");
    }
}

fn seconds(time: Duration) -> String {
    format!("{}.{:09}", time.as_secs(), time.subsec_nanos())
}

/// Whether quotes would end the text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quoted {
    Yes,
    No,
}

fn escape(to: &mut String, from: &str, quoted: Quoted) {
    for character in from.chars() {
        match character {
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            '"' if quoted == Quoted::Yes => to.push_str("\\\""),
            other => to.push(other),
        }
    }
}

#[cfg(test)]
pub(crate) mod parse;

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the text is the format's, and names that hold its own signs come back.
    /// Method: compare with a text written by hand; read both by a parser that forgives nothing.
    #[test]
    fn figures_are_written_as_the_format_says() {
        let mut exposition = Exposition::default();
        exposition.metric(Kind::Gauge, "ships", "Afloat: C:\\sea,\nnot \"sunk\".").value(3_usize);
        let mut trips = exposition.metric(Kind::Counter, "trips_seconds_total", "Time at sea.");
        let odd = "the \"Keel\"\\\n{a=\"b\"} 7";
        trips.sample(&[("ship", odd), ("sea", "")], Duration::new(12, 34));
        trips.sample(&[("ship", "Étoile")], u64::MAX);
        let mut waits = exposition.metric(Kind::Histogram, "waits_seconds", "Time in port.");
        let buckets = [(Duration::from_millis(500), 2), (Duration::from_secs(1), 0)];
        waits.histogram(&[("ship", "Keel")], buckets, 3, Duration::from_secs(9));
        waits.histogram(&[("ship", "Étoile")], buckets, 0, Duration::from_millis(700));
        let text = exposition.into_text();
        let expected = "# HELP ships Afloat: C:\\\\sea,\\nnot \"sunk\".\n\
            # TYPE ships gauge\n\
            ships 3\n\
            # HELP trips_seconds_total Time at sea.\n\
            # TYPE trips_seconds_total counter\n\
            trips_seconds_total{ship=\"the \\\"Keel\\\"\\\\\\n{a=\\\"b\\\"} 7\",sea=\"\"} 12.000000034\n\
            trips_seconds_total{ship=\"Étoile\"} 18446744073709551615\n\
            # HELP waits_seconds Time in port.\n\
            # TYPE waits_seconds histogram\n\
            waits_seconds_bucket{ship=\"Keel\",le=\"0.500000000\"} 2\n\
            waits_seconds_bucket{ship=\"Keel\",le=\"1.000000000\"} 2\n\
            waits_seconds_bucket{ship=\"Keel\",le=\"+Inf\"} 5\n\
            waits_seconds_sum{ship=\"Keel\"} 9.000000000\n\
            waits_seconds_count{ship=\"Keel\"} 5\n\
            waits_seconds_bucket{ship=\"Étoile\",le=\"0.500000000\"} 2\n\
            waits_seconds_bucket{ship=\"Étoile\",le=\"1.000000000\"} 2\n\
            waits_seconds_bucket{ship=\"Étoile\",le=\"+Inf\"} 2\n\
            waits_seconds_sum{ship=\"Étoile\"} 0.700000000\n\
            waits_seconds_count{ship=\"Étoile\"} 2\n";
        assert_eq!(text, expected);

        let read = parse::parse(&text).expect("it is the format");
        assert_eq!(read["ships"].help, "Afloat: C:\\sea,\nnot \"sunk\".");
        assert_eq!(read["ships"].samples[&Vec::new()], 3 * parse::ONE);
        let trips = &read["trips_seconds_total"];
        assert_eq!(trips.kind, "counter");
        let labels = [("ship", odd), ("sea", "")].map(|(name, value)| (name.into(), value.into()));
        assert_eq!(trips.samples[&labels.to_vec()], 12_000_000_034);
        let waits = &read["waits_seconds"];
        assert_eq!(
            (waits.kind.as_str(), waits.with("ship", "Keel")),
            ("histogram", Some(5 * parse::ONE))
        );
        let (fallen, miscounted) = (
            text.replace("+Inf\"} 5", "+Inf\"} 1"),
            text.replace("_count{ship=\"Keel\"} 5", "_count{ship=\"Keel\"} 6"),
        );
        for wrong in [fallen, miscounted, text.replace("le=\"+Inf\"", "le=\"9\"")] {
            assert!(parse::parse(&wrong).is_err(), "{wrong}");
        }
    }
}
