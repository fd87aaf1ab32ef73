//! Which instruction set the kernels use: picked once, at run time.

use std::fmt;

use thiserror::Error;

/// Environment variable that forces a level.
pub const KERNELS_VARIABLE: &str = "BLOCK_SERVER_KERNELS";

/// An instruction set for which kernels exist, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// Matrix tiles of bf16 pairs and 8-bit quads (`tdpbf16ps`, `tdpbsud`), all else as in [`Level::Avx512`].
    Amx,
    /// 512-bit vectors with bf16 pairs (`vdpbf16ps`) and 8-bit quads (`vpdpbusd`).
    Avx512,
    /// 256-bit vectors with fused multiply-add.
    Avx2,
    /// What the compiler makes of plain loops for the target's baseline.
    Portable,
}

/// The level in use and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelChoice {
    /// The level.
    pub level: Level,
    /// Whether [`KERNELS_VARIABLE`] named it.
    pub is_forced: bool,
    /// Features that the next better level needs and this processor lacks.
    pub missing: Vec<&'static str>,
}

/// Why no level could be chosen: the operator's variable is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LevelError {
    /// A name that is none of ours.
    #[error("{KERNELS_VARIABLE}={name}: no such level; one of amx, avx512, avx2, portable")]
    Unknown {
        /// What the variable holds.
        name: String,
    },
    /// A level that this processor cannot run.
    #[error("kernels {level}: this processor lacks {}; unset {KERNELS_VARIABLE}", .missing.join(", "))]
    Missing {
        /// The level asked for.
        level: Level,
        /// The features it needs.
        missing: Vec<&'static str>,
    },
}

impl Level {
    /// All levels, best first.
    pub const ALL: [Self; 4] = [Self::Amx, Self::Avx512, Self::Avx2, Self::Portable];

    /// The name used in [`KERNELS_VARIABLE`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::Amx => "amx",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }

    /// The best level of this processor, or the one that [`KERNELS_VARIABLE`] names.
    ///
    /// # Errors
    /// [`LevelError`], if the variable names a level that is unknown or cannot run here.
    pub fn choose() -> Result<LevelChoice, LevelError> {
        let forced = std::env::var(KERNELS_VARIABLE).ok();
        Self::choose_by(forced.as_deref().filter(|name| !name.is_empty()))
    }

    fn choose_by(forced: Option<&str>) -> Result<LevelChoice, LevelError> {
        let best = Self::available()[0];
        let level = match forced {
            None => best,
            Some(name) => Self::ALL
                .into_iter()
                .find(|level| level.name() == name)
                .ok_or_else(|| LevelError::Unknown {
                    name: name.to_owned(),
                })?,
        };
        level.check()?;
        let better = Self::ALL
            .into_iter()
            .take_while(|better| *better != best)
            .last();
        Ok(LevelChoice {
            level,
            is_forced: forced.is_some(),
            missing: better.map_or_else(Vec::new, Self::missing_features),
        })
    }

    /// Whether this processor can run the level.
    ///
    /// # Errors
    /// [`LevelError::Missing`].
    pub fn check(self) -> Result<(), LevelError> {
        let missing = self.missing_features();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(LevelError::Missing {
                level: self,
                missing,
            })
        }
    }

    /// The levels that this processor can run, best first; the last is always [`Level::Portable`].
    pub fn available() -> Vec<Self> {
        let levels = Self::ALL.into_iter();
        levels
            .filter(|level| level.missing_features().is_empty())
            .collect()
    }

    /// What the level needs and this processor lacks.
    #[cfg(target_arch = "x86_64")]
    fn missing_features(self) -> Vec<&'static str> {
        macro_rules! missing {
            ($($feature:tt),*) => {{
                let has = [$(($feature, std::arch::is_x86_feature_detected!($feature))),*];
                has.into_iter().filter(|(_, has)| !has).map(|(name, _)| name).collect()
            }};
        }
        match self {
            Self::Amx => {
                let mut missing = Self::Avx512.missing_features();
                missing.extend(super::amx_state::missing());
                missing
            }
            Self::Avx512 => {
                missing!(
                    "avx512f",
                    "avx512bw",
                    "avx512dq",
                    "avx512vl",
                    "avx512bf16",
                    "avx512vnni"
                )
            }
            Self::Avx2 => missing!("avx2", "fma", "f16c"),
            Self::Portable => Vec::new(),
        }
    }

    /// What the level needs and this processor lacks.
    #[cfg(not(target_arch = "x86_64"))]
    fn missing_features(self) -> Vec<&'static str> {
        match self {
            Self::Amx | Self::Avx512 | Self::Avx2 => vec!["x86_64"],
            Self::Portable => Vec::new(),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::{Level, LevelError};

    #[test]
    fn the_best_level_is_chosen_unless_one_is_named() {
        let available = Level::available();
        assert_eq!(available.last(), Some(&Level::Portable));
        let choice = Level::choose_by(None).unwrap();
        assert_eq!((choice.level, choice.is_forced), (available[0], false));
        for level in available {
            let choice = Level::choose_by(Some(level.name())).unwrap();
            assert_eq!((choice.level, choice.is_forced), (level, true));
        }
    }

    #[test]
    fn an_unknown_level_is_the_operators_error() {
        let error = Level::choose_by(Some("sse9")).unwrap_err();
        assert_eq!(
            error,
            LevelError::Unknown {
                name: "sse9".to_owned()
            }
        );
        assert!(error.to_string().contains("amx, avx512, avx2, portable"));
    }
}
