//! Puts environment variables and `evenkeel.toml` under the flags.
//!
//! A setting comes from the flag, else from `EVENKEEL_<FLAG>`, else from the file, else from the
//! default in [`crate::args`]. The file's keys are the flags' long names; tables join with a dot,
//! so `rpc.evmtimeout` may be written `[rpc] evmtimeout = "5s"`.
//!
//! Variables and file are written as flags, and each layer is read by clap for itself: what is
//! wrong in one is an error that names it, also two settings that exclude each other. Of a lower
//! layer only that counts which no higher one sets or excludes.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{
    Arg, ArgAction, ArgMatches, Command, Id,
    builder::{BoolishValueParser, Resettable, TypedValueParser as _},
    parser::ValueSource,
};

use crate::clap_line;

/// Read when `--config` names no other file and it is there.
const FILE_DEFAULT: &str = "evenkeel.toml";
const PREFIX: &str = "EVENKEEL_";
/// What containers made for anvil set; `EVENKEEL_HOST` goes before it.
const HOST_OF_ANVIL: &str = "ANVIL_IP_ADDR";
/// Variables with our prefix that are no flag: `rpc` takes it in when it is compiled.
const OTHER_VARIABLES: [&str; 1] = ["EVENKEEL_COMMIT_SHA"];

/// The subcommand that takes the same flags as the bare command.
pub(crate) const DEVNET: &str = "dev";

/// A setting of a layer.
struct Setting {
    id: Id,
    /// What its flag is given as. Empty for a switch that is set to false, which says no to lower
    /// layers and nothing to clap.
    flags: Vec<OsString>,
}

/// Lets variables set the flags of the commands that take nothing else: all but the devnet.
pub(crate) fn with_environment(command: Command) -> Command {
    command.mut_subcommands(|inner| {
        if inner.get_name() == DEVNET {
            return inner;
        }
        with_environment(inner).mut_args(|arg| {
            let Some(name) = variable_of(&arg) else { return arg };
            let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
            let arg = arg.env(name).hide_env(true);
            if is_switch { arg.value_parser(BoolishValueParser::new()) } else { arg }
        })
    })
}

/// The process's arguments with what variables and file add to them.
///
/// # Errors
///
/// When the file cannot be read or is not TOML, when a key or variable is no flag, has a value
/// that the flag does not take, or excludes another of its layer.
pub(crate) fn merged(command: &Command, arguments: Vec<OsString>) -> Result<Vec<OsString>> {
    let named = std::env::vars_os();
    let named = named.filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    merge(command, arguments, &named.collect(), &|path| fs::read_to_string(path))
}

type Variables = BTreeMap<String, OsString>;
type Read<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

fn merge(
    command: &Command,
    mut arguments: Vec<OsString>,
    variables: &Variables,
    read: Read<'_>,
) -> Result<Vec<OsString>> {
    let layer = by_itself(command.clone());
    // What is wrong with the flags, the parse of the whole says.
    let Ok(matches) = layer.clone().try_get_matches_from(&arguments) else { return Ok(arguments) };
    refuse_unknown(command, variables)?;
    let (given, at) = match matches.subcommand() {
        Some((DEVNET, given)) => (given, 2),
        Some(_) => return Ok(arguments),
        None => (&matches, 1),
    };
    let mut higher = given_flags(command, given);
    let config = given.get_one::<PathBuf>("config").cloned();
    let config = config.or_else(|| variables.get("EVENKEEL_CONFIG").map(PathBuf::from));

    let mut added = Vec::new();
    let from_variables = (variable_settings(command, variables)?, "environment".to_owned());
    let from_file = file_settings(command, config.as_deref(), read)?;
    for (settings, source) in [from_variables, from_file] {
        let flags = settings.iter().flat_map(|setting| setting.flags.iter().cloned());
        let alone = layer.clone().try_get_matches_from([OsString::new()].into_iter().chain(flags));
        alone.map_err(|error| anyhow!("{source}: {}", clap_line(&error)))?;
        let is_free = |setting: &Setting| !higher.iter().any(|by| excludes(command, by, setting));
        let kept: Vec<_> = settings.into_iter().filter(is_free).collect();
        added.extend(kept.iter().flat_map(|setting| setting.flags.iter().cloned()));
        higher.extend(kept);
    }
    arguments.splice(at..at, added);
    Ok(arguments)
}

