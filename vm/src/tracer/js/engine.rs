//! The engine that runs a script: `QuickJS`, with bounds. Pure but for what a hook looks at.
//!
//! A script has no clock, no randomness and no way out, so one trace is the same each time. Its
//! heap and its stack are bounded, and so is what one hook may do: the engine asks every ten
//! thousand jumps and calls whether it may go on, and the prelude has natives that go through much
//! counted before they begin (`host.work`). Native numbers of any size, one operation on which may
//! take seconds, are kept from scripts; geth's engine has none either. What is left between two
//! questions are operators on strings as long as the heap, some milliseconds each: so scripts run
//! on the compute pool, and one that is stopped may go on there for seconds (a guess).

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use rquickjs::{
    CatchResultExt as _, CaughtError, Coerced, Context, Ctx, FromJs, Function, IntoJs as _, Object,
    Runtime,
    context::{
        EvalOptions,
        intrinsic::{Eval, Json, MapSet, RegExp, RegExpCompiler, TypedArrays},
    },
};
use scoped_tls_hkt::scoped_thread_local;

use super::{Place, Source, host};
use crate::limits::{
    JS_HEAP_BYTES_MAX, JS_STACK_BYTES_MAX, JS_THROWN_BYTES_MAX, JS_UNITS_PER_HOOK_MAX,
};

/// Where the hooks are kept among the script's own names; no identifier is written like that.
const HOOKS: &str = "evenkeel hooks";

/// How the engine names the script.
const SCRIPT: &str = "tracer";

/// geth's `log`, `db`, `bigInt` and so on.
const PRELUDE: &str = include_str!("prelude.js");

scoped_thread_local!(
    /// Says whether the job in which scripts run on this thread is to stop.
    static STOP: for<'a> &'a (dyn Fn() -> bool + 'a)
);

/// Lets scripts that run within `work` be stopped.
pub(crate) fn stoppable<R>(should_stop: &dyn Fn() -> bool, work: impl FnOnce() -> R) -> R {
    STOP.set(should_stop, work)
}

/// A script that was begun.
pub(super) struct Engine {
    context: Context,
    looks: Arc<Looks>,
    pub(super) has_step: bool,
    pub(super) has_frames: bool,
}

/// What a hook has done, and what it was told when it was asked whether it may go on.
#[derive(Default)]
pub(super) struct Looks {
    /// Jumps and calls, and what natives go through.
    units: AtomicU64,
    was_stopped: AtomicBool,
}

impl Looks {
    /// Jumps and calls between two questions of the engine.
    const UNITS: u64 = 10_000;

    /// True if the hook has to end, after so much more work.
    pub(super) fn spend(&self, units: u64) -> bool {
        let before = self.units.fetch_add(units, Ordering::Relaxed);
        if STOP.is_set() && STOP.with(|should_stop| should_stop()) {
            self.was_stopped.store(true, Ordering::Relaxed);
        }
        before.saturating_add(units) > JS_UNITS_PER_HOOK_MAX
            || self.was_stopped.load(Ordering::Relaxed)
    }
}

impl Engine {
    /// Evaluates the script and lets it set itself up.
    ///
    /// # Errors
    ///
    /// What it throws, or that it is no tracer.
    pub(super) fn start(source: &Source) -> Result<Self, String> {
        let runtime = Runtime::new().map_err(|error| error.to_string())?;
        runtime.set_memory_limit(JS_HEAP_BYTES_MAX);
        runtime.set_max_stack_size(JS_STACK_BYTES_MAX);
        let looks = Arc::new(Looks::default());
        let looking = Arc::clone(&looks);
        runtime.set_interrupt_handler(Some(Box::new(move || looking.spend(Looks::UNITS))));
        let builder =
            Context::builder().with::<(Eval, Json, MapSet, RegExp, RegExpCompiler, TypedArrays)>();
        let context = builder.build(&runtime).map_err(|error| error.to_string())?;
        let mut engine =
            Self { context, looks: Arc::clone(&looks), has_step: false, has_frames: false };
        let mut place = None;
        let begun = engine.within(None, |ctx| {
            let prelude: Function<'_> = ctx.eval(PRELUDE)?;
            let begin: Function<'_> = prelude.call((host::object(ctx, &looks)?,))?;
            // As geth's engine reads it.
            let mut sloppy = EvalOptions::default();
            sloppy.strict = false;
            sloppy.filename = Some(SCRIPT.to_owned());
            // A comment may be its last line.
            let code = format!("({}\n)", source.code);
            let script: rquickjs::Result<rquickjs::Value<'_>> = ctx.eval_with_options(code, sloppy);
            let script = script.map_err(|error| {
                if !error.is_exception() {
                    return error;
                }
                let thrown = ctx.catch();
                place = place_of(&thrown, &source.code);
                ctx.throw(thrown)
            })?;
            let hooks: Object<'_> = begin.call((script,))?;
            let has = (hooks.get("hasSetup")?, hooks.get("hasStep")?, hooks.get("hasFrames")?);
            ctx.globals().set(HOOKS, hooks)?;
            Ok(has)
        });
        let place = place.map(|place| place.to_string()).unwrap_or_default();
        let has_setup;
        (has_setup, engine.has_step, engine.has_frames) =
            begun.map_err(|reason| reason + &place)?;
        if has_setup {
            let config = Arc::clone(&source.config);
            engine.call::<()>("setup", |ctx| Ok(vec![(*config).into_js(ctx)?]))?;
        }
        Ok(engine)
    }

    /// Calls one of its hooks.
    ///
    /// # Errors
    ///
    /// What it throws, in geth's words.
    pub(super) fn call<R>(
        &self,
        hook: &'static str,
        arguments: impl for<'js> FnOnce(&Ctx<'js>) -> rquickjs::Result<Arguments<'js>>,
    ) -> Result<R, String>
    where
        R: for<'js> FromJs<'js>,
    {
        self.within(Some(hook), |ctx| {
            let hooks: Object<'_> = ctx.globals().get(HOOKS)?;
            let function: Function<'_> = hooks.get(hook)?;
            function.call((rquickjs::function::Rest(arguments(ctx)?),))
        })
    }

    /// How much the last hook has done: jumps and calls by the ten thousand, and what natives went
    /// through.
    pub(super) fn units(&self) -> u64 {
        self.looks.units.load(Ordering::Relaxed).min(JS_UNITS_PER_HOOK_MAX + 1)
    }

    fn within<R>(
        &self,
        hook: Option<&'static str>,
        work: impl for<'js> FnOnce(&Ctx<'js>) -> rquickjs::Result<R>,
    ) -> Result<R, String> {
        self.looks.units.store(0, Ordering::Relaxed);
        self.context.with(|ctx| {
            let caught = match work(&ctx).catch(&ctx) {
                Ok(result) => return Ok(result),
                Err(caught) => caught,
            };
            let reason = if self.looks.was_stopped.load(Ordering::Relaxed) {
                "it was stopped".to_owned()
            } else if self.units() > JS_UNITS_PER_HOOK_MAX {
                format!(
                    "no end after {} million jumps and calls",
                    JS_UNITS_PER_HOOK_MAX / 1_000_000
                )
            } else {
                cut(thrown(caught))
            };
            Err(match hook {
                Some(hook) => format!("{reason} in server-side tracer function '{hook}'"),
                None => reason,
            })
        })
    }
}

