//! The public names of `cubecl-llvm` that `cubecl-cuda` mentions, without LLVM: compiling is refused. See
//! this crate's README.

use cubecl_core::ir::attributes::BufferIOAttr;
use cubecl_core::ir::nvidia::SmArch;
use cubecl_core::prelude::KernelDefinition;
use cubecl_runtime::compiler::{CompilationError, Compiler};

/// Versions of NVIDIA's intermediate language.
pub mod nvptx {
    /// The version that a driver loads.
    pub mod ptx_version {
        /// A version of PTX. There is none here: nothing emits any.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum PtxVersion {}

        impl PtxVersion {
            /// The newest version that a driver loads: none that this crate could emit.
            pub fn for_driver(_driver: i32) -> Option<Self> {
                None
            }
        }

        impl core::fmt::Display for PtxVersion {
            fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match *self {}
            }
        }
    }
}

/// What targets have in common.
pub mod shared {
    /// Features of a device that a compiler supports.
    pub mod lowered_features {
        use cubecl_core::ir::DeviceProperties;

        /// A kind of GPU.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum GpuTarget {
            /// NVIDIA's.
            Nvptx,
        }

        /// Leaves a device's features as they are: nothing is compiled for it here.
        pub fn restrict_features(_properties: &mut DeviceProperties, _target: GpuTarget) {}
    }
}

/// What to compile for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LlvmTarget {
    /// A processor.
    #[default]
    Cpu,
    /// NVIDIA's GPUs.
    Nvptx,
}

/// How to compile.
#[derive(Clone, Debug, Default)]
pub struct PlironOptions {
    /// An AMD architecture; there is none here.
    pub arch: Option<core::convert::Infallible>,
    /// An NVIDIA architecture.
    pub sm_arch: Option<SmArch>,
    /// The version of PTX to emit.
    pub ptx_version: Option<nvptx::ptx_version::PtxVersion>,
    /// Whether scalars go in the kernel's parameters.
    pub grid_constants: bool,
}

/// A compiled module, as `cubecl-cuda` takes it apart.
#[derive(Clone, Debug)]
pub struct NvptxModule {
    /// PTX assembly.
    pub ptx: Vec<core::ffi::c_char>,
    /// The kernel's symbol.
    pub entrypoint: String,
    /// Its text before LLVM.
    pub ir: String,
    /// Bytes of shared memory of a launch.
    pub shared_memory_size: usize,
    /// How each buffer is used.
    pub io: Vec<BufferIOAttr>,
}

/// What compiling gives.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PlironArtifact {
    /// A module for NVIDIA's GPUs.
    NvptxCode(NvptxModule),
}

impl core::fmt::Display for PlironArtifact {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self::NvptxCode(module) = self;
        f.write_str(&module.ir)
    }
}

/// The compiler that refuses.
#[derive(Clone, Debug, Default)]
pub struct PlironCompiler {
    /// What it would compile for.
    pub target: LlvmTarget,
}

impl Compiler for PlironCompiler {
    type Representation = PlironArtifact;
    type CompilationOptions = PlironOptions;

    fn compile(
        &mut self,
        _kernel: KernelDefinition,
        _options: &Self::CompilationOptions,
    ) -> Result<Self::Representation, CompilationError> {
        Err(CompilationError::Generic {
            reason: "this build has no LLVM: kernels for NVIDIA GPUs are compiled by NVRTC (cubecl-cuda's feature \
                     `cpp`), which must be on"
                .to_owned(),
            backtrace: cubecl_core::environment::backtrace::BackTrace::capture(),
        })
    }

    fn extension(&self) -> &'static str {
        "ll"
    }

    fn lang_tag(&self) -> &'static str {
        "llvm"
    }
}
