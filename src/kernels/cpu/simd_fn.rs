//! A function compiled for each instruction set, and the choice between them at run time.

/// Defines a function of an [`Isa`](super::isa::Isa) and the arguments given, whose body, generic over
/// [`Simd`](super::simd::Simd) (and over what follows the semicolon), is compiled once for each path.
macro_rules! simd_fn {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$S:ident $(; $($T:ident: $bound:path),+)?>(
        $s:ident $(, $arg:ident: $ty:ty)* $(,)?
    ) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name$(<$($T: $bound),+>)?(isa: $crate::kernels::cpu::isa::Isa $(, $arg: $ty)*) $(-> $ret)? {
            #[allow(clippy::too_many_arguments)]
            #[inline(always)]
            fn body<$S: $crate::kernels::cpu::simd::Simd $(, $($T: $bound),+)?>(
                $s: $S $(, $arg: $ty)*
            ) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[allow(clippy::too_many_arguments)]
            #[target_feature(enable = "avx2,fma")]
            fn avx2$(<$($T: $bound),+>)?($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: this function requires the features that the value stands for.
                body(unsafe { $crate::kernels::cpu::simd_x86::Avx2::new_unchecked() } $(, $arg)*)
            }

            #[cfg(target_arch = "x86_64")]
            #[allow(clippy::too_many_arguments)]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512$(<$($T: $bound),+>)?($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: this function requires the features that the value stands for.
                body(unsafe { $crate::kernels::cpu::simd_x86::Avx512::new_unchecked() } $(, $arg)*)
            }

            use $crate::kernels::cpu::isa::Level;
            match isa.level() {
                Level::Portable => body($crate::kernels::cpu::simd::Portable $(, $arg)*),
                #[cfg(target_arch = "x86_64")]
                // SAFETY: an `Isa` of this level exists only where the processor has the features.
                Level::Avx2 => unsafe { avx2($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                Level::Avx512 | Level::Avx512Bf16 | Level::Amx => unsafe { avx512($($arg),*) },
                #[cfg(not(target_arch = "x86_64"))]
                _ => unreachable!("only x86-64 has these levels"),
            }
        }
    };
}
pub(crate) use simd_fn;
