//! What each strategy does with three children, whatever they are made of.

use evenkeel_runtime::{StopReason, Strategy};

/// Checks each strategy: the youngest first down, the oldest first up, at the same addresses.
/// `fail_the_second` fails the second of `a`, `b` and `c`, then says `word` to each, and tells what
/// they wrote and why the system stopped.
pub(crate) fn check(fail_the_second: impl Fn(Strategy) -> (Vec<String>, Option<StopReason>)) {
    let up = ["a hears word", "b hears word", "c hears word"];
    let told = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let expect = |strategy, first: &[&str], then: &[&str]| {
        assert_eq!(fail_the_second(strategy), (told(&[first, then].concat()), None));
    };
    expect(Strategy::Restart, &["b ends", "b begins"], &up);
    let rest = ["b ends", "c ends", "b begins", "c begins"];
    expect(Strategy::RestartRest, &rest, &up);
    let all = ["b ends", "c ends", "a ends", "a begins", "b begins", "c begins"];
    expect(Strategy::RestartAll, &all, &up);
    expect(Strategy::Stop, &["b ends"], &["a hears word", "c hears word"]);
    expect(Strategy::StopAll, &["b ends", "c ends", "a ends"], &[]);
    let (log, reason) = fail_the_second(Strategy::Escalate);
    assert_eq!(log, ["b ends", "c ends", "a ends"]);
    assert!(matches!(reason, Some(StopReason::GaveUp { name: "b", panics: 1, .. })));
}
