//! What CUDA needs to compile kernels: NVIDIA's run-time compiler (NVRTC) and CUDA's headers.
//!
//! Kernels are compiled where they run. Without this check a worker would end in a panic that names neither.

use std::path::PathBuf;

use miette::Diagnostic;
use thiserror::Error;

/// Headers that kernels include.
const HEADERS: [&str; 3] = ["cuda_fp16.h", "cuda_bf16.h", "mma.h"];

/// What CUDA misses to compile kernels.
#[derive(Debug, Clone, Error, Diagnostic, PartialEq, Eq)]
#[error("kernels for CUDA cannot be compiled on this machine: {missing}")]
pub struct ToolkitError {
    /// What is missing or wrong, in words.
    missing: String,
    #[help]
    help: String,
}

/// What a look at the machine found.
#[derive(Debug)]
struct Installed {
    /// Where CubeCL looks for CUDA, as `/usr/local/cuda`; none where it finds none.
    cuda: Option<PathBuf>,
    /// Headers that are not there.
    missing_headers: Vec<&'static str>,
    compiler: Compiler,
    /// The newest CUDA that the driver supports, as 13 and 0.
    version: Option<(i32, i32)>,
}

/// How the run-time compiler did.
#[derive(Debug)]
enum Compiler {
    Works,
    /// No library of its name could be loaded.
    Missing,
    /// It compiled not even a kernel that only includes the headers; its first complaint.
    Failed(String),
}

impl Installed {
    fn judge(&self) -> Result<(), ToolkitError> {
        let mut missing = Vec::new();
        if matches!(self.compiler, Compiler::Missing) {
            missing.push("its run-time compiler (NVRTC, libnvrtc.so) was not found".to_owned());
        }
        match &self.cuda {
            None => missing.push(
                "CUDA's headers were not found, neither by CUDA_PATH nor in /usr/local/cuda or /opt/cuda"
                    .to_owned(),
            ),
            Some(path) if !self.missing_headers.is_empty() => missing.push(format!(
                "{} {} not in {}",
                self.missing_headers.join(", "),
                if self.missing_headers.len() == 1 { "is" } else { "are" },
                path.join("include").display()
            )),
            Some(_) => {}
        }
        if let (true, Compiler::Failed(complaint)) = (missing.is_empty(), &self.compiler) {
            missing.push(format!("its run-time compiler (NVRTC) fails: {complaint}"));
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(ToolkitError { missing: missing.join("; "), help: self.help() })
    }

    fn help(&self) -> String {
        let packages = match self.version {
            Some((major, minor)) => {
                format!(
                    "`cuda-nvrtc-{major}-{minor} cuda-minimal-build-{major}-{minor}`, the version of the \
                     driver"
                )
            }
            None => "`cuda-nvrtc` and `cuda-minimal-build`, in a version that the driver supports".to_owned(),
        };
        format!(
            "install CUDA's toolkit, or of NVIDIA's packages {packages}; if it is installed elsewhere, set \
             CUDA_PATH to its directory and put the one of libnvrtc.so into LD_LIBRARY_PATH; `--devices cpu` \
             needs neither"
        )
    }
}

/// The line of a compiler's log that says what is wrong.
fn complaint(log: &str) -> String {
    let is_error = |line: &&str| line.contains("error");
    let line = log.lines().find(is_error).or_else(|| log.lines().find(|line| !line.trim().is_empty()));
    line.unwrap_or("it does not say why").trim().to_owned()
}

/// Compiles a kernel that includes the headers, once in a process.
///
/// # Errors
/// What is missing, and what to install.
#[cfg(feature = "cuda")]
pub fn check() -> Result<(), ToolkitError> {
    static CHECKED: std::sync::OnceLock<Result<(), ToolkitError>> = std::sync::OnceLock::new();
    CHECKED.get_or_init(|| installed().judge()).clone()
}

#[cfg(feature = "cuda")]
fn installed() -> Installed {
    let cuda = cubecl_cuda::install::cuda_path();
    let include = cuda.as_ref().map(|cuda| cuda.join("include"));
    let is_missing = |header: &&str| include.as_ref().is_some_and(|include| !include.join(header).exists());
    let missing_headers: Vec<&'static str> = HEADERS.into_iter().filter(is_missing).collect();
    let version = super::nvidia::cuda_version();
    let source = source(version);
    let includes = include.iter().map(|include| include.display().to_string());
    let options = cudarc::nvrtc::CompileOptions { include_paths: includes.collect(), ..Default::default() };
    let compiler = match super::cuda::quietly(|| cudarc::nvrtc::compile_ptx_with_opts(source, options)) {
        Ok(Ok(_ptx)) => Compiler::Works,
        Ok(Err(cudarc::nvrtc::CompileError::CompileError { log, .. })) => {
            Compiler::Failed(complaint(&log.to_string_lossy()))
        }
        Ok(Err(error)) => Compiler::Failed(error.to_string()),
        Err(_panic) => Compiler::Missing,
    };
    Installed { cuda, missing_headers, compiler, version }
}

/// A kernel that includes what others do, and is refused by a compiler whose code the driver cannot load.
fn source(driver: Option<(i32, i32)>) -> String {
    let includes: String = HEADERS.iter().map(|header| format!("#include <{header}>\n")).collect();
    let (major, minor) = driver.unwrap_or((i32::MAX / 1000, 0));
    format!(
        "{includes}#if __CUDACC_VER_MAJOR__ * 100 + __CUDACC_VER_MINOR__ > {}\n\
         #error NVRTC is newer than the CUDA {major}.{minor} that the driver supports\n\
         #endif\nextern \"C\" __global__ void nothing() {{}}\n",
        major * 100 + minor
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed() -> Installed {
        Installed {
            cuda: Some(PathBuf::from("/usr/local/cuda")),
            missing_headers: Vec::new(),
            compiler: Compiler::Works,
            version: Some((13, 0)),
        }
    }

    #[test]
    fn nothing_is_said_where_all_is_there() {
        assert_eq!(installed().judge(), Ok(()));
    }

    #[test]
    fn what_is_missing_is_named_with_what_to_install() {
        let bare = Installed {
            cuda: None,
            missing_headers: Vec::new(),
            compiler: Compiler::Missing,
            version: Some((12, 4)),
        };
        let error = bare.judge().unwrap_err();
        for word in ["libnvrtc.so", "CUDA_PATH"] {
            assert!(error.to_string().contains(word), "{error}");
        }
        assert!(error.help.contains("cuda-nvrtc-12-4"), "{}", error.help);

        let error =
            Installed { missing_headers: vec!["mma.h"], version: None, ..installed() }.judge().unwrap_err();
        assert!(error.to_string().ends_with("mma.h is not in /usr/local/cuda/include"), "{error}");
    }

    #[test]
    fn the_compilers_complaint_is_its_first_error() {
        let log = "nothing(3): warning: x\nmma.h(2): catastrophic error: cannot open source file \
                   \"crt/mma.h\"\n\n1 error";
        let failed = Installed { compiler: Compiler::Failed(complaint(log)), ..installed() };
        let text = failed.judge().unwrap_err().to_string();
        assert!(text.ends_with("cannot open source file \"crt/mma.h\""), "{text}");
    }

    #[test]
    fn a_compiler_newer_than_the_driver_is_refused() {
        let source = source(Some((12, 4)));
        assert!(source.contains("> 1204\n") && source.contains("CUDA 12.4"), "{source}");
    }
}
