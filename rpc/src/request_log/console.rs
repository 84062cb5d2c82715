//! What contracts say with `console.log`, as text. Pure.
//!
//! Source: Hardhat's `console.sol` for the forms, Foundry's `console_format` for the text; so it
//! reads as under anvil. Known are also forms of older versions (`log(uint)`, `logInt(int256)`),
//! which anvil passes over. What is no known form is shown as it is.

use std::{collections::BTreeMap, fmt::Write as _, sync::LazyLock};

use alloy_primitives::{Address, I256, U256, hex, keccak256};
use evenkeel_vm::limits::CONSOLE_CALL_BYTES_MAX;

/// Bytes of a word of the ABI.
pub(super) const WORD: usize = 32;
/// Digits after the point that `%<n>e` may ask for, as in Foundry.
const PRECISION_MAX: usize = 1_024;

/// Type of an argument.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Uint,
    Int,
    Text,
    Bool,
    Address,
    Bytes,
    /// `bytes1` to `bytes32`.
    Fixed(usize),
}

impl Kind {
    /// As signatures of today name it, and those of before.
    fn names(self) -> [String; 2] {
        let (now, before) = match self {
            Self::Uint => ("uint256", "uint"),
            Self::Int => ("int256", "int"),
            Self::Text => ("string", "string"),
            Self::Bool => ("bool", "bool"),
            Self::Address => ("address", "address"),
            Self::Bytes => ("bytes", "bytes"),
            Self::Fixed(bytes) => return [format!("bytes{bytes}"), format!("bytes{bytes}")],
        };
        [now.to_owned(), before.to_owned()]
    }
}

/// The arguments of each form, by its selector. Made with the first line: 720 hashes, about 0.3 ms
/// (guess).
static FORMS: LazyLock<BTreeMap<[u8; 4], Vec<Kind>>> = LazyLock::new(forms);

fn forms() -> BTreeMap<[u8; 4], Vec<Kind>> {
    let mut forms = BTreeMap::new();
    let mut add = |name: &str, kinds: &[Kind]| {
        for spelling in [0, 1] {
            let types: Vec<_> = kinds.iter().map(|kind| kind.names()[spelling].clone()).collect();
            let signature = format!("{name}({})", types.join(","));
            let hash = keccak256(signature);
            forms.insert([hash[0], hash[1], hash[2], hash[3]], kinds.to_vec());
        }
    };
    let mut lists = vec![Vec::new()];
    for len in 0..=4 {
        for kinds in &lists {
            add("log", kinds);
        }
        if len < 4 {
            let longer = |kinds: Vec<Kind>| {
                [Kind::Uint, Kind::Text, Kind::Bool, Kind::Address]
                    .map(|kind| [kinds.clone(), vec![kind]].concat())
            };
            lists = lists.into_iter().flat_map(longer).collect();
        }
    }
    add("log", &[Kind::Text, Kind::Int]);
    let fixed = (1..=WORD).map(Kind::Fixed);
    for kind in [Kind::Int, Kind::Bytes].into_iter().chain(fixed.clone()) {
        add("log", &[kind]);
    }
    for (name, kind) in [
        ("logInt", Kind::Int),
        ("logUint", Kind::Uint),
        ("logString", Kind::Text),
        ("logBool", Kind::Bool),
        ("logAddress", Kind::Address),
        ("logBytes", Kind::Bytes),
    ] {
        add(name, &[kind]);
    }
    for kind in fixed {
        add(&format!("logB{}", &kind.names()[0][1..]), &[kind]);
    }
    forms
}

/// The line that a call of the console with this input prints.
///
/// O(input), which has [`CONSOLE_CALL_BYTES_MAX`] bytes at most: a longer text was cut there.
pub(super) fn line(input: &[u8]) -> String {
    match arguments(input) {
        Some(arguments) => match arguments.split_first() {
            Some((Argument::Text(format), rest)) => formatted(format, rest),
            Some(_) => formatted("", &arguments),
            None => String::new(),
        },
        None => format!("console.log with an unknown form: {}", hex::encode_prefixed(input)),
    }
}

/// An argument of a call.
pub(super) enum Argument {
    Uint(U256),
    Int(I256),
    Text(String),
    Bool(bool),
    Address(Address),
    Bytes(Vec<u8>),
}

fn arguments(input: &[u8]) -> Option<Vec<Argument>> {
    let (selector, data) = input.split_first_chunk::<4>()?;
    let kinds = FORMS.get(selector)?;
    kinds.iter().enumerate().map(|(index, kind)| argument(data, index, *kind)).collect()
}