/// The command without what one flag needs of another, which may come from another layer.
fn by_itself(command: Command) -> Command {
    let free = |command: Command| command.mut_args(|arg| arg.requires(Resettable::<Id>::Reset));
    free(command).mut_subcommand(DEVNET, free)
}

/// The flags on the command line; their text is there already.
fn given_flags(command: &Command, given: &ArgMatches) -> Vec<Setting> {
    let ids = command.get_arguments().map(Arg::get_id);
    let ids = ids.filter(|id| given.value_source(id.as_str()) == Some(ValueSource::CommandLine));
    // One stands for all: a flag on the command line is never off.
    ids.map(|id| Setting { id: id.clone(), flags: vec![OsString::new()] }).collect()
}

/// Returns true if a setting of a higher layer leaves no room for `lower`.
fn excludes(command: &Command, higher: &Setting, lower: &Setting) -> bool {
    let find = |id: &Id| command.get_arguments().find(|arg| arg.get_id() == id);
    let conflicts = |one: &Id, other: &Id| {
        let found = find(one).map(|arg| command.get_arg_conflicts_with(arg));
        found.is_some_and(|args| args.iter().any(|arg| arg.get_id() == other))
    };
    let is_on = !higher.flags.is_empty() && !lower.flags.is_empty();
    higher.id == lower.id
        || is_on && (conflicts(&higher.id, &lower.id) || conflicts(&lower.id, &higher.id))
}

fn variable_of(arg: &Arg) -> Option<String> {
    let long = arg.get_long().filter(|long| *long != "help" && *long != "version")?;
    Some(format!("{PREFIX}{}", long.to_uppercase().replace(['-', '.'], "_")))
}

/// A mistyped variable would otherwise count for nothing, silently.
fn refuse_unknown(command: &Command, variables: &Variables) -> Result<()> {
    fn is_known(command: &Command, name: &str) -> bool {
        // Subcommands nest as deep as `args` declares them.
        command.get_arguments().any(|arg| variable_of(arg).is_some_and(|known| known == name))
            || command.get_subcommands().any(|inner| is_known(inner, name))
    }
    let ours = variables.keys().filter(|name| name.starts_with(PREFIX));
    let mut unknown =
        ours.filter(|name| !OTHER_VARIABLES.contains(&name.as_str()) && !is_known(command, name));
    match unknown.next() {
        Some(name) => bail!("unknown variable {name}; variables are the flags that --help lists"),
        None => Ok(()),
    }
}

fn variable_settings(command: &Command, variables: &Variables) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    for arg in command.get_arguments() {
        let Some(mut name) = variable_of(arg) else { continue };
        if arg.get_id() == "host" && !variables.contains_key(&name) {
            HOST_OF_ANVIL.clone_into(&mut name);
        }
        let Some(value) = variables.get(&name) else { continue };
        let setting = match arg.get_action() {
            ArgAction::SetTrue => {
                let is_on = BoolishValueParser::new().parse_ref(command, None, value);
                let is_on = is_on.map_err(|_| {
                    anyhow!("{name}: expected true or false, found {}", value.display())
                })?;
                switch(arg, is_on)
            }
            _ => valued(arg, &name, std::slice::from_ref(value))?,
        };
        settings.push(setting);
    }
    Ok(settings)
}

fn switch(arg: &Arg, is_on: bool) -> Setting {
    let long = arg.get_long().expect("flags have long names");
    let flag = is_on.then(|| OsString::from(format!("--{long}")));
    Setting { id: arg.get_id().clone(), flags: flag.into_iter().collect() }
}

