//! The line that a program prints: flat JSON.

use serde_json::{Map, Number, Value};

use crate::{command::Run, measure::Meter, probe::Waits};

/// One line under construction.
pub(crate) struct Line(Map<String, Value>);

impl Line {
    /// A line of this run.
    pub(crate) fn new(run: &Run) -> Self {
        let mut fields = Map::new();
        fields.insert("runtime".into(), run.runtime.into());
        fields.insert("program".into(), run.program.name().into());
        fields.insert("workers".into(), run.workers.into());
        Self(fields)
    }

    /// With a figure; one that is not finite is left out.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, figure: f64) -> Self {
        if let Some(number) = Number::from_f64((figure * 1e4).round() / 1e4) {
            self.0.insert(name.into(), Value::Number(number));
        }
        self
    }

    /// With a remark.
    #[must_use]
    pub(crate) fn remark(mut self, name: &str, text: &str) -> Self {
        self.0.insert(name.into(), text.into());
        self
    }

    /// With what each of `operations` cost.
    #[must_use]
    pub(crate) fn cost(self, operations: u64, meter: Meter) -> Self {
        let spent = meter.stop();
        let each = operations as f64;
        self.with("ops", each)
            .with("cpu_ns_per_op", spent.cpu / each)
            .with("kernel_ns_per_op", spent.kernel / each)
            .with("wall_ns_per_op", spent.wall / each)
    }

    /// With how long probes waited.
    #[must_use]
    pub(crate) fn waits(self, waits: &Waits) -> Self {
        self.with("probes", waits.sent as f64)
            .with("answered", waits.answered() as f64)
            .with("p50_us", waits.percentile_us(50))
            .with("p99_us", waits.percentile_us(99))
            .with("max_us", waits.percentile_us(100))
    }

    /// A figure that it has.
    pub(crate) fn figure(&self, name: &str) -> f64 {
        self.0.get(name).and_then(Value::as_f64).expect("the caller has put it in")
    }

    /// Prints it.
    pub(crate) fn print(self) {
        println!("{}", Value::Object(self.0));
    }
}
