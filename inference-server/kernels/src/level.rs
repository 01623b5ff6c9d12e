//! Which instructions this machine has.

use std::sync::OnceLock;

/// Forces a lower level: `portable`, `avx2`, `avx512` or `avx512bf16`.
const VARIABLE: &str = "DIFFUSION_CPU_FEATURES";

/// A set of instructions, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What every processor of the architecture has.
    Portable,
    /// AVX2 and fused multiply-add.
    Avx2Fma,
    /// AVX-512 as servers have it since Skylake: F, BW, DQ and VL.
    Avx512f,
    /// AVX-512 with products of bfloat16.
    Avx512Bf16,
}

impl Level {
    /// Every level, lowest first.
    pub const ALL: [Self; 4] = [Self::Portable, Self::Avx2Fma, Self::Avx512f, Self::Avx512Bf16];

    /// The name that `DIFFUSION_CPU_FEATURES` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2Fma => "avx2",
            Self::Avx512f => "avx512",
            Self::Avx512Bf16 => "avx512bf16",
        }
    }

    /// The highest that this machine has.
    pub fn detect() -> Self {
        static DETECTED: OnceLock<Level> = OnceLock::new();
        *DETECTED
            .get_or_init(|| Self::ALL.into_iter().rev().find(|level| level.looks()).unwrap_or(Self::Portable))
    }

    /// Whether this machine has it. Quick: every tile asks.
    #[inline]
    pub fn is_supported(self) -> bool {
        self <= Self::detect()
    }

    /// Asks the processor. Every level's instructions include those of the levels below.
    fn looks(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            let avx2 = has!("avx2") && has!("fma");
            let avx512 = avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
            match self {
                Self::Portable => true,
                Self::Avx2Fma => avx2,
                Self::Avx512f => avx512,
                Self::Avx512Bf16 => avx512 && has!("avx512bf16"),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Self::Portable
        }
    }

    /// Checks the variable, which [`Level::current`] passes over when it names nothing.
    ///
    /// # Errors
    /// What it says, and the names that there are.
    pub fn check() -> Result<(), String> {
        checked(std::env::var(VARIABLE).ok().as_deref())
    }

    /// The level to use: the highest that the machine has, or the lower one that `DIFFUSION_CPU_FEATURES` asks for. The
    /// variable is read once.
    pub fn current() -> Self {
        static CURRENT: OnceLock<Level> = OnceLock::new();
        *CURRENT.get_or_init(|| choose(std::env::var(VARIABLE).ok().as_deref(), Self::detect()))
    }
}

fn checked(asked: Option<&str>) -> Result<(), String> {
    match asked {
        Some(asked) if Level::ALL.into_iter().all(|level| level.name() != asked) => {
            let names = Level::ALL.map(Level::name).join(", ");
            Err(format!(
                "{VARIABLE} is {asked:?}; it can be {names}, or unset for the best that this machine has"
            ))
        }
        _ => Ok(()),
    }
}

/// A level that the machine lacks, and a name that nobody knows, leave what was detected.
fn choose(asked: Option<&str>, detected: Level) -> Level {
    let named = Level::ALL.into_iter().find(|level| asked == Some(level.name()));
    named.map_or(detected, |level| level.min(detected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_there_is_not_is_an_error() {
        assert_eq!(checked(None), Ok(()));
        assert_eq!(checked(Some("avx2")), Ok(()));
        let error = checked(Some("sse9")).unwrap_err();
        assert!(error.contains("sse9") && error.contains("portable, avx2, avx512, avx512bf16"), "{error}");
    }

    #[test]
    fn the_variable_lowers_the_level_and_never_raises_it() {
        for (asked, detected, want) in [
            (None, Level::Avx512f, Level::Avx512f),
            (Some("portable"), Level::Avx512f, Level::Portable),
            (Some("avx2"), Level::Avx512Bf16, Level::Avx2Fma),
            (Some("avx512bf16"), Level::Avx2Fma, Level::Avx2Fma),
            (Some("sse9"), Level::Avx2Fma, Level::Avx2Fma),
        ] {
            assert_eq!(choose(asked, detected), want, "{asked:?}");
        }
    }

    #[test]
    fn levels_below_the_detected_one_are_supported() {
        assert!(Level::ALL.into_iter().all(|level| level.looks() == level.is_supported()));
    }
}