/// A flag with these values; `name` is what an error calls it.
fn valued(arg: &Arg, name: &str, values: &[OsString]) -> Result<Setting> {
    let long = arg.get_long().expect("flags have long names");
    let flags = if matches!(arg.get_action(), ArgAction::Count) {
        let count = values.first().and_then(|value| value.to_str()?.parse::<u8>().ok());
        let count = count.with_context(|| format!("{name}: expected a number up to 255"))?;
        vec![OsString::from(format!("--{long}")); count.into()]
    } else {
        let flag = |value: &OsString| {
            let mut flag = OsString::from(format!("--{long}="));
            flag.push(value);
            flag
        };
        values.iter().map(flag).collect()
    };
    Ok(Setting { id: arg.get_id().clone(), flags })
}

/// What the file sets, and its name.
fn file_settings(
    command: &Command,
    config: Option<&Path>,
    read: Read<'_>,
) -> Result<(Vec<Setting>, String)> {
    let path = config.unwrap_or_else(|| Path::new(FILE_DEFAULT));
    let shown = path.display().to_string();
    let text = match read(path) {
        Ok(text) => text,
        Err(error) if config.is_none() && error.kind() == io::ErrorKind::NotFound => {
            return Ok((Vec::new(), shown));
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {shown}")),
    };
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        anyhow!("{shown} is not valid TOML: line {line}: {}", error.message())
    })?;
    let mut keys = BTreeMap::new();
    flatten("", table, &mut keys).with_context(|| shown.clone())?;
    let mut settings = Vec::new();
    for (key, value) in keys {
        let arg = command.get_arguments().find(|arg| arg.get_long() == Some(&key));
        let Some(arg) = arg.filter(|arg| arg.get_id() != "config") else {
            bail!("{shown}: unknown key {key:?}; keys are the flags that --help lists");
        };
        let setting = file_setting(arg, &key, value).with_context(|| shown.clone())?;
        settings.push(setting);
    }
    Ok((settings, shown))
}

fn file_setting(arg: &Arg, key: &str, value: toml::Value) -> Result<Setting> {
    match (arg.get_action(), value) {
        (ArgAction::SetTrue, toml::Value::Boolean(is_on)) => Ok(switch(arg, is_on)),
        (ArgAction::SetTrue, other) => bail!("key {key:?}: expected true or false, found {other}"),
        (_, toml::Value::Array(items)) => {
            let values =
                items.into_iter().map(|item| scalar(key, item)).collect::<Result<Vec<_>>>();
            valued(arg, &format!("key {key:?}"), &values?)
        }
        (_, value) => valued(arg, &format!("key {key:?}"), &[scalar(key, value)?]),
    }
}

/// Writes `table` as `long-name = value`, with dots between the names of nested tables.
fn flatten(
    prefix: &str,
    table: toml::Table,
    keys: &mut BTreeMap<String, toml::Value>,
) -> Result<()> {
    for (key, value) in table {
        let key = key.replace('_', "-");
        let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        match value {
            // TOML tables nest as deep as its parser allows (its own limit), so this ends.
            toml::Value::Table(inner) => flatten(&key, inner, keys)?,
            value => {
                ensure!(keys.insert(key.clone(), value).is_none(), "key {key:?} is set twice");
            }
        }
    }
    Ok(())
}

