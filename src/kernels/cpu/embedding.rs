//! Embedding rows: gathering, and adding gradients back.
//!
//! The gradient is grouped by id with a stable sort; each row of the table is then added to by one task, in
//! the order of the positions.

use super::scratch::Scratch;
use rayon::prelude::*;

/// Rows of the table that a task of the backward pass takes.
const TASK_ROWS: usize = 256;

/// `y[i] = table[ids[i]]`, rows of `h` numbers. Panics on an id outside the table.
pub fn gather(ids: &[i32], table: &[f32], h: usize, y: &mut [f32]) {
    assert!(h > 0 && y.len() == ids.len() * h, "embedding of other shapes");
    y.par_chunks_mut(h).with_min_len(64).zip(ids).for_each(|(y, &id)| {
        y.copy_from_slice(&table[row(id, h)..][..h]);
    });
}

/// `dtable[ids[i]] += dy[i]`. Panics on an id outside the table.
pub fn scatter_add(ids: &[i32], dy: &[f32], h: usize, dtable: &mut [f32]) {
    assert!(
        h > 0 && dy.len() == ids.len() * h && dtable.len().is_multiple_of(h),
        "embedding of other shapes"
    );
    let rows = dtable.len() / h;
    assert!(
        ids.iter().all(|&id| usize::try_from(id).is_ok_and(|id| id < rows)),
        "an id outside the embedding"
    );
    let mut order = Scratch::take(ids.len());
    let order: &mut [u32] = bytemuck::cast_slice_mut(order.f32_mut());
    for (i, place) in order.iter_mut().enumerate() {
        *place = i as u32;
    }
    // Places are distinct: unstable sorting by (id, place) is the stable sort by id.
    order.sort_unstable_by_key(|&i| (ids[i as usize], i));
    let order = &*order;
    dtable.par_chunks_mut(TASK_ROWS * h).enumerate().for_each(|(task, table)| {
        let first = task * TASK_ROWS;
        let end = first + table.len() / h;
        let from = order.partition_point(|&i| (ids[i as usize] as usize) < first);
        for &i in order[from..].iter().take_while(|&&i| (ids[i as usize] as usize) < end) {
            let i = i as usize;
            let row = &mut table[(ids[i] as usize - first) * h..][..h];
            for (total, d) in row.iter_mut().zip(&dy[i * h..][..h]) {
                *total += d;
            }
        }
    });
}

/// Where an id's row starts.
fn row(id: i32, h: usize) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX / h / 2) * h
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{noise, on_threads};
    use super::*;

    #[test]
    fn gathers_and_scatters_in_the_order_of_positions() {
        let (rows, h) = (700, 5);
        let table = noise(1, rows * h);
        for n in [0, 1, 900] {
            let ids: Vec<i32> =
                noise(2, n).iter().map(|x| ((x * 0.5 + 0.5).powi(3) * rows as f32) as i32).collect();
            let mut y = vec![0.0; n * h];
            gather(&ids, &table, h, &mut y);
            let mut expected = noise(3, rows * h);
            let before = expected.clone();
            for (i, &id) in ids.iter().enumerate() {
                assert_eq!(y[i * h..][..h], table[id as usize * h..][..h]);
                for j in 0..h {
                    expected[id as usize * h + j] += y[i * h + j];
                }
            }
            for threads in [1, 3] {
                let mut found = before.clone();
                on_threads(threads, || scatter_add(&ids, &y, h, &mut found));
                assert_eq!(found, expected, "{threads} threads");
            }
        }
    }

    #[test]
    #[should_panic(expected = "outside the embedding")]
    fn ids_are_checked() {
        scatter_add(&[3], &[0.0; 2], 2, &mut [0.0; 6]);
    }
}
