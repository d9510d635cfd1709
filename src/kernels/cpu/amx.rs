//! Products of bfloat16 numbers in tile registers (Intel AMX).
//!
//! A tile register holds 16 rows of 64 bytes. `tdpbf16ps` adds to a tile of 16×16 sums the product of a tile
//! of A (16 rows by 16 pairs along k) and one of B (16 pairs along k by 16 columns); it rounds to nearest
//! even and takes subnormal numbers for zero, as `vdpbf16ps` does. Four tiles of sums, two of A and two of B
//! are all there are: 32×32 numbers of C at a time.
//!
//! The intrinsics are not stable, so the loop is written in assembly. The kernel of the operating system
//! gives a process the use of the registers when it is asked; whether they then do what is written here is
//! tried once, in a child process, so that a machine on which they do not only loses their speed.

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::call::{Call, TILE_DEPTH};

/// Rows and columns of C that a call makes.
pub(super) const SIDE: usize = 32;

/// What `ldtilecfg` reads: palette 1, and eight tiles of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static CONFIGURATION: Configuration = {
    let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
    let mut tile = 0;
    while tile < 8 {
        row_bytes[tile] = 64;
        rows[tile] = 16;
        tile += 1;
    }
    Configuration { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows }
};

/// Sums of a call, before they go to C. (Stored to C straight from the registers they were there no sooner.)
#[repr(C, align(64))]
struct Sums([MaybeUninit<f32>; SIDE * SIDE]);

/// Lays out this thread's registers for [`multiply`].
///
/// # Safety
/// The processor must have AMX, and the process the use of it.
pub(super) unsafe fn configure() {
    // SAFETY: the configuration is valid and lives on; the rest is the caller's.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack, readonly, preserves_flags));
    }
}

/// Leaves none of this thread's registers in use.
///
/// # Safety
/// As for [`configure`].
pub(super) unsafe fn release() {
    // SAFETY: the caller's.
    unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
}

/// The kernel: A as tiles ([`Format::TiledLeft`](super::call::Format::TiledLeft)), B as pairs.
///
/// # Safety
/// As for `Running::run`; the processor must have AMX BF16, and [`configure`] must have laid out this
/// thread's registers. `depth` is a positive multiple of [`TILE_DEPTH`].
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn multiply(call: &Call) {
    debug_assert!(call.depth > 0 && call.depth.is_multiple_of(TILE_DEPTH));
    let mut sums = Sums([MaybeUninit::uninit(); SIDE * SIDE]);
    // SAFETY: a block of 16 words of k is 2 KiB of A, two tiles one after the other, and 2 KiB of B, rows of
    // 128 bytes that hold a row of either tile; the panels hold `depth` words. The sums are 32 rows of 128
    // bytes.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{a} + {a_row}*1]",
            "tileloadd tmm5, [{a} + {a_row}*1 + 1024]",
            "tileloadd tmm6, [{b} + {b_row}*1]",
            "tileloadd tmm7, [{b} + {b_row}*1 + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a}, 2048",
            "add {b}, 2048",
            "dec {blocks}",
            "jnz 2b",
            "tilestored [{sums} + {b_row}*1], tmm0",
            "tilestored [{sums} + {b_row}*1 + 64], tmm1",
            "tilestored [{sums} + {b_row}*1 + 2048], tmm2",
            "tilestored [{sums} + {b_row}*1 + 2112], tmm3",
            a = inout(reg) call.a => _,
            b = inout(reg) call.b => _,
            blocks = inout(reg) call.depth / TILE_DEPTH => _,
            a_row = in(reg) 64_usize,
            b_row = in(reg) 128_usize,
            sums = in(reg) sums.0.as_mut_ptr(),
            options(nostack),
        );
        write_back(call, sums.0.as_ptr().cast());
    }
}

/// Writes a finished tile, whose 32 rows of sums follow each other.
///
/// # Safety
/// As for [`multiply`].
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn write_back(call: &Call, sums: *const f32) {
    let mask = u32::MAX >> (SIDE - call.columns);
    let masks = [mask as u16, (mask >> 16) as u16];
    let (alpha, beta) = (_mm512_set1_ps(call.alpha), _mm512_set1_ps(call.beta));
    for i in 0..call.rows {
        for (half, mask) in masks.into_iter().enumerate() {
            let c = call.c.wrapping_add(i * call.stride + half * 16);
            // SAFETY: the sums are aligned and all there; only columns that exist are read and written.
            unsafe {
                let product = _mm512_mul_ps(alpha, _mm512_load_ps(sums.add(i * SIDE + half * 16)));
                let value = if call.beta == 0.0 {
                    product
                } else {
                    _mm512_fmadd_ps(beta, _mm512_maskz_loadu_ps(mask, c), product)
                };
                _mm512_mask_storeu_ps(c, mask, value);
            }
        }
    }
}

