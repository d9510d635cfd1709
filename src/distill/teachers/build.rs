//! Computes a signal, once for all runs, epochs and processes.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use burn::tensor::{DType, Device, Tensor};

use super::super::batch::DeviceBatch;
use super::super::error::DistillError;
use super::super::job::Observer;
use super::plan::Plan;
use super::top::Shortlist;
use crate::cache::{ByteSize, Element, Loss, WriteLock, Writer};
use crate::data::{Batch, Dataset};
use crate::interrupt::Interrupt;
use crate::kernels::is_processor;
use crate::model::Transformer;

/// Tokens in a batch, padding included: enough for the products to run at full speed, and no more, for the
/// teacher's activations are then what a run takes most memory for.
const BATCH_TOKENS: usize = 2048;
/// Time between two lines of progress in the log.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// Computes the signal.
pub(super) struct Builder<'a> {
    pub(super) teacher: &'a Transformer,
    pub(super) device: &'a Device,
    pub(super) pad_id: u32,
    /// Sequences of a training batch: as many tokens a graphics processor has memory for, and takes to be
    /// kept busy.
    pub(super) batch_size: usize,
    /// What is kept of the logits; none keeps the hidden states.
    pub(super) shortlist: Option<&'a Shortlist>,
    pub(super) observer: &'a mut dyn Observer,
    pub(super) stop: &'a Interrupt,
}

impl Builder<'_> {
    /// Writes the file of a plan, or what is missing of it; false where `stop` was set on the way.
    ///
    /// Sequences of similar length go together, so that little is computed for padding: the rows of a
    /// sequence do not depend on what else is in its batch.
    pub(super) fn build(&mut self, plan: &Plan, lock: WriteLock) -> Result<bool, DistillError> {
        let data = plan.split.data;
        let order = order(data);
        let (mut writer, mut progress) = Writer::open(&plan.path, lock, plan.header.clone(), &plan.rows)?;
        let kept = match self.shortlist {
            Some(shortlist) => format!("{} largest logits", shortlist.k),
            None => "hidden states".to_owned(),
        };
        let what = format!("the teacher's {kept} of the {}", plan.split.name);
        tracing::info!(
            "{} {what}: {} rows, {}, {}",
            if progress.sequences > 0 { "going on to write" } else { "writing" },
            plan.header.rows,
            ByteSize(writer.bytes()),
            plan.path.display()
        );
        let began = Instant::now();
        let total = tokens(data, &order);
        let mut done = tokens(data, &order[..(progress.sequences as usize).min(order.len())]);
        let mut said = began;
        self.observer.preparing(&what, done, total);
        // A graphics processor computes a batch while the one before is read back and written.
        let is_async = !is_processor(self.device);
        let longest = order.first().map_or(0, |&index| length(data, index));
        let batch_tokens = if is_async { BATCH_TOKENS.max(self.batch_size * longest) } else { BATCH_TOKENS };
        let mut ahead = None;
        while (progress.sequences as usize) < order.len() {
            if self.stop.is_asked() {
                writer.commit(&progress)?;
                tracing::info!("stopped; the next run that needs it goes on from here");
                return Ok(false);
            }
            let launch = |from: usize| self.launch(data, next_batch(data, &order[from..], batch_tokens));
            let from = progress.sequences as usize;
            let launched = ahead.take().unwrap_or_else(|| launch(from));
            let next = from + launched.sequences.len();
            if is_async && next < order.len() {
                ahead = Some(launch(next));
            }
            done += tokens(data, launched.sequences);
            self.write(&mut writer, data, launched, &mut progress.sums)?;
            progress.sequences = next as u64;
            if writer.is_due() {
                writer.commit(&progress)?;
            }
            self.observer.preparing(&what, done, total);
            if said.elapsed() >= SAY_EVERY {
                said = Instant::now();
                tracing::info!("{what}: {:.0} %", 100.0 * done as f64 / total.max(1) as f64);
            }
        }
        let loss = self.shortlist.map(|_| {
            let mean = |sum: f64| sum / plan.header.rows.max(1) as f64;
            Loss { tail_mass: mean(progress.sums[0]), divergence: mean(progress.sums[1]) }
        });
        writer.finish(loss)?;
        tracing::info!("wrote {what} in {:.1} s", began.elapsed().as_secs_f64());
        Ok(true)
    }

    /// Has the device run the teacher on some sequences.
    fn launch<'s>(&self, data: &Dataset, sequences: &'s [u32]) -> Launched<'s> {
        let batch = DeviceBatch::new(&Batch::new(data, sequences, self.pad_id), self.device);
        let states = batch
            .as_ref()
            .filter(|_| self.shortlist.is_none())
            .map(|batch| self.teacher.forward_rows(batch.ids.clone(), batch.rows.clone()));
        Launched { sequences, batch, states }
    }

    /// Writes the rows of each sequence. What an approximation leaves out is added up.
    fn write(
        &self,
        writer: &mut Writer,
        data: &Dataset,
        launched: Launched,
        sums: &mut [f64; 2],
    ) -> Result<(), DistillError> {
        let Launched { sequences, batch, states } = launched;
        let Some(batch) = batch else { return Ok(()) };
        if let Some(states) = states {
            // Rounded, where products will round them anyway.
            let dtype = match writer.header().element {
                Element::F32 => DType::F32,
                Element::Bf16 => DType::BF16,
            };
            let states = states.into_data().convert_dtype(dtype);
            return write_rows(writer, data, sequences, batch.count, [states.as_bytes()]);
        }
        let Some(shortlist) = &self.shortlist else { return Ok(()) };
        let rows = shortlist.run(self.teacher, &batch);
        for (sum, of_batch) in sums.iter_mut().zip(rows.sums) {
            *sum += of_batch;
        }
        let columns = [
            bytemuck::cast_slice(&rows.logits),
            bytemuck::cast_slice(&rows.ids),
            bytemuck::cast_slice(&rows.rest),
        ];
        write_rows(writer, data, sequences, batch.count, columns)
    }
}

