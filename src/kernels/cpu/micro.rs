//! The innermost loops of a matrix product: one register tile of C, summed over one block of k.
//!
//! As in GotoBLAS and BLIS (Goto & van de Geijn 2008; Van Zee & van de Geijn 2015), A comes as panels of
//! `rows` rows and B as panels of `columns` columns, both stored k after k, so that a kernel reads memory
//! strictly forwards. The sizes are chosen so that the accumulators fill the registers: 14×32 in 28 of 32
//! 512-bit registers, 6×16 in 12 of 16 256-bit ones. (With tile registers it is 32×32: see
//! [`amx`](super::amx).)
//!
//! The unit of k is a 32-bit word: one f32, or a pair of bfloat16 numbers (k even in the lower half), of
//! which `vdpbf16ps` multiplies and adds both. That instruction rounds to nearest even and takes subnormal
//! numbers for zero.
//!
//! Each element of C is summed by one accumulator in the order of k, whatever the tile's place, so the result
//! does not depend on how C is split into tiles or over threads.

use super::call::{Call, Format};
use super::isa::{Isa, Level};
use crate::kernels::precision::Precision;
use std::marker::PhantomData;

/// A register tile and its kernel.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub rows: usize,
    pub columns: usize,
    /// How right-hand sides are packed.
    pub format: Format,
    /// How left-hand sides are packed.
    pub left: Format,
    pub isa: Isa,
    pub kernel: unsafe fn(&Call),
}

impl Tile {
    /// The tile for a path and a precision.
    pub fn new(isa: Isa, precision: Precision) -> Tile {
        let format = match (isa.level(), precision) {
            (_, Precision::F32) => Format::F32,
            (Level::Amx, Precision::Bf16) => Format::TiledRight,
            (Level::Avx512Bf16, Precision::Bf16) => Format::Pairs,
            (_, Precision::Bf16) => Format::Rounded,
        };
        let (rows, columns, kernel): (_, _, unsafe fn(&Call)) = match isa.level() {
            Level::Portable => (4, 8, portable),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => (6, 16, x86::avx2),
            #[cfg(target_arch = "x86_64")]
            Level::Amx if format == Format::TiledRight => (32, 32, super::amx::multiply),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Bf16 if format == Format::Pairs => (14, 32, x86::avx512_bf16),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 | Level::Avx512Bf16 | Level::Amx => (14, 32, x86::avx512),
            #[cfg(not(target_arch = "x86_64"))]
            _ => unreachable!("only x86-64 has these levels"),
        };
        let left = if format == Format::TiledRight { Format::TiledLeft } else { format };
        Tile { rows, columns, format, left, isa, kernel }
    }

    /// Prepares the thread for calls of the kernel. That costs tile registers some 80 ns, and others nothing:
    /// once for all calls of a task.
    #[inline]
    pub fn start(&self) -> Running<'_> {
        #[cfg(target_arch = "x86_64")]
        if self.has_registers() {
            // SAFETY: the isa proves that there are tile registers which this process may use.
            unsafe { super::amx::configure() }
        }
        Running { tile: self, here: PhantomData }
    }

    #[cfg(target_arch = "x86_64")]
    fn has_registers(&self) -> bool {
        self.isa.level() == Level::Amx && self.format == Format::TiledRight
    }
}

/// A tile whose kernel this thread is prepared for, for as long as this lives.
pub(super) struct Running<'a> {
    tile: &'a Tile,
    /// Registers are a thread's own.
    here: PhantomData<*const ()>,
}

impl Running<'_> {
    /// Runs the kernel.
    ///
    /// # Safety
    /// The panels and the tile of c must be as [`Call`] says; nobody else may access that tile meanwhile.
    #[inline]
    pub unsafe fn run(&self, call: &Call) {
        let Tile { rows, columns, kernel, .. } = self.tile;
        debug_assert!((1..=*rows).contains(&call.rows) && (1..=*columns).contains(&call.columns));
        // SAFETY: the isa proves the instructions, and the thread is prepared; the rest is promised by the
        // caller.
        unsafe { kernel(call) }
    }
}

#[cfg(target_arch = "x86_64")]
impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.tile.has_registers() {
            // SAFETY: they were configured when this was made.
            unsafe { super::amx::release() }
        }
    }
}

/// Writes a finished tile whose rows are `width` apart.
///
/// # Safety
/// As for [`Running::run`]; `sums` must hold the call's rows.
#[inline(always)]
unsafe fn write_back(call: &Call, sums: &[f32], width: usize) {
    for i in 0..call.rows {
        // SAFETY: row i of the tile is within c.
        let c = unsafe { std::slice::from_raw_parts_mut(call.c.add(i * call.stride), call.columns) };
        for (c, &sum) in c.iter_mut().zip(&sums[i * width..]) {
            *c = if call.beta == 0.0 { call.alpha * sum } else { call.beta * *c + call.alpha * sum };
        }
    }
}