/// The argument at `index` of `data`, which is without its selector.
pub(super) fn argument(data: &[u8], index: usize, kind: Kind) -> Option<Argument> {
    let place = index * WORD;
    let word: [u8; WORD] = data.get(place..place + WORD)?.try_into().ok()?;
    Some(match kind {
        Kind::Uint => Argument::Uint(U256::from_be_bytes(word)),
        Kind::Int => Argument::Int(I256::from_be_bytes(word)),
        Kind::Bool => Argument::Bool(word != [0; WORD]),
        Kind::Address => Argument::Address(Address::from_word(word.into())),
        Kind::Fixed(bytes) => Argument::Bytes(word[..bytes].to_vec()),
        Kind::Text => {
            let (bytes, is_cut) = dynamic(data, U256::from_be_bytes(word))?;
            let more = if is_cut { ".." } else { "" };
            Argument::Text(String::from_utf8_lossy(bytes).into_owned() + more)
        }
        Kind::Bytes => Argument::Bytes(dynamic(data, U256::from_be_bytes(word))?.0.to_vec()),
    })
}

/// Whether `data`, which is without its selector, may be the beginning of something longer.
pub(super) fn is_cut(data: &[u8]) -> bool {
    data.len() + 4 == CONSOLE_CALL_BYTES_MAX
}

/// The bytes at this offset, and whether there were more.
fn dynamic(data: &[u8], offset: U256) -> Option<(&[u8], bool)> {
    let offset = usize::try_from(offset).ok()?;
    let start = offset.checked_add(WORD)?;
    let len = U256::try_from_be_slice(data.get(offset..start)?)?;
    let len = usize::try_from(len).ok()?;
    match data.get(start..start.checked_add(len)?) {
        Some(bytes) => Some((bytes, false)),
        None if is_cut(data) => Some((data.get(start..)?, true)),
        None => None,
    }
}

/// How a directive shows its argument.
pub(super) enum Directive {
    Text,
    Number,
    Integer,
    Object,
    Hex,
    /// With so many digits after the point; in scientific notation if none is said.
    Exponent(Option<usize>),
}

/// The directive that `text` begins with, after its `%`, and what follows.
fn directive(text: &str) -> Option<(Directive, &str)> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (precision, rest) = text.split_at(digits);
    let letter = rest.chars().next()?;
    let directive = match letter {
        'e' if digits > 0 => {
            let precision = precision.parse().ok().filter(|digits| *digits <= PRECISION_MAX)?;
            Directive::Exponent(Some(precision))
        }
        _ if digits > 0 => return None,
        's' => Directive::Text,
        'd' => Directive::Number,
        'i' => Directive::Integer,
        'o' => Directive::Object,
        'x' => Directive::Hex,
        'e' => Directive::Exponent(None),
        _ => return None,
    };
    Some((directive, &rest[1..]))
}

/// `format` with `arguments` in the place of its directives; those that are left follow it.
fn formatted(format: &str, arguments: &[Argument]) -> String {
    let mut line = String::with_capacity(format.len());
    let mut arguments = arguments.iter();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        line.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix('%') {
            line.push('%');
            rest = after;
        } else if let Some((directive, after)) = directive(after) {
            match arguments.next() {
                Some(argument) => line.push_str(&argument.shown(&directive)),
                None => line.push_str(&rest[at..rest.len() - after.len()]),
            }
            rest = after;
        } else {
            line.push('%');
            rest = after;
        }
    }
    line.push_str(rest);
    let mut has_before = !format.is_empty();
    for argument in arguments {
        let space = if std::mem::replace(&mut has_before, true) { " " } else { "" };
        let _infallible = write!(line, "{space}{}", argument.shown(&Directive::Text));
    }
    line
}

impl Argument {
    pub(super) fn shown(&self, directive: &Directive) -> String {
        const NOT_A_NUMBER: &str = "NaN";
        let text = match self {
            Self::Uint(number) => return shown_number("", *number, directive),
            Self::Int(number) => {
                if matches!(directive, Directive::Hex) {
                    return format!("{:#x}", number.into_raw());
                }
                let sign = if number.is_negative() { "-" } else { "" };
                return shown_number(sign, number.unsigned_abs(), directive);
            }
            Self::Bool(value) if matches!(directive, Directive::Number) => {
                return u8::from(*value).to_string();
            }
            Self::Text(_) | Self::Bool(_) if matches!(directive, Directive::Hex) => {
                return NOT_A_NUMBER.to_owned();
            }
            Self::Text(text) => text.clone(),
            Self::Bool(value) => value.to_string(),
            Self::Address(address) => address.to_string(),
            Self::Bytes(bytes) => hex::encode_prefixed(bytes),
        };
        match directive {
            Directive::Text | Directive::Hex => text,
            Directive::Object => format!("'{text}'"),
            Directive::Number | Directive::Integer | Directive::Exponent(_) => {
                NOT_A_NUMBER.to_owned()
            }
        }
    }
}

fn shown_number(sign: &str, number: U256, directive: &Directive) -> String {
    let (digits, places) = match directive {
        Directive::Text | Directive::Number | Directive::Integer | Directive::Object => {
            return format!("{sign}{number}");
        }
        Directive::Hex => return format!("{number:#x}"),
        Directive::Exponent(None) => {
            let digits = number.to_string();
            let places = digits.len() - 1;
            (digits, places)
        }
        Directive::Exponent(Some(places)) => {
            (format!("{number:0>width$}", width = places + 1), *places)
        }
    };
    let (whole, fraction) = digits.split_at(digits.len() - places);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    let exponent = match directive {
        Directive::Exponent(None) => format!("e{places}"),
        _ => String::new(),
    };
    format!("{sign}{whole}{point}{fraction}{exponent}")
}