/// Whether processor and operating system have the registers and this process may use them, and products come
/// out right. Asks the operating system for the permission.
pub(super) fn is_usable() -> bool {
    has_registers() && may_use_registers() && products_are_right_in_a_child()
}

/// Whether the processor has AMX BF16 and the operating system keeps the registers of its processes.
pub(super) fn has_registers() -> bool {
    const XSAVE_ENABLED: u32 = 1 << 27;
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    const TILE_STATE: u64 = 0b11 << 17;
    let (leaves, basic) = (__cpuid(0).eax, __cpuid(1));
    if leaves < 7 || basic.ecx & XSAVE_ENABLED == 0 {
        return false;
    }
    let features = __cpuid_count(7, 0).edx;
    // SAFETY: the processor has `xgetbv` where the operating system has enabled it.
    let kept = unsafe { xcr0() };
    features & (AMX_BF16 | AMX_TILE) == AMX_BF16 | AMX_TILE && kept & TILE_STATE == TILE_STATE
}

/// # Safety
/// The operating system must have enabled `xgetbv`.
#[target_feature(enable = "xsave")]
unsafe fn xcr0() -> u64 {
    // SAFETY: passed on.
    unsafe { _xgetbv(0) }
}

/// Asks Linux for the use of the tile registers (`arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`).
#[cfg(target_os = "linux")]
fn may_use_registers() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and changes only what this process may do.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn may_use_registers() -> bool {
    false
}

/// Tries a product in a child process, which a wrong instruction or missing register would end.
#[cfg(target_os = "linux")]
fn products_are_right_in_a_child() -> bool {
    // SAFETY: the child calls nothing that allocates or takes a lock, and ends without running destructors;
    // the parent waits for it.
    unsafe {
        match libc::fork() {
            -1 => false,
            0 => {
                libc::alarm(10);
                let right = std::panic::catch_unwind(products_are_right).unwrap_or(false);
                libc::_exit(i32::from(!right))
            }
            child => {
                let mut status = 0;
                while libc::waitpid(child, &raw mut status, 0) == -1 {
                    if std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
                        return false;
                    }
                }
                libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn products_are_right_in_a_child() -> bool {
    false
}

/// Three blocks of small integers, whose products and sums are exact: the kernel against the definition.
#[cfg(target_os = "linux")]
fn products_are_right() -> bool {
    #[repr(align(64))]
    struct Panel([f32; 3 * TILE_DEPTH * SIDE]);
    const DEPTH: usize = 3 * TILE_DEPTH;
    // The lower and the upper number of a word.
    let number = |seed: usize, i: usize, half: usize| ((seed + 7 * i + 3 * half) % 13) as f32 - 6.0;
    let word = |seed: usize, i: usize| {
        let [low, high] = [0, 1].map(|half| number(seed, i, half).to_bits() >> 16);
        f32::from_bits(high << 16 | low)
    };
    let (mut a, mut b) = (Panel([0.0; DEPTH * SIDE]), Panel([0.0; DEPTH * SIDE]));
    for (i, (a, b)) in a.0.iter_mut().zip(&mut b.0).enumerate() {
        (*a, *b) = (word(1, i), word(5, i));
    }
    let mut c = [0.5_f32; SIDE * SIDE];
    let call = Call {
        rows: SIDE,
        columns: SIDE,
        depth: DEPTH,
        a: a.0.as_ptr(),
        b: b.0.as_ptr(),
        c: c.as_mut_ptr(),
        stride: SIDE,
        alpha: 2.0,
        beta: 1.0,
    };
    // SAFETY: the panels and c have these sizes; whether the instructions are there is what the child is for.
    unsafe {
        configure();
        multiply(&call);
        release();
    }
    (0..SIDE * SIDE).all(|place| {
        let (row, column) = (place / SIDE, place % SIDE);
        let mut sum = 0.0;
        for k in 0..DEPTH {
            let (block, k_in) = (k / TILE_DEPTH, k % TILE_DEPTH);
            let in_a = block * TILE_DEPTH * SIDE + row / 16 * 256 + row % 16 * 16 + k_in;
            let in_b = k * SIDE + column;
            for half in 0..2 {
                sum += number(1, in_a, half) * number(5, in_b, half);
            }
        }
        c[place] == 0.5 + 2.0 * sum
    })
}