fn scalar(key: &str, value: toml::Value) -> Result<OsString> {
    Ok(match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.to_string().into(),
        toml::Value::Float(number) => number.to_string().into(),
        toml::Value::Boolean(is_set) => is_set.to_string().into(),
        other => {
            bail!("key {key:?}: expected text, a number or true/false, found {}", other.type_str())
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Cli;

    type Set = &'static [(&'static str, &'static str)];

    /// The devnet's arguments after `flags`, `variables` and a file with `text`.
    fn merge_of(flags: &[&str], variables: &[(&str, &str)], text: &str) -> Result<String> {
        let arguments = [&["evenkeel"], flags].concat().into_iter().map(OsString::from).collect();
        let variables =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        let merged = merge(&Cli::command(), arguments, &variables, &|_| Ok(text.to_owned()))?;
        let matches = Cli::command().try_get_matches_from(&merged);
        matches.map_err(|error| anyhow!(clap_line(&error)))?;
        let merged = merged.iter().skip(1).map(|argument| argument.to_string_lossy());
        Ok(merged.collect::<Vec<_>>().join(" "))
    }

    /// Goal: the help says which rules a chain has unless it is told.
    #[test]
    fn the_help_names_the_default_hardfork() {
        let help = Cli::command().render_help().to_string();
        let fork = evenkeel_chain::Fork::default();
        assert!(help.contains(&format!("bpo1, bpo2; latest, the last of these [default: {fork}]")));
    }

    /// Goal: a flag goes before a variable and that before the file, also where they exclude each
    /// other.
    #[test]
    fn a_higher_layer_clears_what_it_excludes() {
        type Flags = &'static [&'static str];
        let cases: [(Flags, Set, &str, &str); 11] = [
            (&[], &[], "block-time = 1\nmixed_mining = true", "--block-time=1 --mixed-mining"),
            (&["--no-mining"], &[], "block-time = 1\nmixed-mining = true", "--no-mining"),
            (&["--block-time", "2"], &[], "no-mining = true", "--block-time 2"),
            (&["--mnemonic", "a"], &[], "mnemonic-random = 12", "--mnemonic a"),
            (&["-m", "a"], &[("EVENKEEL_MNEMONIC_RANDOM", "12")], "", "-m a"),
            (&[], &[("EVENKEEL_NO_MINING", "1")], "block-time = 1", "--no-mining"),
            (&[], &[("EVENKEEL_NO_MINING", "0")], "no-mining = true", ""),
            (&[], &[("EVENKEEL_NO_MINING", "0")], "block-time = 1", "--block-time=1"),
            (&["--mixed-mining"], &[], "block-time = 1", "--block-time=1 --mixed-mining"),
            (&["dev", "-a", "3"], &[("EVENKEEL_ACCOUNTS", "4")], "port = 0", "dev --port=0 -a 3"),
            (
                &[],
                &[("ANVIL_IP_ADDR", "::1")],
                "host = [\"::2\"]\n[rpc]\ngascap = 7",
                "--host=::1 --rpc.gascap=7",
            ),
        ];
        for (flags, variables, text, expected) in cases {
            let found = merge_of(flags, variables, text);
            assert_eq!(found.expect(text), expected, "{flags:?} {variables:?} {text}");
        }
    }

    /// Goal: what is wrong in a layer is said with its name.
    #[test]
    fn a_wrong_layer_is_named() {
        let cases: [(Set, &str, &str); 10] = [
            (&[], "no-mining = true\nblock-time = 1", "evenkeel.toml: the argument '--"),
            (&[], "no-mining = \"banana\"", "expected true or false, found \"banana\""),
            (&[], "no-mining = 1", "expected true or false, found 1"),
            (&[], "block-time = 1\nblock_time = 1", "\"block-time\" is set twice"),
            (&[], "block-time = 0", "evenkeel.toml: invalid value '0'"),
            (&[], "blok-time = 1", "unknown key \"blok-time\""),
            (&[], "config = \"a\"", "unknown key \"config\""),
            (&[("EVENKEEL_NO_MINING", "banana")], "", "EVENKEEL_NO_MINING: expected true or false"),
            (&[("EVENKEEL_BLOK_TIME", "1")], "", "EVENKEEL_BLOK_TIME"),
            (
                &[("EVENKEEL_NO_MINING", "yes"), ("EVENKEEL_BLOCK_TIME", "1")],
                "",
                "environment: the argument '--",
            ),
        ];
        for (variables, text, expected) in cases {
            let error = merge_of(&[], variables, text).expect_err(text);
            let error = format!("{error:#}");
            assert!(error.contains(expected), "{error}");
        }
        merge_of(&[], &[("EVENKEEL_COMMIT_SHA", "00")], "").expect("a variable of the build");
    }
}
