//! An actor's protocol is checked when it is compiled, and the compiler's errors can be read.

/// Goal: each wrong use in `typed/` is refused, with the error that stands beside it.
#[test]
fn wrong_protocols_do_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/typed/*.rs");
}