/// What a hook is called with.
pub(super) type Arguments<'js> = Vec<rquickjs::Value<'js>>;

/// Where in the script its syntax is wrong, if that is what was thrown.
fn place_of(thrown: &rquickjs::Value<'_>, code: &str) -> Option<Place> {
    let error = thrown.as_exception()?;
    let name: Option<String> = error.get("name").ok();
    if name.as_deref() != Some("SyntaxError") {
        return None;
    }
    // Its first line: `at tracer:1:2`.
    let stack = error.stack()?;
    let (_, at) = stack.lines().next()?.split_once(&format!("{SCRIPT}:"))?;
    let (line, column) = at.split_once(':')?;
    let (line, column) = (line.trim().parse::<usize>().ok()?, column.trim().parse::<usize>().ok()?);
    // What comes after the script is the bracket that it is put in.
    let Some(text) = code.split('\n').nth(line.checked_sub(1)?) else {
        return Some(Place::of(code, code.len()));
    };
    // In bytes from 1, after the other bracket in the first line.
    let before = column.saturating_sub(if line == 1 { 2 } else { 1 });
    let before = &text[..text.floor_char_boundary(before)];
    Some(Place { line, column: before.chars().count() + 1 })
}

/// What was thrown, as the language says it.
fn thrown(caught: CaughtError<'_>) -> String {
    match caught {
        CaughtError::Exception(exception) => {
            let name: Option<String> = exception.get("name").ok();
            let message = exception.message().unwrap_or_default();
            format!("{}: {message}", name.as_deref().unwrap_or("Error"))
        }
        // What the engine throws when there is no memory for an error.
        CaughtError::Value(value) if value.is_null() => "null, or out of memory".to_owned(),
        CaughtError::Value(value) => match value.get::<Coerced<String>>() {
            Ok(Coerced(text)) => text,
            Err(_) => format!("something was thrown: {}", value.type_name()),
        },
        CaughtError::Error(error) => error.to_string(),
    }
}

/// Of what a script throws, as much as an error shows.
fn cut(mut text: String) -> String {
    if text.len() > JS_THROWN_BYTES_MAX {
        text.truncate(text.floor_char_boundary(JS_THROWN_BYTES_MAX));
        text.push('…');
    }
    text
}