#[cfg(test)]
mod tests {
    use alloy_dyn_abi::DynSolValue;
    use alloy_primitives::{B256, address};

    use super::*;

    fn text(text: &str) -> DynSolValue {
        DynSolValue::String(text.to_owned())
    }

    fn uint(number: u64) -> DynSolValue {
        DynSolValue::Uint(U256::from(number), 256)
    }

    fn int(number: i64) -> DynSolValue {
        DynSolValue::Int(I256::try_from(number).expect("small"), 256)
    }

    /// What a contract hands to the console by this signature.
    fn input(signature: &str, arguments: &[DynSolValue]) -> Vec<u8> {
        let arguments = DynSolValue::Tuple(arguments.to_vec()).abi_encode_params();
        [&keccak256(signature)[..4], &arguments].concat()
    }

    /// Goal: lines read as under anvil 1.7.1, whose output these are, but for the last block.
    #[test]
    fn lines_are_anvils() {
        let alice = DynSolValue::Address(address!("0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"));
        let fixed =
            |bytes: &[u8]| DynSolValue::FixedBytes(B256::right_padding_from(bytes), bytes.len());
        let flag = DynSolValue::Bool;
        let table: &[(&str, &[DynSolValue], &str)] = &[
            ("log()", &[], ""),
            ("log(string)", &[text("hello")], "hello"),
            ("log(uint256)", &[uint(42)], "42"),
            ("log(int256)", &[int(-5)], "-5"),
            ("log(bool)", &[flag(true)], "true"),
            (
                "log(address)",
                std::slice::from_ref(&alice),
                "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
            ),
            ("log(bytes)", &[DynSolValue::Bytes(vec![1, 2])], "0x0102"),
            ("log(string,uint256)", &[text("a %d b"), uint(5)], "a 5 b"),
            ("log(string,uint256,uint256)", &[text("x"), uint(5), uint(6)], "x 5 6"),
            ("log(uint256,string,uint256)", &[uint(5), text("q %d"), uint(9)], "5 q %d 9"),
            ("log(string,string)", &[text("%s %s %% %q"), text("a")], "a %s % %q"),
            (
                "log(string,string,bool,address)",
                &[text("%x %d %i %o"), text(" s"), flag(true), alice.clone()],
                "NaN 1 NaN %o",
            ),
            (
                "log(string,uint256,uint256,uint256)",
                &[text("%x %e %18e"), uint(255), uint(1_234_567), uint(1_500_000_000_000_000_000)],
                "0xff 1.234567e6 1.5",
            ),
            ("log(string,bool,string)", &[text("%o %o"), flag(true), text("st")], "'true' 'st'"),
            ("log(string,int256)", &[text("i %d"), int(-9)], "i -9"),
            ("log(string)", &[text("%d %% alone")], "%d % alone"),
            (
                "log(bool,bool,bool,bool)",
                &[true, false, true, false].map(flag),
                "true false true false",
            ),
            // anvil knows none of these.
            ("log(uint)", &[uint(43)], "43"),
            ("log(string,uint)", &[text("a %d b"), uint(6)], "a 6 b"),
            ("logInt(int256)", &[int(-7)], "-7"),
            ("logBytes(bytes)", &[DynSolValue::Bytes(vec![1, 2, 3])], "0x010203"),
            ("logBytes4(bytes4)", &[fixed(&[5; 4])], "0x05050505"),
            ("log(bytes32)", &[fixed(&[5; 32])], &format!("0x{}", "05".repeat(32))),
        ];
        for (signature, arguments, expected) in table {
            assert_eq!(line(&input(signature, arguments)), *expected, "{signature}");
        }
    }

    /// Goal: what is no known form, or contradicts itself, is shown as it is; a text that was cut
    /// says so.
    #[test]
    fn what_is_not_understood_is_shown() {
        let mut wrong = vec![
            Vec::new(),
            vec![1, 2, 3],
            input("nope(uint256)", &[uint(5)]),
            input("log(string)", &[uint(5)]),
            input("log(uint256,uint256)", &[uint(5)]),
        ];
        for offset in [u64::MAX, 33, 64] {
            wrong.push(input("log(string)", &[uint(offset), uint(u64::MAX)]));
        }
        for input in wrong {
            let shown =
                format!("console.log with an unknown form: {}", hex::encode_prefixed(&input));
            assert_eq!(line(&input), shown);
        }
        let long = input("log(string)", &[text(&"x".repeat(10_000))]);
        let cut = line(&long[..CONSOLE_CALL_BYTES_MAX]);
        assert_eq!(cut, "x".repeat(CONSOLE_CALL_BYTES_MAX - 4 - 2 * WORD) + "..");
    }
}
