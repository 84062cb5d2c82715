//! The engine that runs a script: `QuickJS`, with bounds. Pure but for what a hook looks at.
//!
//! A script has no clock, no randomness and no way out, so one trace is the same each time. Its
//! heap and its stack are bounded, and so is what one hook may do: the engine asks every ten
//! thousand jumps and calls whether it may go on. Between two of these it may compute on a number
//! as long as the heap allows, which is why scripts run on the compute pool, not on a worker.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use rquickjs::{
    CatchResultExt as _, CaughtError, Context, Ctx, FromJs, Function, Object, Runtime,
    context::intrinsic::{Eval, Json, MapSet, Proxy, RegExp, RegExpCompiler, TypedArrays},
};
use scoped_tls_hkt::scoped_thread_local;

use super::{Source, host};
use crate::limits::{JS_HEAP_BYTES_MAX, JS_LOOKS_PER_HOOK_MAX, JS_STACK_BYTES_MAX};

/// Where the hooks are kept among the script's own names; no identifier is written like that.
const HOOKS: &str = "evenkeel hooks";

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

/// How often a hook was asked whether it may go on, and what it was told.
#[derive(Default)]
struct Looks {
    count: AtomicU32,
    was_stopped: AtomicBool,
}

impl Looks {
    /// True if the hook has to end.
    fn look(&self) -> bool {
        let is_over = self.count.fetch_add(1, Ordering::Relaxed) >= JS_LOOKS_PER_HOOK_MAX;
        if STOP.is_set() && STOP.with(|should_stop| should_stop()) {
            self.was_stopped.store(true, Ordering::Relaxed);
        }
        is_over || self.was_stopped.load(Ordering::Relaxed)
    }

    fn reset(&self) {
        self.count.store(0, Ordering::Relaxed);
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
        runtime.set_interrupt_handler(Some(Box::new(move || looking.look())));
        let builder =
            Context::builder()
                .with::<(Eval, Json, MapSet, Proxy, RegExp, RegExpCompiler, TypedArrays)>();
        let context = builder.build(&runtime).map_err(|error| error.to_string())?;
        let mut engine = Self { context, looks, has_step: false, has_frames: false };
        (engine.has_step, engine.has_frames) = engine.within("setup", |ctx| {
            let prelude: Function<'_> = ctx.eval(PRELUDE)?;
            let begin: Function<'_> = prelude.call((host::object(ctx)?,))?;
            let script: rquickjs::Value<'_> = ctx.eval(format!("({})", source.code))?;
            let hooks: Object<'_> = begin.call((script, &*source.config))?;
            let has = (hooks.get("hasStep")?, hooks.get("hasFrames")?);
            ctx.globals().set(HOOKS, hooks)?;
            Ok(has)
        })?;
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
        self.within(hook, |ctx| {
            let hooks: Object<'_> = ctx.globals().get(HOOKS)?;
            let function: Function<'_> = hooks.get(hook)?;
            function.call((rquickjs::function::Rest(arguments(ctx)?),))
        })
    }

    /// How much the last hook has done: one for each ten thousand jumps and calls.
    pub(super) fn looks(&self) -> u32 {
        self.looks.count.load(Ordering::Relaxed)
    }

    fn within<R>(
        &self,
        hook: &'static str,
        work: impl for<'js> FnOnce(&Ctx<'js>) -> rquickjs::Result<R>,
    ) -> Result<R, String> {
        self.looks.reset();
        self.context.with(|ctx| {
            let caught = match work(&ctx).catch(&ctx) {
                Ok(result) => return Ok(result),
                Err(caught) => caught,
            };
            let reason = if self.looks.was_stopped.load(Ordering::Relaxed) {
                "it was stopped".to_owned()
            } else if self.looks() > JS_LOOKS_PER_HOOK_MAX {
                format!("no end after {} million jumps and calls", JS_LOOKS_PER_HOOK_MAX / 100)
            } else {
                thrown(caught)
            };
            Err(format!("{reason} in server-side tracer function '{hook}'"))
        })
    }
}

/// What a hook is called with.
pub(super) type Arguments<'js> = Vec<rquickjs::Value<'js>>;

/// What was thrown, as the language says it.
fn thrown(caught: CaughtError<'_>) -> String {
    match caught {
        CaughtError::Exception(exception) => {
            let name: Option<String> = exception.get("name").ok();
            let message = exception.message().unwrap_or_default();
            format!("{}: {message}", name.as_deref().unwrap_or("Error"))
        }
        CaughtError::Value(value) => match value.as_string().map(rquickjs::String::to_string) {
            Some(Ok(text)) => text,
            _ => format!("a {} was thrown", value.type_name()),
        },
        CaughtError::Error(error) => error.to_string(),
    }
}
