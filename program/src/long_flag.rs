//! Long flags before parsing: `_` in a name is read as `-`, as Petals spells its flags.

use std::ffi::{OsStr, OsString};

/// `--name` or `--name=value`, its name with dashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LongFlag {
    /// Without the leading dashes.
    pub name: String,
    /// What follows `=`.
    pub value: Option<String>,
}

impl LongFlag {
    /// The long flag in `arg`; none for short flags, values and text that is not UTF-8.
    pub fn read(arg: &OsStr) -> Option<Self> {
        let rest = arg.to_str()?.strip_prefix("--")?;
        let (name, value) = match rest.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (rest, None),
        };
        Some(Self {
            name: name.replace('_', "-"),
            value,
        })
    }

    /// The argument again.
    pub fn rebuilt(&self) -> OsString {
        match &self.value {
            Some(value) => format!("--{}={value}", self.name).into(),
            None => format!("--{}", self.name).into(),
        }
    }
}

/// Turns `--some_flag` into `--some-flag`; everything after a bare `--` stays as it is.
pub fn fold_underscores(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut is_flag = true;
    args.into_iter()
        .map(|arg| {
            is_flag = is_flag && arg != "--";
            match LongFlag::read(&arg) {
                Some(flag) if is_flag => flag.rebuilt(),
                _ => arg,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folded_and_values_are_not() {
        let args = ["bin", "--max_tokens=1_0", "a_b", "-x_y", "--", "--as_is"];
        assert_eq!(
            fold_underscores(args.map(OsString::from)),
            ["bin", "--max-tokens=1_0", "a_b", "-x_y", "--", "--as_is"]
        );
    }
}
