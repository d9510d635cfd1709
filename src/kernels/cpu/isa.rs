//! Which instruction set the kernels run on, chosen once at run time.
//!
//! Every kernel takes an [`Isa`] explicitly, so that one process can run (and test) all of them. A value of
//! this type is a proof that the processor has the instructions: it can only be had from detection, and that
//! is what makes the calls into `#[target_feature]` functions sound.

use std::fmt;
use std::sync::OnceLock;

/// The environment variable that forces a path.
pub const VARIABLE: &str = "KDX_CPU";

/// The instruction sets there are kernels for, from the least to the most capable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Plain Rust, vectorized by the compiler for the target's baseline.
    Portable,
    /// 256-bit vectors with fused multiply-add.
    Avx2,
    /// 512-bit vectors (F, BW, DQ, VL).
    Avx512,
    /// As `Avx512`, with `vdpbf16ps` for products of bfloat16 numbers.
    Avx512Bf16,
    /// As `Avx512Bf16`, with tile registers for products of bfloat16 numbers.
    Amx,
}

impl Level {
    /// All levels, least capable first.
    pub const ALL: [Level; 5] = [Level::Portable, Level::Avx2, Level::Avx512, Level::Avx512Bf16, Level::Amx];

    /// The name used in `KDX_CPU` and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
            Level::Avx512Bf16 => "avx512bf16",
            Level::Amx => "amx",
        }
    }

    /// Whether this machine (processor and operating system) can run it.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            let bf16 = avx512 && is_x86_feature_detected!("avx512bf16");
            match self {
                Level::Portable => true,
                Level::Avx2 => avx2,
                Level::Avx512 => avx512,
                Level::Avx512Bf16 => bf16,
                Level::Amx => {
                    static USABLE: OnceLock<bool> = OnceLock::new();
                    bf16 && *USABLE.get_or_init(super::amx::is_usable)
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Level::Portable
        }
    }
}

/// An instruction set that this machine is known to have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Isa(Level);

impl Isa {
    /// The path every machine has.
    pub const PORTABLE: Isa = Isa(Level::Portable);

    /// `level`, if this machine has it.
    pub fn new(level: Level) -> Result<Isa, IsaError> {
        if level.is_available() { Ok(Isa(level)) } else { Err(IsaError::Unavailable { level }) }
    }

    /// Every path that this machine can run, least capable first.
    pub fn available() -> Vec<Isa> {
        Level::ALL.into_iter().filter_map(|level| Isa::new(level).ok()).collect()
    }

    /// The most capable path of this machine.
    pub fn best() -> Isa {
        Isa::available().last().copied().unwrap_or(Isa::PORTABLE)
    }

    /// The path with this name.
    pub fn from_name(name: &str) -> Result<Isa, IsaError> {
        let level = Level::ALL.into_iter().find(|level| level.name() == name);
        Isa::new(level.ok_or_else(|| IsaError::Unknown { name: name.to_owned() })?)
    }

    /// What `KDX_CPU` asks for, or the best path when it is unset or empty. Read once per process.
    pub fn from_env() -> Result<Isa, IsaError> {
        static CHOICE: OnceLock<Result<Isa, IsaError>> = OnceLock::new();
        let choose = || match std::env::var_os(VARIABLE) {
            Some(name) if !name.is_empty() => Isa::from_name(&name.to_string_lossy()),
            _ => Ok(Isa::best()),
        };
        CHOICE.get_or_init(choose).clone()
    }

    /// The level this value proves.
    pub const fn level(self) -> Level {
        self.0
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

/// A forced path that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IsaError {
    /// The machine lacks the instructions.
    Unavailable {
        /// What was asked for.
        level: Level,
    },
    /// No path has that name.
    Unknown {
        /// What was asked for.
        name: String,
    },
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IsaError::Unavailable { level } => {
                write!(
                    f,
                    "{VARIABLE}={}: this processor lacks these instructions; it can run",
                    level.name()
                )?;
                list(f, Isa::available().into_iter().map(|isa| isa.level().name()))
            }
            IsaError::Unknown { name } => {
                write!(f, "{VARIABLE}={name}: no such CPU path; there are")?;
                list(f, Level::ALL.into_iter().map(Level::name))
            }
        }
    }
}

fn list<'a>(f: &mut fmt::Formatter<'_>, names: impl Iterator<Item = &'a str>) -> fmt::Result {
    for (i, name) in names.enumerate() {
        write!(f, "{} {name}", if i == 0 { "" } else { "," })?;
    }
    Ok(())
}

impl std::error::Error for IsaError {}

impl miette::Diagnostic for IsaError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(format!("unset {VARIABLE}, or set it to one of these")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_errors_name_the_choices() {
        for isa in Isa::available() {
            assert_eq!(Isa::from_name(isa.level().name()), Ok(isa));
        }
        assert!(Isa::best() >= Isa::PORTABLE);
        let error = Isa::from_name("sse9").unwrap_err().to_string();
        assert!(error.contains("KDX_CPU=sse9") && error.contains("portable, avx2"), "{error}");
        let error = IsaError::Unavailable { level: Level::Avx512Bf16 }.to_string();
        assert!(error.contains("KDX_CPU=avx512bf16") && error.contains("can run portable"), "{error}");
    }
}
