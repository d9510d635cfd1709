//! Packing for tile registers and the order of their products, emulated where there are none.

use half::bf16;
use proptest::prelude::*;

use super::amx::{SIDE, has_registers, is_usable, write_back};
use super::call::{Call, Format, TILE_DEPTH};
use super::gemm::product;
use super::isa::{Isa, Level};
use super::matrix::{MatMut, MatRef};
use super::micro::Tile;
use super::pack::{Panels, pack, packed_len};
use super::scratch::Scratch;
use super::test_support::{noise, on_threads};

#[repr(align(64))]
struct Flat([f32; SIDE * SIDE]);

/// What the kernel does, instruction by instruction, on tiles that are arrays.
unsafe fn emulated(call: &Call) {
    type Registers = [[f32; 16]; 16];
    let load = |from: *const f32, row: usize| -> Registers {
        // SAFETY: as for the kernel.
        std::array::from_fn(|i| std::array::from_fn(|j| unsafe { *from.add(i * row + j) }))
    };
    let halves = |word: f32| {
        let bits = word.to_bits();
        [bits << 16, bits & 0xffff_0000].map(f32::from_bits)
    };
    let dot = |sums: &mut Registers, a: &Registers, b: &Registers| {
        for (sums, a) in sums.iter_mut().zip(a) {
            for (k, &a) in a.iter().enumerate() {
                for (sum, &b) in sums.iter_mut().zip(&b[k]) {
                    let ([a0, a1], [b0, b1]) = (halves(a), halves(b));
                    *sum = a1.mul_add(b1, a0.mul_add(b0, *sum));
                }
            }
        }
    };
    let mut sums = [[[0.0; 16]; 16]; 4];
    for block in 0..call.depth / TILE_DEPTH {
        let (a, b) = (call.a.wrapping_add(block * 512), call.b.wrapping_add(block * 512));
        let (a, b) =
            ([load(a, 16), load(a.wrapping_add(256), 16)], [load(b, 32), load(b.wrapping_add(16), 32)]);
        for (tile, sums) in sums.iter_mut().enumerate() {
            dot(sums, &a[tile / 2], &b[tile % 2]);
        }
    }
    let flat = |i: usize| sums[i / SIDE / 16 * 2 + i % SIDE / 16][i / SIDE % 16][i % 16];
    let flat = Flat(std::array::from_fn(flat));
    // SAFETY: passed on; the path is one of AVX-512.
    unsafe { write_back(call, flat.0.as_ptr()) }
}

fn tile(kernel: unsafe fn(&Call)) -> Option<Tile> {
    let isa = Isa::new(Level::Avx512Bf16).ok()?;
    let (format, left) = (Format::TiledRight, Format::TiledLeft);
    Some(Tile { rows: SIDE, columns: SIDE, format, left, isa, kernel })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn packing_for_tiles_and_their_order_give_the_product(
        m in 1_usize..100, k in 1_usize..1300, n in 1_usize..70, strides in 0_usize..3, narrow: bool,
    ) {
        let Some(tile) = tile(emulated) else { return Ok(()) };
        let (a_data, b_data) = (noise(1, m * k * 2), noise(2, k * n));
        let a16: Vec<bf16> = a_data.iter().map(|&x| bf16::from_f32(x)).collect();
        let round = |x: f32| f64::from(bf16::from_f32(x).to_f32());
        let (row, column) = [(k, 1), (1, m), (2 * k, 2)][strides];
        let b = MatRef::new(&b_data, k, n);
        let mut words = Scratch::take(packed_len(tile.format, tile.columns, k, n));
        words.f32_mut().fill(f32::NAN);
        pack(tile.isa, tile.format, tile.columns, b, words.f32_mut());
        let panels = Panels { words: words.f32(), rows: k, columns: n };
        let mut c = vec![1.0_f32; m * n];
        let run = |c: &mut [f32]| {
            let c = MatMut::new(c, m, n);
            if narrow {
                product(&tile, 0.5, MatRef::with_strides(&a16, m, k, row, column), panels, 2.0, c);
            } else {
                product(&tile, 0.5, MatRef::with_strides(&a_data, m, k, row, column), panels, 2.0, c);
            }
        };
        run(&mut c);
        for i in 0..m {
            for j in 0..n {
                let terms = (0..k).map(|p| round(a_data[i * row + p * column]) * round(b_data[p * n + j]));
                let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()));
                let expected = 2.0 + 0.5 * sum;
                let found = f64::from(c[i * n + j]);
                prop_assert!((found - expected).abs() <= 1e-6 * (size + 2.0), "{found} {expected}");
            }
        }
        let mut again = vec![1.0_f32; m * n];
        on_threads(3, || run(&mut again));
        prop_assert!(again == c);
    }
}

#[test]
fn the_registers_are_used_where_they_are_and_right() {
    // Where there are none this says so, and no instruction of theirs is run.
    assert_eq!(Level::Amx.is_available(), is_usable());
    assert!(!is_usable() || has_registers());
}