/// # Safety
/// As for [`Running::run`].
unsafe fn portable(call: &Call) {
    const ROWS: usize = 4;
    const COLUMNS: usize = 8;
    let mut sums = [[0.0_f32; COLUMNS]; ROWS];
    // SAFETY: the panels hold `depth` rows and columns.
    let (a, b) = unsafe {
        (
            std::slice::from_raw_parts(call.a, call.depth * ROWS),
            std::slice::from_raw_parts(call.b, call.depth * COLUMNS),
        )
    };
    for (a, b) in a.as_chunks::<ROWS>().0.iter().zip(b.as_chunks::<COLUMNS>().0) {
        for (sums, &a) in sums.iter_mut().zip(a) {
            for (sum, &b) in sums.iter_mut().zip(b) {
                *sum += a * b;
            }
        }
    }
    // SAFETY: passed on.
    unsafe { write_back(call, sums.as_flattened(), COLUMNS) }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Call, write_back};
    use std::arch::x86_64::*;
    use std::mem::transmute;

    /// Calls the instance of a kernel for the number of rows there are: a tile at the lower edge of C costs
    /// what its rows cost.
    macro_rules! by_rows {
        ($call:ident, $kernel:ident, $($rows:literal)*) => {
            match $call.rows {
                // SAFETY: passed on.
                $($rows => unsafe { $kernel::<$rows>($call) },)*
                _ => unreachable!("more rows than a tile has"),
            }
        };
    }

    /// # Safety
    /// As for `Running::run`; the processor must have AVX2 and FMA.
    pub unsafe fn avx2(call: &Call) {
        by_rows!(call, avx2_rows, 1 2 3 4 5 6)
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2_rows<const R: usize>(call: &Call) {
        const ROWS: usize = 6;
        const COLUMNS: usize = 16;
        let mut sums = [[_mm256_setzero_ps(); 2]; R];
        let (mut a, mut b) = (call.a, call.b);
        for _ in 0..call.depth {
            // SAFETY: the panels hold `depth` rows and columns.
            unsafe {
                let (b0, b1) = (_mm256_load_ps(b), _mm256_load_ps(b.add(8)));
                for (i, [low, high]) in sums.iter_mut().enumerate() {
                    let a = _mm256_broadcast_ss(&*a.add(i));
                    *low = _mm256_fmadd_ps(a, b0, *low);
                    *high = _mm256_fmadd_ps(a, b1, *high);
                }
                (a, b) = (a.add(ROWS), b.add(COLUMNS));
            }
        }
        if call.columns < COLUMNS {
            let mut flat = [0.0_f32; ROWS * COLUMNS];
            for (row, [low, high]) in flat.as_chunks_mut::<COLUMNS>().0.iter_mut().zip(sums) {
                // SAFETY: the row has sixteen numbers.
                unsafe {
                    _mm256_storeu_ps(row.as_mut_ptr(), low);
                    _mm256_storeu_ps(row.as_mut_ptr().add(8), high);
                }
            }
            // SAFETY: passed on.
            return unsafe { write_back(call, &flat, COLUMNS) };
        }
        let (alpha, beta) = (_mm256_set1_ps(call.alpha), _mm256_set1_ps(call.beta));
        for (i, row) in sums.into_iter().enumerate() {
            for (half, sum) in row.into_iter().enumerate() {
                // SAFETY: the tile has all sixteen columns.
                unsafe {
                    let c = call.c.add(i * call.stride + half * 8);
                    let product = _mm256_mul_ps(alpha, sum);
                    let value = if call.beta == 0.0 {
                        product
                    } else {
                        _mm256_fmadd_ps(beta, _mm256_loadu_ps(c), product)
                    };
                    _mm256_storeu_ps(c, value);
                }
            }
        }
    }

    macro_rules! avx512_kernel {
        ($name:ident, $rows_name:ident, $features:literal, $multiply_add:expr) => {
            /// # Safety
            /// As for `Running::run`; the processor must have the features.
            pub unsafe fn $name(call: &Call) {
                by_rows!(call, $rows_name, 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
            }

            #[target_feature(enable = $features)]
            unsafe fn $rows_name<const R: usize>(call: &Call) {
                const ROWS: usize = 14;
                const COLUMNS: usize = 32;
                let mut sums = [[_mm512_setzero_ps(); 2]; R];
                let (mut a, mut b) = (call.a, call.b);
                for i in 0..R {
                    // The tile of c will be wanted when the sums are done. (A prefetch never faults.)
                    let c = call.c.wrapping_add(i * call.stride).cast::<i8>();
                    _mm_prefetch::<_MM_HINT_T0>(c);
                    _mm_prefetch::<_MM_HINT_T0>(c.wrapping_add(64));
                }
                for _ in 0..call.depth {
                    // SAFETY: the panels hold `depth` rows and columns.
                    unsafe {
                        let (b0, b1) = (_mm512_load_ps(b), _mm512_load_ps(b.add(16)));
                        for (i, [low, high]) in sums.iter_mut().enumerate() {
                            let a = _mm512_set1_ps(*a.add(i));
                            *low = $multiply_add(a, b0, *low);
                            *high = $multiply_add(a, b1, *high);
                        }
                        (a, b) = (a.add(ROWS), b.add(COLUMNS));
                    }
                }
                let mask = u32::MAX >> (COLUMNS - call.columns);
                let masks = [mask as u16, (mask >> 16) as u16];
                let (alpha, beta) = (_mm512_set1_ps(call.alpha), _mm512_set1_ps(call.beta));
                for (i, row) in sums.into_iter().enumerate() {
                    for (half, sum) in row.into_iter().enumerate() {
                        let c = call.c.wrapping_add(i * call.stride + half * 16);
                        let product = _mm512_mul_ps(alpha, sum);
                        // SAFETY: only columns that exist are read and written.
                        unsafe {
                            let value = if call.beta == 0.0 {
                                product
                            } else {
                                _mm512_fmadd_ps(beta, _mm512_maskz_loadu_ps(masks[half], c), product)
                            };
                            _mm512_mask_storeu_ps(c, masks[half], value);
                        }
                    }
                }
            }
        };
    }

    avx512_kernel!(avx512, avx512_rows, "avx512f", |a, b, c| _mm512_fmadd_ps(a, b, c));
    avx512_kernel!(avx512_bf16, avx512_bf16_rows, "avx512f,avx512bf16", |a, b, c| {
        // The same 512 bits, taken for 32 bfloat16 numbers.
        _mm512_dpbf16_ps(c, transmute::<__m512, __m512bh>(a), transmute::<__m512, __m512bh>(b))
    });
}