/// Sequences that the teacher runs on.
struct Launched<'s> {
    sequences: &'s [u32],
    /// None where nothing in it counts.
    batch: Option<DeviceBatch>,
    /// Their hidden states, where those are wanted; the device may still be computing them.
    states: Option<Tensor<2>>,
}

/// Writes the rows of some sequences, of which each column has its share.
fn write_rows<const N: usize>(
    writer: &mut Writer,
    data: &Dataset,
    sequences: &[u32],
    count: usize,
    columns: [&[u8]; N],
) -> Result<(), DistillError> {
    let mut first = 0;
    for &sequence in sequences {
        let rows = data.sequences[sequence as usize].targets();
        let pieces = columns.map(|column| {
            let row_bytes = column.len() / count;
            &column[first * row_bytes..(first + rows) * row_bytes]
        });
        writer.write(sequence as usize, &pieces)?;
        first += rows;
    }
    Ok(())
}

/// The order in which sequences are computed: the longest first, so that a batch that does not fit into
/// memory is the first one. Those without rows are left out.
fn order(data: &Dataset) -> Vec<u32> {
    let mut order: Vec<u32> = (0..data.len() as u32).collect();
    order.retain(|&index| data.sequences[index as usize].targets() > 0);
    order.sort_by_key(|&index| (Reverse(length(data, index)), index));
    order
}

/// As many sequences as make a batch.
fn next_batch<'o>(data: &Dataset, order: &'o [u32], batch_tokens: usize) -> &'o [u32] {
    let longest = order.first().map_or(1, |&index| length(data, index)).max(1);
    &order[..(batch_tokens / longest).clamp(1, order.len())]
}

fn length(data: &Dataset, index: u32) -> usize {
    data.sequences[index as usize].input_ids.len()
}

fn tokens(data: &Dataset, sequences: &[u32]) -> u64 {
    sequences.iter().map(|&index| length(data, index) as u64).sum()
}
