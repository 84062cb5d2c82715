//! Puts environment variables and `evenkeel.toml` under the flags.
//!
//! A setting comes from the flag, else from `EVENKEEL_<FLAG>`, else from the file, else from the
//! default in [`crate::args`]. The file's keys are the flags' long names; tables join with a dot,
//! so `rpc.evmtimeout` may be written `[rpc] evmtimeout = "5s"`.

use std::{collections::BTreeMap, ffi::OsString, fs, path::Path};

use anyhow::{Context, Result, anyhow, bail};
use clap::{ArgAction, Command, builder::FalseyValueParser};

/// Read when `--config` names no other file and it is there.
const FILE_DEFAULT: &str = "evenkeel.toml";

/// The subcommand that takes the same flags as the bare command.
pub(crate) const DEVNET: &str = "dev";

/// Adds the environment variables to every flag of `command` and of its subcommands.
pub(crate) fn with_environment(command: Command) -> Command {
    let command = command.mut_subcommands(with_environment);
    command.mut_args(|arg| {
        let Some(long) = arg.get_long() else { return arg };
        if long == "help" || long == "version" {
            return arg;
        }
        let mut name = format!("EVENKEEL_{}", long.to_uppercase().replace(['-', '.'], "_"));
        // What containers made for anvil set.
        if long == "host" && std::env::var_os(&name).is_none() {
            "ANVIL_IP_ADDR".clone_into(&mut name);
        }
        let arg = arg.env(name).hide_env(true);
        // `EVENKEEL_NO_MINING=1` shall mean what it says.
        let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
        if is_switch { arg.value_parser(FalseyValueParser::new()) } else { arg }
    })
}

/// Makes the settings of the file the defaults of the flags.
///
/// # Errors
///
/// When the file cannot be read, is not TOML, or has a key that is no flag.
pub(crate) fn with_file(mut command: Command, arguments: &[OsString]) -> Result<Command> {
    let named = config_argument(arguments);
    let path = named.as_deref().unwrap_or_else(|| Path::new(FILE_DEFAULT));
    if named.is_none() && !path.exists() {
        return Ok(command);
    }
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        anyhow!("{shown} is not valid TOML: line {line}: {}", error.message())
    })?;

    let mut settings = BTreeMap::new();
    flatten("", table, &mut settings)?;
    for (key, values) in settings {
        let long = key.replace('_', "-");
        let arg = command.get_arguments().find(|arg| arg.get_long() == Some(&long));
        let Some(id) = arg.map(|arg| arg.get_id().clone()).filter(|id| *id != "config") else {
            bail!("{shown}: unknown key {key:?}; keys are the flags that --help lists");
        };
        // Bare `evenkeel` is `evenkeel dev`, so both read the file.
        command = command.mut_arg(&id, |arg| arg.default_values(values.clone()));
        command = command
            .mut_subcommand(DEVNET, |dev| dev.mut_arg(&id, |arg| arg.default_values(values)));
    }
    Ok(command)
}

/// `--config FILE`, found before clap runs because it changes what clap is told.
fn config_argument(arguments: &[OsString]) -> Option<std::path::PathBuf> {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let argument = argument.to_string_lossy();
        if argument == "--config" {
            return rest.next().map(Into::into);
        }
        if let Some(path) = argument.strip_prefix("--config=") {
            return Some(path.into());
        }
    }
    std::env::var_os("EVENKEEL_CONFIG").map(Into::into)
}

/// Writes `table` as `key.key = values`, each value as its flag would be given.
fn flatten(
    prefix: &str,
    table: toml::Table,
    settings: &mut BTreeMap<String, Vec<String>>,
) -> Result<()> {
    for (key, value) in table {
        let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        match value {
            // TOML tables nest as deep as its parser allows (its own limit), so this ends.
            toml::Value::Table(inner) => flatten(&key, inner, settings)?,
            toml::Value::Array(items) => {
                let texts = items.into_iter().map(|item| scalar(&key, item)).collect::<Result<_>>();
                settings.insert(key, texts?);
            }
            value => {
                let text = scalar(&key, value)?;
                settings.insert(key, vec![text]);
            }
        }
    }
    Ok(())
}

fn scalar(key: &str, value: toml::Value) -> Result<String> {
    Ok(match value {
        toml::Value::String(text) => text,
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Boolean(is_set) => is_set.to_string(),
        other => {
            bail!("key {key:?}: expected text, a number or true/false, found {}", other.type_str())
        }
    })
}
